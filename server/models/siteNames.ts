/**
 * The names of places in a model: where they are put together, and where they are read. "blocks.3.attn.o", "encoder.0.hook_resid_pre",
 * "blocks.3.attn.o.lora.NAME.hook_sv"
 */

/** A name inside a segment as it is known outside: ("blocks.3.", "hook_resid_pre") → "blocks.3.hook_resid_pre". */
export const fullName = ({ scope }: { readonly scope: string }, local: string): string => scope + local;

/** Hooks of one adapter at one site: the input, A x, coefficients on the right singular vectors, and the term the adapter adds. */
export const adapterHooks = ["hook_in", "hook_a", "hook_sv", "hook_delta"] as const;
export type AdapterHook = (typeof adapterHooks)[number];

/** @param site its full name, or its name inside the segment */
export const adapterHookName = (site: string, adapter: string, hook: AdapterHook): string => `${site}.lora.${adapter}.${hook}`;

/** The last number of a path that stands between dots is the layer; what is before it is the stack, what is after it the kind. */
export interface SiteParts {
  /** "model.encoder.layers", "" for the blocks of a language model and for sites outside any layer. */
  readonly stack: string;
  readonly layer: number | null;
  readonly kind: string;
}

export function siteParts(site: string): SiteParts {
  const found = /^(?<stack>.*)\.(?<layer>\d+)\.(?<kind>.+)$/.exec(site)?.groups;
  if (!found) return { stack: "", layer: null, kind: site };
  const { stack = "", layer = "", kind = "" } = found;
  return { stack: stack === "blocks" ? "" : stack, layer: Number(layer), kind };
}

/** "blocks.3.mlp.in" → "mlp.in"; "model.layers.3.self_attn.q_proj" → "self_attn.q_proj". */
export function siteKind(site: string): string {
  return siteParts(site).kind;
}

/** The full names of one hook in every layer of a stack, in their order; the stack of the head when none is named. */
export function layerHooks(
  plan: readonly { readonly scope: string; readonly stack: string; readonly layer: number | null; readonly hooks: readonly { readonly name: string }[] }[],
  local: string,
  stack = plan.at(-1)?.stack,
): string[] {
  return plan
    .filter((segment) => segment.layer !== null && segment.stack === stack && segment.hooks.some(({ name }) => name === local))
    .map((segment) => fullName(segment, local));
}
