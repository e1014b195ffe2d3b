// Lint as architecture: imports point left (design: formats → tensors → models, adapters → runs → probes → reports → jobs → routes, sockets → commands).
import { createNodeResolver, importX } from "eslint-plugin-import-x";
import svelte from "eslint-plugin-svelte";
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

/** What each folder may not import, because it lies to its right. */
const layers = [
  ["server/formats", ["tensors", "models", "adapters", "runs", "probes", "reports", "jobs", "routes", "sockets", "commands", "client", "wire", "app"]],
  ["server/tensors", ["formats", "models", "adapters", "runs", "probes", "reports", "jobs", "routes", "sockets", "commands", "client", "wire", "app"]],
  ["server/models", ["runs", "probes", "reports", "jobs", "routes", "sockets", "commands", "client", "wire", "app"]],
  ["server/adapters", ["runs", "probes", "reports", "jobs", "routes", "sockets", "commands", "client", "wire", "app"]],
  ["server/runs", ["probes", "reports", "jobs", "routes", "sockets", "commands", "client", "wire", "app"]],
  ["probes", ["reports", "jobs", "routes", "sockets", "commands", "client", "wire", "app"]],
  ["server/reports", ["jobs", "routes", "sockets", "commands", "app"]],
  ["server/jobs", ["routes", "sockets", "commands", "client", "app"]],
  ["server/routes", ["commands", "client"]],
  ["server/sockets", ["commands", "client"]],
  ["server/commands", ["client"]],
];
const folderOf = (name) => (["probes", "client"].includes(name) ? `**/${name}/**` : ["wire", "app"].includes(name) ? `**/${name}.ts` : `**/${name}/**`);
const tests = ["test/**", "bench/**", "fixtures/**", "*.config.ts"];

export default defineConfig(
  { ignores: ["dist/", "node_modules/", ".deltascope/", "**/*.js", "**/*.mjs", "**/golden/**"] },
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked],
    plugins: { "import-x": importX },
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    settings: {
      "import-x/resolver-next": [createNodeResolver({ extensions: [".ts"] })],
      "import-x/parsers": { "@typescript-eslint/parser": [".ts"] },
      "import-x/extensions": [".ts"],
    },
    rules: {
      "@typescript-eslint/no-non-null-assertion": "off",
      "@typescript-eslint/restrict-template-expressions": "off",
      // `() => void call()` and one-line callbacks are the house style.
      "@typescript-eslint/no-confusing-void-expression": "off",
      "@typescript-eslint/no-meaningless-void-operator": "off",
      // Type predicates and generators declared async by an interface.
      "@typescript-eslint/require-await": "off",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/only-throw-error": "off",
      // Tokens are code points here, and error messages show what was found, whatever it is.
      "@typescript-eslint/no-misused-spread": "off",
      "@typescript-eslint/no-base-to-string": "off",
      // tfjs kernels take `{ inputs, backend }` records whose declared types are classes.
      "@typescript-eslint/no-unsafe-class-instance-assignment": "off",
      "import-x/no-cycle": ["error", { ignoreExternal: true, maxDepth: 12 }],
      "max-lines": ["error", 400],
      "no-console": "error",
    },
  },
  ...layers.map(([folder, banned]) => ({
    files: [`${folder}/**/*.ts`],
    rules: { "no-restricted-imports": ["error", { patterns: [{ group: banned.map(folderOf), message: `${folder} may import only what lies to its left.` }] }] },
  })),
  {
    // The client knows the server only through its types; `figures` is drawn on both sides.
    files: ["client/**/*.ts"],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          patterns: [
            {
              group: ["**/server/**", "!**/server/wire.ts", "!**/server/errors.ts", "!**/server/nearNames.ts", "!**/server/packedEvents.ts"],
              message: "The client imports from the server only wire.ts, errors.ts, nearNames.ts and packedEvents.ts.",
            },
            { group: ["**/probes/**", "!**/probes/result.ts"], message: "The client knows probes by their results." },
          ],
        },
      ],
    },
  },
  {
    files: tests,
    rules: {
      "no-restricted-imports": "off",
      "no-console": "off",
      "@typescript-eslint/no-unsafe-assignment": "off",
      "@typescript-eslint/no-unsafe-member-access": "off",
      "@typescript-eslint/no-unsafe-argument": "off",
      "@typescript-eslint/no-unsafe-call": "off",
    },
  },
  {
    // The declarations of @huggingface/tokenizers name files it does not ship, so its types cannot be resolved.
    files: ["server/formats/tokenizer.ts"],
    rules: Object.fromEntries(
      ["assignment", "call", "member-access", "argument", "return"]
        .map((kind) => [`@typescript-eslint/no-unsafe-${kind}`, "off"])
        .concat([["@typescript-eslint/restrict-plus-operands", "off"]]),
    ),
  },
  ...svelte.configs.recommended.map((config) => ({ ...config, files: config.files ?? ["**/*.svelte", "**/*.svelte.ts"] })),
  {
    files: ["**/*.svelte", "**/*.svelte.ts"],
    languageOptions: { parserOptions: { parser: tseslint.parser, extraFileExtensions: [".svelte"] } },
    rules: {
      "max-lines": ["error", 400],
      // A set that lives inside one function is not state.
      "svelte/prefer-svelte-reactivity": "off",
    },
  },
);
