/** The HTTP side of the wire: every endpoint by its entry in the table; a failure is always an `ApiError` with words for a person. */
import { apiPrefix, endpoints, type Endpoint, type FileEndpoint, type RequestOf, type ResponseOf } from "../server/endpoints.ts";
import type { StoredResult, WireError } from "../server/wire.ts";
import type { NamedArray } from "../probes/result.ts";
import { readArrays } from "./arrays.ts";

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

/** The address, and the fields of the request that are no part of its path. */
function addressed<E extends Endpoint>({ path }: E, request: RequestOf<E>): { path: string; fields: ReadonlyMap<string, unknown> } {
  const fields = new Map<string, unknown>(Object.entries(request).filter(([, value]) => value !== undefined));
  const filled = path.replaceAll(/:(\w+)/g, (_whole, name: string) => {
    const value = String(fields.get(name));
    fields.delete(name);
    return encodeURIComponent(value);
  });
  return { path: apiPrefix + filled, fields };
}

/** Where a file is, for a link. */
export function addressOf<E extends FileEndpoint>(endpoint: E, request: RequestOf<E>): string {
  return withQuery(addressed(endpoint, request));
}

function withQuery({ path, fields }: ReturnType<typeof addressed>): string {
  return fields.size === 0 ? path : `${path}?${new URLSearchParams(Array.from(fields, ([name, value]) => [name, String(value)])).toString()}`;
}

async function answered<E extends Endpoint>(endpoint: E, request: RequestOf<E>, init: Pick<RequestInit, "signal">): Promise<Response> {
  const { method } = endpoint;
  const to = addressed(endpoint, request);
  let response: Response;
  try {
    response =
      method === "POST"
        ? await fetch(to.path, { ...init, method, headers: { "content-type": "application/json" }, body: JSON.stringify(Object.fromEntries(to.fields)) })
        : await fetch(withQuery(to), { ...init, method });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError({ code: "unreachable", message: "The Deltascope server does not answer. Is its terminal still open?", requestId: "" });
  }
  if (response.ok) return response;
  const body: unknown = await response.json().catch(() => null);
  if (isWireError(body)) throw new ApiError({ ...body.error });
  throw new ApiError({ code: "internal", message: `${to.path} answered ${response.status} ${response.statusText}`, requestId: "" });
}

/** @throws ApiError */
export async function call<E extends Endpoint>(endpoint: E, request: RequestOf<E>, init: Pick<RequestInit, "signal"> = {}): Promise<ResponseOf<E>> {
  const response = await answered(endpoint, request, init);
  return (await response.json()) as ResponseOf<E>;
}

/** The numbers of a run; those that made none are not asked for. @throws ApiError */
export async function arraysOf(id: string, axes: StoredResult["arrays"]): Promise<Record<string, NamedArray>> {
  if (Object.keys(axes).length === 0) return {};
  const response = await answered(endpoints.arrays, { id }, {});
  return readArrays(await response.arrayBuffer(), axes);
}
