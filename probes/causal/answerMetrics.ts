/** The four numbers every patch is measured by, all from one pass. */
import { klDivergence, logitDiff, logProb, normalized } from "../../server/runs/metrics.ts";
import type { Metric } from "../result.ts";

export const metricIds = ["normalized", "logit_diff", "kl", "log_prob"] as const;
export type MetricId = (typeof metricIds)[number];

export function answerMetrics(restored: string, fromName: string): readonly Metric[] {
  return [
    { id: "normalized", label: "normalised logit difference", unit: `1 = ${restored}`, scale: "diverging", domain: [-1, 1] },
    { id: "logit_diff", label: "logit difference", unit: "logits", scale: "diverging" },
    { id: "kl", label: `KL from the ${fromName} run`, unit: "nats", scale: "sequential" },
    { id: "log_prob", label: "log probability of the answer", unit: "nats", scale: "sequential" },
  ];
}

/** Measures logits `[dVocab]` at the answer position against the two runs of a contrast. */
export class AnswerMeter {
  readonly answer: number;
  readonly counterAnswer: number;
  readonly from: Float32Array;
  readonly fromDiff: number;
  readonly intoDiff: number;

  constructor(answer: number, counterAnswer: number, from: Float32Array, into: Float32Array) {
    this.answer = answer;
    this.counterAnswer = counterAnswer;
    this.from = from;
    this.fromDiff = logitDiff(from, answer, counterAnswer);
    this.intoDiff = logitDiff(into, answer, counterAnswer);
  }

  measure(logits: Float32Array): Record<MetricId, number> {
    const diff = logitDiff(logits, this.answer, this.counterAnswer);
    return {
      normalized: normalized(diff, this.intoDiff, this.fromDiff),
      logit_diff: diff,
      kl: klDivergence(this.from, logits),
      log_prob: logProb(logits, this.answer),
    };
  }
}
