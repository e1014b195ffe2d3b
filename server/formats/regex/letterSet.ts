/** Letters in brackets: [a-z_], [^.], []x]. */
import { escaped, type Escaped } from "./escapes.ts";
import { letterRange, type RegexFlags } from "./letters.ts";
import type { PatternSource } from "./patternSource.ts";
import type { LetterTest } from "./tree.ts";

/** Reads from after the opening bracket to after the closing one; a "]" that comes first is an ordinary letter. */
export function letterSet(source: PatternSource, flags: RegexFlags): LetterTest {
  const isNegative = source.takes("^");
  const tests: LetterTest[] = [];
  const add = (item: Escaped): void => void tests.push("test" in item ? item.test : letterRange(item.letter, item.letter, flags));
  while (tests.length === 0 || !source.takes("]")) {
    const low = item(source, flags);
    if (!source.takes("-")) {
      add(low);
      continue;
    }
    if (source.takes("]")) {
      add(low);
      add({ letter: 0x2d });
      break;
    }
    const high = item(source, flags);
    if ("test" in low || "test" in high || low.letter > high.letter) throw source.fault("a range that does not go upwards from letter to letter");
    tests.push(letterRange(low.letter, high.letter, flags));
  }
  // Each letter is looked up once: a set may list many.
  const known = new Map<number, boolean>();
  return (letter) => {
    let isMeant = known.get(letter);
    if (isMeant === undefined) known.set(letter, (isMeant = tests.some((test) => test(letter)) !== isNegative));
    return isMeant;
  };
}

function item(source: PatternSource, { isAscii }: RegexFlags): Escaped {
  const letter = source.take();
  if (letter === "") throw source.fault('no "]" after a "["');
  if (letter === "\\b") return { letter: 8 };
  return letter.startsWith("\\") ? escaped(source, letter.slice(1), isAscii) : { letter: letter.codePointAt(0) ?? 0 };
}
