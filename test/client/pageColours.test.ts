/** The page's colours: every variable that is used is made, in both themes, and text reads on what it stands on. */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { contrast, dark, light } from "../../client/figures/theme.ts";
import { pageStyle } from "../../client/pageColours.ts";

const client = fileURLToPath(new URL("../../client/", import.meta.url));
const rules = [...pageStyle().matchAll(/:root(\[data-theme="dark"\])?\{([^}]*)\}/g)];
const variables = (index: number): Map<string, string> =>
  new Map([...(rules[index]?.[2] ?? "").matchAll(/(--[\w-]+):([^;]*);/g)].map(([, name, value]) => [name!, value!]));
const themes = { light: variables(0), dark: new Map([...variables(0), ...variables(1)]) };

it("has every variable that a style sheet uses and does not set itself", () => {
  const files = readdirSync(client, { recursive: true, encoding: "utf8" }).filter((file) => /\.(svelte|css)$/.test(file));
  expect(files.length).toBeGreaterThan(30);
  for (const file of files) {
    const text = readFileSync(client + file, "utf8");
    const own = new Set([...text.matchAll(/(?:style:)?(--[\w-]+)\s*[:=]/g)].map(([, name]) => name!));
    for (const [, name] of text.matchAll(/var\((--[\w-]+)/g)) expect(own.has(name!) || themes.light.has(name!), `${file}: ${name}`).toBe(true);
  }
});

it("is the figures' own where both have a colour, and every colour of the light theme is one of the dark one's too", () => {
  for (const [name, theme] of Object.entries({ light, dark })) {
    const own = themes[name as keyof typeof themes];
    expect([own.get("--paper"), own.get("--ink"), own.get("--muted"), own.get("--accent")]).toEqual([theme.background, theme.ink, theme.muted, theme.accent]);
  }
  expect([...variables(1).keys()]).toEqual([...variables(0).keys()].filter((name) => name !== "--sans" && name !== "--mono"));
});

it.each(["light", "dark"] as const)("text reads on every ground in %s", (name) => {
  const of = (variable: string): string => themes[name].get(`--${variable}`) ?? "";
  for (const ground of ["paper", "rail", "card"])
    for (const text of ["ink", "muted", "accent", "good", "bad", "warn"])
      expect(contrast(of(text), of(ground)), `${text} on ${ground}`).toBeGreaterThanOrEqual(4.5);
  expect(contrast(of("on-accent"), of("accent"))).toBeGreaterThanOrEqual(4.5);
  expect(contrast(of("bad"), of("bad-soft"))).toBeGreaterThanOrEqual(4.5);
});
