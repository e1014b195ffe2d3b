/** `deltascope setup`: engines that are too large for npm packages. */
import { Argument, Command } from "commander";
import { setupNames, type SetupName } from "../tensors/engineFolder.ts";

export function setupCommand(): Command {
  return new Command("setup")
    .description("fetch and build an engine that is too large for an npm package, from npm and PyPI (Linux x64; needs python3 with pip, unzip, g++)")
    .addArgument(new Argument("<engine>", "what to set up").choices(setupNames))
    .addHelpText(
      "after",
      `
cuda           ONNX Runtime on an NVIDIA GPU (engine onnx-cuda); needs a driver for CUDA 13
tfjs-node-gpu  TensorFlow.js on an NVIDIA GPU, with CUDA 12
tfjs-node      TensorFlow.js on libtensorflow, CPU

Examples:
  deltascope setup cuda
  deltascope doctor`,
    )
    .action(async (name: SetupName) => {
      const { setUp } = await import("../tensors/setup/setup.ts");
      const { createEngine } = await import("../tensors/providers.ts");
      const { forgetSpeeds } = await import("../tensors/speedFile.ts");
      setUp(name, (line) => process.stdout.write(`setup ${name}: ${line}\n`));
      forgetSpeeds();
      if (name === "cuda") {
        const { probeGpu } = await import("../tensors/gpuProbe.ts");
        const { works, detail } = await probeGpu("cuda");
        process.stdout.write(`setup cuda: installed; ${works ? "it works here" : "it does not work here yet"}: ${detail}\n`);
        return;
      }
      await (await createEngine(name)).dispose();
      process.stdout.write(`setup ${name}: installed, and it loads; it is used where it measures fastest, or with --engine ${name}\n`);
    });
}
