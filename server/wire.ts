/** Every schema and type that crosses between server and client: one request object drives app, command line and scripts. */
import * as z from "zod";
import type { Check, Figure } from "../probes/result.ts";
import type { ErrorCode } from "./errors.ts";
import type { JobKind } from "./jobKinds/registry.ts";
import type { PackedEvents } from "./packedEvents.ts";
import { subjectRequest, type SubjectRequest } from "./runs/subjectRequest.ts";

export { adapterRequest, subjectRequest } from "./runs/subjectRequest.ts";
export type { AdapterRequest, SubjectCard, SubjectRequest, TokenizedText } from "./runs/subjectRequest.ts";

export const runRequest = z.strictObject({
  subject: subjectRequest,
  probe: z.string(),
  params: z.record(z.string(), z.unknown()).default({}),
});
export const branchRequest = z.strictObject({
  step: z.int().min(0),
  /** Settings that differ from the run's own; objects are merged field by field, the method's options are replaced whole. */
  params: z.record(z.string(), z.unknown()).default({}),
});
export const previewRequest = z.strictObject({ subject: subjectRequest, params: z.record(z.string(), z.unknown()) });
export const tokenizeRequest = z.strictObject({ subject: subjectRequest, text: z.string().max(100_000) });

export type { TrainingPreview } from "./training/trainingPreview.ts";

export type RunRequest = z.infer<typeof runRequest>;
export type BranchRequest = z.infer<typeof branchRequest>;
export type PreviewRequest = z.infer<typeof previewRequest>;
export type TokenizeRequest = z.infer<typeof tokenizeRequest>;

export interface Health {
  readonly ok: boolean;
  readonly version: string;
  readonly uptimeSeconds: number;
  readonly engine: string;
  readonly jobs: { readonly queued: number; readonly running: number };
}

export interface ProbeCard {
  readonly name: string;
  /** What its runs are. */
  readonly kind: JobKind;
  readonly title: string;
  readonly summary: string;
  readonly source: string;
  readonly needs: "weights" | "activations" | "training";
  readonly adapters: { readonly min: number; readonly max: number };
  /** JSON Schema of the parameters, with defaults and descriptions. */
  readonly params: Record<string, unknown>;
}

export interface DemoCard {
  readonly subject: SubjectRequest;
  readonly finding: string;
  readonly probe: string;
  readonly params: Record<string, unknown>;
  readonly prompts: readonly {
    readonly label: string;
    readonly clean: string;
    readonly corrupted: string;
    readonly answer: string;
    readonly counterAnswer: string;
  }[];
  /** Settings of a training run on the demo's model; null in an installation without its data. */
  readonly training: Record<string, unknown> | null;
}

/** "paused": stopped with a checkpoint, can go on. */
export const runStates = ["queued", "running", "paused", "done", "failed", "cancelled"] as const;
export type RunState = (typeof runStates)[number];

export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly requestId: string;
  /** The parameter that it is about, by dotted path, where one is known. */
  readonly field?: string;
}
export interface RunRecord {
  readonly id: string;
  readonly kind: JobKind;
  readonly request: RunRequest;
  readonly state: RunState;
  readonly createdAt: string;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly progress: { readonly done: number; readonly total: number; readonly unit: string } | null;
  readonly error: WireError | null;
  readonly provenance: Provenance | null;
  /** Whether it can be resumed: a training run that stopped before its end and has a checkpoint. */
  readonly resumable: boolean;
  /** Training steps that have a checkpoint, ascending; empty for other runs. */
  readonly checkpoints: readonly number[];
}
/** Enough to recompute the result elsewhere and to know when it would differ. */
export interface Provenance {
  readonly version: string;
  readonly engine: string;
  readonly platform: string;
  readonly node: string;
  /** SHA-256 of the files of the model and its adapters, by path; "sampled:" before it where the file is larger than 256 MiB. */
  readonly hashes: Readonly<Record<string, string>>;
  readonly command: string;
  readonly durationMs: number;
  /**
   * What a reader of the numbers must know: what of the model's and adapters' files was not used, and how they were read where they disagree. Runs of
   * before have none.
   */
  readonly warnings?: readonly string[];
}
/** `result.json`: everything but the numbers, which are in `arrays.safetensors` (`endpoints.arrays`). */
export interface StoredResult {
  readonly record: RunRecord;
  readonly figures: readonly Figure[];
  readonly checks: readonly Check[];
  readonly finding: string | null;
  readonly cost: { readonly worlds: number; readonly bytes: number } | null;
  readonly arrays: Readonly<Record<string, { readonly shape: readonly number[]; readonly axes: readonly string[] }>>;
}
/** An adapter method that can be trained. */
export interface TrainingMethodCard {
  readonly name: string;
  readonly title: string;
  readonly summary: string;
  readonly source: string;
  /** How surely the definition is the paper's: reconstructed parts say so. */
  readonly exactness: string;
  readonly isReconstructed: boolean;
  /** JSON Schema of the method's own options, with defaults and descriptions. */
  readonly options: Record<string, unknown>;
}
export interface FolderListing {
  readonly path: string;
  readonly parent: string | null;
  readonly entries: readonly { readonly name: string; readonly path: string; readonly kind: "folder" | "model" | "adapter" }[];
}

/** Socket events. The numbers of a packet travel as one binary attachment (`packEvents`, `unpackEvents`). */
export interface ServerToClient {
  "run:record": (record: RunRecord) => void;
  /** `seq` counts from 0 for each run; a gap means "fetch the run again". */
  "run:events": (batch: { readonly runId: string; readonly seq: number } & PackedEvents) => void;
  "run:removed": (runId: string) => void;
}
export interface ClientToServer {
  /** Streams a run's events from its beginning (stored ones as one snapshot batch), until unwatched. */
  "run:watch": (runId: string, reply: (answer: { ok: true; record: RunRecord } | { ok: false; error: WireError }) => void) => void;
  "run:unwatch": (runId: string) => void;
}
