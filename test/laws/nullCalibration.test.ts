/** Nothing is found where nothing is: on random adapters a causal probe has no finding, in at least 95 of 100 seeds. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { acrossTime } from "../../probes/acrossTime.ts";
import { activationPatching } from "../../probes/activationPatching.ts";
import { beatsDraws, clearsNull, nullBands } from "../../probes/causal/nulls.ts";
import { componentAblation } from "../../probes/componentAblation.ts";
import type { Probe } from "../../probes/probe.ts";
import { encodeSafetensors, parseSafetensors } from "../../server/formats/safetensors.ts";
import { gaussians, randomStream } from "../../server/linalg/random.ts";
import { openSubject, type Subject } from "../../server/runs/subject.ts";
import { referenceDir } from "./goldens.ts";
import { lawEngine } from "../lawEngine.ts";

const seeds = 100;
const most = 5;
const folder = mkdtempSync(join(tmpdir(), "deltascope-random-"));
afterAll(() => rmSync(folder, { recursive: true }));

const like = join(referenceDir, "adapters", "gpt2-all");
const config = readFileSync(join(like, "adapter_config.json"));
const { tensors } = parseSafetensors(readFileSync(join(like, "adapter_model.safetensors")));

/** The reference adapter's shapes with random numbers. */
function randomAdapter(seed: number, name: string): string {
  const dir = join(folder, `${name}${seed}`);
  const made = [...tensors].map(([key, { shape, data }]) => ({ name: key, shape, data: gaussians(data.length, 0.1, randomStream(seed, name, key)) }));
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, "adapter_config.json"), config);
  writeFileSync(join(dir, "adapter_model.safetensors"), encodeSafetensors(made));
  return dir;
}

const open = (...paths: readonly string[]): Promise<Subject> =>
  openSubject(
    { model: join(referenceDir, "families", "gpt2"), adapters: paths.map((path, i) => ({ path, name: i === 0 ? "a" : "b", strength: 1 })) },
    { engine: lawEngine },
  );

async function findingOf(probe: Probe, subject: Subject, seed: number): Promise<string | null> {
  const params = { clean: [5, 6, 7, 8].map((id) => (id + 7 * seed) % 40), answer: (4 + seed) % 40, counterAnswer: (9 + seed) % 40, seed };
  for await (const event of probe.run(subject, params, new AbortController().signal)) if (event.type === "finding") return event.text;
  return null;
}

describe.each<[string, Probe, (seed: number) => Promise<Subject>]>([
  ["activationPatching", activationPatching, (seed) => open(randomAdapter(seed, "a"))],
  ["componentAblation", componentAblation, (seed) => open(randomAdapter(seed, "a"))],
  ["acrossTime", acrossTime, (seed) => open(randomAdapter(seed, "a"), randomAdapter(seed, "b"))],
])("%s", (_, probe, subjectOf) => {
  it(`finds nothing in random adapters, but in at most ${most} of ${seeds} seeds`, async () => {
    const found: string[] = [];
    for (let seed = 0; seed < seeds; seed++) {
      const finding = await findingOf(probe, await subjectOf(seed), seed);
      if (finding !== null) found.push(`${seed}: ${finding}`);
    }
    expect(found.length, found.join("\n")).toBeLessThanOrEqual(most);
  }, 300_000);
});

describe("a null", () => {
  it("is not stated where nothing could be drawn, and leaves out what is not finite", () => {
    expect(nullBands("effect", [], "draws")).toEqual([]);
    expect(nullBands("effect", [NaN, Infinity], "draws")).toEqual([]);
    expect(nullBands("effect", [NaN, 1, 1], "draws")).toEqual([{ metric: "effect", low: 1, high: 1, words: "95 % of 2 draws" }]);
  });

  it("is the central 95 % of all its draws, in whatever order they come", () => {
    const draws = Array.from({ length: 41 }, (_, i) => (17 * i) % 41);
    expect(nullBands("effect", draws, "draws")).toEqual([{ metric: "effect", low: 1, high: 39, words: "95 % of 41 draws" }]);
  });

  it("is cleared beyond twice its reach, and never by less than a tenth of the effect", () => {
    const band = { low: -0.2, high: 0.1 };
    expect([0.39, 0.41, -0.41, NaN, Infinity].map((value) => clearsNull(value, band))).toEqual([false, true, true, false, false]);
    expect([0.09, 0.11].map((value) => clearsNull(value, { low: 0, high: 0 }))).toEqual([false, true]);
  });

  it("is beaten by more than its largest draw, by three deviations, and by more the more a value was picked from", () => {
    const draws = [-1, 0, 1];
    expect([1, 2.9, 3.1].map((value) => beatsDraws(value, draws))).toEqual([false, false, true]);
    expect([3.1, 6.1].map((value) => beatsDraws(value, draws, 100))).toEqual([false, true]);
    expect(beatsDraws(10, [])).toBe(false);
  });
});
