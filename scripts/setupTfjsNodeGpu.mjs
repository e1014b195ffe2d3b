// Installs the optional peer @tensorflow/tfjs-node-gpu and runs that one package's install script, which fetches libtensorflow.
// package.json and the lock file stay as they are.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const { peerDependencies } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
const name = "@tensorflow/tfjs-node-gpu";
const steps = [
  ["install", "--no-save", "--ignore-scripts", `${name}@${peerDependencies[name]}`],
  ["rebuild", name, "--ignore-scripts=false"],
];
for (const step of steps) {
  console.log(`setup:tfjs-node-gpu: npm ${step.join(" ")}`);
  const { status } = spawnSync("npm", step, { cwd: root, stdio: "inherit", shell: process.platform === "win32" });
  if (status !== 0) {
    console.error("setup:tfjs-node-gpu: it failed; the words above say why. Everything else still works.");
    process.exit(status ?? 1);
  }
}
console.log("setup:tfjs-node-gpu: done; `npx deltascope doctor` tells whether it loads here.");
