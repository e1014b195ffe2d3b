/** Values that a sweep puts in the place of others: nothing, or as much in a random direction. */
import { randomDirection } from "../../server/linalg/random.ts";
import { float32, type FloatTensor } from "../../server/tensors/hostTensor.ts";

/** The same tensors with every number 0. */
export const zeros = (taps: Readonly<Record<string, FloatTensor>>): Record<string, FloatTensor> =>
  Object.fromEntries(Object.entries(taps).map(([hook, { data, shape }]) => [hook, float32(new Float32Array(data.length), shape)]));

/** x + y and x − y, in the shape of x. */
export const sum = (x: FloatTensor, y: FloatTensor): FloatTensor =>
  float32(
    x.data.map((value, i) => value + (y.data[i] ?? 0)),
    x.shape,
  );
export const difference = (x: FloatTensor, y: FloatTensor): FloatTensor =>
  float32(
    x.data.map((value, i) => value - (y.data[i] ?? 0)),
    x.shape,
  );

/** Each vector over the last axis as long as it is, in a random direction. */
export function turned({ data, shape }: FloatTensor, next: () => number): FloatTensor {
  const width = shape.at(-1) ?? 1;
  const out = new Float32Array(data.length);
  for (let at = 0; at < data.length; at += width) {
    let sum = 0;
    for (let i = at; i < at + width; i++) sum += (data[i] ?? 0) ** 2;
    out.set(randomDirection(width, Math.sqrt(sum), next), at);
  }
  return float32(out, shape);
}
