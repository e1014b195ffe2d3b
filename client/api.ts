/** The HTTP side of the wire: one function a resource; a failure is always an `ApiError` with words for a person. */
import type {
  DemoCard,
  FolderListing,
  ProbeCard,
  RunRecord,
  RunRequest,
  StoredResult,
  SubjectCard,
  SubjectRequest,
  TokenizedText,
  TrainingMethodCard,
  TrainingPreview,
  WireError,
  apiPrefix,
} from "../server/wire.ts";
import type { NamedArray } from "../probes/result.ts";
import { readArrays } from "./arrays.ts";

// The type alone is imported: the value would bring the schema library into the page.
const prefix: typeof apiPrefix = "/api";

export interface Health {
  readonly version: string;
  readonly engine: string;
}

export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly code: string;
  readonly requestId: string;
  /** The parameter that it is about, where the server knows. */
  readonly field: string | null;
  constructor(error: { code: string; message: string; requestId: string; field?: string }) {
    super(error.message);
    this.code = error.code;
    this.requestId = error.requestId;
    this.field = error.field ?? null;
  }
}

export function isWireError(value: unknown): value is { error: WireError } {
  if (typeof value !== "object" || value === null || !("error" in value)) return false;
  const { error } = value;
  return typeof error === "object" && error !== null && "message" in error && typeof error.message === "string";
}

async function call(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(prefix + path, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError({ code: "unreachable", message: "The Deltascope server does not answer. Is its terminal still open?", requestId: "" });
  }
  if (response.ok) return response;
  const body: unknown = await response.json().catch(() => null);
  if (isWireError(body)) throw new ApiError({ ...body.error });
  throw new ApiError({ code: "internal", message: `${path} answered ${response.status} ${response.statusText}`, requestId: "" });
}

async function json<T>(path: string, init?: RequestInit): Promise<T> {
  const reply = await call(path, init);
  return (await reply.json()) as T;
}

const post = (body: unknown): RequestInit => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
const id = encodeURIComponent;

export const api = {
  health: () => json<Health>("/health"),
  demo: () => json<DemoCard | null>("/demo"),
  probes: () => json<ProbeCard[]>("/probes"),
  folders: (path: string | null) => json<FolderListing>(path === null ? "/folders" : `/folders?path=${id(path)}`),
  openSubject: (subject: SubjectRequest) => json<SubjectCard>("/subjects", post(subject)),
  tokenize: (subject: SubjectRequest, text: string) => json<TokenizedText>("/tokenize", post({ subject, text })),
  runs: () => json<RunRecord[]>("/runs?limit=500"),
  startRun: (request: RunRequest) => json<RunRecord>("/runs", post(request)),
  run: (runId: string) => json<StoredResult>(`/runs/${id(runId)}`),
  cancelRun: (runId: string) => json<RunRecord>(`/runs/${id(runId)}/cancel`, post({})),
  pauseRun: (runId: string) => json<RunRecord>(`/runs/${id(runId)}/pause`, post({})),
  resumeRun: (runId: string) => json<RunRecord>(`/runs/${id(runId)}/resume`, post({})),
  branchRun: (runId: string, step: number, params: Readonly<Record<string, unknown>>) => json<RunRecord>(`/runs/${id(runId)}/branch`, post({ step, params })),
  checkpointAdapter: (runId: string, step: number) => json<{ readonly path: string }>(`/runs/${id(runId)}/adapter?step=${step}`),
  trainingMethods: () => json<TrainingMethodCard[]>("/training/methods"),
  trainingPreview: (subject: SubjectRequest, params: Readonly<Record<string, unknown>>, signal: AbortSignal) =>
    json<TrainingPreview>("/training/preview", { ...post({ subject, params }), signal }),
  scalarsUrl: (runId: string, format: "jsonl" | "csv") => `${prefix}/runs/${id(runId)}/scalars.${format}`,
  arrays: async (runId: string, axes: StoredResult["arrays"]): Promise<Record<string, NamedArray>> => {
    const reply = await call(`/runs/${id(runId)}/arrays.safetensors`);
    return readArrays(await reply.arrayBuffer(), axes);
  },
  figureUrl: (runId: string, figure: string, format: "svg" | "png" | "json" | "csv", query: Record<string, string>) =>
    `${prefix}/runs/${id(runId)}/figures/${id(figure)}.${format}?${new URLSearchParams(query).toString()}`,
};
