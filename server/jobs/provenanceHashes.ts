/** SHA-256 of the bytes of a model and its adapters: two trainings of one shape differ in it. */
import { createHash } from "node:crypto";
import { closeSync, readSync } from "node:fs";
import { fileIdentity, openForReading } from "../formats/openFile.ts";
import { subjectFiles } from "../runs/subjectFiles.ts";
import type { SubjectRequest } from "../wire.ts";

/** Larger files are sampled: their beginning, where the header is, and a page of every so many bytes. */
const wholeBytes = 256 * 2 ** 20;
const beginningBytes = 16 * 2 ** 20;
const sampleBytes = 4096;
const sampleEvery = 2 ** 20;
const chunkBytes = 4 * 2 ** 20;

/** A file that did not change is hashed once in a process. */
const known = new Map<string, string>();

/**
 * By file path: the digest, with "sampled:" before it where the file is larger than 256 MiB. Files that cannot be read are left out, as opening the
 * subject has already reported them.
 */
export function provenanceHashes(request: SubjectRequest): Record<string, string> {
  return Object.fromEntries(
    subjectFiles(request).flatMap((path) => {
      try {
        return [[path, hashOf(path)]];
      } catch {
        return [];
      }
    }),
  );
}

function hashOf(path: string): string {
  const { fd, stat } = openForReading(path);
  try {
    const identity = `${path}:${fileIdentity(stat)}`;
    const have = known.get(identity);
    if (have !== undefined) return have;
    const hash = createHash("sha256");
    const buffer = new Uint8Array(chunkBytes);
    const take = (begin: number, bytes: number): void => {
      for (let at = begin; at < begin + bytes;) {
        const got = readSync(fd, buffer, 0, Math.min(buffer.length, begin + bytes - at), at);
        if (got === 0) return;
        hash.update(buffer.subarray(0, got));
        at += got;
      }
    };
    const isWhole = stat.size <= wholeBytes;
    take(0, isWhole ? stat.size : beginningBytes);
    if (!isWhole) {
      hash.update(String(stat.size));
      for (let at = beginningBytes; at < stat.size; at += sampleEvery) take(at, Math.min(sampleBytes, stat.size - at));
    }
    const found = `${isWhole ? "" : "sampled:"}${hash.digest("hex")}`;
    known.set(identity, found);
    return found;
  } finally {
    closeSync(fd);
  }
}
