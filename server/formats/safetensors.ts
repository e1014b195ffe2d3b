/**
 * The safetensors container: 8 bytes little-endian header length, a JSON header, then the tensors' bytes.
 * The header comes from strangers, so everything it claims is checked before a byte of data is touched.
 */
import { closeSync, readSync } from "node:fs";
import type { JSONPath } from "jsonc-parser";
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import { floatsFromBytes, intsFromBytes, isFloatDtype, isSafetensorsDtype, safetensorsBits, type SafetensorsDtype } from "./dtypeDecoding.ts";
import { fileKind, fileKindBytes } from "./fileKind.ts";
import { parseJson } from "./json.ts";
import { fileIdentity, openForReading } from "./openFile.ts";
import { quoted } from "../quoted.ts";

export type { SafetensorsDtype } from "./dtypeDecoding.ts";
export { encodeSafetensors, float32Header, writeSafetensors, type WritableTensor } from "./safetensorsWriter.ts";

/** Where one tensor lies: `begin` and `end` are byte offsets from the start of the file. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly file: string;
  readonly begin: number;
  readonly end: number;
  /** The file as it was when its header was read; values are refused from any other. */
  readonly identity: string;
  /** Tells these bytes from all others, also from those of a file that takes this one's place: what caches go by. */
  readonly id: string;
}

export interface SafetensorsHeader {
  readonly entries: Map<string, TensorEntry>;
  readonly metadata: Record<string, string>;
}

/** The reference implementation's cap, too. */
const maxHeaderBytes = 100_000_000;

/**
 * Reads and checks the header; the tensors stay on disk.
 *
 * @throws "safetensors.malformed" when any claim of the header is untrue of the file
 * @see https://github.com/huggingface/safetensors, "Format"
 */
export function readHeader(file: string): SafetensorsHeader {
  const { fd, stat } = openForReading(file);
  try {
    const read = (begin: number, bytes: number): Uint8Array => {
      const into = new Uint8Array(bytes);
      for (let done = 0; done < bytes;) {
        const got = readSync(fd, into, done, bytes - done, begin + done);
        if (got === 0) throw malformed(file, "file", `the end at byte ${begin + done}`, `${bytes} bytes from byte ${begin}`);
        done += got;
      }
      return into;
    };
    return checkedHeader(file, stat.size, read, fileIdentity(stat));
  } finally {
    closeSync(fd);
  }
}

export type ParsedTensor =
  | { readonly dtype: SafetensorsDtype; readonly shape: readonly number[]; readonly data: Float32Array }
  | { readonly dtype: "I32" | "I64"; readonly shape: readonly number[]; readonly data: Int32Array };

/**
 * Every tensor of a small file that is already in memory; F16 and BF16 become float32, I64 becomes int32.
 *
 * @throws "safetensors.malformed"; "safetensors.unsupportedDtype" for dtypes other than F32, BF16, F16, I32, I64
 */
export function parseSafetensors(bytes: Uint8Array, name = "safetensors bytes"): { tensors: Map<string, ParsedTensor>; metadata: Record<string, string> } {
  const { entries, metadata } = checkedHeader(name, bytes.byteLength, (begin, length) => bytes.subarray(begin, begin + length), "in memory");
  const tensors = new Map<string, ParsedTensor>();
  for (const entry of entries.values()) {
    const { dtype, shape } = entry;
    const slice = bytes.subarray(entry.begin, entry.end);
    const where = `${name}: tensor "${entry.name}"`;
    if (isFloatDtype(dtype)) tensors.set(entry.name, { dtype, shape, data: floatsFromBytes(slice, dtype, where) });
    else tensors.set(entry.name, { dtype: dtype === "I32" ? "I32" : "I64", shape, data: intsFromBytes(slice, dtype, where) });
  }
  return { tensors, metadata };
}

