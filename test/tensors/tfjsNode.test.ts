/** The same conformance on libtensorflow. Needs `deltascope setup tfjs-node`: run through `npm run test:tfjs-node`. */
import { expect, it } from "vitest";
import { createEngine, parseEngineName } from "../../server/tensors/providers.ts";
import { conformanceSuite } from "./conformance.ts";

/** Engines beyond those that are always here, by name, with commas between. */
const asked = (process.env["DELTASCOPE_ENGINES"] ?? "").split(",").filter(Boolean).map(parseEngineName);

for (const name of asked) conformanceSuite(name, () => createEngine(name));

it.skipIf(asked.length > 0)("engines that must be built are tested only where DELTASCOPE_ENGINES names them", () => {
  expect(asked).toEqual([]);
});
