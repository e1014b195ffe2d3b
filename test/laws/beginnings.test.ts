/** Worlds that go on after the tokens before their first change, and layers that give one position alone, against one whole forward pass a world. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { at } from "../../server/at.ts";
import { canGoOn, laterTiles, tokensBefore, type TileCosts } from "../../server/runs/beginnings.ts";
import { openSubject } from "../../server/runs/subject.ts";
import { naiveSweep, planSweep, sweep, type SweepRequest } from "../../server/runs/sweep.ts";
import type { World } from "../../server/runs/worlds.ts";
import { lawEngine } from "../lawEngine.ts";
import { referenceDir, relativeError } from "./goldens.ts";
import { rows } from "./sweepRows.ts";

/** Every batch as small as it can be: all that can be left out is. */
const free: TileCosts = { weightsAsTokens: 0, callOperations: 0, compileOperations: 0 };
const tokens = [5, 9, 3, 44, 21, 60, 7];

describe.each([
  ["gpt2", "gpt2-all"],
  ["llama", "llama-all-linear"],
  ["llama-dynamic", null],
  ["llama-bf16", null],
  ["mistral-window", null],
  ["qwen3", null],
])("on %s with %s", (family, adapter) => {
  it.each([tokens.length - 1, 4])("equals one forward pass a world, read at position %i", async (position) => {
    const adapters = adapter === null ? [] : [{ path: join(referenceDir, "adapters", adapter), name: "a", strength: 1 }];
    const { runner, setting } = await openSubject({ model: join(referenceDir, "families", family), adapters }, { engine: lawEngine });
    if (!runner) throw new Error("no model");
    const hooks = [...runner.hooks.keys()].filter((name) =>
      /hook_embed$|1\.(hook_(resid_(pre|mid)|mlp_out)|attn\.hook_([qvz]|rot_k)|mlp\.in\..*delta)$/.test(name),
    );
    const { taps } = await runner.forward({ tokens: [[8, 2, 3, 40, 21, 61, 1]], settings: [setting], taps: hooks, logits: "none" });
    const worlds = hooks.flatMap((hook): World[] =>
      [0, 1, 4, 5, 6].map((place) => ({
        setting,
        edits: [
          { hook, position: place, head: null, source: "from" },
          // A second edit at a later token, and one at no token of its own.
          ...(place % 3 === 1 ? [{ hook, position: place + 1, head: null, source: "from" }] : []),
          ...(place === 5 ? [{ hook, position: null, head: null, source: "from" }] : []),
        ],
      })),
    );
    const request: SweepRequest = { runner, tokens, setting, worlds, sources: { from: taps }, position, costs: free };
    const left = planSweep(request).tiles.map(({ after }) => after);
    expect(Math.max(...left)).toBe(Math.min(position, tokens.length - 1));
    const { dVocab } = runner.model.config;
    const [fast, naive] = [await rows(sweep(request), worlds.length, dVocab), await rows(naiveSweep(request), worlds.length, dVocab)];
    expect(relativeError(fast, naive)).toBeLessThan(1e-4);
  });
});

