/** Gram matrices and spectra by threads: the bits of one thread, whoever sums what; and what is said when a thread ends. */
import { setTimeout as pause } from "node:timers/promises";
import { describe, expect, it, vi } from "vitest";
import { frobeniusNorm, singularValues, type FactoredMatrix } from "../../server/linalg/factored.ts";
import { factoredSpectra, type NamedFactors } from "../../server/linalg/factoredSpectra.ts";
import { chunkRows } from "../../server/linalg/gramChunks.ts";
import { gramMatrices, GramThreads, type NamedMatrix, type ThreadData } from "../../server/linalg/gramThreads.ts";
import { gaussians, randomStream } from "../../server/linalg/random.ts";
import { gramMatrix, type TallMatrix } from "../../server/linalg/tallMatrix.ts";

const random = (length: number, seed: number) => gaussians(length, 1, randomStream(seed));
const byRows = (rows: number, n: number, seed: number): TallMatrix => ({ data: random(rows * n, seed), rows, n, rowStride: n, columnStride: 1 });
const byColumns = (rows: number, n: number, seed: number): TallMatrix => ({ data: random(rows * n, seed), rows, n, rowStride: 1, columnStride: rows });
const factors = (dOut: number, dIn: number, rank: number, seed: number): FactoredMatrix => ({
  ...{ left: random(dOut * rank, seed), right: random(rank * dIn, seed + 1) },
  ...{ dOut, dIn, rank, scale: 0.5 },
});

async function listed<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

/** Bits: `toEqual` takes long over so many numbers. */
const isSame = (found: readonly Float64Array[], expected: readonly Float64Array[]): boolean =>
  found.length === expected.length && found.every((one, i) => Buffer.from(one.buffer).equals(Buffer.from(expected[i]!.buffer)));

/** Threads that wait for work. */
async function ready(threads: GramThreads): Promise<void> {
  threads.start();
  await pause(200);
}

const mixed: readonly TallMatrix[] = [
  byRows(1, 1, 1),
  byRows(chunkRows(16) * 3 + 5, 16, 2),
  byColumns(chunkRows(16) * 2, 16, 3),
  byColumns(2 * chunkRows(7) + 129, 7, 4),
  byRows(chunkRows(7) + 1, 7, 5),
  { ...byRows(700, 12, 6), n: 6, columnStride: 2 },
  byColumns(900, 64, 7),
  byRows(1030, 130, 8),
  byRows(300, 258, 9),
];
const sumsOf = (matrices: readonly NamedMatrix[]) => matrices.map(({ matrix }) => gramMatrix(matrix));
const asked: readonly NamedMatrix[] = Array.from({ length: 6 }, () => mixed)
  .flat()
  .map((matrix, i) => ({ site: `site ${i}`, matrix }));

describe("Gram matrices by threads", () => {
  it.each([0, 1, 3])("are those of one thread to the last bit, %i threads beside it", async (count) => {
    const threads = new GramThreads(count);
    await ready(threads);
    const expected = sumsOf(asked);
    for (let round = 0; round < 3; round++) expect(isSame(await listed(threads.gramMatrices(asked)), expected)).toBe(true);
    expect([threads.areRunning, threads.hasFailed]).toEqual([count > 0, false]);
  });

  it("go on right after a caller that has left in the middle", async () => {
    const threads = new GramThreads(2);
    await ready(threads);
    for await (const gram of threads.gramMatrices(asked)) {
      expect(isSame([gram], sumsOf(asked.slice(0, 1)))).toBe(true);
      break;
    }
    expect(threads.isFree).toBe(true);
    expect(isSame(await listed(threads.gramMatrices(asked)), sumsOf(asked))).toBe(true);
  });

  it("are summed by the other thread while this one does something else", async () => {
    const threads = new GramThreads(1);
    threads.start();
    const large = Array.from({ length: 4 }, (_, i) => ({ site: `${i}`, matrix: byRows(chunkRows(64) * 8, 64, i) }));
    const takenHere = vi.spyOn(Atomics, "compareExchange");
    /** Chunks that this thread has taken itself of all 32; all of them as long as the other has not begun. */
    const ownPart = async () => {
      takenHere.mockClear();
      const found: Float64Array[] = [];
      for await (const gram of threads.gramMatrices(large)) {
        found.push(gram);
        await pause(20);
      }
      expect(isSame(found, sumsOf(large))).toBe(true);
      return takenHere.mock.calls.length;
    };
    await expect.poll(ownPart).toBeLessThan(32);
    takenHere.mockRestore();
  });

  it("that a thread fails to sum are an error with the site and the reason", async () => {
    const threads = new GramThreads(1, failingWork);
    threads.start();
    const many = [
      { site: "first", matrix: byRows(64, 16, 1) },
      { site: "second", matrix: byRows(chunkRows(16) * 40, 16, 2) },
    ];
    const results = threads.gramMatrices(many);
    expect((await results.next()).value).toEqual(gramMatrix(many[0]!.matrix));
    await expect.poll(() => threads.hasFailed).toBe(true);
    await expect(listed(results)).rejects.toThrow('"second": the thread that summed a part of them ended (no more memory)');
    expect(threads.isFree).toBe(true);
  });
});

