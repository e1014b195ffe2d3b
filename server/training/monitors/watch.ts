/**
 * Looking inside a run while it trains: asks the budget when, the monitors what, and keeps all numbers so far.
 * It reads the adaptation and never writes into it: with and without it a run trains to the same bits.
 */
import { WorkbenchError } from "../../errors.ts";
import type { Tokenizer } from "../../formats/tokenizer.ts";
import { float32, sizeOf } from "../../tensors/hostTensor.ts";
import type { Adaptation } from "../adaptation.ts";
import { LookingBudget } from "../lookingBudget.ts";
import { evaluationArrays, stepArrays, StepCurves } from "../stepCurves.ts";
import type { TrainingEvent } from "../trainer.ts";
import type { TrainingPlan } from "../trainingPlan.ts";
import type { TrainingParams } from "../trainingParams.ts";
import type { TrainingPrograms } from "../trainingPrograms.ts";
import { changeMarks, type Marker } from "./marks.ts";
import { momentOf } from "./moment.ts";
import type { ArraySpec, Looker, Moment, Monitor, Tile, WatchedRun } from "./monitor.ts";
import { PinnedPrompts, readPinnedPrompts } from "./pinnedPrompts.ts";
import { monitorIds, monitors, type MonitorId } from "./registry.ts";
import { readWatch, writeWatch } from "./watchFile.ts";

export interface WatchOptions {
  readonly adaptation: Adaptation;
  readonly programs: TrainingPrograms;
  readonly plan: TrainingPlan;
  readonly params: TrainingParams;
  /** Needed for pinned prompts. */
  readonly tokenizer: Tokenizer | null;
}

export interface DeclaredArray {
  readonly name: string;
  readonly shape: readonly number[];
  readonly axes: readonly string[];
}

/** The training step of each look, `[snapshot]`. */
export const stepsArray = "snapshot_step";
/** Marks beyond this only crowd a figure. */
const mostMarkers = 200;

export class Watch {
  readonly run: WatchedRun;
  readonly curves: StepCurves;
  readonly snapshots: number;
  readonly plan: TrainingPlan;
  /** Of the monitors that this run has. */
  readonly active: readonly MonitorId[];
  readonly #specs: readonly (ArraySpec & { readonly monitor: MonitorId })[];
  readonly #budget: LookingBudget;
  readonly #lookers: ReadonlyMap<MonitorId, Looker>;
  readonly #numbers: ReadonlyMap<string, Float32Array>;
  readonly #declared: readonly DeclaredArray[];
  #markers: Marker[] = [];
  #preparationSeconds = 0;

