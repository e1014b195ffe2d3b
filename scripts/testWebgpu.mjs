// Runs the WebGPU conformance suite, on a real GPU where there is one, or else on Chromium's software Vulkan driver.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";

const softwareDriver = { icd: "/usr/lib/chromium/vk_swiftshader_icd.json", libraries: "/usr/lib/chromium" };
const hasDevice =
  process.platform !== "linux" || existsSync("/dev/nvidia0") || (existsSync("/dev/dri") && readdirSync("/dev/dri").some((name) => name.startsWith("renderD")));

const env = { ...process.env, DELTASCOPE_WEBGPU: "1" };
if (!hasDevice && !env.VK_ICD_FILENAMES && !env.VK_DRIVER_FILES) {
  if (!existsSync(softwareDriver.icd)) {
    process.stdout.write(`test:webgpu skipped: no GPU device, and no software driver at ${softwareDriver.icd} (install Chromium, or set VK_ICD_FILENAMES)\n`);
    process.exit(0);
  }
  env.VK_ICD_FILENAMES = softwareDriver.icd;
  // Chromium keeps the Vulkan loader beside the driver, where the system's loader does not look.
  env.LD_LIBRARY_PATH = [softwareDriver.libraries, env.LD_LIBRARY_PATH].filter(Boolean).join(":");
  process.stdout.write("test:webgpu: no GPU device; using Chromium's software Vulkan driver\n");
}
const { status } = spawnSync("npx", ["vitest", "run", "test/tensors/webgpu.test.ts"], { env, stdio: "inherit" });
process.exit(status ?? 1);
