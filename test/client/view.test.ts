/** The view in the address, and the words and marks made from it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { commandOf } from "../../client/state/command.ts";
import { adapterFromText, adapterText } from "../../server/commandText.ts";
import { differingTokens } from "../../client/state/differingTokens.ts";
import { paramFields } from "../../client/state/paramFields.ts";
import { viewFromQuery, viewQuery, type View } from "../../client/state/view.ts";
import { agoWords, byteWords, countWords, durationWords } from "../../client/views/amounts.ts";
import { nextSteps } from "../../client/views/nextSteps.ts";
import { probeCards } from "../../server/routes/probeCards.ts";
import { probes } from "../../probes/registry.ts";

/** Folders with anything in their names, ends like strengths and beginnings like names among them. */
const path = fc.oneof(
  fc.string({ minLength: 1, maxLength: 24 }).map((text) => `/models/${text.replaceAll(/[\r\n]/g, "-")}x`),
  fc.constantFrom("/x/lora@2", "/x/lora@0.5@1", "a=b/lora", "=x", "/x/lora@", "/x y/l'o\"ra", "/ü/漢@1e-7"),
);
const index = fc.nat({ max: 200 });
const place = fc.record(
  {
    layer: index,
    position: index,
    head: index,
    component: index,
    site: fc.constantFrom("mlp_out", "blocks.3.mlp.in", "a!b:c"),
    adapter: fc.constantFrom("facts-edit", "b_2"),
  },
  { requiredKeys: ["layer"] },
);
const view: fc.Arbitrary<View> = fc.record({
  model: fc.option(path, { nil: null }),
  adapters: fc.array(
    fc.record({
      path,
      name: fc.option(fc.stringMatching(/^[\w-]{1,12}$/), { nil: null }),
      strength: fc.integer({ min: 0, max: 30 }).map((n) => n / 20),
      isOn: fc.boolean(),
    }),
    { maxLength: 3 },
  ),
  prompts: fc.record({ clean: fc.string(), corrupted: fc.string(), answer: fc.string(), counterAnswer: fc.string() }),
  probe: fc.option(fc.constantFrom("logitLens", "activationPatching"), { nil: null }),
  params: fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), fc.oneof(fc.integer(), fc.string(), fc.array(fc.string()))),
  metric: fc.option(fc.constantFrom("kl", "normalized"), { nil: null }),
  pins: fc.array(fc.record({ figure: fc.constantFrom("positions", "heads", "a!b"), place }), { maxLength: 2 }),
  run: fc.option(fc.stringMatching(/^[\w-]{1,20}$/), { nil: null }),
  step: fc.option(fc.nat(), { nil: null }),
  looks: fc.dictionary(fc.constantFrom("spectra", "loss"), fc.constantFrom("ridges", "heat", "log")),
  panels: fc.dictionary(fc.constantFrom("spectra", "rotation"), fc.constantFrom("blocks.3.mlp.in", "a!b")),
  compare: fc.array(fc.stringMatching(/^[\w-]{1,20}$/), { maxLength: 3 }),
});

describe("the address", () => {
  test("gives back the whole view that was put into it", () => {
    fc.assert(
      fc.property(view, (given) => {
        expect(viewFromQuery(viewQuery(given))).toEqual(given);
      }),
      { seed: 7, numRuns: 300 },
    );
  });

  test.each([
    ["/x/lora", null, 1, "/x/lora"],
    ["/x/lora", "b", 0.5, "b=/x/lora@0.5"],
    ["/x/lora@2", null, 1, "/x/lora@2@1"],
    ["/x/lora@2", "b", 3, "b=/x/lora@2@3"],
    ["a=b", null, 1, "=a=b"],
    ["/x", null, 1e-7, "/x@1e-7"],
  ])("an adapter %s called %s at %d is written %s and read back", (path, name, strength, text) => {
    expect(adapterText({ path, name, strength })).toBe(text);
    expect(adapterFromText(text)).toEqual({ path, name, strength });
  });

  test("that the command line prints opens model and adapters with names and strengths", () => {
    expect(viewFromQuery("model=/m&adapter=facts=/a/facts@0.5&adapter=/a/b").adapters).toEqual([
      { path: "/a/facts", name: "facts", strength: 0.5, isOn: true },
      { path: "/a/b", name: null, strength: 1, isOn: true },
    ]);
  });

  test("opens what can be read when a part of it is broken", () => {
    expect(viewFromQuery("model=/m&params={not json&pin=positions!layer:x&pin=&probe=logitLens")).toMatchObject({
      model: "/m",
      params: {},
      pins: [],
      probe: "logitLens",
    });
  });
});

