// Style codes: what is written is read again, and nothing else is.

import assert from "node:assert/strict";
import { test } from "node:test";

import { STRENGTHS, STYLE_SCALES, VECTOR_BOUND, VECTOR_SIZE } from "../../assets/contract.js";
import { read, write } from "../../assets/page/style_code.js";

const GALLERY = { model: "predictor@1", max_styles: 5, titles: { batik: "Batik", "great-wave": "The Great Wave" } };
const VECTOR = Array.from({ length: VECTOR_SIZE }, (_, index) => 3 * Math.sin(index));
const MIX = {
  strength: 0.65, style_scale: 1.41, keep_colors: true,
  parts: [
    { style_name: "great-wave", weight: "0.7500" }, { style_vector: JSON.stringify(VECTOR), weight: "0.2500" },
  ],
};
const code = (changed, gallery = GALLERY) => write({ ...MIX, ...changed }, gallery);
const named = (style_name, weight = "1.0000") => [{ style_name, weight }];
const refused = (text, words, gallery = GALLERY) => assert.throws(() => read(text, gallery), { message: words });

test("a code says again what it was written from", () => {
  const found = read(code(), GALLERY);
  assert.deepEqual([found.strength, found.style_scale, found.keep_colors, found.foreign], [0.65, 1.41, true, false]);
  assert.deepEqual(found.parts.map(({ weight, name }) => [weight, name]), [[0.75, "great-wave"], [0.25, undefined]]);
  found.parts[1].vector.forEach((number, index) => assert.ok(Math.abs(number - VECTOR[index]) < 1e-3));
});

test("a link that holds a code is read as the code", () => {
  assert.equal(read(`https://example.org/paint#${code()}`, GALLERY).strength, 0.65);
});

test("a vector that other weights made is marked as foreign", () => {
  assert.equal(read(code(), { ...GALLERY, model: "predictor@2" }).foreign, true);
});

test("a code that was cut, changed or is something else is refused in words", () => {
  const whole = code();
  refused(whole.slice(0, -4), /damaged/);
  refused(whole.replace(/.$/, (last) => (last === "A" ? "B" : "A")), /damaged/);
  refused(whole.replace("style1", "style2"), /version 2/);
  refused("a recipe for bread", /not a complete style code/);
  refused("x".repeat(5000), /too long/);
});

test("what a mix may not be is refused by a code, too", () => {
  refused(code({ parts: [] }), /has no styles/);
  refused(code({ parts: Array(6).fill(MIX.parts[0]) }), /mixes 6 styles, but a mix has at most 5/);
  refused(code({ parts: named("sunflowers") }), /has no style sunflowers/);
  refused(code({ parts: named("constructor") }), /has no style constructor/);
  refused(code({ parts: named("batik", "0.0000") }), /weights/);
  refused(code({ strength: 1.2 }), /strength is 120 %/);
  refused(code({ style_scale: 2.5 }), /strokes are 2.5 times/);
  const wild = JSON.stringify([2 * VECTOR_BOUND, ...VECTOR.slice(1)]);
  refused(code({ parts: [{ style_vector: wild, weight: "1.0000" }] }), /numbers of its own styles/);
});

test("the bounds themselves are taken", () => {
  for (const strength of STRENGTHS) assert.equal(read(code({ strength }), GALLERY).strength, strength);
  for (const style_scale of STYLE_SCALES) assert.equal(read(code({ style_scale }), GALLERY).style_scale, style_scale);
});
