/** What a person does, across the states: open the demo, run, go to a probe, follow a link, go back. */
import { call } from "../api.ts";
import { endpoints } from "../../server/endpoints.ts";
import type { Place } from "../../probes/result.ts";
import type { DemoCard, Health, RunRecord, RunRequest } from "../../server/wire.ts";
import { comparison } from "./comparison.svelte.ts";
import { jobKinds, type JobKind } from "../../server/jobKinds/registry.ts";
import type { PageName } from "../../server/jobKinds/jobKind.ts";
import type { Page } from "./pages/page.ts";
import { isSameRequest, textsFrom } from "./pages/probe.ts";
import { pageOf, pages } from "./pages/registry.ts";
import { probes } from "./probes.svelte.ts";
import { prompts } from "./prompts.svelte.ts";
import { runs } from "./runs.svelte.ts";
import { selection } from "./selection.svelte.ts";
import { steps } from "./steps.svelte.ts";
import { subject } from "./subject.svelte.ts";
import { training, type BranchPoint } from "./training.svelte.ts";
import { flattened, pinnedPrompts } from "./trainingParams.ts";
import { isEmptyView, noPrompts, viewFromQuery, viewQuery, type AdapterView, type View } from "./view.ts";

interface OpenCheckpoint {
  readonly step: number;
  /** Its PEFT folder. */
  readonly path: string;
}

class Workbench {
  health = $state.raw<Health | null>(null);
  demo = $state.raw<DemoCard | null>(null);
  bootError = $state<string | null>(null);
  isReady = $state(false);
  metric = $state<string | null>(null);
  demoRun = $state<string | null>(null);

  /** What the open probe's runs are; a probe that is not offered is shown as any look would be. */
  readonly kind: JobKind = $derived(probes.card?.kind ?? "probe");
  readonly pageName: PageName = $derived(jobKinds[this.kind].page);
  readonly page: Page = $derived(pages[this.pageName]);
  readonly request: RunRequest | null = $derived(probes.active === null ? null : this.page.request(probes.active));
  /** The run on screen was made with other settings than those now shown. */
  readonly isStale: boolean = $derived(
    runs.current !== null && pageOf(runs.current.kind).isOfSubject && this.request !== null && !isSameRequest(runs.current.request, this.request),
  );
  readonly finding: string | null = $derived(runs.currentId !== null && runs.currentId === this.demoRun ? (this.demo?.finding ?? null) : runs.result.finding);
  readonly view: View = $derived({
    model: subject.model,
    adapters: subject.adapters,
    prompts: prompts.texts,
    probe: probes.active,
    params: probes.active === null ? {} : this.page.settings(probes.active),
    metric: this.metric,
    pins: selection.pins,
    run: this.page.isForm() ? null : runs.currentId,
    step: steps.chosen,
    looks: steps.looks,
    panels: steps.panels,
    compare: comparison.ids,
  });

  async start(): Promise<void> {
    runs.start();
    addEventListener("popstate", () => void this.show(viewFromQuery(location.search)));
    try {
      [this.health, probes.cards, this.demo] = await Promise.all([call(endpoints.health, {}), call(endpoints.probes, {}), call(endpoints.demo, {})]);
    } catch (error) {
      this.bootError = error instanceof Error ? error.message : String(error);
      return;
    }
    const asked = viewFromQuery(location.search);
    if (isEmptyView(asked)) {
      probes.active = asked.probe ?? probes.cards[0]?.name ?? null;
      if (this.demo) await this.openDemo(this.demo, "replace");
    } else await this.show(asked);
    this.isReady = true;
  }

  async openDemo(demo: DemoCard, history: "push" | "replace"): Promise<void> {
    const { model, adapters } = demo.subject;
    const isOpen = await subject.open(
      model,
      adapters.map(({ path, name, strength }) => ({ path, name: name ?? null, strength: strength > 0 ? strength : 1, isOn: strength > 0 })),
      "model",
    );
    if (!isOpen) return;
    prompts.setAll(textsFrom(demo.params) ?? demo.prompts[0] ?? noPrompts);
    probes.active = probes.cards.some(({ name }) => name === demo.probe) ? demo.probe : (probes.cards[0]?.name ?? null);
    probes.setAll(demo.probe, demo.params);
    selection.clear();
    if (probes.obstacle === null) await this.run(history);
    if (probes.active === demo.probe) this.demoRun = runs.currentId;
  }

  async openModel(path: string | null, adapters: readonly AdapterView[] = []): Promise<void> {
    if (!(await subject.open(path, adapters, "model"))) return;
    runs.close();
    selection.clear();
    void prompts.tokenize();
    this.remember("push");
  }

  async addAdapter(path: string): Promise<boolean> {
    const isAdded = await subject.addAdapter(path);
    if (isAdded) this.remember("push");
    return isAdded;
  }

  async run(history: "push" | "replace" = "push"): Promise<void> {
    const { request, page } = this;
    if (!request || page.obstacle() !== null) return;
    if (runs.current && runs.current.request.probe !== request.probe) this.metric = null;
    if (await page.start(request)) this.remember(history);
  }

