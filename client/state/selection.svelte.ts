/** What is pinned: one place, or two that are compared. Every figure marks it. */
import type { Place } from "../../probes/result.ts";
import type { Pin } from "./view.ts";

class SelectionState {
  pins = $state.raw<readonly Pin[]>([]);
  readonly first: Pin | null = $derived(this.pins[0] ?? null);
  readonly second: Pin | null = $derived(this.pins[1] ?? null);

  pick(figure: string, place: Place, extend: boolean): void {
    const pin: Pin = { figure, place };
    const { first } = this;
    this.pins = extend && first && JSON.stringify(first) !== JSON.stringify(pin) ? [first, pin] : [pin];
  }

  clear(): void {
    this.pins = [];
  }
}
export const selection = new SelectionState();
