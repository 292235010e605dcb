// Small parts of the page that need no browser: what Dash calls, what a painting costs, where a problem is told.

import assert from "node:assert/strict";
import { test } from "node:test";

import { CODES } from "../../assets/contract.js";
import { Problem, as_problem } from "../../assets/engines/problem.js";
import { expect_seconds, in_seconds, learn_pace, megapixels } from "../../assets/page/cost.js";
import { by_name } from "../../assets/page/dash.js";
import { mix_of, slot_of } from "../../assets/page/mix.js";
import { place_of } from "../../assets/page/problems.js";
import { state } from "../../assets/page/state.js";

/** Call a function as Dash does: values by position, and the context beside them. */
function call(work, { inputs = [], states = [], outputs, triggered = [] }) {
  globalThis.window = { dash_clientside: {
    no_update: "unchanged",
    callback_context: {
      inputs_list: inputs, states_list: states, outputs_list: outputs,
      triggered: triggered.map((prop_id) => ({ prop_id })),
    },
  } };
  try {
    return by_name({ work }).work(...[...inputs, ...states].map(({ value }) => value));
  } finally {
    delete globalThis.window;
  }
}

test("Dash's values come by name, and answers go back by name", () => {
  const work = ({ style_scale, own_styles }, triggered) => ({ size_cost: [style_scale, own_styles, triggered] });
  const answer = call(work, {
    inputs: [{ id: "style-scale", property: "value", value: 2 }],
    states: [{ id: "own-styles", property: "data", value: 3 }],
    outputs: [{ id: "mix", property: "data" }, { id: "size-cost", property: "children" }],
    triggered: ["style-scale.value"],
  });
  assert.deepEqual(answer, ["unchanged", [2, 3, ["style-scale"]]]);
});

test("a callback with one output gives it as it is", () => {
  assert.equal(call(({ strength }) => 2 * strength, {
    inputs: [{ id: "strength", value: 4 }], outputs: { id: "strength-value", property: "children" },
  }), 8);
});

test("finer strokes cost pixels, broader ones a draft more", () => {
  const photo = { width: 2000, height: 1000 };
  assert.deepEqual(megapixels(photo, "1000", 1), { in_all: 0.5, at_once: 0.5 });
  assert.deepEqual(megapixels(photo, "original", 0.5), { in_all: 8, at_once: 8 });
  assert.deepEqual(megapixels(photo, "1000", 2), { in_all: 0.625, at_once: 0.5 });
  assert.equal(megapixels({}, "1000", 1), undefined);
});

test("the time of a painting is told by the nearest size that was painted", () => {
  assert.equal(expect_seconds(1), undefined);
  learn_pace(0.25, 0.5);
  learn_pace(4, 4);
  assert.equal(expect_seconds(0.5), 1);
  assert.equal(expect_seconds(8), 8);
  assert.deepEqual([0.04, 0.5, 4.4, 200].map(in_seconds), ["0.1 s", "0.5 s", "4 s", "3 min"]);
});

test("a problem is told beside the control that it is about", () => {
  const place = (problem) => place_of(new Problem({ detail: "no", ...problem }));
  assert.equal(place({ field: "content" }), "photo-note");
  assert.equal(place({ code: CODES.BROKEN_PICTURE }), "photo-note");
  assert.equal(place({ code: CODES.BROKEN_PICTURE, field: "style" }), "style-note");
  assert.equal(place({ field: "style_vector" }), "style-note");
  assert.equal(place({ field: "size" }), "settings-note");
  assert.equal(place({}), "result-note");
});

test("nobody reads a browser's or a programmer's words", () => {
  assert.match(as_problem(new DOMException("The requested file…", "NotReadableError")).message, /choose it again/);
  assert.match(as_problem(new TypeError("x is undefined")).message, /try again, or reload/);
  assert.equal(as_problem(new Problem({ detail: "the photo is too small" })).message, "The photo is too small.");
});

test("a refusal that will pass is away, and one that stays is not", () => {
  assert.ok(new Problem({ detail: "later", status: 429 }).away);
  assert.ok(!new Problem({ detail: "never", status: 422 }).away);
});

test("a mix by weights stands where the pad and the slider have them", () => {
  state.page = { titles: { batik: "Batik", kintsugi: "Kintsugi" } };
  const slots = ["batik", "kintsugi"].map(slot_of);
  assert.deepEqual(slots[1], { name: "kintsugi", title: "Kintsugi", style_name: "kintsugi" });
  assert.equal(mix_of(slots, [3, 1]).balance, 0.25);
  const { place } = mix_of([...slots, slots[0]], [1, 1, 1]);
  place.forEach((each) => assert.ok(Math.abs(each) < 1e-9));
});

test("a style of the gallery is one of its own names, whatever else bears it", () => {
  state.page = { titles: {} };
  assert.deepEqual(slot_of("constructor"), { name: "constructor", title: "constructor", style_name: "constructor" });
});
