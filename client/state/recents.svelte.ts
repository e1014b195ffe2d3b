/** Folders opened lately, newest first, in this browser. */
const storageKey = "deltascope.recents";
const longest = 8;

export interface Recent {
  readonly kind: "model" | "adapter";
  readonly path: string;
}
const isRecent = (value: unknown): value is Recent =>
  typeof value === "object" &&
  value !== null &&
  "path" in value &&
  typeof value.path === "string" &&
  "kind" in value &&
  (value.kind === "model" || value.kind === "adapter");

function stored(): Recent[] {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(storageKey) ?? "[]");
    return Array.isArray(value) ? value.filter(isRecent) : [];
  } catch {
    return [];
  }
}

class Recents {
  list = $state.raw<readonly Recent[]>([]);

  start(): void {
    this.list = stored();
  }

  add(recent: Recent): void {
    this.list = [recent, ...this.list.filter(({ kind, path }) => kind !== recent.kind || path !== recent.path)].slice(0, 2 * longest);
    localStorage.setItem(storageKey, JSON.stringify(this.list));
  }

  of(kind: Recent["kind"]): readonly string[] {
    return this.list
      .filter((recent) => recent.kind === kind)
      .slice(0, longest)
      .map(({ path }) => path);
  }
}
export const recents = new Recents();
