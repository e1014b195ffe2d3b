/**
 * What a process says when a mapped file is cut short under it. The system ends it with SIGBUS at the first touch of a page that is gone,
 * in whatever thread, often inside an engine; no JavaScript runs any more. So the words lie ready in memory, and a signal handler of a few
 * instructions writes them to stderr, gives SIGBUS back to the system and returns: the touch is tried again and ends the process by SIGBUS,
 * so that a parent still sees the cause. Threads that touch at once may each say it.
 *
 * Only on Linux, x86-64 and ARM64, as nothing but machine code may run there; elsewhere the process ends without words.
 */
import { WorkbenchError } from "../errors.ts";
import { pageBytes, protection, systemCalls, type SystemCalls } from "./libc.ts";

const sigbus = 7;
/** The page of words, behind that of code: their length as u32, the 32 zeros of the kernel's `sigaction` for SIG_DFL, the words. */
const place = { length: pageBytes, defaultAction: pageBytes + 16, words: pageBytes + 64 } as const;
const maxWordBytes = pageBytes - 64;

/** Bytes of the handler, `write(2, words, length); rt_sigaction(SIGBUS, SIG_DFL, NULL, 8); return`, by `process.arch`. */
const handlers: Readonly<Record<string, () => Uint8Array>> = {
  x64() {
    const code = new Bytes();
    code.add(0x8b, 0x15).offset(place.length); // mov edx, [rip + length]
    code.add(0x48, 0x8d, 0x35).offset(place.words); // lea rsi, [rip + words]
    code.add(0xbf, 2, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x0f, 0x05); // mov edi, 2; mov eax, 1; syscall
    code.add(0x48, 0x8d, 0x35).offset(place.defaultAction); // lea rsi, [rip + defaultAction]
    code.add(0xbf, sigbus, 0, 0, 0, 0x31, 0xd2); // mov edi, SIGBUS; xor edx, edx
    code.add(0x41, 0xba, 8, 0, 0, 0); // mov r10d, 8
    code.add(0xb8, 13, 0, 0, 0, 0x0f, 0x05, 0xc3); // mov eax, 13; syscall; ret
    return code.all();
  },
  arm64() {
    const mov = (register: number, value: number) => 0xd2800000 + value * 2 ** 5 + register;
    // Both count in words of four bytes from the instruction itself; adr could also count single bytes.
    const adr = (register: number, from: number, to: number) => 0x10000000 + ((to - from) / 4) * 2 ** 5 + register;
    const load = (register: number, from: number, to: number) => 0x18000000 + ((to - from) / 4) * 2 ** 5 + register;
    const svc = 0xd4000001;
    const ret = 0xd65f03c0;
    return new Uint8Array(
      Uint32Array.from([
        load(2, 0, place.length), // ldr w2, length
        adr(1, 4, place.words), // adr x1, words
        ...[mov(0, 2), mov(8, 64), svc], // mov x0, #2; mov x8, #64; svc #0
        adr(1, 20, place.defaultAction), // adr x1, defaultAction
        ...[mov(0, sigbus), mov(2, 0), mov(3, 8), mov(8, 134), svc, ret], // mov x0, #7; mov x2, #0; mov x3, #8; mov x8, #134; svc #0; ret
      ]).buffer,
    );
  },
};

/** The latest first, as many as a message can name. */
const mapped: string[] = [];
const mostNamed = 8;
let page: ArrayBuffer | null | undefined;

/** Names `path`, which is being mapped, in the words; from the first call on they are said. */
export function sayIfCut(path: string): void {
  const calls = systemCalls();
  if (calls === undefined || mapped.includes(path)) return;
  mapped.unshift(path);
  mapped.length = Math.min(mapped.length, mostNamed);
  if (page === undefined) page = installed(calls);
  if (page === null) return;
  const { message, code } = new WorkbenchError(
    "file.changed",
    `a weights file was cut short, or its disk failed, while it was read; expected it to stay as it was until the end. Put it back whole and run ` +
      `this again. Mapped, the latest first: ${mapped.join(", ")}`,
  );
  const words = new TextEncoder().encode(`deltascope: ${message} (${code})\n`).subarray(0, maxWordBytes);
  new Uint8Array(page, place.words, words.length).set(words);
  new DataView(page).setUint32(place.length, words.length, true);
}

/** @returns the page with the words, that of the code before it; null when this system cannot */
function installed(calls: SystemCalls): ArrayBuffer | null {
  const handler = process.platform === "linux" ? handlers[process.arch] : undefined;
  if (handler === undefined) return null;
  const [mapPrivate, mapAnonymous] = [0x02, 0x20];
  const address = calls.mmap(2 * pageBytes, protection.read | protection.write, mapPrivate | mapAnonymous, -1, 0);
  if (address === -1n) return null;
  const memory = calls.view(address, 2 * pageBytes);
  new Uint8Array(memory).set(handler());
  if (calls.mprotect(address, pageBytes, protection.read | protection.execute) !== 0) return null;
  return calls.sigaction(sigbus, sigactionOf(address)) === 0 ? memory : null;
}

/** `struct sigaction` as glibc and musl have it on 64 bits: handler, mask of 128 bytes, flags, restorer (theirs). */
function sigactionOf(handler: bigint): Uint8Array {
  const onOwnStack = 0x08000000; // SA_ONSTACK, where a thread has one
  const action = new DataView(new ArrayBuffer(152));
  action.setBigUint64(0, handler, true);
  action.setUint32(136, onOwnStack, true);
  return new Uint8Array(action.buffer);
}

/** Machine code as it is put together, for the page that it will stand at the start of. */
class Bytes {
  readonly #bytes: number[] = [];

  add(...bytes: readonly number[]): this {
    this.#bytes.push(...bytes);
    return this;
  }

  /** Distance from the end of this instruction to `target`. */
  offset(target: number): void {
    const field = new DataView(new ArrayBuffer(4));
    field.setInt32(0, target - (this.#bytes.length + 4), true);
    this.add(...new Uint8Array(field.buffer));
  }

  all(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}
