/** Fetching and building the engines that are too large for npm packages, from npm and PyPI alone, and looking whether they really are there. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { WorkbenchError } from "../../errors.ts";
import { cudaLibraries, engineFolder, type SetupName } from "../engineFolder.ts";

const versions = { tensorflow: "2.21.0", tfjsNode: "4.22.0", headers: "1.9.0" };
const cudaPackages = ["nvidia-cuda-nvrtc~=13.0", "nvidia-cuda-runtime~=13.0", "nvidia-cufft~=12.0", "nvidia-curand~=10.0", "nvidia-cudnn-cu13~=9.0"];
/** The newest ABI of the wheel does not matter: no Python runs it. */
const anyLinux = ["--python-version", "3.12", "--implementation", "cp", "--abi", "cp312"].concat(
  ["_2_28", "_2_27", "_2_17", "2014", "_2_12", "2010", "_2_5", "1"].flatMap((tag) => ["--platform", `manylinux${tag}_x86_64`]),
);

export type Say = (line: string) => void;

/** @throws "engine.unavailable" where there is none for this system, a step fails, or what was to be installed is not there */
export function setUp(name: SetupName, say: Say): void {
  checkSystem(name, process.platform, process.arch);
  if (name === "cuda") setUpCuda(say);
  else setUpTfjsNode(name, say);
}

/** @throws "engine.unavailable" */
export function checkSystem(name: SetupName, platform: string, arch: string): void {
  if (platform === "linux" && arch === "x64") return;
  throw failure(name, `it is for Linux x64 only, and this is ${platform} ${arch}; the engines onnx-cpu, onnx-webgpu and wasm need no set-up`);
}

/** @throws "engine.unavailable" naming the first file that is not there */
export function checkInstalled(name: SetupName, files: readonly string[]): void {
  const missing = files.find((file) => !existsSync(file));
  if (missing !== undefined) throw failure(name, `every step ended without an error, but ${missing} is not there`);
}

function setUpCuda(say: Say): void {
  const folder = engineFolder("cuda");
  mkdirSync(folder, { recursive: true });
  const packageFile = createRequire(import.meta.url).resolve("onnxruntime-node/package.json");
  const { version } = JSON.parse(readFileSync(packageFile, "utf8")) as { version: string };
  const target = join(dirname(packageFile), "bin", "napi-v6", "linux", "x64");
  const files = ["cuda", "shared"].map((part) => `libonnxruntime_providers_${part}.so`);
  say(`ONNX Runtime ${version}'s CUDA 13 provider (250 MB) goes to ${target}`);
  const wheel = download("cuda", folder, `onnxruntime-gpu==${version}`, "onnxruntime_gpu-");
  step("cuda", "unzip", ["-q", "-o", "-j", wheel, ...files.map((file) => `onnxruntime/capi/${file}`), "-d", target]);
  rmSync(wheel);
  say(`CUDA 13 and cuDNN 9 (1.3 GB) go to ${folder}`);
  step("cuda", "python3", [
    "-m",
    "pip",
    "install",
    "-q",
    "--no-warn-conflicts",
    "--only-binary=:all:",
    ...anyLinux,
    "--target",
    folder,
    "--upgrade",
    ...cudaPackages,
  ]);
  checkInstalled(
    "cuda",
    files.map((file) => join(target, file)),
  );
  if (cudaLibraries().length === 0) throw failure("cuda", `every step ended without an error, but ${folder} holds no CUDA library`);
}

function setUpTfjsNode(name: "tfjs-node" | "tfjs-node-gpu", say: Say): void {
  const folder = engineFolder(name);
  mkdirSync(folder, { recursive: true });
  const tensorflow = join(folder, "tensorflow");
  const library = join(tensorflow, "libtensorflow_cc.so.2");
  if (!existsSync(library)) {
    const isGpu = name === "tfjs-node-gpu";
    say(`libtensorflow ${versions.tensorflow} (${isGpu ? "3.4 GB with CUDA 12 and cuDNN 9" : "274 MB"}) goes to ${folder}`);
    const wheel = download(name, folder, `tensorflow${isGpu ? "" : "-cpu"}==${versions.tensorflow}`, isGpu ? "tensorflow-" : "tensorflow_cpu-");
    step(name, "unzip", ["-q", "-o", wheel, "tensorflow/include/*", "tensorflow/libtensorflow_*", "-d", folder]);
    if (isGpu) {
      const needs = cudaNeeds(step(name, "unzip", ["-p", wheel, "*/METADATA"]));
      step(name, "python3", ["-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:", ...anyLinux, "--target", folder, "--upgrade", ...needs]);
    }
    rmSync(wheel);
  }
  say(`@tensorflow/${name} ${versions.tfjsNode} is built on it`);
  writeFileSync(join(folder, "package.json"), "{}\n");
  const wanted = [`@tensorflow/${name}@${versions.tfjsNode}`, `node-api-headers@${versions.headers}`];
  step(name, "npm", ["install", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund", ...wanted]);
  const own = join(folder, "node_modules", "@tensorflow", name);
  const sources = ["tfjs_backend.cc", "tfjs_binding.cc"].map((file) => join(own, "binding", file));
  checkInstalled(name, [...sources, library]);
  const addon = join(own, "lib", "napi-v8", "tfjs_binding.node");
  mkdirSync(dirname(addon), { recursive: true });
  const includes = [join(folder, "node_modules", "node-api-headers", "include"), join(tensorflow, "include")].flatMap((path) => ["-I", path]);
  const libraries = ["-L", tensorflow, "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", `-Wl,-rpath,${tensorflow}`];
  step(name, "g++", ["-O2", "-fPIC", "-shared", "-std=c++17", "-DNAPI_VERSION=8", ...includes, ...sources, "-o", addon, ...libraries]);
  checkInstalled(name, [addon]);
}

/** What a wheel's METADATA names for its extra "and-cuda". */
export function cudaNeeds(metadata: string): string[] {
  return [...metadata.matchAll(/^Requires-Dist: (nvidia-[^;]*); extra == ["']and-cuda["']/gm)].map(([, need = ""]) => need.trim());
}

function download(name: SetupName, folder: string, requirement: string, prefix: string): string {
  step(name, "python3", ["-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", ...anyLinux, "-d", folder, requirement]);
  const wheel = readdirSync(folder).find((file) => file.startsWith(prefix) && file.endsWith(".whl"));
  if (wheel === undefined) throw failure(name, `pip download ${requirement} ended without an error, but ${folder} holds no such wheel`);
  return join(folder, wheel);
}

/** @returns what it wrote @throws "engine.unavailable" with its last words */
function step(name: SetupName, command: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: "utf8", maxBuffer: 2 ** 26 });
  if (error) throw failure(name, `${command} did not start: ${error.message}`);
  if (status !== 0) throw failure(name, `${command} ${args.slice(0, 4).join(" ")} … ended with ${status}: ${stderr.trim().split("\n").slice(-3).join(" ")}`);
  return stdout;
}

function failure(name: SetupName, reason: string): WorkbenchError {
  return new WorkbenchError("engine.unavailable", `setup ${name}: ${reason}`);
}
