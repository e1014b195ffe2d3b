/** The kinds of runs: each probe has exactly one, and each kind's command is one that the command line has. */
import { expect, test } from "vitest";
import { probes } from "../../probes/registry.ts";
import { commandParts, isJobKind, jobKindOf, jobKinds, type JobKind } from "../../server/jobKinds/registry.ts";
import { needs } from "../../probes/probe.ts";

const kinds = Object.keys(jobKinds).filter((name): name is JobKind => isJobKind(name));

test("every need of a probe belongs to exactly one kind", () => {
  for (const need of needs)
    expect(
      kinds.filter((kind) => jobKinds[kind].needs.includes(need)),
      need,
    ).toHaveLength(1);
  for (const [name, probe] of Object.entries(probes)) expect(jobKindOf(probe), name).toBe(probe.needs === "training" ? "train" : "probe");
});

test("a training run's command is its configuration, named as its adapter, and quoted once", () => {
  const request = { subject: { model: "/m", adapters: [] }, probe: "train", params: { name: "it_s", data: { path: "/a b's.txt" } } };
  expect(commandParts("train", request)).toEqual([
    "deltascope train",
    `--config '{"model":"/m","name":"it_s","data":{"path":"/a b'\\''s.txt"}}'`,
    "--out it_s",
  ]);
});
