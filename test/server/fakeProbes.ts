/** A subject without a model and probes that do on command what real ones do by accident. Only tests use them. */
import { setTimeout as delay } from "node:timers/promises";
import * as z from "zod";
import type { Probe } from "../../probes/probe.ts";
import { defineProbe } from "../../probes/defineProbe.ts";
import type { Subject } from "../../server/runs/subject.ts";
import type { SubjectRequest } from "../../server/wire.ts";
import { WorkbenchError } from "../../server/errors.ts";

const about = { summary: "For tests.", source: "here", needs: "weights", adapters: { min: 0, max: 16 } } as const;
const steps = z.strictObject({ steps: z.number().int().min(1).default(4), everyMs: z.number().default(0), width: z.number().int().default(1) });

/** Counts up: tile k holds k, `width` times. */
const counting = defineProbe({
  ...about,
  title: "Counting",
  params: steps,
  async *run(_subject, { steps: total, everyMs, width }, signal) {
    yield { type: "array", name: "count", shape: [total, width], axes: ["step", "copy"] };
    yield {
      type: "figure",
      figure: {
        kind: "table",
        id: "steps",
        title: "Steps",
        subtitle: "one row",
        columns: [{ id: "n", label: "n", numeric: true }],
        rows: [{ cells: { n: total } }],
      },
    };
    for (let k = 0; k < total; k++) {
      if (signal.aborted) return;
      if (everyMs > 0) await delay(everyMs);
      yield { type: "tile", array: "count", offset: k * width, data: new Float32Array(width).fill(k) };
      yield { type: "progress", done: k + 1, total, unit: "steps" };
    }
    yield { type: "check", check: { name: "counted", ok: true, value: total, expected: String(total) } };
    yield { type: "finding", text: `counted to ${total}` };
  },
});

/** Writes one array over and over: tile k is full of k. Far more is sent than there is to know. */
const rewriting = defineProbe({
  ...about,
  title: "Rewriting",
  params: steps,
  async *run(_subject, { steps: total, everyMs, width }, signal) {
    yield { type: "array", name: "latest", shape: [width], axes: ["copy"] };
    for (let k = 1; k <= total && !signal.aborted; k++) {
      await delay(everyMs);
      yield { type: "tile", array: "latest", offset: 0, data: new Float32Array(width).fill(k) };
      yield { type: "progress", done: k, total, unit: "steps" };
    }
    yield { type: "finding", text: `wrote ${total} times` };
  },
});

const none = z.strictObject({});

/** Blocks its worker as a long native call does. */
const busy = defineProbe({
  ...about,
  title: "Busy",
  params: z.strictObject({ blockMs: z.number() }),
  async *run(_subject, { blockMs }) {
    yield { type: "progress", done: 0, total: 1, unit: "calls" };
    const end = performance.now() + blockMs;
    while (performance.now() < end) Math.sqrt(end);
    yield { type: "progress", done: 1, total: 1, unit: "calls" };
  },
});

/** Never yields to its worker's event loop again, so no message reaches it. */
const stuck = defineProbe({
  ...about,
  title: "Stuck",
  params: none,
  async *run() {
    yield { type: "progress", done: 0, total: 1, unit: "calls" };
    for (;;) Math.sqrt(2);
  },
});

const exiting = defineProbe({
  ...about,
  title: "Exiting",
  params: none,
  async *run() {
    yield { type: "progress", done: 0, total: 1, unit: "calls" };
    await delay(10);
    process.exit(7);
  },
});

/** As the system does to whom it runs out of memory for. */
const killed = defineProbe({
  ...about,
  title: "Killed",
  params: none,
  async *run() {
    yield { type: "progress", done: 0, total: 1, unit: "calls" };
    process.kill(process.pid, "SIGKILL");
    await delay(60_000);
  },
});

const uncaught = defineProbe({
  ...about,
  title: "Uncaught",
  params: none,
  async *run() {
    yield { type: "progress", done: 0, total: 1, unit: "calls" };
    setTimeout(() => {
      throw new Error("thrown outside any promise");
    }, 1);
    await delay(60_000);
  },
});

const outOfMemory = defineProbe({
  ...about,
  title: "Out of memory",
  params: none,
  async *run() {
    yield { type: "progress", done: 0, total: 1, unit: "calls" };
    const hold: unknown[] = [];
    for (;;) hold.push(new Array(100_000).fill(hold.length).map((n: number) => ({ n })));
  },
});

/** Writes outside the array it declared. */
const overflowing = defineProbe({
  ...about,
  title: "Overflowing",
  params: none,
  async *run() {
    yield { type: "array", name: "small", shape: [2], axes: ["i"] };
    yield { type: "tile", array: "small", offset: 1, data: new Float32Array(4) };
    await delay(60_000);
  },
});

const refusing = defineProbe({
  ...about,
  title: "Refusing",
  params: none,
  async *run() {
    yield { type: "progress", done: 0, total: 1, unit: "calls" };
    throw new WorkbenchError("prompt.tooLong", "the prompt has 9 tokens; expected at most 8");
  },
});

export const fakeProbes: Record<string, Probe> = { counting, rewriting, busy, stuck, exiting, killed, uncaught, outOfMemory, overflowing, refusing };

/** Opens anything, and says how often it has. */
export function fakeOpener(): (request: SubjectRequest) => Promise<Subject> {
  return (request) => {
    // As a reader that never ends; no message reaches the worker then.
    while (request.model?.endsWith("endless")) Math.sqrt(2);
    return Promise.resolve({
      card: { request, model: null, adapters: [] },
      model: null,
      adapters: [],
      tokenizer: null,
      runner: null,
      setting: { strengths: {} },
      encode: (prompt) => {
        const tokens = typeof prompt === "string" ? [...prompt] : prompt.map(String);
        return { ids: tokens.map((token) => token.codePointAt(0)!), tokens };
      },
      tokenText: String,
    });
  };
}
