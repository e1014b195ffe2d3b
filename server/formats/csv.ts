/**
 * CSV as RFC 4180 has it, strictly: commas, fields in double quotes may hold commas, line ends and doubled quotes.
 * Written here, not with a library, because an error must name the line where a record begins.
 */
import { malformedLine, maxRecordBytes, type TextLine } from "./textLines.ts";
import { quoted } from "../quoted.ts";

/** More than any table of examples has; a record of ever more would be held whole, field by field. */
export const maxFields = 4096;

export interface CsvRecord {
  /** Line on which it begins. */
  readonly line: number;
  readonly fields: readonly string[];
}

/**
 * @param lines of the file, in order
 * @param file for messages
 * @throws "data.malformed" with the line: a quote inside an unquoted field, text after a closing quote, a quote never closed, more than `maxFields` fields
 * @see RFC 4180, section 2
 */
export function* csvRecords(lines: Iterable<TextLine>, file: string): Generator<CsvRecord> {
  let open: { readonly line: number; readonly parts: string[]; length: number } | null = null;
  for (const { number, text } of lines) {
    // Quotes come in pairs within a record, so an odd number of them means that a field goes on.
    const isOdd = (text.split('"').length - 1) % 2 === 1;
    if (open === null && !isOdd) {
      yield { line: number, fields: fieldsOf(text, number, file) };
      continue;
    }
    open ??= { line: number, parts: [], length: 0 };
    open.parts.push(text);
    open.length += text.length + 1;
    if (open.length > maxRecordBytes) throw neverClosed(file, open.line);
    if (isOdd && open.parts.length > 1) {
      yield { line: open.line, fields: fieldsOf(open.parts.join("\n"), open.line, file) };
      open = null;
    }
  }
  if (open !== null) throw neverClosed(file, open.line);
}

function fieldsOf(record: string, line: number, file: string): string[] {
  const fields: string[] = [];
  let at = 0;
  for (;;) {
    if (fields.length === maxFields)
      throw malformedLine(file, line, `found more than ${maxFields} fields; expected at most ${maxFields}: keep the columns of texts and labels`);
    if (record[at] === '"') {
      let close = record.indexOf('"', at + 1);
      while (close !== -1 && record[close + 1] === '"') close = record.indexOf('"', close + 2);
      if (close === -1) throw neverClosed(file, line);
      fields.push(record.slice(at + 1, close).replaceAll('""', '"'));
      at = close + 1;
      if (at < record.length && record[at] !== ",")
        throw malformedLine(
          file,
          line,
          `found ${quoted(record[at])} after the quote that closes field ${fields.length}; expected a comma, or the quote inside the field doubled`,
        );
    } else {
      const comma = record.indexOf(",", at);
      const field = record.slice(at, comma === -1 ? record.length : comma);
      if (field.includes('"'))
        throw malformedLine(
          file,
          line,
          `found a quote inside field ${fields.length + 1}, which does not begin with one; expected the whole field in quotes and the quote inside it doubled`,
        );
      fields.push(field);
      at += field.length;
    }
    if (at === record.length) return fields;
    at++;
  }
}

const neverClosed = (file: string, line: number) => malformedLine(file, line, "found a quote that is never closed; expected a closing quote");
