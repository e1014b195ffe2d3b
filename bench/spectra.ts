/**
 * Times exact spectra of a 7B-Llama-shape adapter: 224 sites, rank 16, random float32 factors. One thread.
 * Run: npx tsx bench/spectra.ts [repeats]; prints one JSON object, seconds a repeat over all sites. `cpu` is this process's
 * own time, which other work on the machine does not lengthen.
 */
import { performance } from "node:perf_hooks";
import { uniform } from "../server/linalg/random.ts";
import { factoredSvd, frobeniusNorm, singularValues, type FactoredMatrix } from "../server/linalg/factored.ts";

const repeats = Number(process.argv[2] ?? 5);
const [rank, layers, dModel, dMlp] = [16, 32, 4096, 11008];
const perLayer: readonly (readonly [dOut: number, dIn: number])[] = [
  [dModel, dModel],
  [dModel, dModel],
  [dModel, dModel],
  [dModel, dModel],
  [dMlp, dModel],
  [dMlp, dModel],
  [dModel, dMlp],
];

const next = uniform(1);
const noise = (length: number) => Float32Array.from({ length }, () => next() - 0.5);
const sites: FactoredMatrix[] = Array.from({ length: layers }, () => perLayer)
  .flat()
  .map(([dOut, dIn]) => ({ left: noise(dOut * rank), right: noise(rank * dIn), dOut, dIn, rank, scale: 2 }));

interface Times {
  readonly median: number;
  readonly seconds: readonly number[];
  readonly cpu: readonly number[];
}

function times(run: (site: FactoredMatrix) => unknown): Times {
  const seconds: number[] = [];
  const cpu: number[] = [];
  for (let i = 0; i < repeats; i++) {
    const [start, used] = [performance.now(), process.cpuUsage()];
    for (const site of sites) run(site);
    const { user, system } = process.cpuUsage(used);
    seconds.push((performance.now() - start) / 1000);
    cpu.push((user + system) / 1e6);
  }
  return { median: seconds.toSorted((a, b) => a - b)[repeats >> 1]!, seconds, cpu };
}

const values = times(singularValues);
process.stdout.write(
  `${JSON.stringify(
    {
      seconds: values.seconds, // with `peakBytes`, the shape that bench/main.ts reads
      peakBytes: process.resourceUsage().maxRSS * 1024,
      sites: sites.length,
      rank,
      values,
      norms: times(frobeniusNorm),
      vectors: times(factoredSvd),
    },
    (_, value: unknown) => (typeof value === "number" ? Number(value.toFixed(3)) : value),
  )}\n`,
);
