/** `deltascope activations`: named activations of a prompt, as one safetensors file. */
import { dirname } from "node:path";
import { Command } from "commander";
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import { writeSafetensors } from "../formats/safetensors.ts";
import type { Subject } from "../runs/subject.ts";
import { subjectWarnings } from "../runs/subjectRequest.ts";
import { makeFolder, outFile } from "./outPath.ts";
import { sayWarnings } from "./sayWarnings.ts";
import { interruptSignal } from "./interrupt.ts";
import { adapterOption, engineChoice, engineOption, modelOption, subjectFromFlags, threadsOption, type EngineFlags, type SubjectFlags } from "./options.ts";

interface Flags extends SubjectFlags, EngineFlags {
  readonly tokens?: string;
  readonly text?: string;
  readonly hooks: string;
  readonly out: string;
}
const tokenRows = z.array(z.array(z.number().int().min(0)).min(1)).min(1);

export function activationsCommand(): Command {
  return new Command("activations")
    .description("write activations under their hook names, and logits, to a safetensors file")
    .addOption(modelOption().makeOptionMandatory())
    .addOption(adapterOption())
    .option("--tokens <json>", "rows of token ids, all of one length: [[464,3290],[464,3797]]")
    .option("--text <prompt>", "a prompt, for the model's own tokenizer")
    .requiredOption("--hooks <names>", "hook names, with commas between")
    .requiredOption("-o, --out <file>", "the .safetensors file to write; its folder is made when it is not there")
    .addOption(engineOption())
    .addOption(threadsOption())
    .addHelpText(
      "after",
      `
Examples:
  deltascope activations --model ./gpt2 --text "The cat" --hooks blocks.0.hook_resid_post,blocks.0.attn.hook_pattern --out cat.safetensors
  deltascope activations --model ./gpt2 --adapter ./my-lora --tokens '[[464,3797]]' --hooks blocks.3.hook_resid_pre --out cat.safetensors`,
    )
    .action(run);
}

async function run(flags: Flags): Promise<void> {
  if ((flags.tokens === undefined) === (flags.text === undefined)) throw new WorkbenchError("usage.badFlag", "give either --tokens or --text");
  const given = flags.tokens === undefined ? null : tokensFlag(flags.tokens);
  const hooks = flags.hooks
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  const file = outFile(flags.out);
  const signal = interruptSignal();
  const [{ activations }, { openSubject }] = await Promise.all([import("../runs/activations.ts"), import("../runs/subject.ts")]);
  const subject = await openSubject(subjectFromFlags(flags), engineChoice(flags));
  sayWarnings(subjectWarnings(subject.card));
  const found = await activations(subject, { tokens: given ?? textRows(subject, flags.text ?? ""), hooks, signal });
  makeFolder(dirname(file));
  writeSafetensors(
    file,
    Object.entries(found).map(([name, { shape, data }]) => ({ name, shape, data })),
  );
  for (const [name, { shape }] of Object.entries(found)) process.stdout.write(`${name} [${shape.join(", ")}]\n`);
  process.stdout.write(`${file}\n`);
}

function textRows(subject: Subject, text: string): number[][] {
  return [subject.encode(text).ids];
}

function tokensFlag(text: string): number[][] {
  try {
    return tokenRows.parse(JSON.parse(text));
  } catch (cause) {
    throw new WorkbenchError("usage.badFlag", `--tokens is ${text.slice(0, 60)}; expected rows of token ids, such as [[464,3290]]`, { cause });
  }
}
