/** The form of a training run, and runs side by side. */
import { describe, expect, test } from "vitest";
import { listFrom, nestedFields, type ParamField } from "../../client/state/paramFields.ts";
import { changesFrom, closestField, flattened, nested, pinnedPrompts, trainingForm } from "../../client/state/trainingParams.ts";
import { comparedFigures, comparedSettings, lastNumbers, runNames } from "../../client/views/comparedFigures.ts";
import type { ComparedRun } from "../../client/state/comparison.svelte.ts";
import { probes } from "../../probes/registry.ts";
import type { LinesFigure } from "../../probes/result.ts";
import { probeCards } from "../../server/routes/probeCards.ts";
import { methodCards } from "../../server/routes/methodCards.ts";
import { trainingParams } from "../../server/training/trainingParams.ts";
import { array } from "../figures/examples.ts";

const schema = probeCards(probes).find(({ name }) => name === "train")!.params;
const form = trainingForm(schema, "completion");
const fieldAt = (path: string): ParamField => form.fields.find(({ name }) => name === path)!;

describe("the form", () => {
  test("has every setting of the schema exactly once, with its words", () => {
    const shown = [...form.plain, ...form.folded].flatMap((group) => group.fields.map(({ name }) => name));
    const own = ["name", "method", "options", "startFrom", "probes.prompts"];
    const otherColumns = form.fields.map(({ name }) => name).filter((name) => name.startsWith("data.columns.") && !shown.includes(name));
    expect(otherColumns).toEqual([]);
    expect([...shown, ...own].toSorted()).toEqual(form.fields.map(({ name }) => name).toSorted());
    for (const field of form.fields) if (field.name !== "startFrom") expect(field.description, field.name).not.toBe("");
  });

  test("asks for no JSON but where any name may stand", () => {
    expect(form.fields.filter(({ kind }) => kind === "json").map(({ name }) => name)).toEqual([
      "options",
      "optimizer.rates",
      "probes.prompts",
      "probes.analyses",
      "startFrom",
    ]);
  });

  test("knows the columns of the chosen kind of task", () => {
    const columns = (task: string) =>
      trainingForm(schema, task)
        .plain.find(({ id }) => id === "data")!
        .fields.map(({ name }) => name)
        .filter((name) => name.startsWith("data.columns"));
    expect(columns("completion")).toEqual(["data.columns.prompt", "data.columns.completion"]);
    expect(columns("classification")).toEqual(["data.columns.text", "data.columns.label"]);
  });

  test("can leave out what the server chooses itself", () => {
    expect(fieldAt("steps")).toMatchObject({ kind: "number", isNullable: true, default: null });
    expect(fieldAt("sites.layers")).toMatchObject({ kind: "list", items: "integer", isNullable: true });
  });

  test("has a field of a known kind for every option of every method", () => {
    const free = methodCards().flatMap((card) =>
      nestedFields(card.options, "options.")
        .filter(({ kind }) => kind === "json")
        .map(({ name }) => `${card.name} ${name}`),
    );
    // By dimension, a list of factors each: nothing but JSON says that shortly.
    expect(free).toEqual(["tera options.factorisations"]);
  });
});

describe("settings", () => {
  const given = {
    name: "facts",
    method: "dora",
    options: { rank: 4 },
    data: { path: "/d/facts.jsonl", task: "completion" },
    optimizer: { learningRate: 0.003 },
    sites: { targetModules: ["c_attn"] },
  };

  test("by path and nested are the same settings", () => {
    const changes = changesFrom(given, form.fields);
    expect(changes).toMatchObject({ "options.rank": 4, "optimizer.learningRate": 0.003, "sites.targetModules": ["c_attn"] });
    expect(nested(changes)).toEqual(given);
  });

  test("written out by the server come back as what differs from the defaults", () => {
    expect(changesFrom(trainingParams.parse(given), form.fields)).toEqual(changesFrom(given, form.fields));
  });

  test("stay whole where a value has parts of its own", () => {
    const rates = { optimizer: { rates: { loraB: 16 } } };
    expect(changesFrom(rates, form.fields)).toEqual({ "optimizer.rates": { loraB: 16 } });
    expect(flattened(rates)).toEqual({ "optimizer.rates.loraB": 16 });
  });
});

