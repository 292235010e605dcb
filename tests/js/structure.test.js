// Which script may import which, as docs/design.md has it, read from the import statements.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ASSETS = fileURLToPath(new URL("../../assets/", import.meta.url));
const SCRIPTS = readdirSync(ASSETS, { recursive: true }).map(String).filter((file) => /\.m?js$/.test(file));
const text = (file) => readFileSync(path.join(ASSETS, file), "utf8");
const IMPORTS = new Map(SCRIPTS.map((file) => [file, [...text(file).matchAll(/^(?:import|\} from)\b.*?"(\..*?)";$/gm)]
  .map(([, to]) => path.join(path.dirname(file), to))]));

test("every import is of a script that is there", () => {
  assert.ok(SCRIPTS.length > 25);
  for (const [file, imports] of IMPORTS) for (const to of imports) assert.ok(IMPORTS.has(to), `${file} imports ${to}`);
});

test("no script imports itself by way of others", () => {
  const done = new Set();
  const walk = (file, way) => {
    assert.ok(!way.includes(file), [...way, file].join(" -> "));
    if (done.has(file)) return;
    for (const to of IMPORTS.get(file)) walk(to, [...way, file]);
    done.add(file);
  };
  for (const file of SCRIPTS) walk(file, []);
});

test("all that the page is made of is reached from main.mjs", () => {
  const reached = new Set(), walk = (file) => {
    if (reached.has(file)) return;
    reached.add(file);
    IMPORTS.get(file).forEach(walk);
  };
  walk("main.mjs");
  const alone = SCRIPTS.filter((file) => !reached.has(file) && !file.startsWith("engines/worker/"));
  assert.deepEqual(alone, ["engines/service-worker.js"]);       // the browser starts it, as it starts the worker
});

test("engines know nothing of the page, and the worker nothing of what is outside of it", () => {
  for (const [file, imports] of IMPORTS) {
    for (const to of imports) {
      if (file.startsWith("engines/")) assert.ok(!to.startsWith("page/"), `${file} imports ${to}`);
      if (file.startsWith("engines/worker/")) assert.ok(to === "contract.js" || to.startsWith("engines/worker/"), to);
    }
  }
});

test("only dash.js and main.mjs speak to Dash", () => {
  const speak = SCRIPTS.filter((file) => /dash_clientside|DashRenderer/.test(text(file)));
  assert.deepEqual(speak.sort(), ["main.mjs", "page/dash.js"]);
});