describe("spectra of many sites", () => {
  const sites: readonly NamedFactors[] = Array.from({ length: 12 }, (_, i) => ({ site: `site ${i}`, factors: factors(5000 + i, 300, 8 + (i % 3), 10 * i) }));

  it("have the values of each alone and the norm, to the last bit by any number of threads", async () => {
    const threads = new GramThreads(2);
    await ready(threads);
    const alone = await listed(factoredSpectra(sites));
    expect(await listed(factoredSpectra(sites, (matrices) => threads.gramMatrices(matrices)))).toEqual(alone);
    expect(alone.map(({ values, norm }) => ({ values, norm }))).toEqual(
      sites.map((site) => ({ values: singularValues(site.factors), norm: frobeniusNorm(site.factors) })),
    );
  });

  it("are NaN for a site that holds infinity, and those of the others stand", async () => {
    const [first, second, third] = sites as [NamedFactors, NamedFactors, NamedFactors];
    const broken = { site: "broken", factors: { ...second.factors, left: second.factors.left.with(7, Infinity) } };
    const found = await listed(factoredSpectra([first, broken, third]));
    expect(found[1]).toMatchObject({ values: new Float64Array(second.factors.rank).fill(NaN), norm: NaN });
    expect([found[0], found[2]]).toEqual(await listed(factoredSpectra([first, third])));
  });

  it("are empty at rank 0", async () => {
    const none = { site: "pruned", factors: factors(5, 4, 0, 1) };
    const empty = new Float64Array(0);
    expect((await listed(factoredSpectra([...sites, none]))).at(-1)).toEqual({ values: empty, norm: 0, squares: { left: empty, right: empty } });
  });

  it("come with the squares of the columns of B and the rows of A", async () => {
    const m: FactoredMatrix = { left: Float32Array.of(3, 0, 4, 2), right: Float32Array.of(0, 0, 1, 2), dOut: 2, dIn: 2, rank: 2, scale: 2 };
    const [found] = await listed(factoredSpectra([{ site: "by hand", factors: m }]));
    expect(found?.squares).toEqual({ left: Float64Array.of(25, 4), right: Float64Array.of(0, 5) });
  });

  it("are the same for two who ask at once, of whom one has the threads", async () => {
    const many = Array.from({ length: 30 }, (_, i) => ({ site: `${i}`, matrix: byColumns(9000, 64, i) }));
    const expected = sumsOf(many);
    const [one, other] = await Promise.all([listed(gramMatrices(many)), listed(gramMatrices(many))]);
    expect([isSame(one, expected), isSame(other, expected)]).toEqual([true, true]);
  });
});

/** Takes the second chunk, which the thread that hands out therefore leaves, and fails. */
function failingWork({ memory, id }: ThreadData): void {
  const words = new Int32Array(memory.buffer);
  while (Atomics.load(words, 1) !== 1) Atomics.wait(words, 0, Atomics.load(words, 0), 1);
  Atomics.store(words, 16 + 16 + 1, id);
  Atomics.store(words, 1, 2);
  throw new Error("no more memory");
}
