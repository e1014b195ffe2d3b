/**
 * Worlds on the adapter as it is at this step of its training: settings and edits as a sweep has them, over the run's own tensors.
 *   1. Rows are worlds × prompts. How strongly the adapter acts at a site, and what an edit puts where, are inputs of each row,
 *      so one program serves all worlds of a request.
 *   2. Rows are cut into tiles; logits are made after each prompt alone.
 *   3. Prompts are padded to one length behind their last token, where nothing sees it; where activations are edited each length
 *      is a batch of its own, as the values have the prompt's shape.
 * A term in training acts whole at its site: single components are what a probe sees on the adapter opened from its files (liveSubject.ts).
 */
import { at } from "../at.ts";
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import { allHooks, hookPlace, hookShape, type HookPlace } from "../runs/hookNames.ts";
import { checkPrompt } from "../runs/promptTokens.ts";
import { checkEdit } from "../runs/segmentProgram.ts";
import { editMask, type SweepRequest } from "../runs/sweep.ts";
import { filled, rowsPerTile, tilesOf } from "../runs/tiles.ts";
import { siteStrengths, strengthOf, type AdapterSetting, type BatchEdit, type World, type WorldEdit } from "../runs/worlds.ts";
import { float32, sizeOf, type FloatTensor } from "../tensors/hostTensor.ts";
import type { Adaptation } from "./adaptation.ts";
import { checkGates } from "./adaptedForward.ts";
import type { TrainingPrograms } from "./trainingPrograms.ts";

/** An adapter in training, under the name that settings give it. */
export interface LiveAdapter {
  readonly programs: TrainingPrograms;
  readonly name: string;
}

export interface LivePrompt {
  readonly ids: readonly number[];
  /** Index of its task; the first when there is none. */
  readonly task?: number;
  /** Values of edits, as the hooks have them for this prompt: `[1, ids, …]`. */
  readonly sources?: SweepRequest["sources"];
}

export interface LiveRequest {
  readonly prompts: readonly LivePrompt[];
  readonly worlds: readonly World[];
  readonly signal?: AbortSignal;
}

interface Row {
  /** In what is asked for: prompts of the first world, then of the second. */
  readonly index: number;
  readonly world: World;
  readonly prompt: LivePrompt;
}

/** Positions are padded up to a multiple of this, so that few shapes of programs arise. */
const positionStep = 8;

/** Positions of prompts that are padded to one length. */
function paddedPositions(prompts: readonly Pick<LivePrompt, "ids">[], nCtx: number): number {
  return Math.min(nCtx, Math.ceil(Math.max(1, ...prompts.map(({ ids }) => ids.length)) / positionStep) * positionStep);
}

/** Size of the largest batch that worlds without edits are run in. */
export function liveBatch(prompts: readonly Pick<LivePrompt, "ids">[], worlds: number, nCtx: number): { rows: number; positions: number } {
  const positions = paddedPositions(prompts, nCtx);
  return { rows: rowsPerTile(worlds * prompts.length, positions), positions };
}

/**
 * Logits after each prompt in each world: `[worlds][prompts]`, each `[dVocab]`, or `[labels]` for a classifier, whose head is the same in all worlds.
 * @throws "adapter.unknown", "site.unknown", "hook.unknown", "hook.badShape", "adapter.unsupported" on a single component, or on a strength where all
 *   weights are trained; "prompt.empty", "prompt.tooLong", "prompt.unknownToken", "job.cancelled"
 */
