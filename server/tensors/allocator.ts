/**
 * Asks the C library to keep what ONNX Runtime frees. Programs that return their memory after each run (training's, which has one
 * for every length of a batch) would otherwise fault every page in anew: a tenth of a second a step at GPT-2-small's size.
 */
import { createRequire } from "node:module";
import type * as Koffi from "koffi";

/** Parameters of glibc's mallopt, from malloc.h. */
const trimThreshold = -1;
const mmapThreshold = -3;
/** The largest that glibc takes; blocks above it are mapped and unmapped as before. */
const largestHeapBlock = 32 * 2 ** 20;

let isAsked = false;

/** Once a process; without glibc or koffi memory is handled as the system does it. */
export function keepFreedMemory(): void {
  if (isAsked || process.platform !== "linux") return;
  isAsked = true;
  try {
    const koffi = createRequire(import.meta.url)("koffi") as typeof Koffi;
    const mallopt = koffi.load("libc.so.6").func("int mallopt(int parameter, int value)") as (parameter: number, value: number) => number;
    mallopt(mmapThreshold, largestHeapBlock);
    mallopt(trimThreshold, 2 ** 31 - 1);
  } catch {
    // Another C library: nothing depends on it but speed.
  }
}
