// Fetches ONNX Runtime's CUDA provider, which is too large for its npm package, with that package's own installer.
// Nothing else is installed. It needs Linux x64 or Windows x64, an NVIDIA driver, CUDA 12 and cuDNN 9.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

if (process.arch !== "x64" || !["linux", "win32"].includes(process.platform)) {
  console.error(`setup:cuda: there is no CUDA provider for ${process.platform} ${process.arch}; use the WebGPU or CPU engine.`);
  process.exit(1);
}
const require = createRequire(import.meta.url);
const folder = dirname(require.resolve("onnxruntime-node/package.json"));
console.log(`setup:cuda: fetching ONNX Runtime's CUDA 12 provider (a few hundred MB) into ${folder}`);
const { status } = spawnSync(process.execPath, [join(folder, "script", "install.js"), "--onnxruntime-node-install=cuda12"], { cwd: folder, stdio: "inherit" });
console.log(
  status === 0
    ? "setup:cuda: done; `npx deltascope doctor` tells whether it loads here."
    : "setup:cuda: it failed; the words above say why. Everything else still works.",
);
process.exit(status ?? 1);
