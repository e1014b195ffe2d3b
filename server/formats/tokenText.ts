/** The text that one vocabulary piece stands for, read off the tokenizer's own decoder. */

export type PieceReader = (piece: string) => string;

/** @param decoder the `decoder` of tokenizer.json */
export function pieceReader(decoder: unknown): PieceReader {
  const steps = stepsOf(decoder);
  const types = new Set(steps.map(typeOf));
  if (types.has("ByteLevel")) return byteLevelText;
  const spaces = steps.flatMap(spaceMark);
  const hasByteFallback = types.has("ByteFallback");
  return (piece) => {
    const byte = hasByteFallback ? /^<0x([0-9A-Fa-f]{2})>$/.exec(piece) : null;
    if (byte) return textOfBytes(Uint8Array.of(Number.parseInt(byte[1]!, 16)));
    return spaces.reduce((text, mark) => text.replaceAll(mark, " "), piece);
  };
}

/** GPT-2 writes each byte as one printable character: printable Latin-1 as itself, the others from U+0100 on. */
const byteOfChar = new Map<string, number>();
{
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const isPrintable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    byteOfChar.set(String.fromCharCode(isPrintable ? byte : next++), byte);
  }
}

function byteLevelText(piece: string): string {
  const bytes: number[] = [];
  for (const char of piece) {
    const byte = byteOfChar.get(char);
    if (byte === undefined) return piece; // added to the vocabulary as plain text
    bytes.push(byte);
  }
  return textOfBytes(Uint8Array.from(bytes));
}

/** UTF-8 where it is whole, `<0xE2>` for every byte that is part of no character. */
function textOfBytes(bytes: Uint8Array): string {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let text = "";
  for (let i = 0; i < bytes.length;) {
    const length = characterLength(bytes[i]!);
    try {
      text += decoder.decode(bytes.subarray(i, i + length));
      i += length;
    } catch {
      text += `<0x${bytes[i]!.toString(16).toUpperCase().padStart(2, "0")}>`;
      i += 1;
    }
  }
  return text;
}

function characterLength(first: number): number {
  return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

function stepsOf(decoder: unknown): unknown[] {
  if (typeof decoder !== "object" || decoder === null) return [];
  return "decoders" in decoder && Array.isArray(decoder.decoders) ? decoder.decoders.flatMap(stepsOf) : [decoder];
}

function typeOf(step: unknown): unknown {
  return typeof step === "object" && step !== null && "type" in step ? step.type : undefined;
}

/** The character that stands for a space: Metaspace's replacement, or a Replace step that writes a space. */
function spaceMark(step: unknown): string[] {
  if (typeof step !== "object" || step === null) return [];
  if (typeOf(step) === "Metaspace") return ["replacement" in step && typeof step.replacement === "string" ? step.replacement : "▁"];
  const isReplace = typeOf(step) === "Replace" && "content" in step && step.content === " " && "pattern" in step;
  if (!isReplace) return [];
  const { pattern } = step;
  return typeof pattern === "object" && pattern !== null && "String" in pattern && typeof pattern.String === "string" ? [pattern.String] : [];
}
