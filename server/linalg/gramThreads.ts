/**
 * Gram matrices of many tall matrices, summed by several threads to the same bits as by one (`gramMatrix`).
 *
 * 1. Chunks of rows are copied, in order, into a ring of places in memory that all threads share: the one copy that WebAssembly needs anyway.
 * 2. Whoever is free takes the next chunk and leaves its sums beside it. The thread that hands out takes part when the ring is full.
 * 3. Sums are added up in the order of the chunks.
 *
 * Threads start while the first chunks are summed here, wait without turning the processor, and end when nothing was asked for a while.
 */
import { availableParallelism } from "node:os";
import { setImmediate as eventLoopTurn } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { at } from "../at.ts";
import { WorkbenchError } from "../errors.ts";
import { addSums, chunkBytes, chunkCall, chunkRows, copyChunk, mirrored, widthOf, type PlainMatrix } from "./gramChunks.ts";
import { panelModule } from "./panelKernels.ts";
import { gramMatrix, isPlain, type TallMatrix } from "./tallMatrix.ts";

export interface NamedMatrix {
  /** Whose it is, for errors. */
  readonly site: string;
  readonly matrix: TallMatrix;
}

/** What a thread is started with. */
export interface ThreadData {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** Of this thread; 1 is the one that hands out. */
  readonly id: number;
  /** Address of its own panel. */
  readonly panel: number;
  readonly places: number;
  readonly idleMs: number;
}
type Kernels = Record<(typeof kernelNames)[number], (...addresses: number[]) => void>;

/** Most columns of a matrix that threads share; wider ones are summed by the thread that asks. */
const mostColumns = 256;
/** With the one that hands out, which copies about as fast as this many sum at rank 16. */
const mostThreads = 8;
const idleMs = 10_000;
/** Products (rows · n² / 2) below which none is started: 30 to 60 ms of one thread's time, while to start one takes 20 ms of its own, and 9 MB. */
const worthThreads = 2 ** 28;
/** The event loop turns this often, so that a cancellation is heard. */
const turnMs = 16;
const kernelNames = ["gramOfColumns", "gramOfRows"] as const;
const [headerBytes, pageBytes] = [2 ** 16, 2 ** 16] as const;
/** Of the widest matrix; what narrower ones leave is never touched, and so takes no memory. */
const [sourceBytes, panelBytes, sumsBytes] = chunkBytes(mostColumns);
const placeBytes = sourceBytes + sumsBytes;
const [thisThread, nobody] = [1, 0] as const;

/**
 * Takes the next chunk, if there is one, and sums it.
 *
 * 32-bit words at the start of the memory: 0 counts the chunks handed out, 1 those taken. From 16 on, 16 for each place in the ring:
 * 0 is the number of chunks up to the one that was summed here last, 1 is who took the one that is here now, 2 the kernel, 3 … its arguments.
 * Threads are given the source of this function: it uses nothing outside itself.
 */
function takeChunk(words: Int32Array, kernels: Kernels, { id, panel, places }: Pick<ThreadData, "id" | "panel" | "places">): boolean {
  const next = Atomics.load(words, 1);
  if (next === Atomics.load(words, 0) || Atomics.compareExchange(words, 1, next, next + 1) !== next) return false;
  const place = 16 + 16 * (next % places);
  Atomics.store(words, place + 1, id);
  kernels[words[place + 2] === 0 ? "gramOfColumns" : "gramOfRows"](panel, ...words.subarray(place + 3, place + 9));
  Atomics.store(words, place, next + 1);
  Atomics.notify(words, place);
  return true;
}

/** Index of a place's first word. */
const wordsOf = (place: number): number => 16 + 16 * place;

/** A thread's life; its source, too, is all that it has. */
function work({ module, memory, idleMs, ...self }: ThreadData): void {
  const kernels = new WebAssembly.Instance(module, { env: { memory } }).exports as Kernels;
  const words = new Int32Array(memory.buffer);
  for (;;) {
    const handedOut = Atomics.load(words, 0);
    if (Atomics.load(words, 1) !== handedOut) takeChunk(words, kernels, self);
    else if (Atomics.wait(words, 0, handedOut, idleMs) === "timed-out") return;
  }
}

