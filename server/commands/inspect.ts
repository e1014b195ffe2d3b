/** `deltascope inspect`: what an adapter is, from its weights alone (and its effect on the base when there is one). */
import { Command } from "commander";
import { applyEvent, emptyResult, type ProbeResult, type TableFigure } from "../../probes/result.ts";
import { WorkbenchError } from "../errors.ts";
import { runProbe, type ProbeTable } from "../jobs/runProbe.ts";
import type { SubjectCard } from "../wire.ts";
import { interruptSignal } from "./interrupt.ts";
import { adapterOption, engineChoice, engineOption, modelOption, subjectFromFlags, threadsOption, type EngineFlags, type SubjectFlags } from "./options.ts";
import { at } from "../at.ts";

interface Flags extends SubjectFlags, EngineFlags {
  readonly json?: boolean;
}
const inspected: readonly string[] = ["adapterHealth", "deltaSpectrum"];

export function inspectCommand(): Command {
  return new Command("inspect")
    .description("method, rank, scaling, norms and spectra of an adapter, and what was not loaded")
    .addOption(adapterOption())
    .addOption(modelOption())
    .option("--json", "as JSON")
    .addOption(engineOption())
    .addOption(threadsOption())
    .addHelpText(
      "after",
      `
Examples:
  deltascope inspect --adapter ./my-lora
  deltascope inspect --adapter ./my-lora --model ./gpt2 --json`,
    )
    .action(run);
}

async function run(flags: Flags): Promise<void> {
  if (flags.adapter.length === 0) throw new WorkbenchError("usage.badFlag", "inspect needs --adapter FOLDER");
  const signal = interruptSignal();
  const [{ probes }, { openSubject }] = await Promise.all([import("../../probes/registry.ts"), import("../runs/subject.ts")]);
  const subject = await openSubject(subjectFromFlags(flags), engineChoice(flags));
  const table: ProbeTable = probes;
  const results: Record<string, ProbeResult> = {};
  for (const name of inspected) {
    const probe = table[name];
    if (!probe) continue;
    let result = emptyResult;
    await runProbe(probe, subject, {}, signal, (event) => {
      result = applyEvent(result, event);
    });
    results[name] = result;
  }
  process.stdout.write(flags.json ? `${JSON.stringify({ card: subject.card, probes: results }, plainNumbers, 1)}\n` : inWords(subject.card, results));
}

/** Typed arrays as lists, so that JSON readers see numbers. */
function plainNumbers(_key: string, value: unknown): unknown {
  return value instanceof Float32Array ? [...value] : value;
}

function inWords({ model, adapters }: SubjectCard, results: Record<string, ProbeResult>): string {
  const lines: string[] = [];
  if (model)
    lines.push(`model    ${model.name}: ${model.family}, ${model.nLayers} layers, ${model.parameters.toLocaleString("en")} parameters, ${model.dtype}`);
  for (const adapter of adapters) {
    lines.push(
      `adapter  ${adapter.name}: ${adapter.method}, rank ${adapter.rank}, ${adapter.scaling}, ${adapter.sites} sites, ` +
        `${adapter.parameters.toLocaleString("en")} parameters`,
    );
    for (const warning of adapter.warnings) lines.push(`  warning: ${warning}`);
  }
  for (const { finding, figures, checks } of Object.values(results)) {
    lines.push("");
    if (finding !== null) lines.push(finding);
    for (const figure of figures) if (figure.kind === "table") lines.push(tableText(figure));
    for (const check of checks) if (!check.ok) lines.push(`FAILED ${check.name}: ${check.value} (expected ${check.expected})`);
  }
  return `${lines.join("\n")}\n`;
}

function tableText({ title, columns, rows }: TableFigure): string {
  const head = columns.map(({ label, unit }) => (unit === undefined ? label : `${label} (${unit})`));
  const body = rows.map(({ cells }) => columns.map(({ id }) => cellText(cells[id])));
  const widths = head.map((label, column) => Math.max(label.length, ...body.map((row) => at(row, column).length)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => (at(columns, column).numeric ? cell.padStart(at(widths, column)) : cell.padEnd(at(widths, column))))
      .join("  ")
      .trimEnd();
  return [title, line(head), ...body.map((row, index) => line(row) + (at(rows, index).warning === undefined ? "" : `  ${at(rows, index).warning}`))].join("\n");
}

function cellText(value: string | number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" ? String(Number(value.toPrecision(4))) : value;
}
