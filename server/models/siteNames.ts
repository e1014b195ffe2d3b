/** The names of places in a model: where they are put together, and where they are read. "blocks.3.attn.o", "encoder.0.hook_resid_pre", "blocks.3.attn.o.lora.NAME.hook_sv" */

/** A name inside a segment as it is known outside: ("blocks.3.", "hook_resid_pre") → "blocks.3.hook_resid_pre". */
export const fullName = ({ scope }: { readonly scope: string }, local: string): string => scope + local;

/** Hooks of one adapter at one site: the input, A x, coefficients on the right singular vectors, and the term the adapter adds. */
export const adapterHooks = ["hook_in", "hook_a", "hook_sv", "hook_delta"] as const;
export type AdapterHook = (typeof adapterHooks)[number];

/** @param site its full name, or its name inside the segment */
export const adapterHookName = (site: string, adapter: string, hook: AdapterHook): string => `${site}.lora.${adapter}.${hook}`;

/** A site without its layer: "blocks.3.mlp.in" → "mlp.in"; "model.layers.3.self_attn.q_proj" → "self_attn.q_proj"; "unembed" as it is. */
export const siteKind = (site: string): string => site.replace(/^.*?\.\d+\./, "");

/** "L3.mlp.in"; a site outside the layers keeps its name. */
export function siteLabel(site: string): string {
  const layer = /\.(\d+)\./.exec(site)?.[1];
  return layer === undefined ? site : `L${layer}.${siteKind(site)}`;
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
