/** The command line: one command a file, and exit codes that mean something. */
import { Command, CommanderError } from "commander";
import { WorkbenchError } from "./errors.ts";
import { packageVersion } from "./packageFolder.ts";
import { activationsCommand } from "./commands/activations.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { exitCodes } from "./commands/exitCodes.ts";
import { exportCommand } from "./commands/export.ts";
import { inspectCommand } from "./commands/inspect.ts";
import { probeCommand } from "./commands/probe.ts";
import { probesCommand } from "./commands/probes.ts";
import { compareCommand } from "./commands/compare.ts";
import { methodsCommand } from "./commands/methods.ts";
import { serveCommand, withServeFlags } from "./commands/serve.ts";
import { setupCommand } from "./commands/setup.ts";
import { trainCommand } from "./commands/train.ts";

const commands = [
  serveCommand,
  inspectCommand,
  trainCommand,
  compareCommand,
  methodsCommand,
  probeCommand,
  probesCommand,
  activationsCommand,
  doctorCommand,
  exportCommand,
  setupCommand,
];

function createProgram(): Command {
  const program = withServeFlags(new Command("deltascope"))
    .description("Open a base model and its LoRA adapters, unmerged, and see what the adapters do.")
    .version(packageVersion, "-V, --version")
    // Flags after a command belong to that command: both the program and `serve` have --port.
    .enablePositionalOptions()
    .showHelpAfterError("(deltascope --help tells more)")
    .addHelpText(
      "after",
      `
Examples:
  deltascope                                   the demo
  deltascope ./gpt2 --adapter ./my-lora        your model and adapter
  deltascope inspect --adapter ./my-lora       an adapter, without its base
  deltascope probe NAME --help                 any analysis without a browser
  deltascope train --config run.json --out DIR an adapter of your own; compare RUN… puts runs side by side

Exit status: 0 done, 1 failed, 2 wrong usage, 130 cancelled.`,
    );
  for (const make of commands) program.addCommand(make());
  for (const command of [program, ...program.commands]) command.exitOverride();
  return program;
}

/** Codes of mistakes in the command itself. */
const usageErrors: ReadonlySet<string> = new Set(["usage.badFlag", "probe.unknown", "probe.badParams", "engine.unknown"]);

async function main(): Promise<number> {
  try {
    await createProgram().parseAsync();
    return exitCodes.ok;
  } catch (error) {
    // Commander has written its own words already; help and version end with 0.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    if (error instanceof WorkbenchError && error.code === "job.cancelled") {
      process.stderr.write(`${error.message}\n`);
      return exitCodes.cancelled;
    }
    const words =
      error instanceof Error
        ? error instanceof WorkbenchError
          ? `${error.message} (${error.code})`
          : isOfSystem(error)
            ? error.message
            : (error.stack ?? error.message)
        : String(error);
    process.stderr.write(`deltascope: ${words}\n`);
    return error instanceof WorkbenchError && usageErrors.has(error.code) ? exitCodes.usage : exitCodes.failed;
  }
}

/** A full disk, a folder that is not there, a file that may not be written: its words name the file, and no stack helps. */
function isOfSystem(error: Error): boolean {
  return "syscall" in error && "code" in error && typeof error.code === "string";
}

// Native engine threads may outlive the work; output to a pipe must be out before the process ends.
const code = await main();
await new Promise<void>((flushed) => process.stdout.write("", () => flushed()));
process.exit(code);
