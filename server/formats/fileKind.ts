/** What a file really is when its name lies: the commonest things found under the name of weights or of JSON. */

const kinds: readonly { readonly starts: readonly number[] | string; readonly words: string }[] = [
  {
    starts: "version https://git-lfs.github.com/spec",
    words: "is a Git LFS pointer, not the file itself; run git lfs pull in its repository, or download the file itself",
  },
  { starts: "<!doctype", words: 'is a web page, not the file itself; download the file itself (on the hub: the link under "resolve", not "blob")' },
  { starts: "<html", words: 'is a web page, not the file itself; download the file itself (on the hub: the link under "resolve", not "blob")' },
  { starts: "<?xml", words: "is XML, often the error page of a download; download it again" },
  {
    starts: [0x50, 0x4b, 0x03, 0x04],
    words: "is a zip archive, as torch.save writes its pickles; convert it where you trust it: load it and save_pretrained(folder), which writes safetensors",
  },
  {
    starts: [0x80, 0x02],
    words:
      "is a pickle, which can run any code when it is opened; convert it where you trust it: load it and save_pretrained(folder), which writes safetensors",
  },
  {
    starts: [0x80, 0x04],
    words:
      "is a pickle, which can run any code when it is opened; convert it where you trust it: load it and save_pretrained(folder), which writes safetensors",
  },
  { starts: [0x1f, 0x8b], words: "is compressed with gzip; unpack it first" },
  { starts: [0x28, 0xb5, 0x2f, 0xfd], words: "is compressed with zstd; unpack it first" },
  { starts: "GGUF", words: "is a GGUF file; open the safetensors it was made from" },
  { starts: [0x89, 0x48, 0x44, 0x46], words: "is an HDF5 file; save the model as safetensors" },
];

/** Bytes that are enough to know it. */
export const fileKindBytes = 64;

/**
 * @param head the first bytes of the file
 * @returns what it is and how to get the real file, "is a …; …"; null when nothing here knows it
 */
export function fileKind(head: Uint8Array): string | null {
  // The length of a safetensors header may begin with any magic number: 640 is 0x80 0x02, as a pickle does.
  const isSafetensors = head[8] === 0x7b && [4, 5, 6, 7].every((i) => head[i] === 0);
  if (isSafetensors) return null;
  const text = new TextDecoder("latin1")
    .decode(head.subarray(0, fileKindBytes))
    .replace(/^\u00ef\u00bb\u00bf/, "")
    .trimStart()
    .toLowerCase();
  const found = kinds.find(({ starts }) => (typeof starts === "string" ? text.startsWith(starts.toLowerCase()) : starts.every((byte, i) => head[i] === byte)));
  return found?.words ?? null;
}
