/** A run that is killed with SIGKILL, over and over, ends with the adapter it would have had. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { randomStream } from "../../server/linalg/random.ts";
import { checkpointSteps } from "../../server/training/checkpoint.ts";
import { deltascope, shortRun, temporaryFolder } from "./deltascope.ts";

const folder = temporaryFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const kills = 10;
const adapterOf = (out: string): Buffer => readFileSync(join(folder, out, "adapter", "adapter_model.safetensors"));

test(`${kills} kills at random moments, each resumed, leave no trace in the adapter`, { timeout: 600_000 }, async () => {
  writeFileSync(join(folder, "run.json"), JSON.stringify(shortRun));
  expect(await deltascope(folder, "train", "--config", "run.json", "--out", "undisturbed").ended).toMatchObject({ code: 0 });
  const undisturbed = adapterOf("undisturbed");

  const random = randomStream(11, "kills");
  const diedAfter: number[] = [];
  let attempt = 0;
  while (diedAfter.length < kills) {
    const out = `killed-${attempt}`;
    const hasBegun = existsSync(join(folder, out, "run.json"));
    const running = deltascope(folder, "train", "--out", out, ...(hasBegun ? ["--resume"] : ["--config", "run.json"]));
    // Some die while they start, most a few checkpoints later: between two steps, in one, or while a checkpoint is written.
    const before = checkpointSteps(join(folder, out)).at(-1) ?? 0;
    const target = before + shortRun.checkpointEvery * random.below(4);
    while (running.child.exitCode === null && (checkpointSteps(join(folder, out)).at(-1) ?? 0) < target) await delay(5);
    await delay(Math.round(150 * random.uniform()));
    running.child.kill("SIGKILL");
    const { code, err } = await running.ended;
    if (code === null) {
      diedAfter.push(checkpointSteps(join(folder, out)).at(-1) ?? 0);
      continue;
    }
    // It was through before its time came: it must be right, and another one is tormented.
    expect({ code, err: code === 0 ? "" : err }).toEqual({ code: 0, err: "" });
    expect(adapterOf(out).equals(undisturbed)).toBe(true);
    attempt++;
  }
  const out = `killed-${attempt}`;
  const { code, err } = await deltascope(folder, "train", "--resume", "--out", out).ended;
  expect({ code, err: code === 0 ? "" : err }).toEqual({ code: 0, err: "" });
  expect(adapterOf(out).equals(undisturbed)).toBe(true);
  // Otherwise the moments were badly chosen, and nothing was shown.
  expect(new Set(diedAfter.filter((step) => step > 0)).size).toBeGreaterThan(2);
  for (const name of readdirSync(folder).filter((one) => one.startsWith("killed-"))) {
    expect(readdirSync(join(folder, name, "checkpoints")).filter((entry) => entry.includes(".tmp"))).toEqual([]);
  }
});
