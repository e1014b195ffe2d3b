/** Structure-learnable adapter: every site asks, by a gate per task, whether it is needed, and mixes its modules from a pool that tasks share. */
import * as tf from "@tensorflow/tfjs-core";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { floatValues } from "../formats/tensorValues.ts";
import type { FactoredMatrix } from "../linalg/factored.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import { uniforms } from "../linalg/random.ts";
import { alphaOption, checkRank, loraRules, loraTensors, rankOption, type Factors } from "./trainedFactors.ts";
import { expectShape, lowRankDelta, lowRankSite, sizesOf, tensorsOf } from "./lowRankSite.ts";
import { closed, gateOf, gatePenalty, gateValues, mixValues, regularisers, type Regulariser } from "./structureGates.ts";
import { defineMethod, defineTraining, savedKey, type DeltaContext, type Gauge, type None, type StepChange, type StepContext } from "./method.ts";
import { at } from "../at.ts";
import { scaledColumns } from "../linalg/matrices.ts";

const about = {
  title: "Structure-learnable adapter",
  source: "Gong, Deng, Qi, Zou, Xue & Zi 2025, arXiv 2509.03057",
  exactness:
    "reconstructed from reviews of the paper: its gate σ(α) per task is known; the pool (one a site, shared by tasks), its " +
    "softmax mix, the regularisers and the closing of gates are ours. Mapped to LoRA: B·A beside W, no nonlinearity, not the paper's bottleneck behind a block",
};

/** What multiplies each column of B for one task: gate · mix of the module it belongs to. `[modules · rank]` */
function columnShares(alpha: Float32Array, beta: Float32Array | undefined, task: number, regulariser: Regulariser, columns: number): Float32Array {
  const gate = at(gateValues(alpha.subarray(task, task + 1), regulariser), 0);
  const modules = beta ? beta.length / alpha.length : 1;
  const mix = beta ? mixValues(beta.subarray(task * modules, (task + 1) * modules)) : Float32Array.of(1);
  const rank = columns / modules;
  return Float32Array.from({ length: columns }, (_, i) => gate * at(mix, Math.floor(i / rank)));
}

/** The method's own fields of adapter_config.json. */
const ownConfig = z.object({
  structure_modules: z.int().min(1).default(1),
  structure_tasks: z.array(z.string()).min(1).default(["all"]),
  /** The task whose structure is opened. */
  structure_active_task: z.string().nullish(),
  structure_regulariser: z.enum(regularisers).default("mean"),
});

interface StructureTensors {
  readonly trained: Factors<FloatTensor> & { gate: FloatTensor; mix?: FloatTensor };
  readonly frozen: None;
  readonly memory: None;
}

const options = z.strictObject({
  rank: rankOption.default(8).describe("Rank of each module of the pool"),
  alpha: alphaOption.default(8),
  modules: z.int().min(1).max(64).default(1).describe("Modules in each site's pool, which all tasks share"),
  lambda: z.number().min(0).default(1).describe("Strength of the sparsity term; the paper's best is 1, under a scale that it does not state"),
  regulariser: z
    .enum(regularisers)
    .default("mean")
    .describe("Sparsity term over the gates: mean or sum of σ(α), Σ σ(1 − σ), or the expected number of open hard-concrete gates"),
  gateRate: z.number().positive().default(1e-2).describe("Constant learning rate of the gates and mixes"),
  searchShare: z.number().gt(0).max(1).default(1).describe("Share of the steps after which gates at or under one half close for good; 1 never"),
});
type StructureOptions = z.infer<typeof options>;

const structureTraining = defineTraining<StructureOptions, StructureTensors>({
  ...about,
  summary: "LoRA with a learnt gate per site and task, drawn to zero, so that training finds which sites each task needs.",
  isReconstructed: true,
  options,
  parameterCount(site, { rank, modules }, tasks) {
    checkRank(rank, site);
    return modules * rank * (site.dIn + site.dOut) + tasks * (modules > 1 ? modules + 1 : 1);
  },
  /** A ~ U(±1/√dIn) for every module, B = 0, α = 0, so that σ(α) = ½, and β = 0: all modules alike. */
  start({ name, dIn, dOut }, { options: { rank, modules }, random, tasks }) {
    const columns = modules * rank;
    const ofTask = (length: number) => new Float32Array(tasks.length * length);
    return {
      trained: {
        loraA: float32(uniforms(columns * dIn, 1 / Math.sqrt(dIn), random("loraA", name)), [columns, dIn]),
        loraB: float32(new Float32Array(dOut * columns), [dOut, columns]),
        gate: float32(ofTask(1), [tasks.length]),
        ...(modules > 1 ? { mix: float32(ofTask(modules), [tasks.length, modules]) } : {}),
      },
      frozen: {},
      memory: {},
    };
  },
  rules: ({ gateRate }) => ({
    ...loraRules,
    gate: { decays: false, learningRate: gateRate },
    mix: { decays: false, learningRate: gateRate },
  }),
  delta,
  penalty: (sites, { lambda, regulariser }) =>
    tf.mul(
      gatePenalty(
        sites.map(({ trained }) => trained.gate),
        regulariser,
      ),
      lambda,
    ),
  afterStep: closeGates,
  deltaWeight(state, chosen, task = 0) {
    const {
      site: { dIn, dOut },
      trained,
    } = state;
    const columns = chosen.modules * chosen.rank;
    const shares = columnShares(trained.gate.data, trained.mix?.data, task, chosen.regulariser, columns);
    return {
      left: scaledColumns(trained.loraB.data, shares),
      right: trained.loraA.data,
      dOut,
      dIn,
      rank: columns,
      scale: chosen.alpha / chosen.rank,
    };
  },
  gauges,
  save(sites, chosen, tasks) {
    const config = {
      peft_type: "STRUCTURE",
      r: chosen.rank,
      lora_alpha: chosen.alpha,
      structure_modules: chosen.modules,
      structure_tasks: tasks,
      structure_active_task: tasks[0] ?? null,
      structure_regulariser: chosen.regulariser,
      structure_lambda: chosen.lambda,
    };
    const own = sites.flatMap(({ site, trained }): [string, FloatTensor][] => [
      [savedKey(site, "structure_alpha"), trained.gate],
      ...(trained.mix ? [[savedKey(site, "structure_beta"), trained.mix] satisfies [string, FloatTensor]] : []),
    ]);
    return { config, tensors: new Map([...loraTensors(sites), ...own]) };
  },
});

