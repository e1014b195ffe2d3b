/** `deltascope probes [NAME]`: the table of probes, or one probe's parameters. */
import { Command } from "commander";
import { probeNamed } from "../jobs/runProbe.ts";
import { probeCards } from "../routes/probeCards.ts";
import type { ProbeCard } from "../wire.ts";
import { parameterLines } from "./schemaWords.ts";

export function probesCommand(): Command {
  return new Command("probes")
    .description("list the probes, or describe one probe's parameters")
    .argument("[name]", "a probe")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      `
Examples:
  deltascope probes
  deltascope probes activationPatching`,
    )
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
    ...parameterLines(card.params),
  ];
  return lines.join("\n");
}
