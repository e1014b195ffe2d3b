/** Entry module of a process that measures one engine: says when it is warm, and measures when it is told to, so that no two measure at once. */
import { createEngine, parseEngineName } from "./providers.ts";
import type { FromSpeedChild } from "./speedProbe.ts";
import { readyBlocks } from "./speedPrograms.ts";

const say = (message: FromSpeedChild): void => void process.send?.(message);

// Without the one that asked there is nobody to answer.
process.on("disconnect", () => process.exit());
// Listening holds this process until it is ended, so that its last words arrive before its end does.
const asked = new Promise((resolve) => process.on("message", resolve));
try {
  const measure = await readyBlocks(await createEngine(parseEngineName(process.argv[2] ?? "")));
  say({ type: "ready" });
  await asked;
  say({ type: "measured", seconds: await measure() });
} catch (error) {
  const words = error instanceof Error ? error.message : String(error);
  say({ type: "failed", words: words.split("\n")[0] ?? "" });
}
