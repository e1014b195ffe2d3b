/** SHA-256 of what identifies a model and its adapters: config files and safetensors headers, never whole weights. */
import { createHash } from "node:crypto";
import { open, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { SubjectRequest } from "../wire.ts";

const configNames = new Set(["config.json", "adapter_config.json", "tokenizer.json"]);

/** By file path; files that cannot be read are left out, as opening the subject has already reported them. */
export async function provenanceHashes(request: SubjectRequest): Promise<Record<string, string>> {
  const folders = [...(request.model === null ? [] : [request.model]), ...request.adapters.map((adapter) => adapter.path)];
  const hashes: Record<string, string> = {};
  for (const folder of folders) {
    const names = await readdir(folder).catch(() => []);
    for (const name of names.toSorted()) {
      const path = join(folder, name);
      const bytes = configNames.has(name)
        ? await readFile(path).catch(() => null)
        : name.endsWith(".safetensors")
          ? await headerBytes(path).catch(() => null)
          : null;
      if (bytes) hashes[path] = createHash("sha256").update(bytes).digest("hex");
    }
  }
  return hashes;
}

/** The reference implementation's cap on a header. */
const maxHeaderBytes = 100_000_000;

/** Length field and JSON header: names, dtypes, shapes and places of all tensors. */
async function headerBytes(path: string): Promise<Uint8Array | null> {
  const file = await open(path);
  try {
    const length = new Uint8Array(8);
    await file.read(length, 0, 8, 0);
    const claimed = new DataView(length.buffer).getBigUint64(0, true);
    if (claimed > maxHeaderBytes) return null;
    const bytes = new Uint8Array(8 + Number(claimed));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
