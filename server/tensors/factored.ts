/**
 * Matrices kept as two thin factors, and their exact singular values, without ever forming the product.
 * s·B·A has the singular values of R_B R_Aᵀ, where BᵀB = R_Bᵀ R_B and A Aᵀ = R_Aᵀ R_A: two Gram matrices and one r × r problem.
 * The Gram matrices are summed in float64 of float32 factors, so values are right to about 1e-8 of the largest.
 */
import { WorkbenchError } from "../errors.ts";
import { jacobiSvd, symmetricEigen } from "./jacobi.ts";

/** scale · left · right */
export interface FactoredMatrix {
  /** `[dOut, rank]`: LoRA's B */
  readonly left: Float32Array;
  /** `[rank, dIn]`: LoRA's A */
  readonly right: Float32Array;
  readonly dOut: number;
  readonly dIn: number;
  readonly rank: number;
  readonly scale: number;
}

/** A square root of a Gram matrix G = RᵀR and the map back: factor · inverse has orthonormal columns (or none where G is flat). */
interface Root {
  /** R `[rank, rank]` */
  readonly root: Float64Array;
  /** R⁺ `[rank, rank]`, columns of vanishing directions 0 */
  readonly inverse: Float64Array;
}

/** Directions of a Gram matrix below this share of its largest eigenvalue are float64 rounding. */
const flat = 1e-15;

/**
 * Singular values of s·B·A.
 * @returns `[rank]` descending, ≥ 0; beyond min(dOut, dIn) they are 0
 * @throws "spectrum.notConverged" when a factor holds NaN or infinity
 */
export function singularValues(m: FactoredMatrix): Float64Array {
  return jacobiSvd(core(m, gramRoot(gramOfColumns(m), m.rank), gramRoot(gramOfRows(m), m.rank)), m.rank).s;
}

/**
 * s·B·A = U diag(s) Vᵀ, thin. Signs: the largest entry of each right vector is positive, so that runs can be compared.
 * @returns `u` `[dOut, rank]`, `s` `[rank]` descending, `vt` `[rank, dIn]`; vectors of vanishing values are 0
 * @throws "spectrum.notConverged"
 */
export function factoredSvd(m: FactoredMatrix): { u: Float32Array; s: Float64Array; vt: Float32Array } {
  const { rank, dOut, dIn } = m;
  const b = gramRoot(gramOfColumns(m), rank);
  const a = gramRoot(gramOfRows(m), rank);
  const { u: coreU, s, v: coreV } = jacobiSvd(core(m, b, a), rank);
  const mixU = multiply(b.inverse, coreU, rank); // U = B · R_B⁺ · U_core
  const mixV = multiply(a.inverse, coreV, rank); // Vᵀ = (Aᵀ · R_A⁺ · V_core)ᵀ
  const sign = m.scale < 0 ? -1 : 1;
  const vt = new Float32Array(rank * dIn);
  const row = new Float64Array(dIn);
  const flips = new Float64Array(rank);
  for (let k = 0; k < rank; k++) {
    row.fill(0);
    for (let j = 0; j < rank; j++) {
      const weight = mixV[j * rank + k]!;
      if (weight !== 0) for (let i = 0; i < dIn; i++) row[i]! += weight * m.right[j * dIn + i]!;
    }
    let peak = 0;
    for (let i = 0; i < dIn; i++) if (Math.abs(row[i]!) > Math.abs(peak)) peak = row[i]!;
    flips[k] = peak < 0 ? -1 : 1;
    for (let i = 0; i < dIn; i++) vt[k * dIn + i] = flips[k]! * row[i]!;
  }
  const u = new Float32Array(dOut * rank);
  for (let o = 0; o < dOut; o++) {
    for (let k = 0; k < rank; k++) {
      let sum = 0;
      for (let j = 0; j < rank; j++) sum += m.left[o * rank + j]! * mixU[j * rank + k]!;
      u[o * rank + k] = sign * flips[k]! * sum;
    }
  }
  return { u, s, vt };
}

