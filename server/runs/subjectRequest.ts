/** A subject: the base model and adapters that a request is about, and the cards that describe them once open. */
import * as z from "zod";

export const adapterRequest = z.strictObject({
  path: z.string().min(1).describe("Folder with adapter_config.json and adapter_model.safetensors"),
  /** Its name in hook names and figures; the folder's name unless given. */
  name: z
    .string()
    .regex(/^[\w-]+$/)
    .optional()
    .describe("Name in hook names and figures"),
  strength: z.number().min(0).max(4).default(1).describe("1 = as trained, 0 = off"),
});
export const subjectRequest = z.strictObject({
  model: z.string().min(1).nullable().describe("Folder with config.json and *.safetensors; null for weight-only probes"),
  adapters: z.array(adapterRequest).max(16).default([]),
});
export type AdapterRequest = z.infer<typeof adapterRequest>;
export type SubjectRequest = z.infer<typeof subjectRequest>;

/** What the left rail shows of a base model. */
export interface ModelCard {
  readonly path: string;
  readonly name: string;
  readonly family: string;
  readonly nLayers: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly dModel: number;
  readonly dVocab: number;
  readonly nCtx: number;
  readonly parameters: number;
  readonly bytes: number;
  readonly dtype: string;
  readonly hasTokenizer: boolean;
  /** What the project's tests measured of this family on random checkpoints; nothing was measured on this one. */
  readonly parity: string;
  /** Things a reader must know: how files that disagree were read, and what is not used. */
  readonly warnings: readonly string[];
}
export interface AdapterCard {
  readonly path: string;
  readonly name: string;
  readonly method: string;
  readonly rank: string;
  /** In words: "α/r = 16/8 = 2". */
  readonly scaling: string;
  readonly strength: number;
  readonly sites: number;
  readonly parameters: number;
  readonly baseName: string | null;
  /** Things a reader must know: what was not loaded, and why. */
  readonly warnings: readonly string[];
}
export interface SubjectCard {
  readonly request: SubjectRequest;
  readonly model: ModelCard | null;
  readonly adapters: readonly AdapterCard[];
}
/** All that a reader must know of a subject, each with the name of what it is about. */
export function subjectWarnings({ model, adapters }: SubjectCard): string[] {
  return [...(model?.warnings ?? []), ...adapters.flatMap(({ name, warnings }) => warnings.map((warning) => `${name}: ${warning}`))];
}

export interface TokenizedText {
  readonly ids: readonly number[];
  /** Exact text of each token. */
  readonly tokens: readonly string[];
}
