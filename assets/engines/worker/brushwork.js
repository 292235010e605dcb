/* Brushwork: faint strokes on a photo's plain areas before it is painted, the arithmetic of stylizer/brushwork.py. */

import { BRUSHWORK } from "../../contract.js";
import { brightened, luma, opaque, resize_to } from "./picture.js";

const { CELL, HEIGHTS, BOLDNESS, PLAIN, AROUND, SIDES, DRIFT, STEPS, MOST_CELLS, LEAST_SIDE } = BRUSHWORK;

/** Height of the strokes for a style vector, in whole levels; `way`: linear map from a vector to roughness. */
export function height_for(vector, way) {
  const octaves = vector.reduce((all, value, index) => all + value * way[index], way[vector.length]);
  return Math.round(Math.min(Math.max(BOLDNESS * (2 ** octaves - 1), HEIGHTS[0]), HEIGHTS[1]));
}

/** The picture, opaque, with strokes of deviation `height` (levels) in its plain areas, `scale` times the size CELL
 *  gives. */
export function with_brushwork(picture, height, scale) {
  const cell = Math.max(CELL * scale, Math.sqrt(picture.width * picture.height / MOST_CELLS));
  const grid = [picture.width, picture.height].map((side) => Math.round(side / cell));
  const whole = opaque(picture);
  if (Math.min(...grid) < LEAST_SIDE || !height) return whole;
  const small = resize_to(whole, ...grid), [across, down] = grid;
  const levels = { width: across, height: down, data: new Uint8ClampedArray(4 * across * down).fill(255) };
  strokes({ ...levels, values: luma(small) }).forEach((level, index) =>
    levels.data.fill(128 + height * level, 4 * index, 4 * index + 3));
  return brightened(whole, resize_to(levels, picture.width, picture.height));
}

/** The strokes to add to each cell, with deviation 1 in plain areas; a grid is {width, height, values}. */
function strokes(luminance) {
  const { width, height } = luminance, [down, across] = directions(luminance);
  let smeared = blurred({ width, height, values: noise(width, height, 0) }, 3);
  for (const step of STEPS) {
    smeared = of(smeared, (value, index) => {
      const row = Math.floor(index / width), column = index % width;
      const [rows, columns] = [step * down[index], step * across[index]];
      return value + sampled(smeared, row + rows, column + columns) + sampled(smeared, row - rows, column - columns);
    });
  }
  const mean = blurred(luminance, AROUND).values;
  const squares = blurred(of(luminance, (value) => value * value), AROUND);
  const plain = blurred(of(squares, (square, index) =>
    PLAIN ** 2 / (Math.max(square - mean[index] ** 2, 0) + PLAIN ** 2)), 3).values;
  const { values } = smeared, average = sum(values) / values.length;
  const deviation = Math.sqrt(sum(values.map((value) => (value - average) ** 2)) / values.length);
  return values.map((value, index) => plain[index] * value / deviation);
}

/** Unit vectors (down, across) along the contours of a grid, or along a slow drift where it has none. */
function directions(luminance) {
  const { width, height, values } = luminance;
  const slope = (index, place, length, step) => (place === 0 ? values[index + step] - values[index]
    : place === length - 1 ? values[index] - values[index - step] : (values[index + step] - values[index - step]) / 2);
  const down = values.map((_, index) => slope(index, Math.floor(index / width), height, width));
  const across = values.map((_, index) => slope(index, index % width, width, 1));
  const doubled = [                             // twice the angle: a direction and its opposite are the same
    down.map((value, index) => across[index] ** 2 - value ** 2), down.map((value, index) => 2 * across[index] * value),
  ].map((part, index) => {
    const drift = blurred(blurred({ width, height, values: noise(width, height, 1 + index) }, 17), 17).values;
    const ways = SIDES.map(([side, weight]) => [blurred({ width, height, values: part }, side).values, weight]);
    return part.map((_, cell) => ways.reduce((all, [way, weight]) => all + weight * way[cell], DRIFT * drift[cell]));
  });
  const angle = doubled[0].map((first, index) => Math.atan2(doubled[1][index], first) / 2);
  return [angle.map(Math.cos), angle.map((value) => -Math.sin(value))];
}

/** White noise, -1 to 1, hashed from a cell's position. */
function noise(width, height, kind) {
  return Float32Array.from({ length: width * height }, (_, index) => {
    const row = Math.floor(index / width), column = index % width;
    let mixed = Math.imul(column, 374761393) + Math.imul(row, 668265263) + Math.imul(kind, 2246822519) >>> 0;
    mixed = Math.imul(mixed ^ mixed >>> 15, 739982445) >>> 0;
    mixed = Math.imul(mixed ^ mixed >>> 12, 695872825) >>> 0;
    return ((mixed ^ mixed >>> 15) >>> 0) / 2 ** 31 - 1;
  });
}

/** Box blur over squares of `side` cells, cropped at the border. */
function blurred(grid, side) {
  const reach = Math.floor(side / 2);
  return [true, false].reduce(({ width, height, values }, down) => {
    const found = new Float32Array(values.length);
    const [lines, length, line, step] = down ? [width, height, 1, width] : [height, width, width, 1];
    for (let each = 0; each < lines; each++) {
      const sums = new Float64Array(length + 1);
      for (let at = 0; at < length; at++) sums[at + 1] = sums[at] + values[each * line + at * step];
      for (let at = 0; at < length; at++) {
        const first = Math.max(at - reach, 0), last = Math.min(at + reach + 1, length);
        found[each * line + at * step] = (sums[last] - sums[first]) / (last - first);
      }
    }
    return { width, height, values: found };
  }, grid);
}

/** A bilinear sample between cells; beyond the border, the border's values. */
function sampled({ width, height, values }, row, column) {
  row = Math.min(Math.max(row, 0), height - 1);
  column = Math.min(Math.max(column, 0), width - 1);
  const top = Math.min(Math.floor(row), height - 2), left = Math.min(Math.floor(column), width - 2);
  const lower = row - top, right = column - left, at = top * width + left;
  const above = values[at] * (1 - right) + values[at + 1] * right;
  const below = values[at + width] * (1 - right) + values[at + width + 1] * right;
  return above * (1 - lower) + below * lower;
}

const of = ({ width, height, values }, change) => ({ width, height, values: values.map(change) });
const sum = (values) => values.reduce((all, value) => all + value, 0);
