/** What a folder is called where its path is nobody's business: in files that are handed on. */

/** "/home/x/tiny-llama" → "tiny-llama"; ".../models--meta--Llama-3/snapshots/5f0b…" of the hub's cache → "Llama-3". */
export function folderName(path: string): string {
  const parts = path.split(/[\\/]+/).filter((part) => part !== "");
  const cached = parts.findLast((part) => part.startsWith("models--"));
  return cached?.split("--").at(-1) ?? parts.at(-1) ?? path;
}
