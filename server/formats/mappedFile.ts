/**
 * Files mapped read-only into memory: weights are read by touching them, and the page cache shares them between threads.
 * Without mmap (koffi missing, or a system other than Linux and macOS) a file is read into memory once instead.
 *
 * Two dangers of a mapping, and what is done here:
 * - Memory unmapped under a live view would crash the process. So nothing is unmapped while a view is reachable: the table
 *   below holds the buffers, `unmapFile` lets go of them, and the garbage collector's turn is when the mapping ends.
 * - A file shorter than its header claims would kill the process with SIGBUS at the first touch. Offsets come from a
 *   checked header, and a range past the file's present end is refused here again. A file that is cut while a view of it is
 *   in use still ends the process, which then says why (lastWords.ts).
 * Mapped memory is read-only: writing to a view crashes the process.
 */
import { closeSync, readSync } from "node:fs";
import { WorkbenchError } from "../errors.ts";
import { sayIfCut } from "./lastWords.ts";
import { pageBytes, protection, systemCalls } from "./libc.ts";
import { fileIdentity, openForReading } from "./openFile.ts";

/** A view of foreign memory is at most 4 GiB, so a larger file is seen through overlapping windows. */
const windowBytes = 3 * 2 ** 30;
const windowStride = 2 ** 30;
/** The most that one window, hence one tensor, can be. */
const maxViewBytes = 4 * 2 ** 30 - 2 ** 16;
const readChunkBytes = 2 ** 30;

interface MappedFile {
  /** Device, inode, size and time: another file under the same path is another mapping. */
  readonly identity: string;
  readonly bytes: number;
  /** Buffers by their first byte's offset in the file. */
  readonly windows: Map<number, ArrayBuffer>;
}
const mappedFiles = new Map<string, MappedFile>();

/**
 * The whole file, mapped once a thread.
 *
 * @throws "file.unreadable" for a file over 4 GiB (use `mappedBytes`) and an empty one
 */
export function mapFile(path: string): ArrayBuffer {
  return withMapped(path, undefined, (fd, mapped) => window(path, fd, mapped, 0, mapped.bytes));
}

/**
 * Bytes `[begin, end)` of the file, without a copy.
 *
 * @throws "file.unreadable" when the range does not lie inside the file as it is now
 */
export function mappedBytes(path: string, begin: number, end: number, identity?: string): Uint8Array<ArrayBuffer> {
  return withMapped(path, identity, (fd, mapped) => {
    checkRange(path, begin, end, mapped.bytes);
    if (begin === end) return new Uint8Array(0);
    if (mapped.bytes <= windowBytes) return new Uint8Array(window(path, fd, mapped, 0, mapped.bytes), begin, end - begin);
    const first = Math.floor(begin / windowStride) * windowStride;
    const last = Math.min(first + windowBytes, mapped.bytes);
    if (end <= last) return new Uint8Array(window(path, fd, mapped, first, last), begin - first, end - begin);
    const page = Math.floor(begin / pageBytes) * pageBytes;
    return new Uint8Array(window(path, fd, mapped, page, end), begin - page, end - begin);
  });
}

/** Bytes `[begin, end)` for one passing use: mapped where that works, otherwise read, so that a converted file never lies in memory whole. */
export function passingBytes(path: string, begin: number, end: number, identity?: string): Uint8Array<ArrayBuffer> {
  if (canMap()) return mappedBytes(path, begin, end, identity);
  const { fd, stat } = openForReading(path);
  try {
    refuseChanged(path, identity, fileIdentity(stat));
    checkRange(path, begin, end, stat.size);
    return new Uint8Array(readRange(path, fd, begin, end));
  } finally {
    closeSync(fd);
  }
}

/** Lets go of a file's mapping: it ends when the last view of it is no longer reachable. */
export function unmapFile(path: string): void {
  mappedFiles.delete(path);
}

export function canMap(): boolean {
  return systemCalls() !== undefined;
}

