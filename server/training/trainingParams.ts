/** What a training run is asked for: one schema for the form, HTTP, `deltascope train --config` and the docs. */
import * as z from "zod";
import { dataParams } from "../data/dataParams.ts";

export const schedules = ["constant", "linear", "cosine"] as const;

export const siteParams = z.strictObject({
  targetModules: z
    .union([z.array(z.string()), z.string()])
    .default("all-linear")
    .describe(`Names of modules ("c_attn", "q_proj"), one pattern, or "all-linear"`),
  excludeModules: z
    .union([z.array(z.string()), z.string()])
    .default([])
    .describe("Modules that stay as they are"),
  layers: z.array(z.int().min(0)).nullable().default(null).describe("Layers that get an adapter; null is all"),
});

export const optimizerParams = z.strictObject({
  learningRate: z.number().positive().default(1e-3).describe("Largest learning rate"),
  schedule: z.enum(schedules).default("linear").describe("How the rate falls after the warm-up"),
  warmupSteps: z.int().min(0).default(10).describe("Steps over which the rate rises to its largest"),
  beta1: z.number().min(0).lt(1).default(0.9).describe("Decay of the first moment"),
  beta2: z.number().min(0).lt(1).default(0.999).describe("Decay of the second moment"),
  epsilon: z.number().positive().default(1e-8).describe("Added to the root of the second moment"),
  weightDecay: z.number().min(0).default(0).describe("Decoupled weight decay"),
  clipNorm: z.number().positive().nullable().default(1).describe("Gradients longer than this are shortened to it; null never"),
  rates: z
    .record(z.string(), z.number().min(0))
    .default({})
    .describe(`Learning rates of named parameter groups, as multiples of the main one, e.g. {"loraB": 16}`),
});

export const probeParams = z.strictObject({
  every: z.int().min(1).nullable().default(null).describe("Steps between two looks inside; null chooses it from the share of time"),
  snapshots: z.int().min(2).max(2000).default(100).describe("Most looks that are stored"),
  maxShare: z.number().min(0).max(1).default(0.1).describe("Most of the step time that looking may take; looks grow rarer to keep to it"),
  prompts: z
    .array(z.strictObject({ prompt: z.string(), answer: z.string().nullable().default(null), counterAnswer: z.string().nullable().default(null) }))
    .default([])
    .describe("Prompts whose logit difference and KL to the base are followed"),
  patchSites: z.array(z.string()).default([]).describe("Sites whose patching score (this site's adapter alone switched on) is followed"),
  analyses: z
    .array(
      z.strictObject({
        probe: z.string().describe("Name of the probe"),
        every: z.int().min(1).describe("Steps from one run of it to the next; it also runs at the last step"),
        params: z.record(z.string(), z.unknown()).default({}).describe("The probe's own parameters"),
      }),
    )
    .default([])
    .describe("Probes that run on the adapter as it is while it trains, in the time that is looked"),
  intruders: z.boolean().default(false).describe("Count intruder dimensions (needs the singular vectors of every adapted W, computed once)"),
});

/** Of one run. */
export const mostSteps = 10_000_000;

/** `startFrom` names the stored checkpoint that a branch begins at. */
export const trainingParams = z.strictObject({
  name: z
    .string()
    .regex(/^[\w-]{1,60}$/)
    .default("adapter")
    .describe("Name of the adapter"),
  method: z.string().default("lora").describe("Adapter method, or full for all weights"),
  options: z.record(z.string(), z.unknown()).meta({ optionsOf: "method" }).default({}).describe("The method's own options"),
  sites: siteParams.prefault({}).describe("Where the adapter acts"),
  data: dataParams.describe("What is learned"),
  steps: z.int().min(1).max(mostSteps).nullable().default(null).describe("Optimizer steps; null counts them from the epochs"),
  epochs: z.number().positive().max(1_000_000).default(1).describe("Passes over the examples, when steps is not given"),
  batchSize: z.int().min(1).max(4096).default(8).describe("Examples in a forward pass"),
  accumulate: z.int().min(1).max(4096).default(1).describe("Forward passes whose gradients are added for one step"),
  optimizer: optimizerParams.prefault({}).describe("AdamW and its schedule"),
  dropout: z.number().min(0).lt(1).default(0).describe("Share of each adapter's inputs set to zero in training"),
  labelSmoothing: z.number().min(0).lt(1).default(0).describe("Probability spread evenly over all tokens or labels"),
  evaluateEvery: z.int().min(1).nullable().default(null).describe("Steps between evaluations on the held-out examples; null is twenty in a run"),
  patience: z.int().min(1).nullable().default(null).describe("Evaluations without a better held-out loss before the run stops; null never"),
  checkpointEvery: z.int().min(1).nullable().default(null).describe("Steps between checkpoints; null is ten in a run"),
  keepCheckpoints: z.int().min(1).default(20).describe("Checkpoints that are kept; the oldest go first, the best and the last stay"),
  probes: probeParams.prefault({}).describe("What is looked at while it trains"),
  seed: z.int().min(0).max(4_294_967_295).default(0).describe("Seed of the start, the order and the dropout"),
  startFrom: z
    .strictObject({ folder: z.string().meta({ path: "run" }), step: z.int().min(0) })
    .nullable()
    .default(null)
    .describe("A checkpoint to begin at: the folder of a run and a step"),
});

export type SiteParams = z.infer<typeof siteParams>;
export type OptimizerParams = z.infer<typeof optimizerParams>;
export type ProbeParams = z.infer<typeof probeParams>;
export type TrainingParams = z.infer<typeof trainingParams>;
