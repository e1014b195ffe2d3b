// Builds tfjs-node where it is not yet (274 MB from PyPI, into the user's cache) and runs the conformance suite and the laws on it.
import { spawnSync } from "node:child_process";

const run = (command, args, env = process.env) => {
  const { status } = spawnSync(command, args, { env, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
};
run(process.execPath, ["bin/deltascope.js", "setup", "tfjs-node"], { ...process.env, DELTASCOPE_SOURCE: "1" });
run("npx", ["vitest", "run", "test/tensors/tfjsNode.test.ts"], { ...process.env, DELTASCOPE_ENGINES: "tfjs-node" });
// One operation at a time, small models take several times as long as compiled ones.
run("npx", ["vitest", "run", "--testTimeout", "600000", "test/laws", "test/probes"], { ...process.env, DELTASCOPE_LAW_ENGINE: "tfjs-node" });
