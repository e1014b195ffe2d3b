/** Widths of text without a browser, so that a figure has the same layout on screen and on the server. */

/** Advances of Inter at code points 32 to 126, in thousandths of an em (hmtx table of version 4.001). */
const regular = [
  281, 288, 466, 633, 642, 982, 644, 300, 365, 365, 501, 662, 288, 460, 288, 360, 631, 407, 610, 618, 646, 593, 620, 566, 619, 620, 288, 302, 662, 662, 662,
  511, 966, 690, 654, 730, 722, 601, 590, 746, 743, 269, 571, 672, 565, 903, 753, 765, 639, 765, 644, 642, 646, 744, 690, 985, 682, 679, 629, 365, 360, 365,
  471, 456, 323, 562, 612, 571, 612, 583, 370, 613, 591, 242, 242, 549, 242, 876, 591, 600, 612, 612, 376, 528, 327, 591, 562, 818, 546, 562, 552, 426, 333,
  426, 662,
];
const semibold = [
  252, 321, 523, 644, 650, 1004, 663, 326, 373, 373, 540, 673, 319, 465, 319, 379, 660, 423, 623, 636, 666, 612, 640, 576, 640, 640, 319, 329, 673, 673, 673,
  543, 999, 728, 659, 737, 722, 605, 588, 749, 746, 277, 580, 703, 565, 922, 759, 769, 645, 773, 652, 650, 660, 736, 728, 1020, 720, 713, 652, 373, 379, 373,
  481, 469, 351, 574, 624, 583, 624, 591, 389, 625, 612, 262, 262, 569, 262, 900, 612, 609, 624, 624, 397, 549, 353, 612, 587, 839, 569, 588, 566, 455, 359,
  455, 673,
];
/** Other characters the product writes itself. */
const special: Readonly<Record<string, number>> = {
  "·": 288,
  "−": 662,
  "–": 500,
  "…": 864,
  "±": 662,
  "×": 662,
  "↑": 834,
  "↓": 834,
  "“": 440,
  "”": 440,
  σ: 656,
  Δ: 656,
  "‖": 666,
};
/** JetBrains Mono: every glyph of the Latin set is 600 wide. */
const monoAdvance = 600;

export type Face = "sans" | "bold" | "mono";

const isWide = (codePoint: number): boolean =>
  (codePoint >= 0x1100 && codePoint <= 0x115f) ||
  (codePoint >= 0x2e80 && codePoint <= 0xa4cf) ||
  (codePoint >= 0xac00 && codePoint <= 0xd7a3) ||
  (codePoint >= 0xf900 && codePoint <= 0xfaff) ||
  (codePoint >= 0xff00 && codePoint <= 0xff60) ||
  codePoint >= 0x1f000;

/** Width of one line in the unit of `size`; characters outside Latin are estimated. */
export function textWidth(text: string, size: number, face: Face = "sans"): number {
  const table = face === "bold" ? semibold : regular;
  let total = 0;
  for (const character of text) {
    const codePoint = character.codePointAt(0)!;
    if (isWide(codePoint)) total += 1000;
    else if (face === "mono") total += monoAdvance;
    else total += table[codePoint - 32] ?? special[character] ?? 640;
  }
  return (total * size) / 1000;
}

/** Cut at the end with "…" so that it fits; empty when not even one character and the dots do. */
export function fitText(text: string, width: number, size: number, face: Face = "sans"): string {
  if (textWidth(text, size, face) <= width) return text;
  const characters = [...text];
  while (characters.length > 0) {
    characters.pop();
    const shorter = `${characters.join("")}…`;
    if (characters.length > 0 && textWidth(shorter, size, face) <= width) return shorter;
  }
  return "";
}

/** Cut in the middle with "…" so that it fits: of names both ends tell them apart. */
export function fitMiddle(text: string, width: number, size: number, face: Face = "sans"): string {
  if (textWidth(text, size, face) <= width) return text;
  const characters = [...text];
  for (let kept = characters.length - 1; kept >= 1; kept--) {
    const head = Math.floor(kept / 2);
    const shorter = `${characters.slice(0, head).join("")}…${characters.slice(characters.length - (kept - head)).join("")}`;
    if (textWidth(shorter, size, face) <= width) return shorter;
  }
  return "";
}

/** Lines no wider than `width`, broken at spaces, a longer word anywhere. */
export function wrapText(text: string, width: number, size: number, face: Face = "sans"): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ").flatMap((each) => pieces(each, width, size, face))) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (line === "" || textWidth(longer, size, face) <= width) line = longer;
    else {
      lines.push(line);
      line = word;
    }
  }
  if (line !== "") lines.push(line);
  return lines;
}

/** A word in parts no wider than `width`. */
function pieces(word: string, width: number, size: number, face: Face): string[] {
  const parts = [""];
  for (const character of word) {
    const part = parts.at(-1) ?? "";
    if (part !== "" && textWidth(part + character, size, face) > width) parts.push(character);
    else parts[parts.length - 1] = part + character;
  }
  return parts;
}
