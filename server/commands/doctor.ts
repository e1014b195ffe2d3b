/** `deltascope doctor`: which engines work on this machine, and which one is used. */
import { Command } from "commander";
import { engineOption } from "./options.ts";

export function doctorCommand(): Command {
  return new Command("doctor")
    .description("engines, what was chosen and why, threads, memory, versions")
    .option("--json", "as JSON")
    .addOption(engineOption())
    .addHelpText(
      "after",
      `
Examples:
  deltascope doctor
  deltascope doctor --json`,
    )
    .action(async ({ json, engine }: { json?: boolean; engine?: string }) => {
      const { doctorReport, formatDoctor } = await import("../tensors/doctor.ts");
      const report = await doctorReport(engine);
      process.stdout.write(`${json ? JSON.stringify(report, null, 1) : formatDoctor(report)}\n`);
    });
}