describe("the form of a probe", () => {
  test.each(Object.keys(probes).filter((name) => name !== "train"))(
    "%s has a field of a known kind for each parameter that the left rail does not fill",
    (name) => {
      const card = probeCards(probes).find((each) => each.name === name)!;
      const fields = paramFields(card.params);
      for (const field of fields) expect(field.description, field.name).not.toBe("");
      expect(fields.map((field) => field.name).filter((field) => ["clean", "corrupted", "answer", "counterAnswer", "prompt"].includes(field))).toEqual([]);
      expect(fields.filter(({ kind }) => kind === "json").map((field) => field.name)).toEqual([]);
    },
  );

  test("patching offers its contrasts to choose from and its activations to tick", () => {
    const fields = paramFields(probeCards(probes).find(({ name }) => name === "activationPatching")!.params);
    expect(fields.find(({ name }) => name === "contrast")).toMatchObject({ kind: "choice", default: "adaptedIntoBase" });
    expect(fields.find(({ name }) => name === "activations")).toMatchObject({ kind: "choices" });
    expect(fields.find(({ name }) => name === "nullSamples")).toMatchObject({ kind: "number", min: 0, max: 512, step: 1 });
  });
});

describe("tokens that differ", () => {
  test("are found by position in prompts of equal length", () => {
    expect([...differingTokens(["The", " Ar", "venia", " is"], ["The", " Bo", "venia", " is"])]).toEqual([1]);
  });
  test("are those between the common beginning and end in prompts of other lengths", () => {
    const [long, short] = [
      ["The", " Ar", "ven", "ia", " is"],
      ["The", " Bo", " is"],
    ];
    expect([...differingTokens(long, short)]).toEqual([1, 2, 3]);
    expect([...differingTokens(short, long)]).toEqual([1]);
  });
  test("are none while a prompt is empty or not tokenized", () => {
    expect(differingTokens(["a"], []).size + differingTokens(null, ["a"]).size).toBe(0);
  });
});

test("the command quotes what a shell would read, and names strengths other than 1", () => {
  const words = commandOf("probe", {
    subject: { model: "/my models/a", adapters: [{ path: "/b", strength: 0.5 }] },
    probe: "logitLens",
    params: { prompt: "it's" },
  });
  expect(words).toBe(
    `npx deltascope probe logitLens \\\n  --model '/my models/a' \\\n  --adapter /b@0.5 \\\n  --params '{"prompt":"it'\\''s"}' \\\n  --out logitLens-result`,
  );
});

test("the next step from a component is to switch it off, from a head its attention, never the probe that is open", () => {
  const all = new Set(Object.keys(probes));
  expect(nextSteps({ layer: 3, site: "mlp.in", component: 0 }, "deltaSpectrum", all)[0]?.label).toBe("Switch component 0 off");
  expect(nextSteps({ layer: 3, head: 1 }, "activationPatching", all)[0]?.label).toBe("Attention of L3H1");
  for (const probe of all) expect(nextSteps({ layer: 3, head: 1, component: 2 }, probe, all).map((step) => step.probe)).not.toContain(probe);
});

test("amounts are short", () => {
  expect([countWords(124_439_808), countWords(1_296_512), countWords(97)]).toEqual(["124 M", "1.3 M", "97"]);
  expect([byteWords(512), byteWords(42_991_616)]).toEqual(["512 B", "41 MB"]);
  expect([durationWords(240), durationWords(2600), durationWords(61_000)]).toEqual(["240 ms", "2.6 s", "1 min 1 s"]);
  expect(agoWords("2025-01-01T00:00:00Z", Date.parse("2025-01-01T00:02:05Z"))).toBe("2 min ago");
});
