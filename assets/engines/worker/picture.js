/* Pictures in the worker: the arithmetic of stylizer/images.py. A picture is {width, height, data}, with RGBA data. */

import { IMAGES, MEDIA_TYPES, TILES } from "../../contract.js";
import { fill_hidden, own } from "./alpha.js";

const { LUMA, REDUCING_GAP } = IMAGES;
const { CELL, SPARSE, SPARSEST, THINGS_SHARE, FAINT, FAINTEST } = TILES;
const LOBES = 3;                                // of Lanczos
const QUALITY = 0.92;

/** A Blob -> picture, upright, in sRGB, hidden colours filled; throws if this browser cannot decode it. */
export async function decode(blob) {
  const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height), context = context_of(canvas, { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  forget(canvas);
  return fill_hidden({ width, height, data });
}

/** A canvas's 2D context. @param {OffscreenCanvas} canvas @param {CanvasRenderingContext2DSettings} [settings] */
function context_of(canvas, settings) {
  const context = canvas.getContext("2d", settings);
  if (!context) throw new Error(`this browser cannot hold a picture of ${canvas.width} × ${canvas.height} pixels`);
  return context;
}

/** Free a canvas's pixels now: the garbage collector would take a minute, with 100 MB for a large photo. */
function forget(canvas) {
  canvas.width = canvas.height = 0;
}

/** Picture -> Blob without metadata; alpha is kept, except in JPEG: there the picture is laid on white. */
export async function encode({ width, height, data }, format) {
  const canvas = new OffscreenCanvas(width, height), context = context_of(canvas);
  context.putImageData(new ImageData(data, width, height), 0, 0);
  if (format === "jpeg") {
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
  }
  const blob = await canvas.convertToBlob({ type: MEDIA_TYPES[format], quality: QUALITY });
  forget(canvas);
  return blob;
}

export const wrote = (blob, format) => blob.type === MEDIA_TYPES[format];

// Sizes -------------------------------------------------------------------------------------------------------------

/** Resize the shorter side to `shortest` pixels, for the style predictor, after a centre crop to at most 2:1. */
export function resize_shorter(picture, shortest) {
  const side = Math.min(picture.width, picture.height);
  const width = Math.min(picture.width, 2 * side), height = Math.min(picture.height, 2 * side);
  const left = (picture.width - width) >> 1, top = (picture.height - height) >> 1;
  const sides = [width, height].map((length) => Math.max(1, Math.round(length * shortest / side)));
  return resize_to(cut(picture, left, top, width, height), ...sides);
}

function cut(picture, left, top, width, height) {
  if (width === picture.width && height === picture.height) return picture;
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0; row < height; row++) {
    const from = 4 * ((top + row) * picture.width + left);
    data.set(picture.data.subarray(from, from + 4 * width), 4 * row * width);
  }
  return { width, height, data };
}

/** Resize a picture; the same object if it already has that size. */
export function resize_to(picture, width, height) {
  if (width === picture.width && height === picture.height) return picture;
  const across = Math.max(1, Math.floor(picture.width / width / REDUCING_GAP));
  const down = Math.max(1, Math.floor(picture.height / height / REDUCING_GAP));
  const [narrow, low] = [picture.width / across, picture.height / down];
  const small = box(box(picture, across, false), down, true);
  return lanczos(lanczos(small, width, narrow, false), height, low, true);
}

/** Means over `by` pixels in one direction; the rest at the end makes a smaller box. */
function box(picture, by, down) {
  if (by === 1) return picture;
  const from = down ? picture.height : picture.width;
  return filtered(picture, Math.ceil(from / by), down, (index) => {
    const first = index * by, count = Math.min(by, from - first);
    return { first, taps: new Float32Array(count).fill(1 / count) };
  });
}

/** One direction of Pillow's LANCZOS, from the first `extent` pixels (fractional after a box filter) to `length`: the
 *  kernel widens with the reduction, so that no pixel is skipped. */
function lanczos(picture, length, extent, down) {
  if (extent === length) return picture;
  const from = down ? picture.height : picture.width, scale = extent / length, widen = Math.max(1, scale);
  return filtered(picture, length, down, (index) => {
    const centre = (index + 0.5) * scale, reach = LOBES * widen;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5)), end = Math.min(from, Math.trunc(centre + reach + 0.5));
    const taps = Float32Array.from({ length: end - first }, (_, tap) => sinc3((first + tap - centre + 0.5) / widen));
    const sum = taps.reduce((one, other) => one + other, 0);
    return { first, taps: taps.map((tap) => tap / sum) };
  });
}

/** Filter one direction to `length` pixels; `kernel(index)` gives {first, taps} of each, with taps that sum to 1.
 *  Colours are weighted by alpha, so invisible ones do not bleed into visible ones. */