export async function liveLogits(live: LiveAdapter, { prompts, worlds, signal }: LiveRequest): Promise<readonly (readonly Float32Array[])[]> {
  const { model } = live.programs.adaptation;
  for (const prompt of prompts) checkLivePrompt(live, prompt);
  for (const { setting } of worlds) checkSetting(live, setting);
  const known = allHooks(model, []);
  const hooks = [...new Set(worlds.flatMap(({ edits }) => edits.map(({ hook }) => hook)))].map((hook) => hookPlace(known, hook));
  const padded = hooks.length > 0 ? null : paddedPositions(prompts, model.config.nCtx);
  const positionsOf = ({ prompt }: Row): number => padded ?? prompt.ids.length;
  const rows = worlds.flatMap((world, w) => prompts.map((prompt, p): Row => ({ index: w * prompts.length + p, world, prompt })));
  const found: Float32Array[] = [];
  for (const positions of new Set(rows.map(positionsOf))) {
    const group = rows.filter((row) => positionsOf(row) === positions);
    for (const tile of tilesOf(group, positions)) {
      if (signal?.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
      const { data, shape } = await tileLogits(live, filled(tile), positions, hooks);
      const [, classes = 0] = shape;
      tile.members.forEach(({ index }, row) => (found[index] = data.slice(row * classes, (row + 1) * classes)));
    }
  }
  return worlds.map((_, w) => found.slice(w * prompts.length, (w + 1) * prompts.length));
}

/** `[rows, dVocab]`, or `[rows, labels]` */
function tileLogits({ programs, name }: LiveAdapter, rows: readonly Row[], positions: number, hooks: readonly HookPlace[]): Promise<FloatTensor> {
  const tokens = new Int32Array(rows.length * positions);
  rows.forEach(({ prompt }, row) => tokens.set(prompt.ids, row * positions));
  const tasks = Int32Array.from(rows, ({ prompt }) => prompt.task ?? 0);
  const settings = rows.map(({ world }) => world.setting);
  return programs.logitsAt(
    { rows: rows.length, positions, tokens, tasks },
    Int32Array.from(rows, ({ prompt }) => prompt.ids.length - 1),
    { gates: siteGates(programs.adaptation, name, settings), edits: hooks.map((place) => batchEdit(place, rows, positions)) },
  );
}

/** How strongly the adapter acts at each of its sites, a number a row: `[rows, 1]`. */
export function siteGates({ sites }: Adaptation, name: string, settings: readonly AdapterSetting[]): Record<string, FloatTensor> {
  const strengths = new Map([...new Set(settings)].map((setting) => [setting, siteStrengths(setting, name)]));
  const gate = (site: string) => Float32Array.from(settings, (setting) => strengths.get(setting)?.(site) ?? 0);
  return Object.fromEntries(sites.map(({ site }) => [site.name, float32(gate(site.name), [settings.length, 1])]));
}

function checkLivePrompt({ programs: { adaptation } }: LiveAdapter, { ids, task = 0 }: LivePrompt): void {
  checkPrompt(ids, adaptation.model);
  const most = Math.max(1, adaptation.tasks.length);
  if (!Number.isInteger(task) || task < 0 || task >= most)
    throw new WorkbenchError("training.badParams", `task ${task} of a prompt is none of the run's; expected 0 to ${most - 1}`);
}

function checkSetting({ programs: { adaptation }, name }: LiveAdapter, setting: AdapterSetting): void {
  const gates = setting.components ?? [];
  const other = [...Object.keys(setting.strengths), ...gates.map(({ adapter }) => adapter)].find((adapter) => adapter !== name);
  if (other !== undefined) throw new WorkbenchError("adapter.unknown", `adapter "${other}" is not the one in training; ${didYouMean(other, [name])}`);
  const strength = strengthOf(setting, name);
  if (adaptation.full && strength !== 1)
    throw new WorkbenchError(
      "adapter.unsupported",
      `all weights are trained, so there is no adapter to act at strength ${strength}; expected 1, which before the first step is the base`,
    );
  checkGates(
    adaptation,
    gates.map(({ site }) => site),
  );
  const part = gates.find(({ component }) => component !== null);
  if (part)
    throw new WorkbenchError(
      "adapter.unsupported",
      `component ${part.component} of ${part.site}: an adapter in training acts whole at a site; its singular components are known of a saved one. ` +
        `Gate the whole site (component: null), or let a probe look at the saved one at a cadence (probes.analyses, "componentAblation")`,
    );
}

/** The edits of all rows at one hook; a later edit of a world stands over an earlier one, and rows without one keep their own. */
function batchEdit(place: HookPlace, rows: readonly Row[], positions: number): BatchEdit {
  const shape = hookShape(place, rows.length, positions);
  const width = at(shape, shape.length - 1);
  const value = float32(new Float32Array(sizeOf(shape)), shape);
  const mask = float32(new Float32Array(value.data.length / width), [...shape.slice(0, -1), 1]);
  rows.forEach(({ world, prompt }, row) => {
    for (const edit of world.edits) {
      if (edit.hook !== place.name) continue;
      const { mask: own, value: from } = rowEdit(place, edit, prompt);
      own.data.forEach((isOn, i) => {
        if (isOn === 0) return;
        const to = row * own.data.length + i;
        mask.data[to] = 1;
        value.data.set(from.data.subarray(i * width, (i + 1) * width), to * width);
      });
    }
  });
  return { hook: place.name, mask, value };
}

/** One edit of one row. */
function rowEdit(place: HookPlace, edit: WorldEdit, { ids, sources = {} }: LivePrompt): BatchEdit {
  const value = sources[edit.source]?.[edit.hook];
  if (!value) throw new WorkbenchError("hook.badShape", `source "${edit.source}" of a prompt of ${ids.length} tokens has no values for "${edit.hook}"`);
  const own: BatchEdit = { hook: edit.hook, mask: editMask(place, [edit], ids.length), value };
  checkEdit(own, hookShape(place, 1, ids.length));
  if (!own.mask.data.includes(1))
    throw new WorkbenchError(
      "hook.badShape",
      `"${edit.hook}", position ${edit.position}, head ${edit.head}: no such place in a prompt of ${ids.length} tokens; its axes are ${place.axes.join(", ")}`,
    );
  return own;
}
