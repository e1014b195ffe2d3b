// Builds tfjs-node where it is not yet (274 MB from PyPI, into the user's cache) and runs the conformance suite on it.
import { spawnSync } from "node:child_process";

const run = (command, args, env = process.env) => {
  const { status } = spawnSync(command, args, { env, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
};
run(process.execPath, ["bin/deltascope.js", "setup", "tfjs-node"], { ...process.env, DELTASCOPE_SOURCE: "1" });
run("npx", ["vitest", "run", "test/tensors/tfjsNode.test.ts"], { ...process.env, DELTASCOPE_ENGINES: "tfjs-node" });
