/** The page of a probe: it looks at the open model and adapters with the prompts at the left. */
import type { RunRequest } from "../../../server/wire.ts";
import { schemaProperties } from "../paramFields.ts";
import { probes } from "../probes.svelte.ts";
import { prompts } from "../prompts.svelte.ts";
import { isOver, isResumable, runs } from "../runs.svelte.ts";
import { steps } from "../steps.svelte.ts";
import { subject } from "../subject.svelte.ts";
import { promptNames, type PromptTexts } from "../view.ts";
import type { Page } from "./page.ts";

export const probePage: Page = {
  isOfSubject: true,
  isComparable: false,
  // Looks are soon made again.
  kept: 8,
  tag: "",
  title: () => null,
  obstacle: () => probes.obstacle,
  request: (probe) => ({ subject: subject.request, probe, params: { ...probes.params } }),
  settings: (probe) => probes.changed[probe] ?? {},
  setAll: (probe, params) => probes.setAll(probe, params),
  isForm: () => false,
  async start(request) {
    const before = runs.current;
    // Work of hours stays, and this one waits for it.
    if (before && !isOver(before) && !isResumable(before)) await runs.cancel(before.id);
    steps.clear();
    return (await runs.begin(request)) !== null;
  },
  returning: (request) =>
    runs.list.find((record) => record.state !== "failed" && record.state !== "cancelled" && isSameRequest(record.request, request)) ?? null,
  async take({ subject: asked, probe, params }) {
    const known = subject.adapters;
    const adapters = asked.adapters.map(({ path, name, strength }) => ({ path, name: name ?? null, strength, isOn: true }));
    const isSubset = asked.model === subject.model && adapters.every(({ path }) => known.some((adapter) => adapter.path === path));
    if (isSubset) {
      subject.adapters = known.map((adapter) => {
        const used = adapters.find(({ path }) => path === adapter.path);
        return { ...adapter, isOn: used !== undefined, strength: used?.strength ?? adapter.strength };
      });
    } else await subject.open(asked.model, adapters, "model");
    const texts = textsFrom(params);
    if (texts) prompts.setAll({ ...prompts.texts, ...texts });
    probes.setAll(probe, params);
  },
};

/** Prompts among a probe's parameters; null when there are none. */
export function textsFrom(params: Readonly<Record<string, unknown>>): PromptTexts | null {
  const given = promptNames.flatMap((name) => {
    const value = params[name] ?? (name === "clean" ? params["prompt"] : undefined);
    return typeof value === "string" ? [[name, value] as const] : [];
  });
  return given.length === 0 ? null : { ...prompts.texts, ...Object.fromEntries(given) };
}

/** Equal in everything that changes a number; defaults may be written out or not. */
export function isSameRequest(a: RunRequest, b: RunRequest): boolean {
  const card = probes.cards.find(({ name }) => name === a.probe);
  const defaults = card
    ? Object.fromEntries(
        Object.entries(schemaProperties(card.params)).flatMap(([name, { default: value }]) => (value === undefined ? [] : [[name, value] as const])),
      )
    : {};
  const plain = ({ subject: of, probe, params }: RunRequest): string =>
    JSON.stringify([
      of.model,
      of.adapters.map(({ path, strength }) => [path, strength]),
      probe,
      Object.entries({ ...defaults, ...params }).toSorted(([x], [y]) => (x < y ? -1 : 1)),
    ]);
  return plain(a) === plain(b);
}
