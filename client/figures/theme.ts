/** Colours and type of figures. Light and dark are equals; exports are light unless asked. */
import { rgb } from "d3-color";
import { interpolateViridis } from "d3-scale-chromatic";

export interface Theme {
  readonly name: "light" | "dark";
  /** The page around figures. */
  readonly background: string;
  /** Under cells and bars; the zero of both colour scales, so that "nothing here" looks like nothing. */
  readonly panel: string;
  readonly ink: string;
  readonly muted: string;
  readonly rule: string;
  readonly accent: string;
  /** Bars that do not clear the null. */
  readonly quiet: string;
  /** Behind bars: what chance alone gives. */
  readonly band: string;
  readonly hatch: string;
  /** From most negative through zero to most positive, evenly spaced. */
  readonly diverging: readonly string[];
  /** From zero to most, evenly spaced. */
  readonly sequential: readonly string[];
  /** Adapter colours in the order they are given out: orange, teal, violet, gold, blue, rose. */
  readonly categorical: readonly string[];
}

/** `#rrggbb` between two colours, `share` of the second. */
export function mix(a: string, b: string, share: number): string {
  const [from, to] = [rgb(a), rgb(b)];
  const between = (one: number, other: number): number => Math.round(one + (other - one) * share);
  return rgb(between(from.r, to.r), between(from.g, to.g), between(from.b, to.b)).formatHex();
}

/** Viridis whose zero end fades into the panel; luminance stays monotonic. */
function fadedViridis(panel: string, reversed: boolean, fade: number): string[] {
  const steps = 33;
  return Array.from({ length: steps }, (_, index) => {
    const t = index / (steps - 1);
    const colour = interpolateViridis(reversed ? 0.98 - 0.93 * t : 0.08 + 0.92 * t);
    return mix(panel, colour, Math.min(1, t / fade));
  });
}

const lightPanel = "#f6f6f4";
const darkPanel = "#1f2328";

export const light: Theme = {
  name: "light",
  background: "#ffffff",
  panel: lightPanel,
  ink: "#1b1c1e",
  muted: "#66686d",
  rule: "#dcdcd8",
  accent: "#3256d1",
  quiet: "#b9bbbd",
  band: "#ececea",
  hatch: "#d3d3cf",
  // ColorBrewer RdBu reversed, its middle the panel, its ends a little short of black so that 0.9 and 1 still differ in hue from ink.
  diverging: ["#124a87", "#3a80b9", "#7fb8d8", "#c6deec", lightPanel, "#fbd3be", "#ee9a7c", "#cf4d45", "#9c0f26"],
  sequential: fadedViridis(lightPanel, true, 0.45),
  categorical: ["#d4632a", "#0f8579", "#7a52c7", "#a87900", "#2b6cb8", "#b83a76"],
};

export const dark: Theme = {
  name: "dark",
  background: "#16171b",
  panel: darkPanel,
  ink: "#e8e9ea",
  muted: "#9b9fa6",
  rule: "#34383e",
  accent: "#8fa4ff",
  quiet: "#555a62",
  band: "#272b31",
  hatch: "#3d4249",
  diverging: ["#a9d2ff", "#6ea9ee", "#3f78bf", "#2a4d78", darkPanel, "#62382c", "#b05531", "#ef8650", "#ffbf94"],
  sequential: fadedViridis(darkPanel, false, 0.3),
  categorical: ["#ee8a4f", "#3cbcae", "#a98bf0", "#d9ab3a", "#6ba6ec", "#ec7fb0"],
};

export const themes = { light, dark } as const;

/** One colour an adapter, in the order given. */
export const adapterPalette = (adapters: readonly string[], theme: Theme): Record<string, string> =>
  Object.fromEntries(adapters.map((adapter, index) => [adapter, theme.categorical[index % theme.categorical.length]!]));

export type Preset = "screen" | "print";

/** Sizes in CSS pixels; all that is printed has 8 pt at final size (1 pt = 4/3 px). */
export interface Type {
  readonly text: number;
  readonly axis: number;
  /** Line height of `text`. */
  readonly line: number;
  readonly sans: string;
  readonly mono: string;
  readonly thin: number;
}
const families = { sans: "Inter, system-ui, sans-serif", mono: "JetBrains Mono, ui-monospace, monospace" };
export const types: Readonly<Record<Preset, Type>> = {
  screen: { text: 13, axis: 11, line: 18, thin: 1, ...families },
  print: { text: 32 / 3, axis: 32 / 3, line: 14, thin: 2 / 3, ...families },
};

/**
 * What figures are made for: column and page of a two-column paper, and a slide, on which the page's drawing is enlarged to 14 pt.
 * `width` is the most that a drawing takes, in CSS pixels (96 an inch) before it is enlarged by `zoom`.
 */
export const printSizes = {
  column: { width: 3.3 * 96, zoom: 1, inches: 3.3 },
  page: { width: 6.9 * 96, zoom: 1, inches: 6.9 },
  slide: { width: 6.9 * 96, zoom: 12 / 6.9, inches: 12 },
} as const;
export type PrintSize = keyof typeof printSizes;
export const printSizeNames = ["column", "page", "slide"] as const satisfies readonly PrintSize[];

const linear = (channel: number): number => (channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4);

/** Relative luminance of a colour, 0 to 1. @see WCAG 2.2, "relative luminance" */
export function luminance(colour: string): number {
  const { r, g, b } = rgb(colour);
  return 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
}
/** WCAG contrast ratio, 1 to 21. */
export function contrast(a: string, b: string): number {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high! + 0.05) / (low! + 0.05);
}
/** Black or white, whichever reads better on the colour; pure, because only then one of them always has 4.5. */
export const inkOn = (colour: string): string => (contrast("#000000", colour) >= contrast("#ffffff", colour) ? "#000000" : "#ffffff");
