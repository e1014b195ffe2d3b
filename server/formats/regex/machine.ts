/** Runs a pattern's steps over a text by backtracking, on a stack of its own, and counts them: how long it takes depends on neither clock nor machine. */
import type { Loop, Step } from "./program.ts";

/** The bound was reached before there was an answer. */
export class StepsSpent extends Error {}

/** A way that was not taken yet: the step, the place in the text, and how long the record of written slots was. */
interface Untried {
  readonly step: Step;
  readonly at: number;
  readonly written: number;
}

/** One match of one text. */
export class Machine {
  readonly #text: readonly number[];
  /** @see Slot */
  readonly slots: Int32Array;
  /** Slot and what was in it, slot and what was in it, …: so that they can be put back. */
  readonly #written: number[] = [];
  readonly #untried: Untried[] = [];
  #stepsLeft: number;

  /** @param text code points */
  constructor(text: readonly number[], slots: number, mostSteps: number) {
    this.#text = text;
    this.slots = new Int32Array(slots).fill(-1);
    this.#stepsLeft = mostSteps;
  }

  /**
   * Where the match that begins at `at` ends, or -1 for none; what is left untried is dropped.
   *
   * @throws StepsSpent
   */
  run(start: Step, at: number): number {
    const base = this.#untried.length;
    const written = this.#written.length;
    let step: Step | null = start;
    for (;;) {
      if (--this.#stepsLeft < 0) throw new StepsSpent();
      if (step === null) {
        const way = this.#untried.length > base ? this.#untried.pop() : undefined;
        this.#putBack(way?.written ?? written);
        if (way === undefined) return -1;
        ({ step, at } = way);
      }
      switch (step.op) {
        case "accept":
          this.#untried.length = base;
          return at;
        case "letter": {
          const letter = this.#text[at++];
          step = letter !== undefined && step.test(letter) ? step.next : null;
          break;
        }
        case "place":
          step = step.test(this.#text, at) ? step.next : null;
          break;
        case "branch":
          // Also those that are never tried take room.
          this.#stepsLeft -= step.ways.length;
          for (let i = step.ways.length - 1; i > 0; i--) this.#try(step.ways[i], at);
          step = step.ways[0] ?? null;
          break;
        case "mark":
          this.#write(step.slot, at);
          step = step.next;
          break;
        case "same": {
          const end = this.#endOfSame(step, at);
          at = Math.max(end, 0);
          step = end < 0 ? null : step.next;
          break;
        }
        case "look": {
          const isFound: boolean = at >= step.behind && this.run(step.body, at - step.behind) >= 0;
          step = isFound === step.isNegative ? null : step.next;
          break;
        }
        case "atomic": {
          const end = this.run(step.body, at);
          at = Math.max(end, 0);
          step = end < 0 ? null : step.next;
          break;
        }
        case "if":
          step = this.#slot(2 * step.group + 1) >= 0 ? step.yes : step.no;
          break;
        case "enter":
          this.#write(step.loop.count, 0);
          this.#write(step.loop.last, -1);
          step = this.#again(step.loop, at);
          break;
        case "loop":
          this.#write(step.count, this.#slot(step.count) + 1);
          step = this.#again(step, at);
          break;
      }
    }
  }

  /** What comes after `count` bodies: one more or the rest, the other left untried. A body that took nothing is not repeated beyond the least count. */
  #again(loop: Loop, at: number): Step {
    const count = this.#slot(loop.count);
    if (count < loop.min) return loop.body;
    if (count >= loop.max || this.#slot(loop.last) === at) return loop.next;
    if (loop.isLazy) {
      this.#try({ op: "mark", slot: loop.last, next: loop.body }, at);
      return loop.next;
    }
    this.#try(loop.next, at);
    this.#write(loop.last, at);
    return loop.body;
  }

  #endOfSame({ group, isSame }: Extract<Step, { op: "same" }>, at: number): number {
    const begin = this.#slot(2 * group);
    const length = this.#slot(2 * group + 1) - begin;
    if (begin < 0 || length < 0) return -1;
    this.#stepsLeft -= length;
    for (let i = 0; i < length; i++) {
      const [a, b] = [this.#text[begin + i], this.#text[at + i]];
      if (a === undefined || b === undefined || !isSame(a, b)) return -1;
    }
    return at + length;
  }

  #try(step: Step | undefined, at: number): void {
    if (step) this.#untried.push({ step, at, written: this.#written.length });
  }

  #slot(slot: number): number {
    return this.slots[slot] ?? -1;
  }

  #write(slot: number, value: number): void {
    this.#written.push(slot, this.#slot(slot));
    this.slots[slot] = value;
  }

  #putBack(length: number): void {
    while (this.#written.length > length) {
      const before = this.#written.pop() ?? -1;
      this.slots[this.#written.pop() ?? -1] = before;
    }
  }
}
