/** The cross entropy that never holds all logits, against the plain one and by hand. */
import * as tf from "@tensorflow/tfjs-core";
import type { Scalar, Tensor } from "@tensorflow/tfjs-core";
import { describe, expect, it } from "vitest";
import { sharedEngine } from "../../server/runs/subject.ts";
import { float32, int32 } from "../../server/tensors/hostTensor.ts";
import { gaussians, randomStream } from "../../server/linalg/random.ts";
import { crossEntropy, frozenCrossEntropy, targetScores, type EntropyContext } from "../../server/training/crossEntropy.ts";
import { relativeError } from "../laws/goldens.ts";
import { lawEngine } from "../lawEngine.ts";

const [n, d, vocabulary] = [7, 12, 31];
const random = randomStream(3, "cross entropy");
const inputs = {
  hidden: float32(gaussians(n * d, 1, random), [n, d]),
  table: float32(gaussians(vocabulary * d, 1, random), [vocabulary, d]),
  targets: int32(
    Int32Array.from({ length: n }, () => random.below(vocabulary)),
    [n],
  ),
  scale: float32(
    Float32Array.from({ length: n }, (_, i) => (i === 2 ? 0 : 0.1 + 0.1 * i)),
    [n],
  ),
};
/** Sums of some dozen float32 numbers near 1. */
const tolerance = 1e-5;

async function lossAndGradient(name: string, loss: (context: EntropyContext) => Tensor, smoothing: number) {
  const program = await (
    await sharedEngine({ engine: lawEngine })
  ).compile(
    `test ${name} ${smoothing}`,
    ({ hidden, table, targets, scale }) => {
      const { value, grad } = tf.valueAndGrad((given: Tensor) => loss({ hidden: given, table: table!, targets: targets!, scale: scale!, smoothing }) as Scalar)(
        hidden!,
      );
      return { value, gradient: grad };
    },
    { inputs: Object.fromEntries(Object.entries(inputs).map(([key, { shape, dtype }]) => [key, { shape, dtype }])), weights: {} },
  );
  const { value, gradient } = await program.run(inputs);
  return { value: value!.data[0]!, gradient: gradient!.data as Float32Array };
}

/** In float64, straight from the definition. */
function byHand(smoothing: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) {
    const logits = Array.from({ length: vocabulary }, (_, v) =>
      Array.from({ length: d }, (_, k) => inputs.hidden.data[i * d + k]! * inputs.table.data[v * d + k]!).reduce((a, b) => a + b),
    );
    const lse = Math.log(logits.reduce((total, logit) => total + Math.exp(logit), 0));
    const mean = logits.reduce((a, b) => a + b) / vocabulary;
    sum += inputs.scale.data[i]! * (lse - (1 - smoothing) * logits[inputs.targets.data[i]!]! - smoothing * mean);
  }
  return sum;
}

describe.each([0, 0.1])("with label smoothing %d", (smoothing) => {
  it("is what its definition says, and the plain one's gradient, in one chunk and in many", async () => {
    const plain = await lossAndGradient("plain", crossEntropy, smoothing);
    expect(Math.abs(plain.value - byHand(smoothing))).toBeLessThan(tolerance * byHand(smoothing));
    for (const rows of [1, 2, 3, n]) {
      const frozen = await lossAndGradient(`frozen ${rows}`, (context) => frozenCrossEntropy(context, rows * vocabulary), smoothing);
      expect(Math.abs(frozen.value - plain.value)).toBeLessThan(tolerance * plain.value);
      expect(relativeError(frozen.gradient, plain.gradient)).toBeLessThan(tolerance);
    }
  });
});

it("scores each row by its own target", async () => {
  const program = await (
    await sharedEngine({ engine: lawEngine })
  ).compile("test scores", ({ hidden, table, targets }) => targetScores({ hidden: hidden!, table: table!, targets: targets! }), {
    inputs: Object.fromEntries(Object.entries(inputs).map(([key, { shape, dtype }]) => [key, { shape, dtype }])),
    weights: {},
  });
  const { nll, correct } = await program.run(inputs);
  const weighed = inputs.scale.data.reduce((sum, weight, i) => sum + weight * nll!.data[i]!, 0);
  expect(Math.abs(weighed - byHand(0))).toBeLessThan(tolerance * byHand(0));
  nll!.data.forEach((value, i) => {
    // Likelier than one half is the likeliest.
    if (value < Math.log(2)) expect(correct!.data[i]).toBe(1);
    if (value > Math.log(vocabulary)) expect(correct!.data[i]).toBe(0);
  });
});
