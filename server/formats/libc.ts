/** The calls of the C library that mapping files needs, through koffi; absent where koffi or the system has none. */
import { createRequire } from "node:module";
import type * as Koffi from "koffi";

export interface SystemCalls {
  /** @returns -1n, MAP_FAILED, when the system refuses */
  mmap(length: number, protection: number, flags: number, fd: number, offset: number): bigint;
  mprotect(address: bigint, length: number, protection: number): number;
  munmap(address: bigint, length: number): number;
  madvise(address: bigint, length: number, advice: number): number;
  /** @param action a `struct sigaction` of the system, as bytes */
  sigaction(signal: number, action: Uint8Array): number;
  view(address: bigint, length: number): ArrayBuffer;
}

/** A mapping starts on a page; this is a multiple of every page size in use (4, 16, 64 KiB). */
export const pageBytes = 2 ** 16;
export const protection = { read: 1, write: 2, execute: 4 } as const;

let loaded: SystemCalls | null | undefined;

export function systemCalls(): SystemCalls | undefined {
  if (loaded === undefined) loaded = load() ?? null;
  return loaded ?? undefined;
}

function load(): SystemCalls | undefined {
  if (process.platform !== "linux" && process.platform !== "darwin") return undefined;
  try {
    // Loaded on first use: a system for which koffi has no binary still reads files.
    const koffi = createRequire(import.meta.url)("koffi") as typeof Koffi;
    const libc = koffi.load(null); // the running program, which has libc in it
    const mmap = libc.func("void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)");
    const mprotect = libc.func("int mprotect(void *address, size_t length, int protection)");
    const munmap = libc.func("int munmap(void *address, size_t length)");
    const madvise = libc.func("int madvise(void *address, size_t length, int advice)");
    const sigaction = libc.func("int sigaction(int signal, const uint8_t *action, void *before)");
    return {
      mmap: (...args) => BigInt.asIntN(64, koffi.address(mmap(null, ...args))),
      mprotect: (...args) => Number(mprotect(...args)),
      munmap: (...args) => Number(munmap(...args)),
      madvise: (...args) => Number(madvise(...args)),
      sigaction: (signal, action) => Number(sigaction(signal, action, null)),
      view: (address, length) => koffi.view(address, length),
    };
  } catch {
    return undefined;
  }
}