/** ‖s·B·A‖_F = |s| √(tr(BᵀB · A Aᵀ)), from the Gram matrices. */
export function frobeniusNorm(m: FactoredMatrix): number {
  const columns = gramOfColumns(m);
  const rows = gramOfRows(m);
  let trace = 0;
  for (let i = 0; i < columns.length; i++) trace += columns[i]! * rows[i]!;
  return Math.abs(m.scale) * Math.sqrt(Math.max(0, trace));
}

/** The whole product, `[dOut, dIn]`; for tests and small sites. */
export function denseProduct(m: FactoredMatrix): Float32Array {
  const dense = new Float32Array(m.dOut * m.dIn);
  for (let o = 0; o < m.dOut; o++) {
    for (let k = 0; k < m.rank; k++) {
      const b = m.scale * m.left[o * m.rank + k]!;
      for (let i = 0; i < m.dIn; i++) dense[o * m.dIn + i]! += b * m.right[k * m.dIn + i]!;
    }
  }
  return dense;
}

/** BᵀB, `[rank, rank]` */
function gramOfColumns({ left, dOut, rank }: FactoredMatrix): Float64Array {
  const gram = new Float64Array(rank * rank);
  const row = new Float64Array(rank);
  for (let o = 0; o < dOut; o++) {
    const at = o * rank;
    for (let k = 0; k < rank; k++) row[k] = left[at + k]!;
    for (let j = 0; j < rank; j++) {
      const x = row[j]!;
      for (let k = j; k < rank; k++) gram[j * rank + k]! += x * row[k]!;
    }
  }
  return mirror(gram, rank);
}

/** A Aᵀ, `[rank, rank]` */
function gramOfRows({ right, dIn, rank }: FactoredMatrix): Float64Array {
  const gram = new Float64Array(rank * rank);
  for (let j = 0; j < rank; j++) {
    for (let k = j; k < rank; k++) {
      let sum = 0;
      for (let i = 0, p = j * dIn, q = k * dIn; i < dIn; i++, p++, q++) sum += right[p]! * right[q]!;
      gram[j * rank + k] = sum;
    }
  }
  return mirror(gram, rank);
}

function mirror(gram: Float64Array, n: number): Float64Array {
  for (let j = 0; j < n; j++) for (let k = 0; k < j; k++) gram[j * n + k] = gram[k * n + j]!;
  return gram;
}

/** G = V Λ Vᵀ gives R = Λ^½ Vᵀ and R⁺ = V Λ^−½; rank-deficient factors need no pivoting this way. */
function gramRoot(gram: Float64Array, n: number): Root {
  const { values, vectors } = symmetricEigen(gram, n);
  const root = new Float64Array(n * n);
  const inverse = new Float64Array(n * n);
  for (let k = 0; k < n; k++) {
    const size = values[k]! > flat * values[0]! ? Math.sqrt(values[k]!) : 0;
    for (let i = 0; i < n; i++) {
      root[k * n + i] = size * vectors[i * n + k]!;
      inverse[i * n + k] = size > 0 ? vectors[i * n + k]! / size : 0;
    }
  }
  return { root, inverse };
}

/** |s| R_B R_Aᵀ */
function core(m: FactoredMatrix, b: Root, a: Root): Float64Array {
  const n = m.rank;
  if (n === 0) throw new WorkbenchError("spectrum.zero", "a matrix of rank 0 has no singular values");
  const product = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += b.root[i * n + k]! * a.root[j * n + k]!;
      product[i * n + j] = Math.abs(m.scale) * sum;
    }
  }
  return product;
}

function multiply(x: Float64Array, y: Float64Array, n: number): Float64Array {
  const product = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let k = 0; k < n; k++) for (let j = 0; j < n; j++) product[i * n + j]! += x[i * n + k]! * y[k * n + j]!;
  return product;
}
