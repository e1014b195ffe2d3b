#!/usr/bin/env node
// Runs the built command line when there is one, else the sources through tsx.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

// ONNX Runtime would call home; nothing leaves this machine.
process.env["ORT_DISABLE_TELEMETRY"] = "1";

const built = new URL("../dist/server/main.js", import.meta.url);
const isBuilt = existsSync(fileURLToPath(built)) && process.env["DELTASCOPE_SOURCE"] === undefined;
if (!isBuilt) {
  const { register } = await import("tsx/esm/api");
  register();
}
await import(isBuilt ? built.href : new URL("../server/main.ts", import.meta.url).href);
