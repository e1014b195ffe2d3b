/** How tokens, numbers and sites are written in figures. */
import { format } from "d3-format";

/** Spaces as ·, newlines as ⏎, tabs as ⇥, other control characters as their pictures (␀), so that every token is seen whole. */
export const tokenLabel = (token: string): string =>
  token
    .replaceAll("\r\n", "⏎")
    .replace(/[\n\r]/g, "⏎")
    .replaceAll("\t", "⇥")

    .replace(/[\u0000-\u001f]/g, (letter) => String.fromCharCode(0x2400 + letter.charCodeAt(0)))
    .replace(/[ \u00a0]/g, "·");

/** At most `longest` characters, cut in the middle: the end of a long token tells as much as its beginning. */
export function shorten(text: string, longest: number): string {
  const characters = [...text];
  if (characters.length <= longest) return text;
  const head = Math.ceil((longest - 1) / 2);
  return `${characters.slice(0, head).join("")}…${characters.slice(characters.length - (longest - 1 - head)).join("")}`;
}

/** "·venia [5]": the same text may occur twice in a prompt, its index does not. */
export const indexedToken = (token: string, index: number): string => `${tokenLabel(token)} [${index}]`;

const threeDigits = format(".3~g");
const exponent = format(".2~e");
/** Three significant digits with a real minus sign; very small and very large ones with an exponent. */
export function formatValue(value: number): string {
  if (Number.isNaN(value)) return "pending";
  if (!Number.isFinite(value)) return value > 0 ? "infinite" : "−infinite";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e6) return exponent(value).replace("e+", "e").replace("e-", "e−");
  return size >= 1000 ? format(",.0f")(value) : threeDigits(value);
}

const twoPlaces = format(".2f");
const onePlace = format(".1f");
/** Short form for inside a cell, of even width: "0.62", "−1.20", "12.4"; what rounds to nothing is 0. */
export function formatCell(value: number): string {
  const text = Math.abs(value) >= 100 ? format(".0f")(value) : Math.abs(value) >= 10 ? onePlace(value) : twoPlaces(value);
  return /^[−-]?0\.00$/.test(text) ? "0" : text;
}

export { siteKind } from "../../server/models/siteNames.ts";

/** Every `step`-th of `count` labels, so that labels `pitch` apart keep `needed` between them. Steps are 1, 2, 5, 10, 20… */
export function labelStep(pitch: number, needed: number): number {
  const least = needed / pitch;
  if (least <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least)!;
}

/** "Residual stream · before the block" → its name and its remark. */
export function splitTitle(title: string): { name: string; remark: string } {
  const at = title.indexOf(" · ");
  return at < 0 ? { name: title, remark: "" } : { name: title.slice(0, at), remark: title.slice(at + 3) };
}
