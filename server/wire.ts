/** Every schema and type that crosses between server and client: one request object drives app, command line and scripts. */
import * as z from "zod";
import type { Check, Figure, ProbeEvent } from "../probes/result.ts";
import type { ErrorCode } from "./errors.ts";

export const adapterRequest = z.strictObject({
  path: z.string().min(1).describe("Folder with adapter_config.json and adapter_model.safetensors"),
  /** Its name in hook names and figures; the folder's name unless given. */
  name: z.string().regex(/^[\w-]+$/).optional().describe("Name in hook names and figures"),
  strength: z.number().min(0).max(4).default(1).describe("1 = as trained, 0 = off"),
});
export const subjectRequest = z.strictObject({
  model: z.string().min(1).nullable().describe("Folder with config.json and *.safetensors; null for weight-only probes"),
  adapters: z.array(adapterRequest).max(16).default([]),
});
export const runRequest = z.strictObject({
  subject: subjectRequest,
  probe: z.string(),
  params: z.record(z.string(), z.unknown()).default({}),
});
export const tokenizeRequest = z.strictObject({ subject: subjectRequest, text: z.string().max(100_000) });

export type AdapterRequest = z.infer<typeof adapterRequest>;
export type SubjectRequest = z.infer<typeof subjectRequest>;
export type RunRequest = z.infer<typeof runRequest>;

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
  /** Agreement with the reference implementation for this family, as measured by the project's tests. */
  readonly parity: string;
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
export interface TokenizedText {
  readonly ids: readonly number[];
  /** Exact text of each token. */
  readonly tokens: readonly string[];
}

export interface ProbeCard {
  readonly name: string;
  readonly title: string;
  readonly summary: string;
  readonly source: string;
  readonly needs: "weights" | "activations";
  readonly adapters: { readonly min: number; readonly max: number };
  /** JSON Schema of the parameters, with defaults and descriptions. */
  readonly params: Record<string, unknown>;
}

export interface DemoCard {
  readonly subject: SubjectRequest;
  readonly finding: string;
  readonly probe: string;
  readonly params: Record<string, unknown>;
  readonly prompts: readonly { readonly label: string; readonly clean: string; readonly corrupted: string; readonly answer: string; readonly counterAnswer: string }[];
}

export const runStates = ["queued", "running", "done", "failed", "cancelled"] as const;
export type RunState = (typeof runStates)[number];

export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly requestId: string;
}
export interface RunRecord {
  readonly id: string;
  readonly request: RunRequest;
  readonly state: RunState;
  readonly createdAt: string;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly progress: { readonly done: number; readonly total: number; readonly unit: string } | null;
  readonly error: WireError | null;
  readonly provenance: Provenance | null;
}
/** Enough to recompute the result elsewhere and to know when it would differ. */
export interface Provenance {
  readonly version: string;
  readonly engine: string;
  readonly platform: string;
  readonly node: string;
  /** SHA-256 of config and weights headers, by path. */
  readonly hashes: Readonly<Record<string, string>>;
  readonly command: string;
  readonly durationMs: number;
}
/** `result.json`: everything but the numbers, which are in `arrays.safetensors` (`GET /api/runs/:id/arrays.safetensors`). */
export interface StoredResult {
  readonly record: RunRecord;
  readonly figures: readonly Figure[];
  readonly checks: readonly Check[];
  readonly finding: string | null;
  readonly cost: { readonly worlds: number; readonly bytes: number } | null;
  readonly arrays: Readonly<Record<string, { readonly shape: readonly number[]; readonly axes: readonly string[] }>>;
}
export interface FolderListing {
  readonly path: string;
  readonly parent: string | null;
  readonly entries: readonly { readonly name: string; readonly path: string; readonly kind: "folder" | "model" | "adapter" }[];
}

/** Socket events. Typed arrays travel as binary attachments; `client/socket.ts` rebuilds them once. */
export interface ServerToClient {
  "run:record": (record: RunRecord) => void;
  /** `seq` counts from 0 for each run; a gap means "fetch the run again". */
  "run:events": (batch: { runId: string; seq: number; events: ProbeEvent[] }) => void;
  "run:removed": (runId: string) => void;
}
export interface ClientToServer {
  /** Streams a run's events from its beginning (stored ones as one snapshot batch), until unwatched. */
  "run:watch": (runId: string, reply: (answer: { ok: true; record: RunRecord } | { ok: false; error: WireError }) => void) => void;
  "run:unwatch": (runId: string) => void;
}

/**
 * HTTP, all under /api, JSON unless said otherwise; errors are `{ error: WireError }`:
 *   GET  /health                        { ok, version, uptimeSeconds, engine, jobs: { queued, running } }
 *   GET  /doctor                        DoctorReport
 *   GET  /demo                          DemoCard | null
 *   GET  /probes                        ProbeCard[]
 *   GET  /folders?path=…                FolderListing (inside the opened roots)
 *   POST /subjects        SubjectRequest  → SubjectCard
 *   POST /tokenize        tokenizeRequest → TokenizedText
 *   GET  /runs                          RunRecord[] (newest first)
 *   POST /runs            RunRequest     → RunRecord
 *   GET  /runs/:id                      StoredResult
 *   GET  /runs/:id/arrays.safetensors   binary
 *   POST /runs/:id/cancel               RunRecord
 *   DELETE /runs/:id
 *   GET  /runs/:id/figures/:figure.svg|png|json|csv?metric=…&theme=light|dark&width=…
 */
export const apiPrefix = "/api";