  /** Opens the form of a new run, filled from a run when it branches off one. */
  newTraining(branchOf: BranchPoint | null = null): void {
    const from = branchOf === null ? null : runs.list.find(({ id }) => id === branchOf.run);
    if (from) training.setAll(from.request.params);
    comparison.clear();
    probes.active = training.card?.name ?? probes.active;
    training.openForm(branchOf);
    this.remember("push");
  }

  /** Opens two checkpoints of a training run, and asks which parts of one make the other behave like it. */
  async patchAcross({ request }: RunRecord, into: OpenCheckpoint, from: OpenCheckpoint): Promise<boolean> {
    const view = ({ path, step }: OpenCheckpoint): AdapterView => ({ path, name: `step-${step}`, strength: 1, isOn: true });
    if (!(await subject.openPair(request.subject.model, [view(into), view(from)]))) return false;
    const pinned = pinnedPrompts(flattened(request.params)["probes.prompts"])[0];
    if (pinned) prompts.setAll({ ...noPrompts, clean: pinned.prompt, answer: pinned.answer ?? "", counterAnswer: pinned.counterAnswer ?? "" });
    selection.clear();
    steps.clear();
    await this.goToProbe("acrossTime", { run: true });
    return true;
  }

  setStep(step: number | null): void {
    if (step === null) steps.follow();
    else steps.choose(step);
    this.remember("replace");
  }

  setLook(figure: string, look: string): void {
    steps.setLook(figure, look);
    this.remember("push");
  }

  setPanel(figure: string, panel: string | null): void {
    steps.setPanel(figure, panel);
    this.remember("push");
  }

  compare(ids: readonly string[]): void {
    comparison.ids = ids;
    this.remember("push");
  }

  async cancel(): Promise<void> {
    if (runs.running) await runs.cancel(runs.running.id);
  }

  /** The page's own last run comes back with it; of a probe, when its settings are the ones shown. */
  async goToProbe(name: string, options: { readonly run?: boolean; readonly params?: Readonly<Record<string, unknown>> } = {}): Promise<void> {
    if (!probes.cards.some((card) => card.name === name)) return;
    comparison.clear();
    if (probes.active !== name) this.metric = null;
    probes.active = name;
    const { page } = this;
    if (options.params) page.setAll(name, { ...page.settings(name), ...options.params }, true);
    const back = page.returning(page.request(name));
    const isThere = back !== null && back.id === runs.currentId;
    if (!page.isOfSubject && !isThere) {
      selection.clear();
      steps.clear();
    }
    if (back && !isThere) await runs.open(back.id);
    else if (!back && options.run === true && page.obstacle() === null) {
      await this.run("push");
      return;
    } else if (!back) runs.close();
    this.remember("push");
  }

  async openRun(runId: string): Promise<void> {
    comparison.clear();
    if (runId !== runs.currentId) steps.clear();
    training.isNew = false;
    const record = await runs.open(runId);
    if (!record) return;
    await this.#take(record);
    this.remember("push");
  }

  pick(figure: string, place: Place, extend: boolean): void {
    selection.pick(figure, place, extend);
    this.remember("replace");
  }

  letGo(): void {
    selection.clear();
    this.remember("replace");
  }

  setMetric(id: string): void {
    this.metric = id;
    this.remember("push");
  }

  /** Writes the view into the address; small steps replace the last entry, so that Back undoes what a person would call one change. */
  remember(how: "push" | "replace"): void {
    const url = `${location.pathname}?${viewQuery(this.view)}`;
    if (url === location.pathname + location.search) return;
    if (how === "push") history.pushState(null, "", url);
    else history.replaceState(null, "", url);
  }

  /** Brings back a view from its address. */
  async show(view: View): Promise<void> {
    const isSameSubject =
      view.model === subject.model && JSON.stringify(view.adapters.map(({ path }) => path)) === JSON.stringify(subject.adapters.map(({ path }) => path));
    if (isSameSubject) subject.adapters = view.adapters;
    else if (view.model !== null || view.adapters.length > 0) await subject.open(view.model, view.adapters, "model");
    prompts.setAll(view.prompts);
    probes.active = view.probe ?? probes.active ?? probes.cards[0]?.name ?? null;
    training.isNew = false;
    if (view.probe !== null) this.page.setAll(view.probe, view.params, view.run !== null);
    this.metric = view.metric;
    selection.pins = view.pins;
    [steps.chosen, steps.looks, steps.panels] = [view.step, view.looks, view.panels];
    comparison.ids = view.compare;
    if (view.run === null) runs.close();
    else if (view.run !== runs.currentId) {
      const record = await runs.open(view.run);
      // A link with nothing but a run in it: the run knows the rest.
      if (record && subject.card === null) await this.#take(record);
    }
  }

  async #take({ kind, request }: RunRecord): Promise<void> {
    await pageOf(kind).take(request);
    probes.active = request.probe;
  }
}

export const workbench = new Workbench();
