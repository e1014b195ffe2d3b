/** Numbers to colours, with the bounds that the legend names. */
import { scaleLinear } from "d3-scale";
import type { Metric } from "../../probes/result.ts";
import type { Theme } from "./theme.ts";

export interface ColourScale {
  readonly metric: Metric;
  readonly low: number;
  readonly high: number;
  /** How many numbers lie beyond each bound, and how far the farthest. */
  readonly below: { readonly count: number; readonly farthest: number };
  readonly above: { readonly count: number; readonly farthest: number };
  readonly pending: number;
  /** `#rrggbb`-like; numbers beyond the bounds take the colour of the bound. NaN has no colour. */
  colour(value: number): string;
  /** 0 to 1 along the legend. */
  share(value: number): number;
  colourAt(share: number): string;
}

/** The next number of two significant digits away from zero, so that bounds are short and clip nothing. */
function roundOut(value: number): number {
  if (value === 0 || !Number.isFinite(value)) return 0;
  const power = 10 ** (Math.floor(Math.log10(Math.abs(value))) - 1);
  // The division may land a hair above a whole number.
  return Number((Math.sign(value) * Math.ceil(Math.abs(value) / power - 1e-9) * power).toPrecision(2));
}

/** Bounds from the metric where they carry meaning, else from the data; diverging ones are symmetric about 0. */
export function colourScale(metric: Metric, values: Iterable<Float32Array>, theme: Theme): ColourScale {
  let [least, most, pending] = [Infinity, -Infinity, 0];
  const chunks = [...values];
  for (const chunk of chunks) {
    for (const value of chunk) {
      if (Number.isNaN(value)) pending += 1;
      else if (Number.isFinite(value)) {
        if (value < least) least = value;
        if (value > most) most = value;
      }
    }
  }
  if (least > most) [least, most] = [0, 0];
  const farthest = roundOut(Math.max(Math.abs(least), Math.abs(most))) || 1;
  const bound = metric.domain ? Math.max(...metric.domain.map(Math.abs)) : farthest;
  // A diverging scale is symmetric whatever the domain says, or its middle colour would not be 0.
  const [low, high] = metric.scale === "diverging" ? [-bound, bound] : (metric.domain ?? [Math.min(0, roundOut(least)), roundOut(most) || 1]);
  const below = { count: 0, farthest: Math.min(least, low) };
  const above = { count: 0, farthest: Math.max(most, high) };
  for (const chunk of chunks) {
    for (const value of chunk) {
      if (value < low) below.count += 1;
      else if (value > high) above.count += 1;
    }
  }
  const colours = metric.scale === "diverging" ? theme.diverging : theme.sequential;
  const ramp = scaleLinear<string>()
    .domain(colours.map((_, index) => index / (colours.length - 1)))
    .range(colours)
    .clamp(true);
  const share = (value: number): number => Math.min(1, Math.max(0, (value - low) / (high - low)));
  return { metric, low, high, below, above, pending, share, colourAt: ramp, colour: (value) => ramp(share(value)) };
}
