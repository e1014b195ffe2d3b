/** Gradient norms of the last step, by site and kind of trained tensor. */
import { headKey, siteKey, trainedTensors } from "../adaptation.ts";
import { norm } from "../../linalg/vectors.ts";
import type { Monitor, WatchedRun } from "./monitor.ts";
import { siteLabel } from "./siteLayout.ts";

/** One curve: a site's tensor, the head, or all of the base's weights in a layer. */
export interface GradientCurve {
  readonly label: string;
  /** "loraA": curves of one parameter are drawn together. */
  readonly parameter: string;
  readonly site: string | null;
  readonly layer: number | null;
  /** Of these trained tensors together. */
  readonly keys: readonly string[];
}

export function gradientCurves({ adaptation }: WatchedRun): GradientCurve[] {
  if (adaptation.full) {
    const keys = trainedTensors(adaptation).flatMap(({ key }) => (key === headKey ? [] : [key]));
    const layerOf = (key: string) => /\.(\d+)\./.exec(key)?.[1] ?? null;
    const curves = [...new Set(keys.map(layerOf))].map((layer) => ({
      label: layer === null ? "outside the blocks" : `layer ${layer}`,
      parameter: "base",
      site: null,
      layer: layer === null ? null : Number(layer),
      keys: keys.filter((key) => layerOf(key) === layer),
    }));
    return [...curves, ...headCurve(adaptation.head !== null)];
  }
  const curves = adaptation.sites.flatMap(({ site, trained }) =>
    Object.keys(trained).map((parameter) => ({ label: siteLabel(site), parameter, site: site.name, layer: site.layer, keys: [siteKey(site.name, parameter)] })),
  );
  return [...curves, ...headCurve(adaptation.head !== null)];
}

const headCurve = (isThere: boolean): GradientCurve[] =>
  isThere ? [{ label: "classifier head", parameter: "score", site: null, layer: null, keys: [headKey] }] : [];

export const gradientNorms: Monitor = {
  title: "Gradients",
  summary: "Norm of the last step's gradient, before clipping, of each trained tensor at each site.",
  applies: () => true,
  arrays: (run) => [{ name: "gradient_norm", shape: [gradientCurves(run).length], axes: ["tensor"] }],
  start(run) {
    const curves = gradientCurves(run);
    return {
      look: ({ gradients }) =>
        Promise.resolve({
          gradient_norm: Float32Array.from(curves, ({ keys }) => {
            const found = keys.flatMap((key) => gradients[key] ?? []);
            return found.length < keys.length ? NaN : Math.hypot(...found.map(norm));
          }),
        }),
    };
  },
};
