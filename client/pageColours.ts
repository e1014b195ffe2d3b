/** The page's colours as CSS variables: those that figures share with it are written once, in `figures/theme.ts`. */
import { themes, types, type Theme } from "./figures/theme.ts";

/** What only the page has: rails and cards, what is good and bad, focus, the veil behind a dialog. */
interface PageColours {
  readonly rail: string;
  readonly card: string;
  readonly line: string;
  readonly "line-strong": string;
  readonly chip: string;
  readonly "on-accent": string;
  readonly tint: string;
  readonly good: string;
  readonly bad: string;
  readonly "bad-soft": string;
  readonly warn: string;
  readonly scrim: string;
}

const page: Readonly<Record<Theme["name"], PageColours>> = {
  light: {
    rail: "#fbfbfa",
    card: "#ffffff",
    line: "#e3e3e0",
    "line-strong": "#c9c9c5",
    chip: "#f1f1ef",
    "on-accent": "#ffffff",
    tint: "#fbdccb",
    good: "#1a7f42",
    bad: "#b3261e",
    "bad-soft": "#fdf1ef",
    warn: "#8a5a00",
    scrim: "rgb(20 20 22 / 0.32)",
  },
  dark: {
    rail: "#16171b",
    card: "#1d2024",
    line: "#2b2e33",
    "line-strong": "#43474e",
    chip: "#26292e",
    "on-accent": "#14161a",
    tint: "#54362b",
    good: "#5fce83",
    bad: "#ff8d80",
    "bad-soft": "#2c1d1c",
    warn: "#e0b35c",
    scrim: "rgb(0 0 0 / 0.55)",
  },
};

/** Every variable of a theme, by its name without the dashes. */
function cssVariables(name: Theme["name"]): Readonly<Record<string, string>> {
  const { background, ink, muted, accent } = themes[name];
  return { ...page[name], paper: background, ink, muted, accent, focus: accent };
}

/** A style sheet of both themes: the dark one where the root element says so. */
export function pageStyle(): string {
  const rules = (name: Theme["name"]): string =>
    Object.entries(cssVariables(name))
      .map(([variable, colour]) => `--${variable}:${colour};`)
      .join("");
  const { sans, mono } = types.screen;
  return `:root{--sans:${sans};--mono:${mono};${rules("light")}color-scheme:light}:root[data-theme="dark"]{${rules("dark")}color-scheme:dark}`;
}
