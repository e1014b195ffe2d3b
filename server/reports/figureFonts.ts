/** The product's own fonts (OFL, from the fontsource packages) for figures outside the browser. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { sfntFromWoff } from "./woff.ts";

const resolve = createRequire(import.meta.url).resolve;

interface FontFace {
  readonly family: "Inter" | "JetBrains Mono";
  readonly weight: 400 | 600;
  readonly subset: "latin" | "greek";
  readonly range: string;
}
const ranges = { latin: "U+0000-036F,U+2000-206F,U+20AC,U+2122,U+2191,U+2193,U+2212,U+2215,U+FEFF,U+FFFD", greek: "U+0370-03FF" } as const;
const faces: readonly FontFace[] = (["Inter", "JetBrains Mono"] as const).flatMap((family) => ([400, 600] as const).flatMap((weight) => (["latin", "greek"] as const).map((subset) => ({ family, weight, subset, range: ranges[subset] }))));

function fileOf({ family, weight, subset }: FontFace, format: "woff" | "woff2"): string {
  const name = family === "Inter" ? "inter" : "jetbrains-mono";
  return resolve(`@fontsource/${name}/files/${name}-${subset}-${weight}-normal.${format}`);
}

const greek = /[\u0370-\u03ff]/;
const bundled = /^[\u0000-\u00ff\u0131\u0152\u0153\u02bb\u02bc\u02c6\u02da\u02dc\u0370-\u03ff\u2000-\u206f\u20ac\u2122\u2191\u2193\u2212\u2215]*$/;

/** Whether the bundled fonts have every character; where not, the rasteriser needs the system's. */
export const isBundled = (text: string): boolean => bundled.test(text);

/** `@font-face` rules holding the fonts the SVG uses, and no others. */
export function fontFaceRules(svg: string): string {
  const uses = (face: FontFace): boolean => (face.subset === "latin" || greek.test(svg)) && (face.family === "Inter" || svg.includes('font-family="JetBrains Mono')) && (face.weight === 400 || (svg.includes('font-weight="600"') && (face.family === "Inter" || /font-family="JetBrains Mono[^>]*font-weight="600"/.test(svg))));
  return faces
    .filter(uses)
    .map((face) => `@font-face{font-family:"${face.family}";font-weight:${face.weight};unicode-range:${face.range};src:url(data:font/woff2;base64,${readFileSync(fileOf(face, "woff2")).toString("base64")}) format("woff2")}`)
    .join("");
}

let folder: string | null = null;
/** The same fonts as TrueType files, which the rasteriser reads by path; made once a process and removed with it. */
export function fontFiles(): string[] {
  if (folder === null) {
    const made = mkdtempSync(join(tmpdir(), "deltascope-fonts-"));
    folder = made;
    process.once("exit", () => rmSync(made, { recursive: true, force: true }));
    for (const face of faces) {
      const woff = fileOf(face, "woff");
      writeFileSync(join(made, `${basename(woff, ".woff")}.ttf`), sfntFromWoff(readFileSync(woff), basename(woff)));
    }
  }
  const made = folder;
  return faces.map((face) => join(made, `${basename(fileOf(face, "woff"), ".woff")}.ttf`));
}
