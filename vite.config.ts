import { svelte } from "@sveltejs/vite-plugin-svelte";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: here("client/"),
  plugins: [svelte({ configFile: false })],
  // Fonts stay files: the server's content policy allows no data: fonts.
  // The bundle carries others' code without its comments: their licences go beside it.
  build: { outDir: here("dist/web"), emptyOutDir: true, assetsInlineLimit: 0, chunkSizeWarningLimit: 800, license: { fileName: "licenses.md" } },
  server: {
    proxy: {
      "/api": "http://127.0.0.1:4870",
      "/socket.io": { target: "http://127.0.0.1:4870", ws: true },
    },
  },
});
