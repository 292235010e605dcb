import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: ["**/.venv/", "build/", "assets/contract.js"] },
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2024, sourceType: "module", globals: { ...globals.browser, ...globals.worker } },
    rules: {
      "eqeqeq": "error", "no-var": "error", "prefer-const": "error", "no-duplicate-imports": "error",
      "no-unused-vars": ["error", { argsIgnorePattern: "^_" }], "max-len": ["error", { code: 120 }],
    },
  },
  { files: ["tests/js/**"], languageOptions: { globals: globals.node } },
];
