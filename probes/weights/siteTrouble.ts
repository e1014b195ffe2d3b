/** Why a site does less than it seems. */
import type { SiteAdapter } from "../../server/adapters/method.ts";

/** B is 0 (never trained), terms of the product are 0, or values are broken; null when nothing is wrong. */
export function siteTrouble({ factors: { left, right, rank, dIn, dOut } }: SiteAdapter): string | null {
  if (left.some((value) => !Number.isFinite(value)) || right.some((value) => !Number.isFinite(value))) return "holds NaN or infinity";
  if (left.every((value) => value === 0)) return "B is 0: not trained, does nothing";
  const isRowZero = (k: number): boolean => right.subarray(k * dIn, (k + 1) * dIn).every((value) => value === 0);
  const isColumnZero = (k: number): boolean => {
    for (let o = 0; o < dOut; o++) if (left[o * rank + k] !== 0) return false;
    return true;
  };
  let dead = 0;
  for (let k = 0; k < rank; k++) if (isRowZero(k) || isColumnZero(k)) dead++;
  return dead > 0 ? `${dead} of ${rank} rank-one terms are 0` : null;
}
