/** Which tfjs backend is current. It is process-wide state, so every engine sets it before each synchronous use. */
import * as tf from "@tensorflow/tfjs-core";
import { WorkbenchError } from "../errors.ts";

// Otherwise tfjs prints an advertisement for its other backends on standard error.
tf.enableProdMode();

/** Initialises a backend once, so that `withBackend` can switch to it without waiting. */
export async function readyBackend(name: string): Promise<void> {
  const previous = currentBackend();
  const ready = await tf.setBackend(name);
  if (!ready) throw new WorkbenchError("engine.unavailable", `tfjs backend "${name}" did not initialise`);
  if (previous && previous !== name) await tf.setBackend(previous);
}

/** Runs synchronous `body` with `name` current, and puts the previous backend back. */
export function withBackend<T>(name: string, body: () => T): T {
  const previous = currentBackend();
  if (previous === name) return body();
  // setBackend switches before its first await once the backend is initialised.
  void tf.setBackend(name);
  try {
    return body();
  } finally {
    if (previous) void tf.setBackend(previous);
  }
}

function currentBackend(): string | undefined {
  const { backendName } = tf.engine() as { backendName: string | undefined };
  return backendName;
}
