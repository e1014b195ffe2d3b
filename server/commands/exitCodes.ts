/** What the command line's exit status says. */
export const exitCodes = { ok: 0, failed: 1, usage: 2, cancelled: 130 } as const;