/** Tells the system that these mapped pages are not needed soon: resident memory falls, the page cache keeps them. */
export function releasePages(bytes: Uint8Array): void {
  const calls = systemCalls();
  if (calls === undefined || !mappedAddresses.has(bytes.buffer as ArrayBuffer)) return;
  const base = mappedAddresses.get(bytes.buffer as ArrayBuffer)!;
  const first = Math.ceil(bytes.byteOffset / pageBytes) * pageBytes;
  const last = Math.floor((bytes.byteOffset + bytes.byteLength) / pageBytes) * pageBytes;
  const doNotNeed = 4;
  if (last > first) calls.madvise(base + BigInt(first), last - first, doNotNeed);
}

function withMapped<T>(path: string, expected: string | undefined, use: (fd: number, mapped: MappedFile) => T): T {
  const { fd, stat } = openForReading(path);
  try {
    const identity = fileIdentity(stat);
    refuseChanged(path, expected, identity);
    let mapped = mappedFiles.get(path);
    if (mapped?.identity !== identity) {
      if (!stat.isFile() || stat.size === 0)
        throw new WorkbenchError("file.unreadable", `${path} is ${stat.isFile() ? "empty" : "not a regular file"}; expected a file to map`);
      mapped = { identity, bytes: stat.size, windows: new Map() };
      mappedFiles.set(path, mapped);
    }
    return use(fd, mapped);
  } finally {
    closeSync(fd);
  }
}

function refuseChanged(path: string, expected: string | undefined, found: string): void {
  if (expected === undefined || expected === found) return;
  throw new WorkbenchError("file.changed", `${path} was changed after it had been opened, so its tensors may lie elsewhere now; open it again`);
}

function window(path: string, fd: number, mapped: MappedFile, begin: number, end: number): ArrayBuffer {
  const have = mapped.windows.get(begin);
  if (have !== undefined && have.byteLength >= end - begin) return have;
  if (end - begin > maxViewBytes) {
    throw new WorkbenchError("file.unreadable", `${path}: ${end - begin} bytes in one piece; expected at most ${maxViewBytes}`);
  }
  const buffer = mapRange(path, fd, begin, end) ?? readRange(path, fd, begin, end);
  mapped.windows.set(begin, buffer);
  return buffer;
}

function checkRange(path: string, begin: number, end: number, bytes: number): void {
  if (begin < 0 || begin > end || end > bytes) {
    throw new WorkbenchError("file.unreadable", `${path}: bytes ${begin} to ${end} were asked for; expected a range inside its ${bytes} bytes`);
  }
}

function readRange(path: string, fd: number, begin: number, end: number): ArrayBuffer {
  const bytes = new Uint8Array(end - begin);
  for (let done = 0; done < bytes.byteLength;) {
    const got = readSync(fd, bytes, done, Math.min(readChunkBytes, bytes.byteLength - done), begin + done);
    if (got === 0) throw new WorkbenchError("file.unreadable", `${path} ended at byte ${begin + done} while being read; expected ${end} bytes`);
    done += got;
  }
  return bytes.buffer;
}

const mappedAddresses = new WeakMap<ArrayBuffer, bigint>();
const unmapWhenCollected = new FinalizationRegistry<{ address: bigint; length: number }>(({ address, length }) => {
  systemCalls()?.munmap(address, length);
});

function mapRange(path: string, fd: number, begin: number, end: number): ArrayBuffer | undefined {
  const calls = systemCalls();
  if (calls === undefined) return undefined;
  const length = end - begin;
  const mapShared = 1;
  const address = calls.mmap(length, protection.read, mapShared, fd, begin);
  if (address === -1n) return undefined; // as on some network file systems
  sayIfCut(path);
  const buffer = calls.view(address, length);
  mappedAddresses.set(buffer, address);
  unmapWhenCollected.register(buffer, { address, length });
  return buffer;
}