function filtered(picture, length, down, kernel) {
  const [width, height] = down ? [picture.width, length] : [length, picture.height];
  const from = picture.data, data = new Uint8ClampedArray(4 * width * height);
  const [step, line, lines] = down ? [4 * picture.width, 4, picture.width] : [4, 4 * picture.width, picture.height];
  const [out_step, out_line] = down ? [4 * width, 4] : [4, 4 * width];
  for (let index = 0; index < length; index++) {
    const { first, taps } = kernel(index);
    for (let each = 0; each < lines; each++) {
      const start = each * line + first * step, to = each * out_line + index * out_step;
      let red = 0, green = 0, blue = 0, alpha = 0;
      for (let tap = 0, at = start; tap < taps.length; tap++, at += step) {
        const weight = taps[tap] * from[at + 3];
        red += weight * from[at];
        green += weight * from[at + 1];
        blue += weight * from[at + 2];
        alpha += weight;
      }
      data[to + 3] = alpha;
      const share = own(data[to + 3]);
      if (share > 0) {
        data[to] = red / alpha;
        data[to + 1] = green / alpha;
        data[to + 2] = blue / alpha;
      }
      if (share === 1) continue;
      // Faint pixels have too little alpha to divide by, and already have the colour of their surroundings.
      for (let channel = 0; channel < 3; channel++) {
        const around = taps.reduce((sum, tap, place) => sum + tap * from[start + place * step + channel], 0);
        data[to + channel] = around + share * (data[to + channel] - around);
      }
    }
  }
  return { width, height, data };
}

function sinc3(x) {
  if (x === 0) return 1;
  if (Math.abs(x) >= LOBES) return 0;
  const angle = Math.PI * x;
  return LOBES * Math.sin(angle) * Math.sin(angle / LOBES) / (angle * angle);
}

// Survey of a picture ------------------------------------------------------------------------------------------------

/** Where a picture differs from its mean, as in stylizer/tiles.py: {columns, rows, things, share, floor, calm};
 *  `things` is 1 for each 32 px cell that contains some. */
export function survey({ width, height, data }) {
  const [columns, rows] = [width, height].map((length) => Math.ceil(length / CELL)), area = width * height;
  const sums = new Float64Array(3 * columns * rows), squares = new Float64Array(columns * rows), mean = [0, 0, 0];
  for (let y = 0, at = 0; y < height; y++) {
    const row = Math.floor(y / CELL) * columns;
    for (let x = 0; x < width; x++, at += 4) {
      const cell = row + Math.floor(x / CELL);
      for (let channel = 0; channel < 3; channel++) {
        const value = data[at + channel] - 128;
        sums[3 * cell + channel] += value;
        squares[cell] += value * value;
      }
    }
  }
  sums.forEach((sum, index) => mean[index % 3] += sum / area);
  const pixels = (cell) => Math.min(CELL, width - cell % columns * CELL)
    * Math.min(CELL, height - Math.floor(cell / columns) * CELL);
  const differs = squares.map((sum, cell) => mean.reduce((rest, value, channel) =>
    rest + value * value - 2 * value * sums[3 * cell + channel] / pixels(cell), sum / pixels(cell)));
  const overall = differs.reduce((sum, value, cell) => sum + value * pixels(cell) / area, 0);
  const look = { columns, rows, things: new Uint8Array(columns * rows), share: 0, floor: 1, calm: true };
  if (overall < 1e-6) return look;
  const effective = overall ** 2 / differs.reduce((sum, value, cell) => sum + value ** 2 * pixels(cell) / area, 0);
  look.things = Uint8Array.from(differs, (value) => Number(value >= overall * (1 - 1e-9)));
  const [square, size] = differs.reduce(([sum, count], value, cell) =>
    (look.things[cell] ? [sum + value * pixels(cell), count + pixels(cell)] : [sum, count]), [0, 0]);
  const part = (value, most, least) => Math.min(Math.max((most - value) / (most - least), 0), 1);
  look.share = THINGS_SHARE * part(effective, SPARSE, SPARSEST);
  look.floor = part(Math.sqrt(square / size / 3), FAINT, FAINTEST);
  look.calm = look.share > 0 || look.floor > 0;
  return look;
}

/** Whether a window [left, top, width, height] contains things. */
export function has_things({ columns, things }, [left, top, width, height]) {
  for (let row = Math.floor(top / CELL); row * CELL < top + height; row++) {
    for (let column = Math.floor(left / CELL); column * CELL < left + width; column++) {
      if (things[row * columns + column]) return true;
    }
  }
  return false;
}