describe("what is left out", () => {
  it("is nothing where a world's adapters differ, or an edit has no token of its own", async () => {
    const path = join(referenceDir, "adapters", "gpt2-all");
    const { runner, setting } = await openSubject(
      { model: join(referenceDir, "families", "gpt2"), adapters: [{ path, name: "a", strength: 1 }] },
      { engine: lawEngine },
    );
    if (!runner) throw new Error("no model");
    const edit = { hook: "blocks.1.hook_resid_pre", position: 4, head: null, source: "from" };
    const before = (world: World) =>
      planSweep({ runner, tokens, setting, worlds: [world], sources: {}, position: 6, costs: free }).tiles.map(({ after }) => after);
    expect(before({ setting, edits: [edit] })).toEqual([4]);
    expect(before({ setting: { strengths: { a: 0.5 } }, edits: [edit] })).toEqual([0]);
    expect(before({ setting: { ...setting, components: [{ adapter: "a", site: "blocks.1.mlp.in", component: 0, value: 0 }] }, edits: [edit] })).toEqual([0]);
    expect(before({ setting, edits: [{ ...edit, position: null }] })).toEqual([0]);
    expect(before({ setting, edits: [{ ...edit, hook: "blocks.1.attn.hook_pattern" }] })).toEqual([0]);
    expect(before({ setting, edits: [] })).toEqual([0]);
    expect(tokensBefore(runner, [edit], 2)).toBe(2);
    expect(canGoOn(runner, 0)).toBe(true);
  });

  it("is announced: each row's keys and values of the tokens left out count", async () => {
    const { runner, setting } = await openSubject({ model: join(referenceDir, "families", "gpt2"), adapters: [] }, { engine: lawEngine });
    if (!runner) throw new Error("no model");
    const worlds = Array.from({ length: 40 }, (): World => ({
      setting,
      edits: [{ hook: "blocks.1.hook_resid_pre", position: 6, head: null, source: "from" }],
    }));
    const plan = planSweep({ runner, tokens, setting, worlds, sources: {}, position: 6, costs: free });
    expect(plan.tiles.map(({ rows: count, after }) => [count, after])).toEqual([[40, 6]]);
    const { nHeads, dHead } = runner.model.config;
    expect(plan.bytes).toBeGreaterThan(4 * 40 * 6 * 4 * nHeads * dHead);
  });

  // GPT-2-small's widths.
  const config = { dModel: 768, dMlp: 3072, nHeads: 12, nKvHeads: 12, dHead: 64 };
  const cut = (length: number, more: object = {}) =>
    laterTiles(
      Array.from({ length }, (_, place) => place),
      { config, length, after: (place) => place, sharing: 12, ...more },
    );
  const cost = (tiles: ReturnType<typeof cut>, length: number) => tiles.reduce((sum, { rows, after }) => sum + rows * (length - after), 0);

  it("is worth the batches on long prompts of a real model, and not on a tiny one", () => {
    expect(cut(16)).toHaveLength(1);
    expect(cost(cut(64), 64)).toBeLessThan(0.7 * 64 * 64);
    expect(cost(cut(400), 400)).toBeLessThan(0.55 * 400 * 400);
    expect(cut(64, { config: { ...config, dModel: 32, dMlp: 128, nHeads: 2, nKvHeads: 2, dHead: 16 } }).every(({ after }) => after === 0)).toBe(true);
  });

  it.each([1, 5, 16, 64, 400])("keeps each of %i members once, in rows that all begin late enough, and batches within their bound", (length) => {
    for (const costs of [free, undefined]) {
      const tiles = cut(length, { costs });
      expect(tiles.flatMap(({ members }) => members).toSorted((a, b) => a - b)).toEqual(Array.from({ length }, (_, place) => place));
      for (const { members, rows, after } of tiles) {
        expect(after).toBeLessThanOrEqual(Math.min(...members));
        expect(rows).toBeGreaterThanOrEqual(members.length);
        expect(rows === 1 || rows * (length - after) <= 512).toBe(true);
      }
    }
  });

  it("of more worlds than are weighed is nothing, and the cheapest cut of few is found", () => {
    const places = [0, 0, 3, 3, 3, 7, 7, 9];
    const tiles = laterTiles([...places.keys()], { config, length: 10, after: (i) => at(places, i), sharing: 1, costs: { ...free, weightsAsTokens: 6 } });
    // All cuts of the sorted members, by hand.
    const sorted = places.toSorted((a, b) => b - a);
    const price = (mask: number) => {
      let [sum, rows] = [0, 0];
      for (let i = 0; i < sorted.length; i++) {
        rows++;
        if (i === sorted.length - 1 || mask & (1 << i)) {
          sum += 6 + rows * (10 - at(sorted, i));
          rows = 0;
        }
      }
      return sum;
    };
    const least = Math.min(...Array.from({ length: 1 << (sorted.length - 1) }, (_, mask) => price(mask)));
    expect(tiles.reduce((sum, { rows, after }) => sum + 6 + rows * (10 - after), 0)).toBe(least);
  });
});
