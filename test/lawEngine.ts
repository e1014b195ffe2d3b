/** The engine that the laws are tried on: onnx-cpu, or the one that DELTASCOPE_LAW_ENGINE names (`npm run test:tfjs-node` does). */
import { parseEngineName } from "../server/tensors/providers.ts";

export const lawEngine = parseEngineName(process.env["DELTASCOPE_LAW_ENGINE"] ?? "onnx-cpu");
