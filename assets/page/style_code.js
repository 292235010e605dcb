/* The style code: mix, strength and stroke size as a short text, so that a style can be shared without a picture.
 *
 *     style1.<base64url of: strength and stroke size in %, keep colours, parts; each part; CRC-32 of all before>
 *
 * A part is its weight (two bytes, out of 10000) and a gallery name (length, then UTF-8), or for an own style a zero,
 * the predictor's checksum (four bytes: other weights have other vectors), the vector's scale (float32) and its 100
 * int16. Numbers are big-endian. Anyone can write a code manually, so input is checked by the server's rules for a
 * mix. */

import { STRENGTHS, STYLE_SCALES, VECTOR_BOUND, VECTOR_SIZE } from "../contract.js";
import { Problem } from "../engines/problem.js";

/** @typedef {import("./state.js").Part} Part
 *  @typedef {{model: string, titles: Record<string, string>, max_styles: number}} Gallery    what this page can paint;
 *    `model` names the predictor */

const VERSION = "1";
const NAME_SHOWN = 60;                          // characters shown of an unknown name
const WHOLE = 10000, INT16 = 32767;
const LONGEST = 4096;                           // characters of a code; five own styles need 1,500

// Bytes ------------------------------------------------------------------------------------------------------------

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >>> 1 ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

const of_text = (text) => crc32(new TextEncoder().encode(text));

const to_text = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

const to_bytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (each) => each.charCodeAt(0));

/** Bytes of numbers of a DataView type: number_bytes("Int16", 100, -3). */
function number_bytes(type, ...numbers) {
  const size = { Uint16: 2, Int16: 2, Uint32: 4, Float32: 4 }[type];
  const view = new DataView(new ArrayBuffer(size * numbers.length));
  numbers.forEach((number, index) => view[`set${type}`](size * index, number));
  return [...new Uint8Array(view.buffer)];
}

// Writing and reading ----------------------------------------------------------------------------------------------

/** The code of these styles and settings.
 *  @param {{parts: Part[], strength: number, style_scale: number, keep_colors: boolean}} mix
 *  @param {{model: string}} gallery */
export function write({ parts, strength, style_scale, keep_colors }, { model }) {
  const percents = [strength, style_scale].map((each) => Math.round(100 * each));
  const written = parts.flatMap((part) => write_part(part, model));
  const bytes = [...percents, Number(Boolean(keep_colors)), parts.length, ...written];
  return `style${VERSION}.${to_text([...bytes, ...number_bytes("Uint32", crc32(bytes))])}`;
}

/** @param {Part} part */
function write_part({ style_name, style_vector, weight }, model) {
  const share = number_bytes("Uint16", Math.round(WHOLE * Number(weight)));
  if (!style_vector) {
    const name = new TextEncoder().encode(style_name);
    return [...share, name.length, ...name];
  }
  const vector = JSON.parse(style_vector), scale = Math.max(1e-6, ...vector.map(Math.abs)) / INT16;
  return [
    ...share, 0, ...number_bytes("Uint32", of_text(model)), ...number_bytes("Float32", scale),
    ...number_bytes("Int16", ...vector.map((each) => Math.round(each / scale))),
  ];
}

/** Parse a code, or a link with one: {parts, strength, style_scale, keep_colors, foreign}, where `foreign` means that
 *  other weights made its vectors. Throws Problem if it is not a valid code or mix.
 *  @param {string} text @param {Gallery} gallery */
export function read(text, gallery) {
  if (text.length > LONGEST) throw refusal("this is too long for a style code; copy only the code");
  const [, version, body] = /(?:^|#)style(\d+)\.([\w-]+)$/.exec(text.trim()) ?? [];
  if (!body) throw refusal("this is not a complete style code, which looks like style1.UGQAAQ…; copy all of it");
  if (version !== VERSION) {
    throw refusal(`this code has version ${version}, but this page reads version ${VERSION}; reload the page`);
  }
  let mix;
  try {
    mix = read_bytes(to_bytes(body), gallery.model);
  } catch {
    throw refusal("this code is damaged: characters are missing or changed; copy all of it again");
  }
  const wrong = wrong_in(mix, gallery);
  if (wrong) throw refusal(`this code cannot be painted: ${wrong}`);
  return mix;
}

/** What is wrong with a mix, in words; empty if it is valid. */
function wrong_in({ strength, style_scale, parts }, { max_styles, titles }) {
  const numbers = parts.flatMap(({ vector = [] }) => vector);
  const missing = parts.find(({ name }) => name !== undefined && !Object.hasOwn(titles, name));
  const beyond = (value, /** @type {number[]} */ [least, most]) => !(value >= least && value <= most);
  if (!parts.length) return "it has no styles";
  if (parts.length > max_styles) return `it mixes ${parts.length} styles, but a mix has at most ${max_styles}`;
  if (beyond(strength, STRENGTHS)) {
    return `its strength is ${percent(strength)}; it must be from ${STRENGTHS.map(percent).join(" to ")}`;
  }
  if (beyond(style_scale, STYLE_SCALES)) {
    return `its strokes are ${style_scale} times as large; they must be ${STYLE_SCALES.join(" to ")} times`;
  }
  if (parts.some(({ weight }) => beyond(weight, [0, 1])) || !parts.some(({ weight }) => weight > 0)) {
    return "its weights must be from 0 to 1, and not all 0";
  }
  if (numbers.some((each) => beyond(Math.abs(each), [0, VECTOR_BOUND]))) {
    return `the numbers of its own styles must be from −${VECTOR_BOUND} to ${VECTOR_BOUND}`;
  }
  return missing ? `this gallery has no style ${missing.name.slice(0, NAME_SHOWN)}` : "";
}

const percent = (share) => `${Math.round(100 * share)} %`;

function read_bytes(bytes, model) {
  const view = new DataView(bytes.buffer), end = bytes.length - 4;
  if (crc32(bytes.slice(0, end)) !== view.getUint32(end)) throw new RangeError("checksum");
  const [strength, style_scale] = [bytes[0] / 100, bytes[1] / 100];
  const parts = [];
  let at = 4, foreign = false;
  for (let index = 0; index < bytes[3]; index++) {
    const weight = view.getUint16(at) / WHOLE, length = bytes[at + 2];
    at += 3;
    if (length) {
      parts.push({ weight, name: new TextDecoder("utf-8", { fatal: true }).decode(bytes.slice(at, at + length)) });
      at += length;
      continue;
    }
    foreign ||= view.getUint32(at) !== of_text(model);
    const scale = view.getFloat32(at + 4);
    const numbers = Array.from({ length: VECTOR_SIZE }, (_, place) => view.getInt16(at + 8 + 2 * place) * scale);
    parts.push({ weight, vector: numbers.map((each) => Number(each.toPrecision(6))) });
    at += 8 + 2 * VECTOR_SIZE;
  }
  if (at !== end) throw new RangeError("length");
  return { strength, style_scale, keep_colors: Boolean(bytes[2]), parts, foreign };
}

const refusal = (detail) => new Problem({ detail });
