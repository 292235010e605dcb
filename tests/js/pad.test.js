// The pad: where its handle stands says how styles are weighed.

import assert from "node:assert/strict";
import { test } from "node:test";

import { corners, onto_pad, place_of, weights_at } from "../../assets/page/pad.js";

const COUNTS = [3, 4, 5, 7];
const near = (one, other, within = 1e-9) => assert.ok(Math.abs(one - other) <= within, `${one} is not near ${other}`);
const sum = (values) => values.reduce((one, other) => one + other, 0);
const between = (one, other, share) => one.map((each, axis) => each + share * (other[axis] - each));

test("in a corner one style counts whole, and in the middle all count alike", () => {
  for (const count of COUNTS) {
    corners(count).forEach((corner, index) => {
      weights_at(count, corner).forEach((weight, other) => near(weight, other === index ? 1 : 0));
    });
    weights_at(count, [0, 0]).forEach((weight) => near(weight, 1 / count));
  }
});

test("on an edge the two styles at its ends are mixed alone", () => {
  for (const count of COUNTS) {
    const [one, other] = corners(count);
    const weights = weights_at(count, between(one, other, 0.3));
    near(weights[0], 0.7);
    near(weights[1], 0.3);
    near(sum(weights), 1);
  }
});

test("weights add up to 1 and change as smoothly as the handle moves", () => {
  for (const count of COUNTS) {
    for (let angle = 0; angle < 6; angle += 0.37) {
      const at = (radius) => weights_at(count, [radius * Math.cos(angle), radius * Math.sin(angle)]);
      near(sum(at(0.3)), 1);
      at(0.3).forEach((weight, index) => near(weight, at(0.301)[index], 0.01));
    }
  }
});

test("the place of three weights is where the pad has them", () => {
  const weights = [0.5, 0.2, 0.3];
  weights_at(3, place_of(weights)).forEach((weight, index) => near(weight, weights[index]));
});

test("a handle that is dragged beyond the pad stops at its edge", () => {
  for (const count of COUNTS) {
    const outside = [1.7, -0.9], inside = onto_pad(count, outside);
    near(inside[0] / inside[1], outside[0] / outside[1]);
    near(Math.min(...weights_at(count, inside)), 0, 1e-6);
    assert.deepEqual(onto_pad(count, [0.1, 0.05]), [0.1, 0.05]);
  }
});
