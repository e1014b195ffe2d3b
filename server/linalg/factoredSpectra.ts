/** Spectra of many factored matrices, as every site of an adapter is one: their Gram matrices by threads, the small rest here. */
import { WorkbenchError } from "../errors.ts";
import { columnsOfLeft, rowsOfRight, spectrumOfGrams, type FactoredMatrix, type FactoredSpectrum } from "./factored.ts";
import { gramMatrices } from "./gramThreads.ts";

export interface NamedFactors {
  /** Whose they are, for errors. */
  readonly site: string;
  readonly factors: FactoredMatrix;
}

/**
 * Of each site, in order, the same to the last bit with any number of threads; all NaN where a factor holds NaN or infinity.
 * @throws "spectrum.notConverged", and "internal" when a thread ends, both naming the site
 */
export async function* factoredSpectra(sites: readonly NamedFactors[], sums = gramMatrices): AsyncGenerator<FactoredSpectrum, void, void> {
  const factors = sites.flatMap(({ site, factors }) => [columnsOfLeft(factors), rowsOfRight(factors)].map((matrix) => ({ site, matrix })));
  let columns: Float64Array | null = null;
  let done = 0;
  for await (const gram of sums(factors)) {
    if (columns === null) {
      columns = gram;
      continue;
    }
    const { site, factors } = sites[done++]!;
    try {
      yield spectrumOfGrams(factors, columns, gram);
    } catch (error) {
      if (!(error instanceof WorkbenchError)) throw error;
      throw new WorkbenchError(error.code, `"${site}": ${error.message}`, { cause: error });
    }
    columns = null;
  }
}
