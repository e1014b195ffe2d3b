/** `deltascope probes [NAME]`: the table of probes, or one probe's parameters. */
import { Command } from "commander";
import { probeNamed } from "../jobs/runProbe.ts";
import { probeCards } from "../routes/probeCards.ts";
import type { ProbeCard } from "../wire.ts";

export function probesCommand(): Command {
  return new Command("probes")
    .description("list the probes, or describe one probe's parameters")
    .argument("[name]", "a probe")
    .option("--json", "as JSON")
    .addHelpText("after", `
Examples:
  deltascope probes
  deltascope probes activationPatching`)
    .action(async (name: string | undefined, { json }: { json?: boolean }) => {
      const { probes } = await import("../../probes/registry.ts");
      if (name !== undefined) probeNamed(probes, name);
      const cards = probeCards(probes).filter((card) => name === undefined || card.name === name);
      const text = json ? JSON.stringify(cards, null, 1) : cards.map(name === undefined ? oneLine : described).join("\n");
      process.stdout.write(`${text}\n`);
    });
}

function oneLine({ name, summary }: ProbeCard): string {
  return `${name.padEnd(20)} ${summary}`;
}

function described(card: ProbeCard): string {
  const { min, max } = card.adapters;
  const lines = [
    `${card.name}: ${card.title}`,
    card.summary,
    `Source: ${card.source}`,
    `Needs: ${card.needs === "weights" ? "weights only" : "a base model"}, ${min === max ? String(min) : `${min} to ${max}`} adapters`,
    "Parameters (--params, as JSON):",
  ];
  const { properties, required } = card.params;
  const needed: readonly unknown[] = Array.isArray(required) ? required : [];
  for (const [key, schema] of Object.entries(isRecord(properties) ? properties : {})) {
    const field = isRecord(schema) ? schema : {};
    const fallback = needed.includes(key) ? "required" : ("default" in field ? `default ${JSON.stringify(field["default"])}` : "optional");
    lines.push(`  ${key} (${typeWords(field)}, ${fallback})${typeof field["description"] === "string" ? `: ${field["description"]}` : ""}`);
  }
  return lines.join("\n");
}

function typeWords(field: Record<string, unknown>): string {
  if (Array.isArray(field["enum"])) return field["enum"].map((value) => JSON.stringify(value)).join(" | ");
  if (Array.isArray(field["anyOf"])) return field["anyOf"].map((option: unknown) => typeWords(isRecord(option) ? option : {})).join(" | ");
  if (field["type"] === "array") return `list of ${typeWords(isRecord(field["items"]) ? field["items"] : {})}`;
  return typeof field["type"] === "string" ? field["type"] : "any";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
