/** `deltascope compare RUN…`: training runs side by side, with the settings in which they differ. */
import { writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { Command } from "commander";
import { csvCell } from "../jobs/scalars.ts";
import type { RunSummary } from "./runSummary.ts";
import { at } from "../at.ts";
import { makeFolder, outFile } from "./outPath.ts";

interface Flags {
  readonly json?: boolean;
  readonly out?: string;
}

export function compareCommand(): Command {
  return new Command("compare")
    .description("training runs side by side: held-out scores, size, rank, time, and the settings that differ")
    .argument("<runs...>", "folders of `deltascope train`, or .deltascope/runs/ID")
    .option("--json", "as JSON")
    .option("-o, --out <file>", "also write the table as CSV; its folder is made when it is not there")
    .addHelpText(
      "after",
      `
Examples:
  deltascope compare runs/lora runs/dora
  deltascope compare runs/* --out table.csv`,
    )
    .action(run);
}

async function run(paths: readonly string[], flags: Flags): Promise<void> {
  const file = flags.out === undefined ? null : outFile(flags.out);
  const { differingSettings, runSummary } = await import("./runSummary.ts");
  const runs = await Promise.all(paths.map(runSummary));
  const differing = differingSettings(runs);
  if (file !== null) {
    const head = [...columns.map(({ title }) => title), ...differing.map(({ name }) => name)];
    const rows = runs.map((one, i) => [...columns.map(({ value }) => value(one)), ...differing.map(({ values }) => values[i])]);
    makeFolder(dirname(file));
    writeFileSync(file, `${[head, ...rows].map((row) => row.map((cell) => csvCell(plain(cell))).join(",")).join("\n")}\n`);
  }
  if (flags.json) {
    process.stdout.write(`${JSON.stringify({ runs, differing }, null, 1)}\n`);
    return;
  }
  const table = aligned([columns.map(({ title }) => title), ...runs.map((one) => columns.map(({ value }) => words(value(one))))]);
  const settings =
    differing.length === 0
      ? ["all settings are alike"]
      : ["settings that differ", ...aligned([["", ...runs.map((one) => one.run)], ...differing.map(({ name, values }) => [name, ...values.map(plain)])])];
  process.stdout.write(`${[...table, "", ...settings].join("\n")}\n`);
}

const columns: readonly { readonly title: string; readonly value: (run: RunSummary) => string | number | null }[] = [
  { title: "run", value: ({ run: name }) => name },
  { title: "method", value: ({ method }) => method },
  { title: "state", value: ({ state }) => state },
  { title: "sites", value: ({ sites }) => sites },
  { title: "trainable parameters", value: ({ parameters }) => parameters },
  { title: "held-out loss, final", value: ({ finalLoss }) => finalLoss },
  { title: "best", value: ({ bestLoss }) => bestLoss },
  { title: "held-out accuracy, final", value: ({ finalAccuracy }) => finalAccuracy },
  { title: "best accuracy", value: ({ bestAccuracy }) => bestAccuracy },
  { title: "mean effective rank", value: ({ effectiveRank }) => effectiveRank },
  { title: "steps", value: ({ steps }) => steps },
  { title: "seconds", value: ({ seconds }) => seconds },
  { title: "tokens/s", value: ({ tokensPerSecond }) => tokensPerSecond },
];

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = at(rows, 0).map((_, column) => Math.max(...rows.map((row) => at(row, column).length)));
  const isNumber = at(rows, 0).map((_, column) => rows.slice(1).every((row) => /^[\d.,e+–-]*$/.test(at(row, column))));
  return rows.map((row) =>
    row
      .map((cell, column) => (isNumber[column] ? cell.padStart(at(widths, column)) : cell.padEnd(at(widths, column))))
      .join("  ")
      .trimEnd(),
  );
}

function words(value: string | number | null): string {
  if (typeof value !== "number") return value ?? "–";
  return Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(4)));
}

function plain(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}
