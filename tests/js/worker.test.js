// What the worker computes by itself, without a browser: resampling, tiles, hidden pixels, studies.

import assert from "node:assert/strict";
import { test } from "node:test";

import { STUDIES, TILES, VECTOR_SIZE } from "../../assets/contract.js";
import { fill_hidden } from "../../assets/engines/worker/alpha.js";
import { axis } from "../../assets/engines/worker/painter.js";
import { from_planes, lerp, resize_to, survey, to_planes } from "../../assets/engines/worker/picture.js";
import { added, looks_like_study, parse, size } from "../../assets/engines/worker/study.js";

/** A picture by its colours: `colour(x, y)` gives [red, green, blue, alpha]. */
function picture(width, height, colour) {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let at = 0; at < width * height; at++) data.set(colour(at % width, Math.floor(at / width)), 4 * at);
  return { width, height, data };
}

const pixel = ({ width, data }, x, y) => [...data.slice(4 * (y * width + x), 4 * (y * width + x) + 4)];

// Resampling ---------------------------------------------------------------------------------------------------------

test("one colour stays one colour at any size", () => {
  const red = picture(50, 30, () => [200, 10, 20, 255]);
  for (const [width, height] of [[17, 11], [400, 240], [1, 1], [50, 30]]) {
    const made = resize_to(red, width, height);
    assert.deepEqual([made.width, made.height], [width, height]);
    made.data.forEach((value, at) => assert.equal(value, [200, 10, 20, 255][at % 4]));
  }
});

test("a ramp stays a ramp, brighter to the right, and keeps its mean", () => {
  const ramp = picture(256, 8, (x) => [x, x, x, 255]);
  for (const width of [31, 64, 600]) {
    const made = resize_to(ramp, width, 8), row = Array.from({ length: width }, (_, x) => pixel(made, x, 4)[0]);
    row.forEach((value, x) => assert.ok(!x || value >= row[x - 1]));
    const mean = row.reduce((one, other) => one + other) / width;
    assert.ok(Math.abs(mean - 127.5) < 1);
  }
});

test("what is transparent lends no colour to what is seen", () => {
  const cut = picture(64, 64, (x) => (x < 32 ? [0, 200, 0, 255] : [255, 0, 255, 0]));
  const made = resize_to(fill_hidden(cut), 16, 16);
  for (let x = 0; x < 8; x++) assert.deepEqual(pixel(made, x, 8).slice(0, 3), [0, 200, 0]);
});

test("from one picture to another, half of the way is their mean", () => {
  const [black, white] = [0, 255].map((level) => picture(3, 2, () => [level, level, level, 7]));
  assert.deepEqual(pixel(lerp(black, white, 0.5), 1, 1), [128, 128, 128, 255]);
});

test("planes of a window are mirrored beyond the edges, and written back where they came from", () => {
  const photo = picture(6, 5, (x, y) => [10 * x, 10 * y, 0, 255]);
  const planes = to_planes(photo, -2, -1, 10, 8);
  assert.ok(Math.abs(planes[0] - 20 / 255) < 1e-6);     // column -2 is column 2
  const copy = picture(6, 5, () => [0, 0, 0, 255]);
  from_planes(planes, 10, 8, [2, 1], copy, [0, 0, 6, 5]);
  assert.deepEqual(copy.data, photo.data);
});

test("a page with one small thing is calm, and a picture full of things is not", () => {
  assert.ok(survey(picture(400, 300, () => [255, 255, 255, 255])).calm);
  assert.ok(survey(picture(640, 480, (x, y) => (x < 20 && y < 20 ? [0, 0, 0, 255] : [255, 255, 255, 255]))).calm);
  assert.ok(!survey(picture(320, 240, (x, y) => Array(3).fill((37 * x ^ 91 * y) % 256).concat(255))).calm);
});

// Tiles --------------------------------------------------------------------------------------------------------------

test("tiles cover a side once, and what is kept lies a margin away from every inner border", () => {
  for (const [side] of TILES.SMALLER) {
    for (const length of [100, side, side + 1, 2 * side, 3001]) {
      const spans = axis(length, side);
      assert.equal(spans[0].from, 0);
      assert.equal(spans.at(-1).to, length);
      spans.forEach(({ start, outer, from, to }, index) => {
        assert.ok(outer <= side && outer % TILES.STRIDE === 0);
        if (index) {
          assert.equal(from, spans[index - 1].to);
          assert.ok(from - start >= TILES.MARGIN);
        }
        if (index < spans.length - 1) assert.ok(start + outer - to >= TILES.MARGIN);
      });
    }
  }
});

// Studies ------------------------------------------------------------------------------------------------------------

const LAYERS = [[4, 6, 3], [6, 3, 5]];
const RANK = 2;
const NUMBERS = LAYERS.reduce((all, [channels, out, kernel]) => {
  const least = Math.min(RANK, channels, out);
  return all + channels * kernel ** 2 + out * least + least * channels + 2 * out;
}, 0);
const ONE = 0x3c00, TWO = 0x4000;               // in half precision

/** A study's file; its numbers are all 1, but for those that are given by place. */
function study({ version = STUDIES.VERSION, rank = RANK, special = {} } = {}) {
  const halves = Uint16Array.from({ length: NUMBERS }, (_, index) => special[index] ?? ONE);
  const vector = new Float32Array(VECTOR_SIZE).fill(0.5), end = 4 * VECTOR_SIZE;
  const header = new TextEncoder().encode(JSON.stringify({
    __metadata__: { study: version, rank: String(rank), transformer: "abc" },
    vector: { dtype: "F32", shape: [VECTOR_SIZE], data_offsets: [0, end] },
    numbers: { dtype: "F16", shape: [NUMBERS], data_offsets: [end, end + 2 * NUMBERS] },
  }));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
  const parts = [length, header, new Uint8Array(vector.buffer), new Uint8Array(halves.buffer)];
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

test("a study is read, and its narrow matrices are multiplied", () => {
  const found = parse(study({ special: { 0: TWO } }), LAYERS);
  assert.equal(found.origin, "abc");
  assert.equal(found.vector[7], 0.5);
  const row = added(found, LAYERS), [channels, out, kernel] = LAYERS[0];
  assert.equal(row.length, size(LAYERS));
  assert.equal(row[0], 2);
  assert.equal(row[1], 1);
  const pointwise = row.slice(channels * kernel ** 2, channels * kernel ** 2 + out * channels);
  assert.ok(pointwise.every((each) => each === RANK));          // ones times ones
});

test("a study that is cut, of another version or without end is told in words", () => {
  assert.match(parse(study().slice(0, -3), LAYERS), /truncated or altered/);
  assert.match(parse(study({ version: "9" }), LAYERS), /version/);
  assert.match(parse(study({ special: { 5: 0x7c00 } }), LAYERS), /truncated or altered/);     // infinity
  assert.match(parse(study({ rank: 99 }), LAYERS), /truncated or altered/);
  assert.match(parse(new Uint8Array(STUDIES.MAX_BYTES + 1), LAYERS), /too large/);
});

test("no picture looks like a study", () => {
  assert.ok(looks_like_study(study()));
  const png = [0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10], jpeg = [0xff, 0xd8, 0xff, 0xe0, 0, 16, 74, 70, 73, 70];
  for (const start of [png, jpeg]) {
    assert.ok(!looks_like_study(Uint8Array.from([...start, ...Array(20).fill(0)])));
  }
});