interface Pending {
  readonly site: string;
  readonly n: number;
  readonly gram: Float64Array;
  chunksLeft: number;
}

export class GramThreads {
  readonly #places: number;
  readonly #memory: WebAssembly.Memory;
  readonly #module: WebAssembly.Module;
  readonly #kernels: Kernels;
  readonly #words: Int32Array;
  readonly #work: (data: ThreadData) => void;
  readonly #threads: (Worker | null)[];
  /** Of each chunk in the ring, whose it is; the first is the oldest. */
  readonly #ring: Pending[] = [];
  #collected = 0;
  #isBusy = false;
  #failure: Error | null = null;
  #turned = 0;

  /**
   * @param count threads beside this one
   * @param does what a thread does, by its source
   */
  constructor(count: number, does = work) {
    this.#places = 4 * (count + 1);
    const pages = Math.ceil((headerBytes + placeBytes * this.#places + panelBytes * (count + 1)) / pageBytes);
    this.#memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.#module = panelModule(pages);
    this.#kernels = new WebAssembly.Instance(this.#module, { env: { memory: this.#memory } }).exports as Kernels;
    this.#words = new Int32Array(this.#memory.buffer, 0, headerBytes / 4);
    this.#work = does;
    this.#threads = Array.from({ length: count }, () => null);
  }

  /** Whether it can be asked now: it does one thing at a time. */
  get isFree(): boolean {
    return !this.#isBusy;
  }

  get areRunning(): boolean {
    return this.#threads.some((thread) => thread !== null);
  }

  /** Whether a thread has ended by an error: then its chunk may never come, and nothing more should be asked. */
  get hasFailed(): boolean {
    return this.#failure !== null;
  }

  /** Starts the threads that are not running. */
  start(): void {
    for (const [index, running] of this.#threads.entries()) {
      if (running !== null) continue;
      const id = thisThread + 1 + index;
      const data: ThreadData = { module: this.#module, memory: this.#memory, id, panel: this.#panel(id), places: this.#places, idleMs };
      const source = `${takeChunk}\n${this.#work}\n${this.#work.name}(require("node:worker_threads").workerData);`;
      const thread = new Worker(source, { eval: true, workerData: data, execArgv: [] });
      thread.unref();
      thread.on("error", (error: Error) => (this.#failure = error));
      thread.on("exit", () => (this.#threads[index] = null));
      this.#threads[index] = thread;
    }
  }

  /**
   * XᵀX, `[n, n]`, of each, in order.
   * @throws "internal" naming the site, when the thread that had a part of it has ended
   */
  async *gramMatrices(asked: Iterable<NamedMatrix>): AsyncGenerator<Float64Array, void, void> {
    this.#isBusy = true;
    const pending: Pending[] = [];
    const finished = (): Float64Array => {
      const { gram, n } = at(pending, 0);
      pending.shift();
      return mirrored(gram, n);
    };
    try {
      for (const { site, matrix } of asked) {
        const { rows, n } = matrix;
        if (!isPlain(matrix) || n === 0 || n > mostColumns) {
          pending.push({ site, n, gram: gramMatrix(matrix), chunksLeft: 0 });
          continue;
        }
        const one: Pending = { site, n, gram: new Float64Array(n * n), chunksLeft: Math.ceil(rows / chunkRows(n)) };
        pending.push(one);
        if (performance.now() - this.#turned > turnMs) await this.#turn();
        for (let first = 0; first < rows; first += chunkRows(n)) {
          while (this.#ring.length === this.#places) {
            if (!this.#advance()) await this.#waitForOldest();
            while (pending[0]?.chunksLeft === 0) yield finished();
          }
          this.#handOut(one, matrix, first);
        }
      }
      while (pending.length > 0)
        if (pending[0]?.chunksLeft === 0) yield finished();
        else if (!this.#advance()) await this.#waitForOldest();
    } finally {
      await this.#drain();
      this.#isBusy = false;
    }
  }

  #panel(id: number): number {
    return headerBytes + placeBytes * this.#places + panelBytes * (id - thisThread);
  }

  #handOut(one: Pending, matrix: PlainMatrix, first: number): void {
    const number = this.#collected + this.#ring.length;
    const place = number % this.#places;
    const [source, sums] = [headerBytes + placeBytes * place, headerBytes + placeBytes * place + sourceBytes];
    copyChunk(matrix, first, this.#memory, source);
    const { kernel, values } = chunkCall(matrix, first, source, sums);
    this.#words.set([nobody, kernelNames.indexOf(kernel), ...values], wordsOf(place) + 1);
    this.#ring.push(one);
    Atomics.store(this.#words, 0, number + 1);
    Atomics.notify(this.#words, 0, 1);
  }

  #sums(place: number, n: number): Float64Array {
    return new Float64Array(this.#memory.buffer, headerBytes + placeBytes * place + sourceBytes, widthOf(n) ** 2);
  }

  /**
   * Collects the oldest chunk, or sums one; false where only waiting is left.
   * @throws "internal" when the oldest is lost
   */
  #advance(): boolean {
    const [oldest] = this.#ring;
    const place = this.#collected % this.#places;
    if (!oldest || !this.#isSummed(this.#collected)) {
      if (oldest && this.#isLost(this.#collected)) throw this.#lost(oldest);
      return takeChunk(this.#words, this.#kernels, { id: thisThread, panel: this.#panel(thisThread), places: this.#places });
    }
    addSums(oldest.gram, oldest.n, this.#sums(place, oldest.n));
    oldest.chunksLeft--;
    this.#ring.shift();
    this.#collected++;
    return true;
  }

  #lost({ site }: Pending): WorkbenchError {
    const why = this.#failure ? ` (${this.#failure.message})` : "";
    return new WorkbenchError("internal", `singular values of "${site}": the thread that summed a part of them ended${why}; expected its sums`);
  }

  #isSummed(number: number): boolean {
    return Atomics.load(this.#words, wordsOf(number % this.#places)) === number + 1;
  }

  #taker(number: number): number {
    return Atomics.load(this.#words, wordsOf(number % this.#places) + 1);
  }

  /** Whether a chunk was taken by a thread that is no more. */
  #isLost(number: number): boolean {
    const by = this.#taker(number);
    return !this.#isSummed(number) && by > thisThread && this.#threads[by - thisThread - 1] === null;
  }

  /** For a millisecond at most. */
  async #waitForOldest(): Promise<void> {
    const word = wordsOf(this.#collected % this.#places);
    const before = Atomics.load(this.#words, word);
    if (before !== this.#collected + 1) Atomics.wait(this.#words, word, before, 1);
    await this.#turn();
  }

  async #turn(): Promise<void> {
    await eventLoopTurn();
    this.#turned = performance.now();
  }

  /** What nobody has taken is taken back; what threads have taken is waited for, so that they do not write into the next one's places. */
  async #drain(): Promise<void> {
    const untaken = Atomics.exchange(this.#words, 1, Atomics.load(this.#words, 0));
    for (; this.#ring.length > 0; this.#ring.shift(), this.#collected++)
      while (this.#collected < untaken && !this.#isSummed(this.#collected) && this.#taker(this.#collected) !== thisThread && !this.#isLost(this.#collected))
        await this.#waitForOldest();
  }
}

let threads: GramThreads | null = null;

/**
 * XᵀX, `[n, n]`, of each, in order, by threads where there are processors for them and enough to do. Ends its part when the caller does.
 * @throws "internal" naming the site, when the thread that had a part of it has ended
 */
export async function* gramMatrices(asked: readonly NamedMatrix[]): AsyncGenerator<Float64Array, void, void> {
  const products = asked.reduce((sum, { matrix: { rows, n } }) => sum + (rows * n * n) / 2, 0);
  const count = Math.min(availableParallelism(), mostThreads) - 1;
  if (threads?.hasFailed) threads = null;
  if (count > 0 && (threads?.areRunning || products > worthThreads) && threads?.isFree !== false) {
    threads ??= new GramThreads(count);
    threads.start();
    yield* threads.gramMatrices(asked);
    return;
  }
  let turned = performance.now();
  for (const { matrix } of asked) {
    yield gramMatrix(matrix);
    if (performance.now() - turned < turnMs) continue;
    await eventLoopTurn();
    turned = performance.now();
  }
}
