/** The reference the engines are held against: arrays of float64, naive loops, nothing shared with the engines. */
export interface Array64 {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export function size(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** An array whose entry at each index is `entry(index)`. */
export function build(shape: readonly number[], entry: (index: number[]) => number): Array64 {
  const data = new Float64Array(size(shape));
  for (let flat = 0; flat < data.length; flat++) data[flat] = entry(unflatten(flat, shape));
  return { shape, data };
}

function unflatten(flat: number, shape: readonly number[]): number[] {
  const index: number[] = [];
  let rest = flat;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index.unshift(rest % shape[axis]!);
    rest = Math.floor(rest / shape[axis]!);
  }
  return index;
}

/** The entry at `index`; axes of size 1 and missing leading axes are broadcast. */
export function at(x: Array64, index: readonly number[]): number {
  let flat = 0;
  const skip = index.length - x.shape.length;
  for (let axis = 0; axis < x.shape.length; axis++) {
    const position = x.shape[axis] === 1 ? 0 : index[axis + skip]!;
    flat = flat * x.shape[axis]! + position;
  }
  return x.data[flat]!;
}

export function map(x: Array64, f: (value: number) => number): Array64 {
  return { shape: x.shape, data: x.data.map(f) };
}

/** f of two broadcast operands. */
export function zip(a: Array64, b: Array64, f: (a: number, b: number) => number): Array64 {
  const rank = Math.max(a.shape.length, b.shape.length);
  const dim = (x: Array64, axis: number): number => x.shape[axis - rank + x.shape.length] ?? 1;
  const shape = Array.from({ length: rank }, (_, axis) => (dim(a, axis) === 1 ? dim(b, axis) : dim(a, axis)));
  return build(shape, (index) => f(at(a, index), at(b, index)));
}

/** f of the list of values along `axes`, in order; those axes go. */
export function reduce(x: Array64, axes: readonly number[], f: (values: number[]) => number): Array64 {
  const kept = x.shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
  return build(
    kept.map((axis) => x.shape[axis]!),
    (keptIndex) => {
      const values: number[] = [];
      build(
        axes.map((axis) => x.shape[axis]!),
        (innerIndex) => {
          const index: number[] = [];
          kept.forEach((axis, i) => {
            index[axis] = keptIndex[i]!;
          });
          axes.forEach((axis, i) => {
            index[axis] = innerIndex[i]!;
          });
          return values.push(at(x, index));
        },
      );
      return f(values);
    },
  );
}

/** f of each line along `axis`, giving a line of the same length. */
export function alongAxis(x: Array64, axis: number, f: (line: number[]) => number[]): Array64 {
  return build(x.shape, (index) => {
    const line = Array.from({ length: x.shape[axis]! }, (_, i) => at(x, index.with(axis, i)));
    return f(line)[index[axis]!]!;
  });
}

export function reshape(x: Array64, shape: readonly number[]): Array64 {
  return { shape, data: x.data };
}

/** Σ over the shared axis; batch axes broadcast. */
export function matMul(a: Array64, b: Array64, transposeA = false, transposeB = false): Array64 {
  const swap = (x: Array64): Array64 =>
    build([...x.shape.slice(0, -2), x.shape.at(-1)!, x.shape.at(-2)!], (index) => at(x, [...index.slice(0, -2), index.at(-1)!, index.at(-2)!]));
  const left = transposeA ? swap(a) : a;
  const right = transposeB ? swap(b) : b;
  const batch = zip(
    build(left.shape.slice(0, -2), () => 0),
    build(right.shape.slice(0, -2), () => 0),
    () => 0,
  ).shape;
  return build([...batch, left.shape.at(-2)!, right.shape.at(-1)!], (index) => {
    const [row, column] = index.slice(-2) as [number, number];
    let total = 0;
    for (let k = 0; k < left.shape.at(-1)!; k++) total += at(left, [...index.slice(0, -2), row, k]) * at(right, [...index.slice(0, -2), k, column]);
    return total;
  });
}

/** erf by its power series, exact to 1e-13 for |x| < 3. */
export function erf(x: number): number {
  let term = x;
  let total = x;
  for (let n = 1; n < 80; n++) {
    term *= (-x * x) / n;
    total += term / (2 * n + 1);
  }
  return (total * 2) / Math.sqrt(Math.PI);
}

export function softmax(line: number[]): number[] {
  const top = Math.max(...line);
  const powers = line.map((value) => Math.exp(value - top));
  const total = powers.reduce((sum, value) => sum + value, 0);
  return powers.map((value) => value / total);
}

// (f(x+h) − f(x−h)) / 2h errs by h²·f‴/6 ≈ 1e-10 and by rounding 1e-16·f/h ≈ 1e-11.
const step = 1e-5;

/** d Σ(cotangent · f(inputs)) / d inputs[which], by central differences. */
export function gradient(f: (inputs: Array64[]) => Array64, inputs: readonly Array64[], which: number, cotangent: Array64): Array64 {
  const x = inputs[which]!;
  const loss = (values: Float64Array): number => {
    const { data } = f(inputs.map((input, i) => (i === which ? { shape: x.shape, data: values } : input)));
    return data.reduce((total, value, i) => total + value * cotangent.data[i]!, 0);
  };
  return {
    shape: x.shape,
    data: x.data.map((value, i) => {
      const moved = x.data.slice();
      moved[i] = value + step;
      const above = loss(moved);
      moved[i] = value - step;
      return (above - loss(moved)) / (2 * step);
    }),
  };
}
