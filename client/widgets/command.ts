/** One thing a person can do, as the palette lists it. */
export interface Command {
  readonly id: string;
  readonly group: string;
  readonly label: string;
  readonly keys?: string;
  run(): void;
}
