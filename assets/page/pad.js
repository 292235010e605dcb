/* The pad: a polygon whose corners are styles, with a handle whose position sets their weights. */

import { drag, keys } from "./controls.js";
import { by_id, set } from "./dash.js";

/** @typedef {import("./state.js").Point} Point    on the pad, whose corners are on the unit circle */

const RADIUS = 0.42;                            // of the pad's side
const SNAP = 0.08;                              // distance within which a pointer snaps to a corner
const STEP = 0.06;                              // of the handle per arrow key
const DIGITS = [1, 2, 3, 4, 5, 6, 7, 8, 9];
const KEYS = {
  ArrowLeft: ([x, y]) => [x - STEP, y], ArrowRight: ([x, y]) => [x + STEP, y],
  ArrowUp: ([x, y]) => [x, y - STEP], ArrowDown: ([x, y]) => [x, y + STEP], Home: () => [0, 0],
  ...Object.fromEntries(DIGITS.map((digit) => [digit, (at) => corners(shown)[digit - 1] ?? at])),
};

let shown = 0;                                  // corners
/** @type {Point} */
let handle = [0, 0];                            // its position: keys may be pressed faster than Dash updates it

// Geometry -----------------------------------------------------------------------------------------------------------

/** The pad's corners: the first on top, four as an upright square. @param {number} count @returns {Point[]} */
export const corners = (count) => Array.from({ length: count }, (_, index) => {
  const angle = 2 * Math.PI * (index - (count === 4 ? 0.5 : 0)) / count - Math.PI / 2;
  return [Math.cos(angle), Math.sin(angle)];
});

/** Twice the area of the triangle; negative if `point` is outside the edge from `one` to `other`. */
const area = (point, one, other) =>
  (one[0] - point[0]) * (other[1] - point[1]) - (other[0] - point[0]) * (one[1] - point[1]);

const edges = (count, point) =>
  corners(count).map((corner, index, all) => area(point, corner, all[(index + 1) % count]));

/** Wachspress coordinates in a regular polygon: smooth inside, exactly 1 in a corner, only two styles on an edge.
 *  @param {number} count @param {Point} point */
export function weights_at(count, point) {
  const areas = edges(count, point).map((each) => Math.max(0, each));
  const products = areas.map((_, corner) => areas.reduce((product, each, edge) =>
    (edge === corner || edge === (corner + count - 1) % count ? product : product * each), 1));
  const sum = products.reduce((one, other) => one + other, 0);
  return products.map((each) => each / sum);
}

/** The position with these weights, which sum to 1: the corners' weighted mean.
 *  @param {number[]} weights @returns {Point} */
export function place_of(weights) {
  const along = (axis) => corners(weights.length).reduce((at, corner, index) => at + weights[index] * corner[axis], 0);
  return [along(0), along(1)];
}

/** Move a point towards the centre until it is on the pad. @param {number} count @param {Point} point */
export function onto_pad(count, point) {
  const middle = edges(count, [0, 0])[0];
  const outside = edges(count, point).filter((each) => each < 0);
  const share = Math.min(1, ...outside.map((each) => middle / (middle - each)));
  return /** @type {Point} */ (point.map((each) => each * share));
}

const snapped = (count, point) =>
  corners(count).find((corner) => Math.hypot(corner[0] - point[0], corner[1] - point[1]) < SNAP) ?? point;

// On the page --------------------------------------------------------------------------------------------------------

/** Move the handle; Dash holds its position. @param {Point} point */
export function move_handle(point) {
  handle = point;
  set("place", { data: point });
}

/** Let the handle be moved by pointer anywhere on the pad, and by keys. */
export function make_pad() {
  const pad = by_id("pad");
  const move = (point) => move_handle(onto_pad(shown, point));
  const follow_pointer = ({ clientX, clientY }) => {
    const { left, top, width, height } = pad.getBoundingClientRect();
    const point = [(clientX - left) / width, (clientY - top) / height].map((each) => (each - 0.5) / RADIUS);
    move(snapped(shown, point));
  };
  drag(pad, follow_pointer, by_id("handle"));
  pad.addEventListener("pointerdown", follow_pointer);
  keys(by_id("handle"), KEYS, (next) => move(next(handle)));
}

const on_pad = ([x, y]) => ({ left: `${50 + 100 * RADIUS * x}%`, top: `${50 + 100 * RADIUS * y}%` });

/** Show a pad with `count` corners, hidden below three; `words` describes the weights.
 *  @param {number} count @param {Point} place @param {number[]} weights @param {string} words */
export function show_pad(count, place, weights, words) {
  shown = count;
  set("pad", { hidden: count < 3, className: `corners-${count}` });
  if (count < 3) return;
  const shape = corners(count).map(on_pad).map(({ left, top }) => `${left} ${top}`).join(", ");
  set("pad-ground", { style: { clipPath: `polygon(${shape})` } });
  for (let index = 0; document.getElementById(`corner-${index}`); index++) {
    const style = index < count ? on_pad(corners(count)[index]) : {};
    set(`corner-${index}`, { hidden: index >= count, style });
  }
  set("handle", { style: on_pad(place) });
  by_id("handle").setAttribute("aria-valuenow", String(Math.round(100 * weights[0])));
  by_id("handle").setAttribute("aria-valuetext", words);
}
