/** `deltascope [MODEL]` and `deltascope serve`: the workbench in a browser, on this machine. */
import { Command } from "commander";
import { adapterOption, collect, engineChoice, engineOption, portNumber, threadsOption } from "./options.ts";
import type { ServeFlags } from "./serveFlags.ts";

/** The flags of serving, on the program itself and on `serve`. */
export function withServeFlags(command: Command): Command {
  return command
    .argument("[model]", "base model folder; the demo when left out")
    .addOption(adapterOption())
    .option("--port <n>", "port; 7860 or the next free one when left out, 0 for any", portNumber)
    .option("--host <address>", "address to listen on; any other than this machine's own needs a token", "127.0.0.1")
    .option("--no-open", "do not open the browser")
    .option("--root <folder>", "folder that models may be opened from; repeatable; this folder and your home when left out", collect, [])
    .option("--logdir <folder>", "where runs are kept", ".deltascope")
    .option("--token <secret>", "ask every visitor for this token")
    .option("--allow-host <name>", "further name by which this machine may be called; repeatable", collect, [])
    .addOption(engineOption())
    .addOption(threadsOption())
    .action(async (model: string | undefined, flags: ServeFlags) => {
      // Both load here, so that --help waits for neither, and at the same time.
      const { startWorker, workerModule } = await import("../jobs/workerProcess.ts");
      const ahead = startWorker(workerModule, engineChoice(flags));
      try {
        const { startServing } = await import("./startServing.ts");
        await startServing(model, flags, ahead);
      } catch (error) {
        ahead.kill();
        throw error;
      }
    });
}

export function serveCommand(): Command {
  return withServeFlags(new Command("serve"))
    .description("serve the workbench and open it in the browser")
    .addHelpText(
      "after",
      `
Examples:
  deltascope serve ./gpt2 --adapter ./my-lora
  deltascope serve ./gpt2 --adapter step100=./run/checkpoint-100 --adapter step900=./run/checkpoint-900 --no-open`,
    );
}
