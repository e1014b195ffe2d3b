/** Light, dark, or as the system has it; remembered in this browser. */
import { themes, type Theme } from "../figures/theme.ts";

export const themeChoices = ["system", "light", "dark"] as const;
export type ThemeChoice = (typeof themeChoices)[number];
const storageKey = "deltascope.theme";

class ThemeState {
  choice = $state<ThemeChoice>("system");
  #systemIsDark = $state(false);
  readonly name: "light" | "dark" = $derived(this.choice === "system" ? (this.#systemIsDark ? "dark" : "light") : this.choice);
  readonly colours: Theme = $derived(themes[this.name]);

  start(): void {
    const stored = localStorage.getItem(storageKey);
    this.choice = themeChoices.find((choice) => choice === stored) ?? "system";
    const media = matchMedia("(prefers-color-scheme: dark)");
    this.#systemIsDark = media.matches;
    media.addEventListener("change", ({ matches }) => {
      this.#systemIsDark = matches;
    });
  }

  choose(choice: ThemeChoice): void {
    this.choice = choice;
    localStorage.setItem(storageKey, choice);
  }

  toggle(): void {
    this.choose(this.name === "dark" ? "light" : "dark");
  }
}
export const theme = new ThemeState();
