/* The estimated cost of a painting: seconds from this visit's measurements, memory by the server's rule. */

import { TILES } from "../contract.js";
import { engine, on_server } from "../engines/engine.js";
import { set } from "./dash.js";
import { state } from "./state.js";

/** @typedef {import("../engines/engine.js").Engine} Engine */

const PACES = 12;

/** @type {{engine: Engine, megapixels: number, seconds: number}[]} */
let paces = [];                                 // of paintings, one per size, newest last

/** Megapixels painted for this photo at this longest side, a number or "original": in all, and at once. For smaller
 *  strokes the photo is painted larger; for larger ones a smaller draft is painted first. Undefined if the photo's size
 *  is unknown. */
export function megapixels(/** @type {{width?: number, height?: number}} */ { width, height }, size, style_scale) {
  if (!width || !height) return undefined;
  const scale = size === "original" ? 1 : Math.min(1, Number(size) / Math.max(width, height));
  const wanted = width * height * scale ** 2 / 1e6, other = wanted / style_scale ** 2;
  if (style_scale > 1) return { in_all: wanted + other, at_once: wanted };
  return { in_all: other, at_once: other };
}

/** Record how long a painting took. */
export function learn_pace(megapixels, seconds) {
  const here = engine();
  const others = paces.filter((each) => each.engine !== here || each.megapixels !== megapixels);
  paces = [...others, { engine: here, megapixels, seconds }].slice(-PACES);
}

/** Expected seconds of a painting, from the closest size painted so far: time is proportional to pixels. */
export function expect_seconds(megapixels) {
  const far = (each) => Math.abs(Math.log(each.megapixels / megapixels));
  const here = engine(), known = paces.filter((each) => each.engine === here);
  if (!known.length || !megapixels) return undefined;
  const nearest = known.reduce((one, other) => (far(other) < far(one) ? other : one));
  return nearest.seconds * megapixels / nearest.megapixels;
}

export function in_seconds(seconds) {
  if (seconds < 0.95) return `${Math.max(0.1, seconds).toFixed(1)} s`;
  return seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

function in_bytes(bytes) {
  return bytes < 995e6 ? `${Math.ceil(bytes / 1e7) * 10} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** Show next to Size what the chosen size will cost. */
export function say_cost() {
  const { photo, wanted, page } = state;
  const pixels = photo && wanted && megapixels(photo, wanted.size, wanted.style_scale);
  if (!pixels) return set("size-cost", { children: "" });
  const seconds = expect_seconds(pixels.in_all), words = [];
  if (seconds) words.push(`about ${in_seconds(seconds)}`);
  if (on_server()) {
    const at_once = Math.min(1e6 * pixels.at_once, TILES.WHOLE_PIXELS);     // larger ones are painted in tiles
    words.push(`${in_bytes(at_once * page.bytes_per_pixel)} of the server’s memory`);
  }
  set("size-cost", { children: words.join(", ") });
}
