/** The page ships other people's code and fonts; their licences ship with it. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const web = new URL("../../dist/web/", import.meta.url);

test("the built page has the licence text of everything in it, the fonts too", () => {
  const file = fileURLToPath(new URL("licenses.md", web));
  expect(existsSync(file), `${file} is made by npm run build`).toBe(true);
  const text = readFileSync(file, "utf8");
  for (const name of ["svelte", "bits-ui", "d3-scale", "d3-selection", "socket.io-client", "@fontsource/inter", "@fontsource/jetbrains-mono"])
    expect(text).toMatch(new RegExp(`^## ${name} - `, "m"));
  expect(text).toMatch(/SIL OPEN FONT LICENSE/i);
  expect(text).toMatch(/Permission is hereby granted, free of charge/);
});
