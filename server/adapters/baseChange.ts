/**
 * Ways to begin that also change the base: PEFT takes s·B₀A₀ out of W when training starts and, as it saves neither W nor B₀A₀, again whenever it loads
 * the adapter.
 * The same is done here: W + s·(B A − B₀A₀), with the start computed from the base's own W.
 */
import type { AdapterConfig } from "../formats/adapterConfig.ts";
import type { LoadedModel } from "../models/loadModel.ts";
import { WorkbenchError } from "../errors.ts";
import { leadingSvd } from "../linalg/leadingSvd.ts";
import { identity, scaledRows, transposed } from "../linalg/matrices.ts";
import { householderQr } from "../linalg/qr.ts";
import { sumOf, type FactoredMatrix } from "../linalg/factored.ts";
import type { ParsedSite } from "./method.ts";

/** A site of the base with its weight, as it is stored. */
export type BaseSite = Pick<NonNullable<ParsedSite["site"]>, "dIn" | "dOut" | "stored" | "baseWeight">;

/** A₀ `[rank, dIn]` and B₀ `[dOut, rank]`. */
export interface StartFactors {
  readonly a: Float32Array;
  readonly b: Float32Array;
}

/** The name in lower case, as PEFT compares it, and the starts that can be computed from W alone. */
const starts: Readonly<Record<string, (site: BaseSite, rank: number, scaling: number) => StartFactors>> = {
  pissa: (site, rank, scaling) => principalFactors(site, rank, scaling),
  olora: leadingColumns,
};

function startOf(config: AdapterConfig): { name: string; start: (typeof starts)[string] } | null {
  const { initLoraWeights: init } = config;
  if (typeof init !== "string") return null;
  // PiSSA's quick form estimates the same decomposition.
  const name = init.startsWith("pissa") ? "pissa" : init.toLowerCase();
  const start = starts[name];
  return start === undefined ? null : { name, start };
}

/** W ≈ U S Vᵀ: A = √(S/s) Vᵀ `[rank, dIn]`, B = U √(S/s) `[dOut, rank]`, so that s·B·A is the best approximation of W of this rank. */
export function principalFactors({ dIn, dOut, stored, baseWeight }: BaseSite, rank: number, scaling: number, accuracy?: number): StartFactors {
  const [rows, cols] = stored === "outIn" ? [dOut, dIn] : [dIn, dOut];
  const { ut, s, vt } = leadingSvd(baseWeight.data(), rows, cols, rank, accuracy === undefined ? {} : { accuracy });
  const [left, right] = stored === "outIn" ? [ut, vt] : [vt, ut];
  const roots = Float64Array.from(s, (value) => Math.sqrt(value / scaling));
  return { a: Float32Array.from(scaledRows(right, roots)), b: Float32Array.from(transposed(scaledRows(left, roots), rank, dOut)) };
}

/** W = Q R: B = the first columns of Q `[dOut, rank]`, A = the first rows of R = Qᵀ W `[rank, dIn]`. @see Büyükakyüz 2024, "OLoRA", arXiv 2406.01775 */
function leadingColumns({ dIn, dOut, stored, baseWeight }: BaseSite, rank: number): StartFactors {
  if (stored !== "outIn")
    throw new WorkbenchError("adapter.unsupported", `init_lora_weights "olora" on a transposed weight (Conv1D): PEFT itself cannot apply it`);
  const w = baseWeight.data();
  const columns = new Float64Array(dOut * rank);
  for (let k = 0; k < rank; k++) for (let o = 0; o < dOut; o++) columns[k * dOut + o] = w[o * dIn + k] ?? 0;
  const q = householderQr(columns, dOut, rank).times(identity(rank), rank);
  const a = new Float64Array(rank * dIn);
  const b = new Float32Array(dOut * rank);
  for (let k = 0; k < rank; k++) {
    for (let o = 0; o < dOut; o++) {
      const factor = q[k * dOut + o] ?? 0;
      b[o * rank + k] = factor;
      for (let i = 0; i < dIn; i++) a[k * dIn + i] = (a[k * dIn + i] ?? 0) + factor * (w[o * dIn + i] ?? 0);
    }
  }
  return { a: Float32Array.from(a), b };
}

/** s·(B A − B₀A₀) as one product of twice the rank, where the adapter's start changed the base; else the factors as they are. */
export function relativeToBase(config: AdapterConfig, site: BaseSite | null, factors: FactoredMatrix): FactoredMatrix {
  const found = startOf(config);
  if (!found || !site) return factors;
  const { a, b } = found.start(site, factors.rank, factors.scale);
  const difference = sumOf([
    { ...factors, scale: 1 },
    { ...factors, left: b, right: a, scale: -1 },
  ]);
  return { ...difference, scale: factors.scale };
}

/** What a reader must know of an adapter whose start changed the base. */
export function baseChangeWarnings(config: AdapterConfig, model: LoadedModel | null): string[] {
  const found = startOf(config);
  if (!found) return [];
  const init = String(config.initLoraWeights);
  if (!model)
    return [`init_lora_weights is "${init}": B·A also holds what was taken out of the base at the start; open it with its base to see what was learned`];
  const estimated = init.includes("niter") ? "; PEFT estimates that part at random each time, here it is exact" : "";
  return [
    `init_lora_weights is "${init}": the start, s·B₀A₀, is computed from the base and taken off, as PEFT does when it loads ` +
      `the adapter, so each site has twice the rank${estimated}`,
  ];
}
