/** The product's own fonts (OFL, from the fontsource packages) for figures outside the browser. */
import { existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir, userInfo } from "node:os";
import { basename, join } from "node:path";
import { packageVersion } from "../packageFolder.ts";
import { sfntFromWoff } from "./woff.ts";

const resolve = createRequire(import.meta.url).resolve;

/** What each file of a family covers, as the fontsource packages cut them. */
const subsets = {
  latin: {
    range: "U+0000-00FF,U+0131,U+0152-0153,U+02BB-02BC,U+02C6,U+02DA,U+02DC,U+2000-206F,U+20AC,U+2122,U+2191,U+2193,U+2212,U+2215",
    has: /[\u0000-\u00ff]/,
  },
  "latin-ext": { range: "U+0100-02BA,U+02BD-02C5,U+02C7-02CC,U+1E00-1E9F,U+1EF2-1EFF", has: /[\u0100-\u0130\u0132-\u0148\u014a-\u0151\u0154-\u017f]/ },
  greek: { range: "U+0370-03FF", has: /[\u0391-\u03a1\u03a3-\u03c9]/ },
  cyrillic: { range: "U+0301,U+0400-045F,U+0490-0491,U+04B0-04B1,U+2116", has: /[\u0400-\u045f]/ },
} as const;
type Subset = keyof typeof subsets;
interface FontFace {
  readonly family: "Inter" | "JetBrains Mono";
  readonly weight: 400 | 600;
  readonly subset: Subset;
}
const subsetNames: readonly Subset[] = ["latin", "latin-ext", "greek", "cyrillic"];
const faces: readonly FontFace[] = (["Inter", "JetBrains Mono"] as const).flatMap((family) =>
  ([400, 600] as const).flatMap((weight) => subsetNames.map((subset) => ({ family, weight, subset }))),
);

function fileOf({ family, weight, subset }: FontFace, format: "woff" | "woff2"): string {
  const name = family === "Inter" ? "inter" : "jetbrains-mono";
  return resolve(`@fontsource/${name}/files/${name}-${subset}-${weight}-normal.${format}`);
}

const bundled =
  /^[\n\r\u0020-\u007e\u00a0-\u0130\u0132-\u0148\u014a-\u0151\u0154-\u017f\u0131\u0152\u0153\u0391-\u03a1\u03a3-\u03c9\u0400-\u045f\u2013\u2014\u2018-\u201a\u201c-\u201e\u2022\u2026\u2032\u2033\u20ac\u2122\u2191\u2193\u2212]*$/;

/** Whether the bundled fonts have every character; where not, the rasteriser needs the system's. */
export const isBundled = (text: string): boolean => bundled.test(text);

/** `@font-face` rules holding the fonts the SVG uses, and no others. */
export function fontFaceRules(svg: string): string {
  const texts = svg.match(/<text [^>]*>/g) ?? [];
  const has = (family: FontFace["family"], weight: FontFace["weight"]): boolean =>
    texts.some(
      (tag) => tag.includes('font-family="JetBrains Mono') === (family === "JetBrains Mono") && tag.includes('font-weight="600"') === (weight === 600),
    );
  const uses = (face: FontFace): boolean => subsets[face.subset].has.test(svg) && has(face.family, face.weight);
  return faces
    .filter(uses)
    .map(
      (face) =>
        `@font-face{font-family:"${face.family}";font-weight:${face.weight};unicode-range:${subsets[face.subset].range};` +
        `src:url(data:font/woff2;base64,${readFileSync(fileOf(face, "woff2")).toString("base64")}) format("woff2")}`,
    )
    .join("");
}

let folder: string | null = null;
/** The same fonts as TrueType files, which the rasteriser reads by path; made once and kept in the temporary folder. */
export function fontFiles(): string[] {
  if (folder === null) {
    // Of this version and this user: workers end by a signal, so none could be trusted to clean up after itself.
    const made = join(tmpdir(), `deltascope-fonts-${packageVersion}-${userInfo().uid}`);
    mkdirSync(made, { recursive: true, mode: 0o700 });
    for (const face of faces) {
      const woff = fileOf(face, "woff");
      const file = join(made, `${basename(woff, ".woff")}.ttf`);
      const bytes = sfntFromWoff(readFileSync(woff), basename(woff));
      if (existsSync(file) && statSync(file).size === bytes.length) continue;
      writeFileSync(`${file}.${process.pid}`, bytes);
      renameSync(`${file}.${process.pid}`, file);
    }
    folder = made;
  }
  const made = folder;
  return faces.map((face) => join(made, `${basename(fileOf(face, "woff"), ".woff")}.ttf`));
}
