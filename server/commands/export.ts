/** `deltascope export`: any adapter as the nearest LoRA, a folder that PEFT loads. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import type { ExportedSite } from "../adapters/exportLora.ts";
import type { SavedAdapter } from "../adapters/method.ts";
import { WorkbenchError } from "../errors.ts";
import { encodeSafetensors } from "../formats/safetensors.ts";
import { interruptSignal } from "./interrupt.ts";
import { engineChoice, engineOption, modelOption, positiveInteger, threadsOption, type EngineFlags } from "./options.ts";
import { makeFolder, outFolder } from "./outPath.ts";
import { progressLine } from "./progressLine.ts";

interface Flags extends EngineFlags {
  readonly adapter: string;
  readonly model?: string;
  readonly rank?: number;
  readonly out: string;
}

export function exportCommand(): Command {
  return new Command("export")
    .description("write any adapter as the nearest LoRA, which PEFT loads, and say what it leaves out")
    .requiredOption("-a, --adapter <folder>", "adapter folder", once)
    .addOption(modelOption())
    .option("-r, --rank <n>", "largest rank of a site; without it all directions of an update of low rank, and 16 of another", positiveInteger)
    .requiredOption("-o, --out <folder>", "folder to write to; not there yet, or empty")
    .addOption(engineOption())
    .addOption(threadsOption())
    .addHelpText(
      "after",
      `
The residual of a site is ‖ΔW − B·A‖ / ‖ΔW‖ (Frobenius); 0 means that nothing is left out. nearest_lora.json in the folder has them all.

Examples:
  deltascope export --adapter ./my-l1ra --out ./my-lora
  deltascope export --adapter ./my-dora --model ./gpt2 --rank 32 --out ./my-lora`,
    )
    .action(run);
}

function once(folder: string, before: string | undefined): string {
  if (before !== undefined) throw new InvalidArgumentError("expected one adapter");
  return folder;
}

async function run(flags: Flags): Promise<void> {
  const folder = outFolder(flags.out);
  if (existsSync(folder) && readdirSync(folder).length > 0)
    throw new WorkbenchError("usage.badFlag", `--out ${folder} holds files already; expected a folder that is empty or not there`);
  const [{ exportLora }, { exactResidual }, { loadAdapter }, { loadModel }, { sharedEngine }] = await Promise.all([
    import("../adapters/exportLora.ts"),
    import("../adapters/nearestLora.ts"),
    import("../adapters/loadAdapter.ts"),
    import("../models/loadModel.ts"),
    import("../runs/subject.ts"),
  ]);
  const signal = interruptSignal();
  const model = flags.model === undefined ? null : loadModel(resolve(flags.model));
  const adapter = loadAdapter(resolve(flags.adapter), undefined, model);
  const progress = progressLine("export");
  let exported: Awaited<ReturnType<typeof exportLora>>;
  try {
    exported = await exportLora(adapter, {
      model,
      rank: flags.rank ?? null,
      engine: () => sharedEngine(engineChoice(flags)),
      signal,
      onSite: (done, total) => progress.update(done, total, "sites"),
    });
  } finally {
    progress.stop();
  }
  writeFolder(folder, exported, { adapter: adapter.path, method: adapter.method.title, sites: exported.sites });
  process.stdout.write(report(exported.sites, exactResidual));
  for (const warning of adapter.warnings) process.stderr.write(`warning: ${warning}\n`);
  process.stdout.write(`${folder}\n`);
}

/** Under a temporary name first, so that the folder is there whole or not at all. */
function writeFolder(folder: string, { config, tensors }: SavedAdapter, about: { adapter: string; method: string; sites: readonly ExportedSite[] }): void {
  const temporary = `${folder}.tmp-${process.pid}`;
  makeFolder(dirname(folder));
  mkdirSync(temporary);
  try {
    writeFileSync(join(temporary, "adapter_config.json"), `${JSON.stringify(config, null, 2)}\n`);
    writeFileSync(
      join(temporary, "adapter_model.safetensors"),
      encodeSafetensors(
        [...tensors].map(([name, { shape, data }]) => ({ name, shape, data })),
        { format: "pt" },
      ),
    );
    const sites = about.sites.map(({ site, modulePath, rank, residual }) => ({ site, module: modulePath, rank, relativeResidual: residual }));
    writeFileSync(join(temporary, "nearest_lora.json"), `${JSON.stringify({ ...about, sites }, null, 1)}\n`);
    rmSync(folder, { recursive: true, force: true });
    renameSync(temporary, folder);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw error;
  }
}

function report(sites: readonly ExportedSite[], exactResidual: number): string {
  const width = Math.max(...sites.map(({ site }) => site.length));
  const words = (residual: number) => (residual <= exactResidual ? "exact" : `residual ${Number(residual.toPrecision(3))}`);
  const lines = sites.map(({ site, rank, residual }) => `${site.padEnd(width)}  rank ${String(rank).padStart(3)}  ${words(residual)}`);
  const rest = sites.filter(({ residual }) => residual > exactResidual);
  const worst = rest.toSorted((a, b) => b.residual - a.residual)[0];
  const summary = worst
    ? `${sites.length - rest.length} of ${sites.length} sites exact; ${worst.site} is furthest, ` +
      `${Number((100 * worst.residual).toPrecision(3))} % of ΔW left out`
    : `exact at all ${sites.length} sites`;
  return `${lines.join("\n")}\n${summary}\n`;
}