function checkedHeader(file: string, fileBytes: number, read: (begin: number, bytes: number) => Uint8Array, identity: string): SafetensorsHeader {
  const kind = fileKind(read(0, Math.min(fileBytes, fileKindBytes)));
  if (kind !== null) throw new WorkbenchError("safetensors.malformed", `${file} ${kind}`);
  if (fileBytes < 8) throw malformed(file, "file", `${fileBytes} bytes`, "at least 8, the header's length");
  const lengthBytes = read(0, 8);
  const claimed = new DataView(lengthBytes.buffer, lengthBytes.byteOffset, 8).getBigUint64(0, true);
  if (claimed > maxHeaderBytes) throw malformed(file, "header length", `${claimed}`, `at most ${maxHeaderBytes}`);
  const headerBytes = Number(claimed);
  if (8 + headerBytes > fileBytes) throw malformed(file, "header length", `${headerBytes}`, `at most ${fileBytes - 8}, what the file has left`);

  const raw = parseJson(read(8, headerBytes), `${file}: header`, "safetensors.malformed", { wholeAt: isCount });
  if (!isRecord(raw)) throw malformed(file, "header", kindOf(raw), "a JSON object");
  const metadata = checkedMetadata(file, raw["__metadata__"]);
  const dataBegin = 8 + headerBytes;
  const list = Object.entries(raw)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, info]): TensorEntry => {
      const place = checkedEntry(file, name, info, dataBegin, fileBytes);
      return { ...place, identity, id: `${file}:${identity}:${place.begin}` };
    });

  // Sorted by place, each tensor must begin where the last one ended: no holes, no overlaps, no bytes left over.
  const inOrder = list.toSorted((a, b) => a.begin - b.begin || a.end - b.end);
  let expectedBegin = dataBegin;
  for (const entry of inOrder) {
    if (entry.begin !== expectedBegin) {
      throw malformed(
        file,
        `tensor "${entry.name}"`,
        `begins at data byte ${entry.begin - dataBegin}`,
        `${expectedBegin - dataBegin}, where the tensor before it ends`,
      );
    }
    expectedBegin = entry.end;
  }
  if (expectedBegin !== fileBytes) {
    throw malformed(file, "file", `${fileBytes} bytes`, `${expectedBegin}, where the last tensor ends`);
  }
  return { entries: new Map(list.map((entry) => [entry.name, entry])), metadata };
}

function checkedMetadata(file: string, raw: unknown): Record<string, string> {
  if (raw === undefined || raw === null) return {};
  if (!isRecord(raw)) throw malformed(file, "__metadata__", kindOf(raw), "an object of strings");
  const metadata: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [key, value] of Object.entries(raw)) {
    if (typeof value !== "string") throw malformed(file, `__metadata__ "${key}"`, kindOf(value), "a string");
    metadata[key] = value;
  }
  return { ...metadata };
}

function checkedEntry(file: string, name: string, raw: unknown, dataBegin: number, fileBytes: number): Omit<TensorEntry, "identity" | "id"> {
  const where = `tensor ${quoted(name)}`;
  if (!isRecord(raw)) throw malformed(file, where, kindOf(raw), "an object with dtype, shape and data_offsets");
  const { dtype, shape, data_offsets: offsets } = raw;
  if (!isSafetensorsDtype(dtype)) {
    const found = typeof dtype === "string" ? quoted(dtype) : kindOf(dtype);
    throw malformed(file, `${where} dtype`, found, typeof dtype === "string" ? didYouMean(dtype, Object.keys(safetensorsBits)) : "a dtype name");
  }
  if (!isCounts(shape)) throw malformed(file, `${where} shape`, quoted(shape), "a list of whole numbers from 0 to 2^53 - 1");
  if (!isCounts(offsets) || offsets.length !== 2) throw malformed(file, `${where} data_offsets`, quoted(offsets), "[begin, end]");
  const [from, to] = offsets as [number, number];
  if (from > to || dataBegin + to > fileBytes) {
    throw malformed(file, `${where} data_offsets`, `[${from}, ${to}]`, `begin ≤ end ≤ ${fileBytes - dataBegin}, the file's data bytes`);
  }
  // The reference counts elements, then bits, in 64 bits and refuses what does not fit, also where a later dimension is 0.
  let count = 1n;
  for (const factor of [...shape, safetensorsBits[dtype]]) {
    count *= BigInt(factor);
    if (count >= 2n ** 64n) throw malformed(file, `${where} shape`, quoted(shape), "a size that 64 bits can count");
  }
  const bits = Number(count);
  if (bits !== (to - from) * 8) {
    throw malformed(file, `${where} data_offsets`, `${to - from} bytes`, `${bits / 8}, what ${dtype} [${shape.join(", ")}] takes`);
  }
  return { name, dtype, shape, file, begin: dataBegin + from, end: dataBegin + to };
}

/** The numbers of shapes and offsets; others are in fields that nobody reads. */
function isCount(path: JSONPath): boolean {
  return path.length === 3 && (path[1] === "shape" || path[1] === "data_offsets");
}

function malformed(file: string, where: string, found: string, expected: string): WorkbenchError {
  return new WorkbenchError("safetensors.malformed", `${file}: ${where} is ${found}; expected ${expected}`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

function kindOf(value: unknown): string {
  return value === undefined ? "absent" : value === null ? "null" : Array.isArray(value) ? "a list" : typeof value;
}
