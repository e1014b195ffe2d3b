/** `deltascope doctor`: which engines work on this machine, which one is used, and with --bench how fast all of it is. */
import { Command } from "commander";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { workerNodeFlags } from "../jobs/workerProcess.ts";
import { engineOption, modelOption, threadsOption } from "./options.ts";

interface Flags {
  readonly json?: true;
  readonly bench?: true;
  readonly model?: string;
  readonly engine?: string;
  readonly threads?: number;
}

export function doctorCommand(): Command {
  return new Command("doctor")
    .description("engines, what was chosen and why, threads, memory, versions; with --bench the machine's limits and what is reached of them")
    .option("--json", "as JSON")
    .option("--bench", "measure products, memory, a forward, a sweep and a training step, in about a minute")
    .addOption(modelOption())
    .addOption(engineOption())
    .addOption(threadsOption())
    .addHelpText(
      "after",
      `
Examples:
  deltascope doctor
  deltascope doctor --json
  deltascope doctor --bench --model ./gpt2`,
    )
    .action(async ({ json, bench, model, engine, threads }: Flags) => {
      const print = (report: object, text: string) => process.stdout.write(`${json ? JSON.stringify(report, null, 1) : text}\n`);
      if (bench) {
        if (!workerNodeFlags.every((flag) => process.execArgv.includes(flag))) {
          process.exitCode = await withWorkerFlags();
          return;
        }
        const { limitsReport, formatLimits } = await import("../limits/limits.ts");
        const report = await limitsReport(model ?? null, threads, (what) => process.stderr.write(`${what} …\n`));
        print(report, formatLimits(report));
        return;
      }
      const { doctorReport, formatDoctor } = await import("../tensors/doctor.ts");
      const report = await doctorReport(engine);
      print(report, formatDoctor(report));
    });
}

/** The same command in a process that is set up as a worker is, as it is a worker's work that is measured. @returns its exit code */
async function withWorkerFlags(): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, ...workerNodeFlags, ...process.argv.slice(1)], { stdio: "inherit" });
  const exit: readonly unknown[] = await once(child, "exit");
  return typeof exit[0] === "number" ? exit[0] : 1;
}
