/** Which places of a batch have a loss, towards what, and with which weight. */
import { at } from "../at.ts";
import type { Batch } from "../data/example.ts";
import { float32, int32, type FloatTensor, type HostTensor } from "../tensors/hostTensor.ts";

/** Places are counted up to a multiple of this, so that few shapes of programs arise. */
const lossRowStep = 16;

/** Flat places whose prediction counts, their targets and weights; padded by places of weight 0. `[n]` each */
export function lossRows(
  { rows, positions, targets, lossWeights, last, labels }: Batch,
  isClassification: boolean,
): { lossRows: HostTensor; lossTargets: HostTensor; lossScale: FloatTensor } {
  if (isClassification) {
    const places = Int32Array.from(last, (position, row) => row * positions + position);
    return { lossRows: int32(places, [rows]), lossTargets: int32(labels, [rows]), lossScale: float32(new Float32Array(rows).fill(1), [rows]) };
  }
  const places: number[] = [];
  for (let i = 0; i < lossWeights.length; i++) if (lossWeights[i] !== 0) places.push(i);
  const n = Math.min(rows * positions, Math.ceil(places.length / lossRowStep) * lossRowStep);
  const [lossPlaces, lossTargets, lossScale] = [new Int32Array(n), new Int32Array(n), new Float32Array(n)];
  places.forEach((place, i) => {
    lossPlaces[i] = place;
    lossTargets[i] = at(targets, place);
    lossScale[i] = at(lossWeights, place);
  });
  return { lossRows: int32(lossPlaces, [n]), lossTargets: int32(lossTargets, [n]), lossScale: float32(lossScale, [n]) };
}

/** Sum of the weights of a batch's predictions: what its loss is divided by. */
export function lossWeight(batch: Batch, isClassification: boolean): number {
  return isClassification ? batch.rows : batch.lossWeights.reduce((sum, weight) => sum + weight, 0);
}