/** s · Σ_k σ(α_t) π_tk (x A_kᵀ) B_kᵀ, t the task of the row and π = softmax(β) over the modules. */
function delta({ x, trained, tasks, options: { rank, alpha, modules, regulariser } }: DeltaContext<StructureOptions, StructureTensors>): tf.Tensor {
  const inner = tf.matMul(x, trained.loraA, false, true);
  const gate = tf.reshape(tf.mul(gateOf(trained.gate, regulariser), alpha / rank), [-1, 1]); // [tasks, 1]
  const shares = trained.mix ? tf.mul(tf.softmax(trained.mix, -1), gate) : gate; // [tasks, modules]
  const ofRows = tasks ? tf.matMul(tasks, shares) : shares; // [rows or 1, modules]
  const rows = x.shape[0];
  const mixed =
    modules > 1 ? tf.reshape(tf.mul(tf.reshape(inner, [rows, modules, rank]), tf.expandDims(ofRows, 2)), [rows, modules * rank]) : tf.mul(inner, ofRows);
  return tf.matMul(mixed, trained.loraB, false, true);
}

/** At the end of the search: gates of one half or less become exactly 0 and stay; the others keep their value and go on training. */
function closeGates({ options: { searchShare, regulariser }, step, totalSteps, sites }: StepContext<StructureOptions, StructureTensors>): StepChange {
  if (searchShare === 1 || step !== Math.max(1, Math.round(searchShare * totalSteps))) return { reshaped: [], note: null };
  let [shut, all] = [0, 0];
  for (const { trained } of sites) {
    const alpha = trained.gate.data;
    gateValues(alpha, regulariser).forEach((value, task) => {
      all++;
      if (value > 0.5) return;
      shut++;
      alpha[task] = closed;
    });
  }
  // Without their moments, closed gates have no velocity left to open with.
  return { reshaped: [], resetsMoments: true, note: `search ended: ${shut} of ${all} gates closed` };
}

function gauges({ modules, regulariser }: StructureOptions, tasks: readonly string[]): readonly Gauge<StructureTensors>[] {
  const gates: Gauge<StructureTensors> = {
    id: "gates",
    label: tasks.length > 1 ? `Gate by task (${tasks.join(", ")})` : "Gate",
    unit: "",
    length: tasks.length,
    values: ({ trained }) => gateValues(trained.gate.data, regulariser),
  };
  if (modules === 1) return [gates];
  const mix: Gauge<StructureTensors> = {
    id: "mix",
    label: tasks.length > 1 ? `Mix of modules by task (${tasks.join(", ")})` : "Mix of modules",
    unit: "",
    length: tasks.length * modules,
    values: ({ trained }) =>
      Float32Array.from(tasks.flatMap((_, task) => [...mixValues(trained.mix?.data.subarray(task * modules, (task + 1) * modules) ?? Float32Array.of())])),
  };
  return [gates, mix];
}

export const structure = defineMethod({
  ...about,
  peftType: "STRUCTURE",
  fields: ownConfig,
  idleFields: ["structure_lambda"],
  tensors: ["structure_alpha", "structure_beta"],
  open(config, fields, parsed) {
    const { modulePath, own } = parsed;
    const { structure_modules: modules, structure_tasks: tasks, structure_active_task: active, structure_regulariser: regulariser } = fields;
    const task = active === null || active === undefined ? 0 : tasks.indexOf(active);
    if (task < 0)
      throw new WorkbenchError(
        "adapter.malformed",
        `${config.dir}/adapter_config.json: structure_active_task is "${active}"; expected one of ${tasks.join(", ")}`,
      );
    const take = tensorsOf(parsed, "structure-learnable");
    const [a, b, alpha] = [take("lora_A"), take("lora_B"), take("structure_alpha")];
    const beta = modules > 1 ? take("structure_beta") : own["structure_beta"]?.entry;
    const columns = modules * config.r;
    const { dIn, dOut } = sizesOf(parsed, a, b);
    expectShape(`lora_A of "${modulePath}"`, a.shape, [columns, dIn], "modules · rank × dIn");
    expectShape(`lora_B of "${modulePath}"`, b.shape, [dOut, columns], "dOut × modules · rank");
    expectShape(`structure_alpha of "${modulePath}"`, alpha.shape, [tasks.length], "tasks");
    if (beta) expectShape(`structure_beta of "${modulePath}"`, beta.shape, [tasks.length, modules], "tasks × modules");
    const shares = columnShares(floatValues(alpha), beta && floatValues(beta), task, regulariser, columns);
    const factors: FactoredMatrix = {
      left: scaledColumns(floatValues(b), shares),
      right: floatValues(a),
      dOut,
      dIn,
      rank: columns,
      scale: config.loraAlpha / config.r,
    };
    return lowRankSite(parsed, factors, { key: `${a.id}:task${task}`, alpha: config.loraAlpha });
  },
  delta: lowRankDelta,
  trainings: { structure: structureTraining },
});
