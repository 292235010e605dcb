/* Invisible pixels must not influence the network: the arithmetic of stylizer/alpha.py, which explains why. */

import { ALPHA } from "../../contract.js";

const { GREY, FAINT, CLEAR, KNOWN, SHADOW } = ALPHA;
const WEIGHTS = Uint16Array.from({ length: 256 }, (_, alpha) => alpha && Math.max((alpha / 255) ** 4 * KNOWN, 1));
const OWN = Float32Array.from({ length: 256 }, (_, alpha) =>
  Math.min(Math.max((alpha - FAINT) / (CLEAR - FAINT), 0), 1));

/** The share of its own colour that a pixel with this alpha keeps. */
export const own = (alpha) => OWN[alpha];

/** Colour faint pixels by the nearest visible ones, in place, by push-pull; returns the same picture. */
export function fill_hidden(picture) {
  const { width, height, data } = picture, area = width * height;
  let least = 255, most = 0;
  for (let at = 3; at < data.length; at += 4) {
    least = Math.min(least, data[at]);
    most = Math.max(most, data[at]);
  }
  if (least >= CLEAR) return picture;
  if (most === 0) {
    for (let at = 0; at < data.length; at += 4) data.fill(GREY, at, at + 3);
    return picture;
  }
  const weights = new Uint16Array(area), covered = new Uint8Array(area);
  for (let at = 0; at < area; at++) {
    weights[at] = WEIGHTS[data[4 * at + 3]];
    covered[at] = data[4 * at + 3] ? 255 : 0;
  }
  const finer = [];
  for (let level = { width, height, data, weights, covered }; ;) {
    level = halved(level);
    const shadow = finer.length + 1 >= SHADOW, { weights, covered } = level;
    level.known = (at) => (shadow && covered[at] >= 128 ? 1 : weights[at] / KNOWN);
    finer.push(level);
    if (level.width * level.height === 1 || weights.every((_, at) => level.known(at) === 1)) break;
  }
  finer.reduceRight((coarser, level) => mix(level, coarser, level.known));
  mix(picture, finer[0], (at) => OWN[data[4 * at + 3]]);
  return picture;
}

/** Weighted means over 2 x 2 squares: fully known if the weights add up to one opaque pixel. */
function halved({ width, height, data, weights, covered }) {
  const columns = Math.ceil(width / 2), rows = Math.ceil(height / 2), area = columns * rows;
  const half = {
    width: columns, height: rows,
    data: new Uint8ClampedArray(4 * area), weights: new Uint16Array(area), covered: new Uint8Array(area),
  };
  for (let to = 0; to < area; to++) {
    const left = 2 * (to % columns), top = 2 * Math.floor(to / columns);
    let red = 0, green = 0, blue = 0, sum = 0, cover = 0, pixels = 0;
    for (let y = top; y < Math.min(top + 2, height); y++) {
      for (let x = left; x < Math.min(left + 2, width); x++, pixels++) {
        const at = y * width + x, weight = weights[at];
        red += weight * data[4 * at];
        green += weight * data[4 * at + 1];
        blue += weight * data[4 * at + 2];
        sum += weight;
        cover += covered[at];
      }
    }
    const divisor = Math.max(sum, 1);
    half.data[4 * to] = Math.round(red / divisor);
    half.data[4 * to + 1] = Math.round(green / divisor);
    half.data[4 * to + 2] = Math.round(blue / divisor);
    half.weights[to] = Math.min(sum, KNOWN);
    half.covered[to] = Math.round(cover / pixels);
  }
  return half;
}

/** Fill what a level lacks (1 - `share` of a pixel) from the next coarser one, enlarged bilinearly as in Pillow. */
function mix(level, coarser, share) {
  const { width, height, data } = level, from = coarser.data;
  const columns = Array.from({ length: width }, (_, x) => neighbours(x, coarser.width));
  for (let y = 0; y < height; y++) {
    const [row, next_row] = neighbours(y, coarser.height).map((each) => 4 * each * coarser.width);
    for (let x = 0; x < width; x++) {
      const at = y * width + x, part = share(at);
      if (part === 1) continue;
      const [column, next_column] = columns[x];
      for (let channel = 0; channel < 3; channel++) {
        const here = 4 * column + channel, there = 4 * next_column + channel;
        const around = between(
          between(from[row + here], from[row + there]), between(from[next_row + here], from[next_row + there]));
        data[4 * at + channel] = around + part * (data[4 * at + channel] - around);
      }
    }
  }
  return level;
}

/** The coarse pixel that covers a fine one, and the coarse pixel next closest to it. */
function neighbours(at, length) {
  const near = at >> 1;
  return [near, Math.min(Math.max(near + (at % 2 ? 1 : -1), 0), length - 1)];
}

const between = (near, next) => Math.round((3 * near + next) / 4);
