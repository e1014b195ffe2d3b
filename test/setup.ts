/**
 * Of every suite: a test file leaves as many tfjs tensors as it found. What engines hold on to is theirs until the file disposes of
 * them; the laws do not, and engines that run operation by operation hold their weights, so on those it is not counted.
 */
import * as tf from "@tensorflow/tfjs-core";
import { afterAll, beforeEach, afterEach, expect } from "vitest";

/** Counted without asking a backend, which a file that computes nothing has not. */
const held = (): number => tf.engine().state.numTensors;

const atStart = held();
const grew: string[] = [];
let before = atStart;
beforeEach(() => {
  before = held();
});
afterEach(({ task }) => {
  const more = held() - before;
  if (more > 0) grew.push(`${task.name} (${more})`);
});

// Hooks of a file run before this one, which was there first.
afterAll(() => {
  const left = held() - atStart;
  if (left !== 0 && process.env["DELTASCOPE_LAW_ENGINE"] === undefined)
    throw new Error(
      `${expect.getState().testPath ?? "this file"} left ${left} tfjs tensors; expected none: use tf.tidy, or dispose of the engine. They grew in ` +
        (grew.length === 0 ? "no test, but in hooks or outside of tests" : grew.join(", ")),
    );
});
