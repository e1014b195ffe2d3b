/** The question that causal probes ask: a prompt, its answer, the one it is held against, and runs that are read where the answer would come. */
import { WorkbenchError } from "../../server/errors.ts";
import { logitDiff } from "../../server/runs/metrics.ts";
import type { Runner } from "../../server/runs/runner.ts";
import type { Subject } from "../../server/runs/subject.ts";
import type { FloatTensor } from "../../server/tensors/hostTensor.ts";
import { readToken, type Prompt } from "../promptPair.ts";
import type { Side } from "./contrast.ts";

export interface Question {
  readonly answer: number;
  readonly counterAnswer: number;
  /** Of the prompt's last token. */
  readonly position: number;
  /** logit(answer) − logit(counter-answer) of logits `[dVocab]`. */
  readonly diff: (logits: Float32Array) => number;
}

/** @throws "prompt.unknownToken", and what the tokenizer throws */
export function askedOf(subject: Subject, prompt: Prompt, answers: { readonly answer: string | number; readonly counterAnswer: string | number }): Question {
  const answer = readToken(subject, answers.answer, "answer");
  const counterAnswer = readToken(subject, answers.counterAnswer, "counterAnswer");
  return { answer, counterAnswer, position: prompt.ids.length - 1, diff: (logits) => logitDiff(logits, answer, counterAnswer) };
}

export interface SideRun {
  /** `[dVocab]`, where the answer would come. */
  readonly logits: Float32Array;
  readonly taps: Readonly<Record<string, FloatTensor>>;
}

/** @throws what Runner.forward throws */
export async function runSide(
  { runner, position, signal }: { readonly runner: Runner; readonly position: number; readonly signal?: AbortSignal },
  { prompt, setting }: Side,
  taps: readonly string[] = [],
): Promise<SideRun> {
  const run = await runner.forward({ tokens: [prompt.ids], settings: [setting], taps, logits: { position }, ...(signal ? { signal } : {}) });
  if (!run.logits) throw new WorkbenchError("internal", "internal: logits were asked for and did not come");
  return { logits: run.logits.data, taps: run.taps };
}

/**
 * Two runs that answer alike leave nothing to carry from one to the other.
 * @param words what the reader is told, given the logit difference that both have
 * @throws "probe.notApplicable"
 */
export function refuseSameAnswers(one: number, other: number, words: (diff: string) => string): void {
  if (Math.abs(one - other) < 1e-6) throw new WorkbenchError("probe.notApplicable", words(one.toPrecision(4)));
}
