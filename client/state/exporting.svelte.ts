/** What exported pictures are made for, the same for all figures; remembered in this browser. */
import { printSizeNames, type PrintSize } from "../figures/theme.ts";

const storageKey = "deltascope.exportSize";

class ExportingState {
  size = $state<PrintSize>(printSizeNames.find((name) => name === localStorage.getItem(storageKey)) ?? "page");
  /** Whether the pin is outlined as it is on screen. */
  marks = $state(true);

  /** @param what a size, or "marks" to draw the pin or leave it out */
  choose(what: string): void {
    if (what === "marks") this.marks = !this.marks;
    const size = printSizeNames.find((name) => name === what);
    if (!size) return;
    this.size = size;
    localStorage.setItem(storageKey, size);
  }
}
export const exporting = new ExportingState();
