/** Numbered lines of a UTF-8 text file, read in pieces, so that a large file is never whole in memory. */
import { isUtf8 } from "node:buffer";
import { closeSync, readSync } from "node:fs";
import { WorkbenchError, type WorkbenchErrorOptions } from "../errors.ts";
import { openForReading } from "./openFile.ts";

export interface TextLine {
  /** 1 the first. */
  readonly number: number;
  /** Without its line end. */
  readonly text: string;
}

const chunkBytes = 2 ** 20;
/** A file that is one line, or a quote that is never closed, would otherwise fill memory. */
export const maxRecordBytes = 16 * 2 ** 20;

const newline = 0x0a;

export const isBlank = (text: string): boolean => text.trim() === "";

/** The one form of what is wrong with a data file: "data.jsonl, line 3: found …; expected …". */
export function malformedLine(file: string, line: number, message: string, options?: WorkbenchErrorOptions): WorkbenchError {
  return new WorkbenchError("data.malformed", `${file}, line ${line}: ${message}`, options);
}

/**
 * Lines end at LF or CR LF; a byte order mark at the start is no text; blank lines at the end of the file are left out.
 *
 * @throws "file.notFound", "file.unreadable"; "data.malformed" with the line when it is not UTF-8 or longer than `maxRecordBytes`
 */
export function* textLines(file: string): Generator<TextLine> {
  let blank: TextLine[] = [];
  for (const line of allLines(file)) {
    if (isBlank(line.text)) blank.push(line);
    else {
      yield* blank;
      blank = [];
      yield line;
    }
  }
}

function* allLines(file: string): Generator<TextLine> {
  const { fd } = openForReading(file);
  try {
    const chunk = Buffer.allocUnsafe(chunkBytes);
    let rest = Buffer.alloc(0);
    let number = 0;
    for (;;) {
      const bytes = readSync(fd, chunk);
      const isLast = bytes === 0;
      const read = Buffer.concat([rest, chunk.subarray(0, bytes)]);
      let start = 0;
      for (let end = read.indexOf(newline); end !== -1; end = read.indexOf(newline, start)) {
        yield lineOf(read.subarray(start, end), ++number, file);
        start = end + 1;
      }
      rest = read.subarray(start);
      if (rest.length > maxRecordBytes)
        throw malformedLine(file, number + 1, `found more than ${maxRecordBytes} bytes without a line end; expected one example or less on a line`);
      if (isLast) {
        if (rest.length > 0) yield lineOf(rest, ++number, file);
        return;
      }
    }
  } finally {
    closeSync(fd);
  }
}

function lineOf(bytes: Buffer, number: number, file: string): TextLine {
  if (!isUtf8(bytes)) throw malformedLine(file, number, "found bytes that are not UTF-8; expected text in UTF-8");
  const text = bytes.toString("utf8").replace(/\r$/, "");
  return { number, text: number === 1 ? text.replace(/^\uFEFF/, "") : text };
}
