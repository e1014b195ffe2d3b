/**
 * WOFF 1.0 to the TrueType file inside it, which is what PDF embeds.
 *
 *   header 44 bytes: signature, flavor, length, numTables u16, …
 *   directory, 20 bytes a table: tag, offset, compLength, origLength, checksum; a table is zlib data when compLength < origLength
 */
import { inflateSync } from "node:zlib";
import { WorkbenchError } from "../errors.ts";

const woffSignature = 0x774f4646;

/**
 * @param where what to call the file in an error
 * @param without tags of tables that are left out
 * @throws "file.unreadable" when the bytes are not WOFF 1.0
 * @see W3C WOFF File Format 1.0, sections 3 to 5
 */
export function sfntFromWoff(woff: Buffer, where: string, without: readonly string[] = []): Buffer {
  if (woff.length < 44 || woff.readUInt32BE(0) !== woffSignature)
    throw new WorkbenchError("file.unreadable", `${where} does not begin with "wOFF"; expected a WOFF 1.0 font`);
  const all = Array.from({ length: woff.readUInt16BE(12) }, (_, index) => {
    const entry = 44 + 20 * index;
    const offset = woff.readUInt32BE(entry + 4);
    const stored = woff.subarray(offset, offset + woff.readUInt32BE(entry + 8));
    const length = woff.readUInt32BE(entry + 12);
    return { tag: woff.subarray(entry, entry + 4), checksum: woff.readUInt32BE(entry + 16), data: stored.length < length ? inflateSync(stored) : stored };
  });
  const tables = all.filter(({ tag }) => !without.includes(tag.toString("latin1")));
  const count = tables.length;
  const power = 2 ** Math.floor(Math.log2(count));
  const header = Buffer.alloc(12 + 16 * count);
  header.writeUInt32BE(woff.readUInt32BE(4), 0);
  header.writeUInt16BE(count, 4);
  header.writeUInt16BE(power * 16, 6);
  header.writeUInt16BE(Math.log2(power), 8);
  header.writeUInt16BE((count - power) * 16, 10);
  let offset = header.length;
  const parts: Buffer[] = [header];
  tables.forEach(({ tag, checksum, data }, index) => {
    const entry = 12 + 16 * index;
    tag.copy(header, entry);
    header.writeUInt32BE(checksum, entry + 4);
    header.writeUInt32BE(offset, entry + 8);
    header.writeUInt32BE(data.length, entry + 12);
    const padding = (4 - (data.length % 4)) % 4;
    parts.push(data, Buffer.alloc(padding));
    offset += data.length + padding;
  });
  return Buffer.concat(parts);
}
