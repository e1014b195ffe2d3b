/** Entry module of a process that measures one engine: says when it is warm, and measures whenever it is told to, so that no two measure at once. */
import { createEngine, parseEngineName } from "./providers.ts";
import type { FromSpeedChild } from "./speedProbe.ts";
import { readyBlocks } from "./speedPrograms.ts";

const say = (message: FromSpeedChild): void => void process.send?.(message);

// Without the one that asked there is nobody to answer.
process.on("disconnect", () => process.exit());
// Listening holds this process until it is ended, so that its last words arrive before its end does.
process.on("message", () => undefined);
try {
  const measure = await readyBlocks(await createEngine(parseEngineName(process.argv[2] ?? "")));
  process.on("message", () => {
    void measure().then((seconds) => say({ type: "measured", seconds }), fail);
  });
  say({ type: "ready" });
} catch (error) {
  fail(error);
}

function fail(error: unknown): void {
  const words = error instanceof Error ? error.message : String(error);
  say({ type: "failed", words: words.split("\n")[0] ?? "" });
}
