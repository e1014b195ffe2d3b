/** What the screen does with runs that are shown alike: their settings, how one starts, and what they are called in lists. */
import type { RunRecord, RunRequest } from "../../../server/wire.ts";

export interface Page {
  /** Why nothing can be started yet, in words; null when it can. */
  obstacle(): string | null;
  /** What the screen asks for. */
  request(probe: string): RunRequest;
  /** What an address holds of the settings: what differs from the defaults. */
  settings(probe: string): Readonly<Record<string, unknown>>;
  /**
   * Settings from elsewhere: an address, a link, a next step.
   * @param hasRun whether a run comes with them
   */
  setAll(probe: string, params: Readonly<Record<string, unknown>>, hasRun: boolean): void;
  /** A form stands where a run would, though one may be open. */
  isForm(): boolean;
  /** @returns whether it was started; if not, the reason is on screen */
  start(request: RunRequest): Promise<boolean>;
  /** The run that comes back when a person comes to the page. */
  returning(request: RunRequest): RunRecord | null;
  /** Brings back what a run was about. */
  take(request: RunRequest): Promise<void>;

  /** What other probes look at is what is seen here: a pinned place keeps its meaning, and settings beside a run may have moved on. */
  readonly isOfSubject: boolean;
  /** Its runs can be laid over each other. */
  readonly isComparable: boolean;
  /** How many of its runs the list keeps. */
  readonly kept: number;
  /** Behind a run's title in the list. */
  readonly tag: string;
  /** What tells its runs apart; null for the title of their probe. */
  title(params: Readonly<Record<string, unknown>>): string | null;
}
