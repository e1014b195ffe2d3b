/** The self-check of probes that look inside: every hook they asked for gave its values in every run. Where one did not, the cells that need it stay empty. */
import type { FloatTensor } from "../server/tensors/hostTensor.ts";
import type { ProbeEvent } from "./result.ts";

type Taps = Readonly<Record<string, FloatTensor>>;

export const firedHooks = (hooks: readonly string[], ...runs: readonly Taps[]): string[] =>
  hooks.filter((hook) => runs.every((taps) => Object.hasOwn(taps, hook)));

export function everyHookFired(hooks: readonly string[], ...runs: readonly Taps[]): ProbeEvent {
  const fired = firedHooks(hooks, ...runs).length;
  return { type: "check", check: { name: "every hook fired", ok: fired === hooks.length, value: fired, expected: `${hooks.length} hooks` } };
}
