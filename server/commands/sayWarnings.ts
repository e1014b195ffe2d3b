/** What a reader of the numbers must know, on stderr, where it does not get into what is piped on. */
import { namedShort } from "../quoted.ts";

export function sayWarnings(warnings: readonly string[]): void {
  for (const warning of warnings) process.stderr.write(`warning: ${warning.length > 600 ? namedShort(warning) : warning}\n`);
}
