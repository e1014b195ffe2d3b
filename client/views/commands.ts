/** Everything the palette can find, made from what is open. */
import { metricsOf } from "../figures/aboutFigure.ts";
import { comparison } from "../state/comparison.svelte.ts";
import { probes } from "../state/probes.svelte.ts";
import { runs } from "../state/runs.svelte.ts";
import { subject } from "../state/subject.svelte.ts";
import { training } from "../state/training.svelte.ts";
import { theme } from "../state/theme.svelte.ts";
import { workbench } from "../state/workbench.svelte.ts";
import type { Command } from "../widgets/command.ts";

export function paletteCommands(dialogs: { readonly shortcuts: () => void; readonly allProbes: () => void }): Command[] {
  const { demo } = workbench;
  const figure = runs.result.figures[0];
  const layers = subject.card?.model?.nLayers ?? 0;
  return [
    ...(probes.card && probes.obstacle === null
      ? [{ id: "run", group: "do", label: `Run ${probes.card.title.toLowerCase()}`, keys: "Ctrl Enter", run: () => void workbench.run() }]
      : []),
    ...(training.schema && subject.model !== null ? [{ id: "train", group: "do", label: "Train an adapter", run: () => workbench.newTraining() }] : []),
    ...(comparison.ticked.length > 1
      ? [{ id: "compare", group: "do", label: `Compare ${comparison.ticked.length} runs`, run: () => workbench.compare(comparison.ticked) }]
      : []),
    ...(runs.running ? [{ id: "cancel", group: "do", label: "Cancel the running job", run: () => void workbench.cancel() }] : []),
    ...probes.cards.map(({ name, title, summary }) => ({
      id: `probe-${name}`,
      group: "probe",
      label: `${title}: ${summary}`,
      run: () => void workbench.goToProbe(name),
    })),
    ...(figure ? metricsOf(figure) : []).map(({ id, label }) => ({
      id: `metric-${id}`,
      group: "metric",
      label,
      run: () => workbench.setMetric(id),
    })),
    ...subject.adapters.map((adapter, index) => ({
      id: `adapter-${index}`,
      group: "adapter",
      label: `Switch ${subject.names[index]} ${adapter.isOn ? "off" : "on"}`,
      run: () => {
        subject.change(index, { isOn: !adapter.isOn });
        workbench.remember("push");
      },
    })),
    ...(figure
      ? Array.from({ length: layers }, (_, layer) => ({
          id: `layer-${layer}`,
          group: "layer",
          label: `Layer ${layer}`,
          run: () => workbench.pick(figure.id, { layer }, false),
        }))
      : []),
    ...runs.list.slice(0, 20).map((record) => ({
      id: `run-${record.id}`,
      group: "run",
      label: `${record.request.probe} · ${record.createdAt.slice(0, 19).replace("T", " ")} · ${record.id}`,
      run: () => void workbench.openRun(record.id),
    })),
    ...(demo ? [{ id: "demo", group: "open", label: "The demo", run: () => void workbench.openDemo(demo, "push") }] : []),
    { id: "theme", group: "do", label: theme.name === "dark" ? "Light theme" : "Dark theme", keys: "t", run: () => theme.toggle() },
    { id: "theme-system", group: "do", label: "Theme as the system has it", run: () => theme.choose("system") },
    { id: "all-probes", group: "do", label: "All probes", run: dialogs.allProbes },
    { id: "shortcuts", group: "do", label: "Keyboard shortcuts", keys: "?", run: dialogs.shortcuts },
  ];
}
