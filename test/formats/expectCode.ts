import { expect } from "vitest";
import { WorkbenchError, type ErrorCode } from "../../server/errors.ts";

/** Runs `act`, which must throw a WorkbenchError of this code whose message has every one of `words` in it. */
export function expectCode(act: () => unknown, code: ErrorCode, ...words: string[]): void {
  let thrown: unknown;
  try {
    act();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(WorkbenchError);
  const { code: found, message } = thrown as WorkbenchError;
  expect(found, message).toBe(code);
  for (const word of words) expect(message).toContain(word);
}
