/** Counts, bytes and times in few characters. */
const steps = [
  [1e9, "B"],
  [1e6, "M"],
  [1e3, "k"],
] as const;

/** 124439808 → "124 M" */
export function countWords(count: number): string {
  const [size, letter] = steps.find(([least]) => count >= least) ?? [1, ""];
  const value = count / size;
  return `${value >= 100 || size === 1 ? Math.round(value) : value.toFixed(1)}${letter && ` ${letter}`}`;
}

/** 42991616 → "41 MB" (binary steps) */
export function byteWords(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let at = 0;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${value >= 10 || at === 0 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

export function durationWords(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${Math.floor(milliseconds / 60_000)} min ${Math.round((milliseconds % 60_000) / 1000)} s`;
}

/** "4 s ago", "2 min ago", "3 h ago", then the date. */
export function agoWords(iso: string, nowMs: number): string {
  const seconds = Math.max(0, Math.round((nowMs - Date.parse(iso)) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return iso.slice(0, 10);
}
