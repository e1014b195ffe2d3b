/** Why a site does less than it seems. */
import type { FactoredSpectrum } from "../../server/linalg/factored.ts";

/** B is 0 (never trained), terms of the product are 0, or values are broken; null when nothing is wrong. */
export function siteTrouble(norm: number, { left, right }: FactoredSpectrum["squares"]): string | null {
  if (Number.isNaN(norm)) return "holds NaN or infinity";
  if (left.every((value) => value === 0)) return "B is 0: not trained, does nothing";
  const dead = left.filter((value, k) => value === 0 || right[k] === 0).length;
  return dead > 0 ? `${dead} of ${left.length} rank-one terms are 0` : null;
}
