/** The safetensors files of fixtures/headers, made again from their numbers: the steps are told in make.py there, which these follow. */
import recipe from "../../fixtures/headers/recipe.json" with { type: "json" };

const kinds = new Map(Object.entries(recipe.kinds));

/** xorshift32 of a file's number; the next one modulo n. */
function stream(number: number): (n: number) => number {
  let state = Math.imul(number + 1, 2654435761) >>> 0 || 1;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state = (state ^ (state << 5)) >>> 0;
    return state % n;
  };
}

export function headerFile(number: number): Buffer {
  const draw = stream(number);
  const base = recipe.bases[draw(recipe.bases.length)];
  if (base === undefined) throw new Error("recipe.json has no base");
  // text, kind, usual, text, kind, usual, …, text
  const parts = base.header.split(/<(\w+)\|([^>]*)>/);
  const slots = Math.floor(parts.length / 3);
  for (let changes = draw(4); changes > 0; changes--) {
    const slot = 3 * draw(slots);
    const values = kinds.get(parts[slot + 1] ?? "") ?? [];
    parts[slot + 2] = values[draw(values.length)] ?? "";
  }
  let header = Buffer.from(parts.filter((_, i) => i % 3 !== 1).join(""), "latin1");
  const damage = draw(16);
  if (damage < 4 && header.length > 0) {
    const at = draw(header.length);
    const middle = [[], [...header.subarray(at, at + 1), ...header.subarray(at, at + 1)], damage === 2 ? [draw(256)] : [], []][damage] ?? [];
    header = Buffer.concat([header.subarray(0, at), Buffer.from(middle), damage === 3 ? Buffer.alloc(0) : header.subarray(at + 1)]);
  }
  const claim = draw(24);
  const length = Buffer.alloc(8);
  const lengths = [header.length + 1, Math.max(0, header.length - 1), 2n ** 63n, header.length + 1000];
  length.writeBigUInt64LE(BigInt(lengths[claim] ?? header.length));
  const data = new Map([
    [4, base.data + 1],
    [5, Math.max(0, base.data - 1)],
    [6, 0],
  ]).get(claim);
  return Buffer.concat([length, header, Buffer.alloc(data ?? base.data)]);
}
