/** Every engine that is always here computes every operation, and its gradient, like the float64 reference. */
import { createEngine } from "../../server/tensors/providers.ts";
import { conformanceSuite } from "./conformance.ts";

conformanceSuite("onnx-cpu", () => createEngine("onnx-cpu"));
conformanceSuite("wasm", () => createEngine("wasm"));
