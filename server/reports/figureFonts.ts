/** The product's own fonts (OFL, from the fontsource packages) for figures outside the browser. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename } from "node:path";
import { create, type Font } from "fontkit";
import { sfntFromWoff } from "./woff.ts";

const resolve = createRequire(import.meta.url).resolve;

const families = { sans: "inter", mono: "jetbrains-mono" } as const;
export type Family = keyof typeof families;
export type Weight = 400 | 600;
/** As the fontsource packages cut each family; of a character in several the first is taken. */
const subsets = ["latin", "latin-ext", "greek", "cyrillic"] as const;

export interface FontFile {
  /** "inter-greek-600" */
  readonly name: string;
  /** The TrueType file. */
  readonly bytes: Buffer;
  readonly font: Font;
}

const read = new Map<string, FontFile>();
function fontFile(family: Family, weight: Weight, subset: (typeof subsets)[number]): FontFile {
  const name = `${families[family]}-${subset}-${weight}`;
  const known = read.get(name);
  if (known) return known;
  const woff = resolve(`@fontsource/${families[family]}/files/${name}-normal.woff`);
  // Without substitutions there are no ligatures: "!=" in a token stays two letters.
  const bytes = sfntFromWoff(readFileSync(woff), basename(woff), ["GSUB"]);
  const font = create(bytes);
  if (!("layout" in font)) throw new Error(`internal: ${woff} is a collection of fonts`);
  const file = { name, bytes, font };
  read.set(name, file);
  return file;
}

/** Text in one font; null where no bundled one has its characters. */
export interface FontRun {
  readonly text: string;
  readonly file: FontFile | null;
}

/** The text in parts, each of which one file draws. */
export function fontRuns(text: string, family: Family, weight: Weight): FontRun[] {
  const runs: { text: string; file: FontFile | null }[] = [];
  for (const character of text) {
    const codePoint = character.codePointAt(0) ?? 0;
    const subset = subsets.find((each) => fontFile(family, weight, each).font.hasGlyphForCodePoint(codePoint));
    const file = subset === undefined ? null : fontFile(family, weight, subset);
    const last = runs.at(-1);
    if (last?.file === file) last.text += character;
    else runs.push({ text: character, file });
  }
  return runs;
}
