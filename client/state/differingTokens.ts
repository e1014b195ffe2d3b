/** Which tokens of a prompt differ from another prompt's. */

/**
 * By position where both have the same number; otherwise all between their common beginning and common end,
 * since after the first extra token every position would differ.
 */
export function differingTokens(tokens: readonly string[] | null, others: readonly string[] | null): ReadonlySet<number> {
  if (!tokens || !others || tokens.length === 0 || others.length === 0) return new Set();
  const positions = tokens.map((_, index) => index);
  if (tokens.length === others.length) return new Set(positions.filter((index) => tokens[index] !== others[index]));
  const shorter = Math.min(tokens.length, others.length);
  let before = 0;
  while (before < shorter && tokens[before] === others[before]) before += 1;
  let after = 0;
  while (after < shorter - before && tokens[tokens.length - 1 - after] === others[others.length - 1 - after]) after += 1;
  return new Set(positions.slice(before, tokens.length - after));
}
