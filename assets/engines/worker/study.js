/* A study's file, as stylizer/studies.py has it: safetensors with `vector` in float32 and `numbers` in half precision.
 * `layers` is what the server tells of the transformer: [channels, out_channels, kernel_size] of each styled layer. */

import { STUDIES, VECTOR_SIZE } from "../../contract.js";

const { VERSION, RANK, MAX_BYTES, BOUND } = STUDIES;

const product = (shape) => shape.reduce((one, other) => one * other, 1);
const total = (sizes) => sizes.reduce((sum, each) => sum + each, 0);

/** How many numbers a study adds to the weights. */
export const size = (layers) => total(layers.map(([channels, out, kernel]) =>
  channels * kernel ** 2 + out * channels + 2 * out));

/** Sizes of what a study stores for a layer: depthwise, the two matrices whose product is pointwise, gamma and beta. */
const sizes = ([channels, out, kernel], rank) => {
  const least = Math.min(rank, channels, out);
  return [channels * kernel ** 2, out * least, least * channels, out, out];
};

/** Whether these bytes begin like safetensors; no picture does. */
export const looks_like_study = (bytes) => bytes.length > 9 && bytes[8] === 0x7b && header_length(bytes) < 1e7;

const header_length = (bytes) => Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));

/** {vector, numbers, rank, origin}, or a message that says what is wrong with the file. */
export function parse(bytes, layers) {
  if (bytes.length > MAX_BYTES) return `the study is too large; the limit is ${MAX_BYTES} bytes`;
  try {
    const begin = 8 + header_length(bytes);
    const { __metadata__: metadata = {}, ...arrays } = JSON.parse(new TextDecoder().decode(bytes.slice(8, begin)));
    if (metadata.study !== VERSION) return `this is not a version ${VERSION} study; study the painting again`;
    const rank = Number(metadata.rank);
    if (!(Number.isInteger(rank) && rank >= 1 && rank <= RANK)) throw new RangeError("rank");
    const count = total(layers.flatMap((layer) => sizes(layer, rank)));
    const take = (name, dtype, length, width) => {
      const { dtype: found, shape, data_offsets: [from, to] } = arrays[name];
      if (found !== dtype || product(shape) !== length || to - from !== width * length) throw new RangeError(name);
      if (begin + to > bytes.length) throw new RangeError("cut");
      return bytes.slice(begin + from, begin + to).buffer;
    };
    const vector = new Float32Array(take("vector", "F32", VECTOR_SIZE, 4));
    const numbers = from_half(new Uint16Array(take("numbers", "F16", count, 2)));
    if (![...vector, ...numbers].every((number) => Math.abs(number) <= BOUND)) throw new RangeError("beyond");
    return { vector, numbers, rank, origin: metadata.transformer };
  } catch {
    return "the study was truncated or altered, or belongs to another transformer; study the painting again";
  }
}

/** Half precision, stored as 16-bit integers, to float32. */
function from_half(halves) {
  return Float32Array.from(halves, (half) => {
    const sign = half & 0x8000 ? -1 : 1, exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * fraction / 1024);
  });
}

/** Everything a study adds to the weights, flat, layer by layer: depthwise, pointwise, gamma, beta. */
export function added({ numbers, rank }, layers) {
  const row = new Float32Array(size(layers));
  let from = 0, to = 0;
  for (const layer of layers) {
    const [channels, out] = layer;
    const [depthwise, up, down, gamma, beta] = sizes(layer, rank).map((length) =>
      numbers.subarray(from, from += length));
    row.set(depthwise, to);
    to += depthwise.length;
    multiply(up, down, out, channels, row.subarray(to, to += out * channels));
    for (const part of [gamma, beta]) {
      row.set(part, to);
      to += part.length;
    }
  }
  return row;
}

/** `up` (out, r) times `down` (r, channels), added into `result`, which must be zero. */
function multiply(up, down, out, channels, result) {
  const rank = up.length / out;
  for (let row = 0; row < out; row++) {
    for (let inner = 0; inner < rank; inner++) {
      const factor = up[row * rank + inner];
      for (let column = 0; column < channels; column++) {
        result[row * channels + column] += factor * down[inner * channels + column];
      }
    }
  }
}