/** Weights in the statistics of every `stride` pixels of windows, summing to 1, with things weighted by their share. */
export function weigh(windows, { columns, rows, things, share }, stride) {
  const inside = Uint8Array.from(windows.flatMap(([left, top, width, height]) =>
    Array.from({ length: width * height / stride ** 2 }, (_, index) => {
      const x = left + index % (width / stride) * stride, y = top + Math.floor(index / (width / stride)) * stride;
      const [row, column] = [[y, rows], [x, columns]].map(([at, cells]) =>
        Math.min(Math.max(Math.floor(at / CELL), 0), cells - 1));
      return things[row * columns + column];
    })));
  const part = (cells) => cells.reduce((sum, each) => sum + each, 0) / cells.length;
  const seen = part(inside), wanted = Math.max(share, part(things));
  if (!(seen > 0 && seen < 1 && share)) return new Float32Array(inside.length).fill(1 / inside.length);
  return Float32Array.from(inside, (each) => (each ? wanted / seen : (1 - wanted) / (1 - seen)) / inside.length);
}

// Planes ------------------------------------------------------------------------------------------------------------

/** A window of the picture -> float32 (3, height, width) in [0, 1], mirrored beyond the picture's edges. */
export function to_planes(picture, left, top, width, height, planes = new Float32Array(3 * width * height)) {
  const area = width * height;
  const columns = Int32Array.from({ length: width }, (_, x) => 4 * mirrored(left + x, picture.width));
  for (let y = 0, at = 0; y < height; y++) {
    const row = 4 * picture.width * mirrored(top + y, picture.height);
    for (let x = 0; x < width; x++, at++) {
      const from = row + columns[x];
      planes[at] = picture.data[from] / 255;
      planes[at + area] = picture.data[from + 1] / 255;
      planes[at + 2 * area] = picture.data[from + 2] / 255;
    }
  }
  return planes;
}

function mirrored(at, length) {
  if (length === 1) return 0;
  const period = 2 * length - 2, place = (at % period + period) % period;
  return place < length ? place : period - place;
}

/** Copy from planes (3, rows, columns) in [0, 1], at `from` (x, y), to the picture at `kept` [left, top, width,
 *  height]; returns the maximum, or NaN if any value is. */
export function from_planes(planes, columns, rows, from, picture, kept) {
  const [from_x, from_y] = from, [left, top, width, height] = kept;
  const area = columns * rows;
  let greatest = 0;
  for (let y = 0; y < height; y++) {
    let at = (from_y + y) * columns + from_x, to = 4 * ((top + y) * picture.width + left);
    for (let x = 0; x < width; x++, at++, to += 4) {
      const red = planes[at], green = planes[at + area], blue = planes[at + 2 * area];
      picture.data[to] = 255 * red;             // rounded and clipped by Uint8ClampedArray
      picture.data[to + 1] = 255 * green;
      picture.data[to + 2] = 255 * blue;
      greatest = Math.max(greatest, red, green, blue);      // propagates NaN
    }
  }
  return greatest;
}

/** An opaque copy of a picture; */
export function opaque({ width, height, data }) {
  const copy = data.slice();
  for (let at = 3; at < copy.length; at += 4) copy[at] = 255;
  return { width, height, data: copy };
}

/** and the reverse: give a picture the alpha of another of the same size. */
export function take_alpha(picture, { data }) {
  for (let at = 3; at < data.length; at += 4) picture.data[at] = data[at];
}

/** Linear interpolation from one picture (share 0) to another of the same size (share 1); opaque. */
export function lerp({ width, height, data }, other, share) {
  const mixed = new Uint8ClampedArray(data.length);
  for (let at = 0; at < data.length; at++) {
    mixed[at] = at % 4 === 3 ? 255 : Math.round(data[at] + share * (other.data[at] - data[at]));
  }
  return { width, height, data: mixed };
}

/** Luma of each pixel, 0 to 255. */
export const luma = ({ width, height, data }) => Float32Array.from({ length: width * height }, (_, index) =>
  LUMA.reduce((sum, weight, channel) => sum + weight * data[4 * index + channel], 0));

/** A picture with the levels of a grey one of the same size added to all three channels; 128 adds nothing. */
export function brightened({ width, height, data }, levels) {
  const result = data.slice();
  for (let at = 0; at < data.length; at++) if (at % 4 < 3) result[at] = data[at] + levels.data[at] - 128;
  return { width, height, data: result };
}

/** Fill `into` with `base` plus the luma of `more` - `less` in all three channels; pictures of the same size. */
export function add_luma(into, base, more, less) {
  for (let at = 0; at < into.data.length; at += 4) {
    let shift = 0;
    for (let channel = 0; channel < 3; channel++) {
      shift += LUMA[channel] * (more.data[at + channel] - less.data[at + channel]);
    }
    shift = Math.round(shift);
    for (let channel = 0; channel < 3; channel++) into.data[at + channel] = base.data[at + channel] + shift;
  }
}
