/** `deltascope methods [NAME]`: what can be trained, where each method comes from, and its options. */
import { Command } from "commander";
import type { TrainingMethodCard } from "../wire.ts";
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import { parameterLines } from "./schemaWords.ts";

export function methodsCommand(): Command {
  return new Command("methods")
    .description("list the methods that can be trained, or describe one")
    .argument("[name]", "a method")
    .option("--json", "as JSON")
    .addHelpText(
      "after",
      `
Examples:
  deltascope methods
  deltascope methods l1ra`,
    )
    .action(async (name: string | undefined, { json }: { json?: boolean }) => {
      const { methodCards } = await import("../routes/methodCards.ts");
      const all = methodCards();
      const cards = all.filter((card) => name === undefined || card.name === name);
      if (cards.length === 0)
        throw new WorkbenchError(
          "training.unknownMethod",
          `no method is called "${name}"; ${didYouMean(
            name ?? "",
            all.map((card) => card.name),
          )}`,
        );
      const text = json ? JSON.stringify(cards, null, 1) : cards.map(name === undefined ? oneLine : described).join("\n");
      process.stdout.write(`${text}\n`);
    });
}

function oneLine({ name, summary, isReconstructed }: TrainingMethodCard): string {
  return `${name.padEnd(10)} ${summary}${isReconstructed ? " (reconstructed)" : ""}`;
}

function described({ name, title, summary, source, exactness, options }: TrainingMethodCard): string {
  const lines = parameterLines(options);
  return [
    `${name}: ${title}`,
    summary,
    `Source: ${source}`,
    `Exactness: ${exactness}`,
    lines.length === 0 ? "Options: none" : `Options ("options" of the configuration):`,
    ...lines,
  ].join("\n");
}
