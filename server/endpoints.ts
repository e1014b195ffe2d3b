/**
 * Every address of the HTTP side, once: the routes serve this table and the client calls it. Errors of all are `{ error: WireError }`.
 * Requests and responses are types alone, so that the schema library stays out of the page; a route's schema must give its request's type.
 */
import type {
  BranchRequest,
  DemoCard,
  FolderListing,
  Health,
  PreviewRequest,
  ProbeCard,
  RunRecord,
  RunRequest,
  StoredResult,
  SubjectCard,
  SubjectRequest,
  TokenizedText,
  TokenizeRequest,
  TrainingMethodCard,
  TrainingPreview,
} from "./wire.ts";

/** Before every path. */
export const apiPrefix = "/api";

/** Carries a type in a table of values. */
interface Shape<T> {
  readonly type?: T;
}
const shape = <T>(): Shape<T> => ({});
const nothing = shape<object>();
/** Bytes or text with a content type of their own. */
const file = shape<"file">();
const run = shape<RunRecord>();

export interface Endpoint {
  readonly method: "GET" | "POST" | "DELETE";
  /** `:name` is a part that the request says. */
  readonly path: string;
  /** The rest of the request: the query of GET, the JSON body of POST. */
  readonly request: Shape<object>;
  /** JSON, a file, or nothing at all (204). */
  readonly response: Shape<unknown>;
  /** 200 where it is not said. */
  readonly status?: 201 | 204;
}

export const endpoints = {
  health: { method: "GET", path: "/health", request: nothing, response: shape<Health>() },
  doctor: { method: "GET", path: "/doctor", request: nothing, response: shape<object>() },
  demo: { method: "GET", path: "/demo", request: nothing, response: shape<DemoCard | null>() },
  probes: { method: "GET", path: "/probes", request: nothing, response: shape<readonly ProbeCard[]>() },
  /** Inside the opened roots; the roots themselves without a path. */
  folders: { method: "GET", path: "/folders", request: shape<{ readonly path?: string | undefined }>(), response: shape<FolderListing>() },
  openSubject: { method: "POST", path: "/subjects", request: shape<SubjectRequest>(), response: shape<SubjectCard>() },
  tokenize: { method: "POST", path: "/tokenize", request: shape<TokenizeRequest>(), response: shape<TokenizedText>() },

  /** Newest first: at most so many (200 where it is not said), and only those older than a run. */
  runs: {
    method: "GET",
    path: "/runs",
    request: shape<{ readonly limit?: number; readonly before?: string | undefined }>(),
    response: shape<readonly RunRecord[]>(),
  },
  startRun: { method: "POST", path: "/runs", request: shape<RunRequest>(), response: run, status: 201 },
  run: { method: "GET", path: "/runs/:id", request: nothing, response: shape<StoredResult>() },
  arrays: { method: "GET", path: "/runs/:id/arrays.safetensors", request: nothing, response: file },
  cancelRun: { method: "POST", path: "/runs/:id/cancel", request: nothing, response: run },
  removeRun: { method: "DELETE", path: "/runs/:id", request: nothing, response: shape<unknown>(), status: 204 },
  /** `name` is a figure's id, a dot and a format; the rest is what the page shows. `pin` and `secondPin` are places, `marks` whether they are outlined. */
  figure: {
    method: "GET",
    path: "/runs/:id/figures/:name",
    request: shape<{
      readonly theme?: "light" | "dark";
      readonly metric?: string | undefined;
      readonly width?: number | undefined;
      readonly size?: "column" | "page" | "slide" | undefined;
      readonly step?: number | undefined;
      readonly look?: string | undefined;
      readonly panel?: string | undefined;
      readonly pin?: string | undefined;
      readonly secondPin?: string | undefined;
      readonly marks?: "yes" | "no" | undefined;
    }>(),
    response: file,
  },

  /** Finishes the step and writes a checkpoint. */
  pauseRun: { method: "POST", path: "/runs/:id/pause", request: nothing, response: run },
  /** The same run, queued again, from its last checkpoint. */
  resumeRun: { method: "POST", path: "/runs/:id/resume", request: nothing, response: run },
  /** A new run that begins at a checkpoint. */
  branchRun: { method: "POST", path: "/runs/:id/branch", request: shape<BranchRequest>(), response: run, status: 201 },
  /** The PEFT folder of a checkpoint; of the last without a step. */
  checkpointAdapter: {
    method: "GET",
    path: "/runs/:id/adapter",
    request: shape<{ readonly step?: number | undefined }>(),
    response: shape<{ readonly path: string; readonly step: number }>(),
  },
  /** Every curve of a training run by step, as jsonl or csv. */
  scalars: { method: "GET", path: "/runs/:id/scalars.:format", request: nothing, response: file },
  trainingMethods: { method: "GET", path: "/training/methods", request: nothing, response: shape<readonly TrainingMethodCard[]>() },
  trainingPreview: { method: "POST", path: "/training/preview", request: shape<PreviewRequest>(), response: shape<TrainingPreview>() },
} as const satisfies Record<string, Endpoint>;

/** `{ id: string }` of "/runs/:id/cancel". */
export type PathParams<Path extends string> = Path extends `${string}:${infer Rest}`
  ? Rest extends `${infer Name}/${infer Tail}`
    ? { readonly [K in Name]: string } & PathParams<Tail>
    : { readonly [K in Rest]: string }
  : object;
type TypeOf<S> = S extends Shape<infer T> ? T : never;
/** Query or body. */
export type FieldsOf<E extends Endpoint> = TypeOf<E["request"]>;
export type RequestOf<E extends Endpoint> = PathParams<E["path"]> & FieldsOf<E>;
export type ResponseOf<E extends Endpoint> = TypeOf<E["response"]>;
/** Those whose response is a file. */
export type FileEndpoint = Endpoint & { readonly response: typeof file };