describe("a list in a field", () => {
  const sites = fieldAt("sites.targetModules") as ParamField & { readonly kind: "list" };
  const layers = fieldAt("sites.layers") as ParamField & { readonly kind: "list" };
  test("is names with commas, one pattern, or the word for all", () => {
    expect(listFrom("q_proj, v_proj", sites)).toEqual(["q_proj", "v_proj"]);
    expect(listFrom("c_attn", sites)).toEqual(["c_attn"]);
    expect(listFrom(".*attn.*", sites)).toBe(".*attn.*");
    expect(listFrom("all-linear", sites)).toBe("all-linear");
  });
  test("is numbers and ranges, and nothing else", () => {
    expect(listFrom("0-3, 5", layers)).toEqual([0, 1, 2, 3, 5]);
    expect(listFrom("0, all", layers)).toBeNull();
  });
});

describe("an error's parameter", () => {
  const paths = ["data.path", "options", "options.earlier"];
  test.each([
    ["data.path", "data.path"],
    ["options.earlier.0", "options.earlier"],
    ["optimizer.lr", null],
    [null, null],
  ])("%s stands at the field %s", (parameter, field) => {
    expect(closestField(parameter, paths)).toBe(field);
  });
});

test("pinned prompts are read from settings as they come, and what is none is left out", () => {
  expect(pinnedPrompts([{ prompt: "a", answer: " b" }, { answer: "c" }, "d", null])).toEqual([{ prompt: "a", answer: " b", counterAnswer: null }]);
  expect(pinnedPrompts(undefined)).toEqual([]);
});

const lines = (id: string, series: LinesFigure["series"]): LinesFigure => ({
  kind: "lines",
  id,
  title: id === "loss" ? "Loss" : "Size",
  subtitle: "",
  x: { label: "step", unit: "", values: { array: "step" } },
  y: { label: id, unit: "nats", scale: "linear" },
  series,
});

function comparedRun(id: string, params: Record<string, unknown>, scale: number): ComparedRun {
  return {
    record: {
      id,
      kind: "train",
      request: { subject: { model: "/m", adapters: [] }, probe: "train", params },
      state: "done",
      createdAt: "",
      startedAt: null,
      endedAt: null,
      progress: null,
      error: null,
      provenance: null,
      resumable: false,
      checkpoints: [],
    },
    arrays: {
      step: array([4], ["point"], (index) => index),
      loss: array([4], ["point"], (index) => (index < 3 ? scale * (4 - index) : NaN)),
      smooth: array([4], ["point"], (index) => (index < 3 ? scale * (5 - index) : NaN)),
      norm: array([2, 4], ["site", "point"], (site, index) => scale * (site + 1) * index),
    },
    figures: [
      lines("loss", [
        { id: "loss", label: "training", place: {}, values: { array: "loss" } },
        { id: "loss_smoothed", label: "smoothed", place: {}, values: { array: "smooth" } },
      ]),
      lines(
        "norm",
        [0, 1].map((layer) => ({
          id: `L${layer}`,
          label: `L${layer}`,
          place: { layer, site: `blocks.${layer}.mlp.in` },
          values: { array: "norm", at: [layer] },
        })),
      ),
    ],
  };
}

describe("runs side by side", () => {
  const runs = [
    comparedRun("r-0001", { name: "a", data: { path: "/x/f.jsonl" }, optimizer: { learningRate: 0.01 } }, 1),
    comparedRun("r-0002", { name: "a", data: { path: "/x/f.jsonl" } }, 2),
  ];

  test("have names that tell them apart", () => {
    expect(runNames(runs)).toEqual(["a 0001", "a 0002"]);
  });

  test("share a plot for each curve: smoothed ones instead of raw, and the mean over sites", () => {
    const figures = comparedFigures(runs);
    expect(figures.map(({ figure }) => figure.id)).toEqual(["loss.loss_smoothed", "norm"]);
    for (const { figure } of figures) expect(figure.series.map(({ label }) => label)).toEqual(["a 0001", "a 0002"]);
    // Sites are 1 and 2 times the step, twice that in the second run: the means at step 3 are 4.5 and 9.
    expect(lastNumbers(figures, runNames(runs)).map(({ cells }) => cells)).toEqual([
      [3, 6],
      [4.5, 9],
    ]);
  });

  test("have every setting beside each other, marked where they differ, defaults filled in", () => {
    const defaults = Object.fromEntries(form.fields.map(({ name, default: value }) => [name, value]));
    const rows = comparedSettings(runs, defaults, () => ({ "options.rank": 8 }));
    expect(rows.filter(({ differs }) => differs).map(({ label, cells }) => [label, ...cells])).toEqual([["optimizer.learningRate", 0.01, 0.001]]);
    expect(rows.find(({ label }) => label === "options.rank")!.cells).toEqual([8, 8]);
    expect(rows.find(({ label }) => label === "data.path")!.cells).toEqual(["f.jsonl", "f.jsonl"]);
  });
});