  /** @throws what reading pinned prompts and starting monitors throws; "tokenizer.malformed" when prompts are pinned and there is no tokenizer */
  constructor({ adaptation, programs, plan, params, tokenizer }: WatchOptions) {
    const { probes } = params;
    const firstStep = params.startFrom?.step ?? 0;
    if (probes.prompts.length > 0 && !tokenizer)
      throw new WorkbenchError("tokenizer.malformed", `probes.prompts: ${adaptation.model.path} has no tokenizer.json; prompts cannot be read`);
    const prompts =
      probes.prompts.length > 0 && tokenizer
        ? new PinnedPrompts(readPinnedPrompts(probes.prompts, tokenizer, adaptation), { programs, name: params.name })
        : null;
    this.run = { adaptation, programs, params: probes, prompts };
    this.plan = plan;
    this.snapshots = probes.maxShare === 0 ? 0 : Math.min(probes.snapshots, Math.max(2, plan.totalSteps - firstStep + 1));
    this.active = this.snapshots === 0 ? [] : monitorIds.filter((id) => monitors[id].applies(this.run));
    this.#lookers = new Map(this.active.map((id) => [id, monitors[id].start(this.run)]));
    this.#specs = this.active.flatMap((id) => monitors[id].arrays(this.run).map((spec) => ({ ...spec, monitor: id })));
    this.#budget = new LookingBudget({
      every: probes.every,
      snapshots: this.snapshots,
      maxShare: probes.maxShare,
      firstStep,
      totalSteps: plan.totalSteps,
      monitors: this.active,
    });
    this.curves = new StepCurves(plan, firstStep);
    this.#declared = [
      ...stepArrays.map((name) => ({ name, shape: [this.curves.points], axes: ["point"] })),
      ...evaluationArrays.map((name) => ({ name, shape: [this.curves.evaluations], axes: ["evaluation"] })),
      ...(this.snapshots > 0 ? [{ name: stepsArray, shape: [this.snapshots], axes: ["snapshot"] }] : []),
      ...this.#specs.map(({ name, shape, axes }) => ({ name, shape: [this.snapshots, ...shape], axes: ["snapshot", ...axes] })),
    ];
    this.#numbers = new Map(this.#declared.map(({ name, shape }) => [name, new Float32Array(sizeOf(shape)).fill(NaN)]));
  }

  /** Every array that looks and steps write into. */
  arrays(): readonly DeclaredArray[] {
    return this.#declared;
  }

  /** All numbers so far: what a resumed run shows before its next step. */
  tiles(): Tile[] {
    return [...this.#numbers].map(([array, data]) => ({ array, offset: 0, data: data.slice() }));
  }

  /** An array as it is now; NaN where there is no number yet. */
  numbers(array: string): Float32Array {
    const found = this.#numbers.get(array);
    if (!found) throw new WorkbenchError("internal", `no array "${array}" is watched`);
    return found;
  }

  get markers(): readonly Marker[] {
    return this.#markers;
  }

  /** Looks so far. */
  get looks(): number {
    return this.#budget.used;
  }

  /** Looking time over step time. */
  get share(): number {
    return this.#budget.share;
  }

  /** Seconds of looking so far. */
  get lookingSeconds(): number {
    return this.#budget.looking;
  }

  /** Counts time that went into handing on what was seen as looking. */
  spent(seconds: number): void {
    this.#budget.spent(seconds);
  }

  /** Whether only the looks at the first two steps were taken, which the share does not bound. */
  get isStarting(): boolean {
    return this.#budget.isStarting;
  }

  /** Seconds that monitors took once, before the first step. */
  get preparationSeconds(): number {
    return this.#preparationSeconds;
  }

  /** Norms and singular vectors of W, predictions of the base; then the first look, when the run is at its first step. @throws "job.cancelled" */
  async prepare(step: number, signal: AbortSignal): Promise<Tile[]> {
    const started = performance.now();
    for (const [id, looker] of this.#lookers) {
      if (signal.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
      const expected = await looker.prepare?.(signal);
      if (typeof expected === "number") this.#budget.expects(id, expected);
    }
    this.#preparationSeconds += (performance.now() - started) / 1000;
    // A run that goes on from a checkpoint has had its first look.
    return this.looks === 0 ? this.#look(step, {}) : [];
  }

  /**
   * What an event of the trainer adds, with a look when one is due.
   * @param gradients of the last step, before clipping, by key
   */
  async after(event: TrainingEvent, gradients: Readonly<Record<string, Float32Array>>): Promise<Tile[]> {
    switch (event.type) {
      case "step": {
        this.#budget.trained(event.seconds);
        if (event.note !== null) this.#mark({ step: event.step, kind: "note", label: event.note, site: null, layer: null });
        const tiles = this.#keep(this.curves.step(event));
        return [...tiles, ...(await this.#look(event.step, gradients))];
      }
      case "evaluation":
        return this.#keep(this.curves.evaluation(event));
      case "ended":
        return event.reason === "paused" ? [] : this.#look(event.step, gradients, true);
      default:
        return [];
    }
  }

  /** Writes everything so far into a checkpoint's folder. */
  save(dir: string): void {
    const { accounts, ...budget } = this.#budget.state();
    writeWatch(
      dir,
      { budget: { ...budget, accounts: { ...accounts } }, curves: this.curves.state(), markers: [...this.#markers], preparation: this.#preparationSeconds },
      new Map(this.#declared.map(({ name, shape }) => [name, float32(this.numbers(name), shape)])),
      new Map([...this.#lookers].map(([id, looker]) => [id, looker.state?.() ?? {}])),
    );
  }

  /**
   * Takes up what `save` wrote; before `prepare`.
   * @throws "training.badParams" when the looks were of other sites or parameters
   */
  restore(dir: string): void {
    const { file, state, array, kept } = readWatch(dir);
    for (const { name, shape } of this.#declared) {
      const data = array(name)?.data;
      const numbers = this.numbers(name);
      if (data?.length !== numbers.length)
        throw new WorkbenchError(
          "training.badParams",
          `${file}: found ${data ? `${data.length} numbers` : "nothing"} of "${name}"; expected [${shape.join(", ")}]: the looks ` +
            `were made with other parameters`,
        );
      numbers.set(data);
    }
    this.#budget.restore(state.budget);
    this.curves.restore(state.curves);
    this.#markers = state.markers;
    this.#preparationSeconds = state.preparation;
    for (const [id, looker] of this.#lookers) looker.restore?.(kept(id));
  }

  async #look(step: number, gradients: Readonly<Record<string, Float32Array>>, isLast?: boolean): Promise<Tile[]> {
    const affordable = this.#budget.due(step, isLast);
    const due = affordable.filter((id) => this.#isBeside(id, affordable));
    if (due.length === 0) return [];
    const snapshot = this.#budget.used;
    const lookers = new Map([...this.#lookers].filter(([id]) => due.includes(id)));
    const { moment, owed } = await momentOf(this.run, { step, gradients }, lookers);
    const seconds: Record<string, number> = {};
    const tiles: Tile[] = [{ array: stepsArray, offset: snapshot, data: Float32Array.of(step) }];
    for (const [id, looker] of lookers) {
      const started = performance.now();
      const values = await numbersOf(looker, moment);
      if (values) for (const spec of this.#specs) if (spec.monitor === id) tiles.push(placed(spec, snapshot, values[spec.name]));
      seconds[id] = (owed.get(id) ?? 0) + (performance.now() - started) / 1000;
    }
    this.#keep(tiles);
    this.#budget.looked(step, seconds);
    const sites = this.run.adaptation.sites.map(({ site }) => site);
    const looks = { sites, steps: this.numbers(stepsArray), newest: snapshot, numbers: (array: string) => this.#numbers.get(array) };
    for (const mark of changeMarks(looks)) this.#mark(mark);
    return tiles;
  }

  /** Whether a monitor that uses another's numbers has them. */
  #isBeside(id: string, due: readonly string[]): boolean {
    const monitor: Monitor | undefined = this.active.flatMap((each) => (each === id ? [monitors[each]] : []))[0];
    return monitor?.beside === undefined || due.includes(monitor.beside);
  }

  #keep(tiles: Tile[]): Tile[] {
    for (const { array, offset, data } of tiles) this.numbers(array).set(data, offset);
    return tiles;
  }

  #mark(marker: Marker): void {
    if (this.#markers.length < mostMarkers) this.#markers = [...this.#markers, marker];
  }
}

/** One array's numbers at one look. */
function placed({ name, shape }: ArraySpec, snapshot: number, values: Float32Array | undefined): Tile {
  if (values?.length !== sizeOf(shape))
    throw new WorkbenchError("internal", `a monitor gave ${values?.length ?? "no"} numbers of "${name}"; expected [${shape.join(", ")}]`);
  return { array: name, offset: snapshot * values.length, data: values };
}

/** Null when a parameter is infinite or NaN: the trainer stops at its next step, and says where. */
async function numbersOf(looker: Looker, moment: Moment): Promise<Readonly<Record<string, Float32Array>> | null> {
  try {
    return await looker.look(moment);
  } catch (error) {
    if (error instanceof WorkbenchError && error.code === "spectrum.notConverged") return null;
    throw error;
  }
}
