/** Reading an entry that must be there. */

/**
 * Entry `index` of a list or typed array; negative counts from the end. Loops over numbers use vectors.ts instead: the check costs there.
 * @throws Error "internal: …" when the list is too short
 */
export function at<T>(list: ArrayLike<T>, index: number): T {
  const entry = list[index < 0 ? index + list.length : index];
  if (entry === undefined) throw new Error(`internal: entry ${index} of a list of ${list.length}`);
  return entry;
}

/**
 * The entries of `values` under `names`, known to be there.
 * @param what the thing they belong to, for the error
 * @throws Error "internal: …" naming the first that is missing
 */
export function named<Name extends string, T>(what: string, values: Readonly<Record<string, T>>, names: readonly Name[]): Readonly<Record<Name, T>> {
  if (hasAll(values, names)) return values;
  const missing = names.find((name) => !Object.hasOwn(values, name));
  throw new Error(`internal: ${what} has no "${missing}"; it has ${Object.keys(values).join(", ") || "nothing"}`);
}

function hasAll<Name extends string, T>(values: Readonly<Record<string, T>>, names: readonly Name[]): values is Readonly<Record<Name, T>> {
  return names.every((name) => Object.hasOwn(values, name));
}
