// Lint of the code itself; who may import whom is in .dependency-cruiser.cjs.
import svelte from "eslint-plugin-svelte";
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

const tests = ["test/**", "bench/**", "fixtures/**", "*.config.ts"];

export default defineConfig(
  { ignores: ["dist/", "node_modules/", ".deltascope/", "**/*.js", "**/*.mjs", "**/golden/**"] },
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
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
      "max-lines": ["error", 400],
      "max-len": ["error", { code: 160, ignoreUrls: true, ignoreRegExpLiterals: true }],
      "no-console": "error",
    },
  },
  {
    files: tests,
    rules: {
      "no-console": "off",
      // READMEs are written as templates.
      "max-len": ["error", { code: 160, ignoreUrls: true, ignoreRegExpLiterals: true, ignoreTemplateLiterals: true }],
      "@typescript-eslint/no-unsafe-assignment": "off",
      "@typescript-eslint/no-unsafe-member-access": "off",
      "@typescript-eslint/no-unsafe-argument": "off",
      "@typescript-eslint/no-unsafe-call": "off",
    },
  },
  // A table with a line a kernel.
  { files: ["test/tensors/conformanceCases.ts"], rules: { "max-len": "off" } },
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
