import { tmpdir } from "node:os";
import { join } from "node:path";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

const { DELTASCOPE_ENGINES: engines, DELTASCOPE_LAW_ENGINE: lawEngine } = process.env;

export default defineConfig({
  plugins: [svelte()],
  test: {
    include: ["test/**/*.test.ts"],
    setupFiles: ["test/setup.ts"],
    // Far above what a test takes, so that none fails because the machine is busy; one that hangs still ends.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 240_000 } },
    // What is set up in the user's cache is no part of the tests, unless they are asked to try it.
    env: engines === undefined && lawEngine === undefined ? { DELTASCOPE_ENGINE_FOLDER: join(tmpdir(), "deltascope-no-engines") } : {},
    pool: "forks",
    maxWorkers: 2,
  },
});
