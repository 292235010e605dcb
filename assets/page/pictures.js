/* Pictures in the browser: decoding, turning upright and shrinking, so that no EXIF leaves it. */

import { CODES } from "../contract.js";
import { Problem } from "../engines/problem.js";
import { state } from "./state.js";

/** @typedef {import("./state.js").Photo} Photo */

export const SHOWN_SIDE = 1024;                 // longest side, px, at which the photo itself is shown
const QUALITY = 0.95;                           // of JPEG to the server: visible blocks would be painted too

/** A File as a photo; if this browser cannot decode it, it has no width and is sent unchanged.
 *  @param {File} file @returns {Promise<Photo>} */
export async function read_photo(file) {
  const photo = { file, name: file.name.replace(/\.[^.]*$/, "") || "photo", copies: {} };
  const bitmap = await decode(file).catch(() => null);
  if (!bitmap) return photo;
  const { width, height } = bitmap;
  const megapixels = width * height / 1e6, most = state.page.max_megapixels;
  if (megapixels > most) {
    const detail = `the picture has ${Math.round(megapixels)} megapixels; at most ${most} are allowed`;
    throw new Problem({ detail, code: CODES.PICTURE_OUT_OF_BOUNDS });
  }
  const opaque = file.type === "image/jpeg" || !has_alpha(bitmap);
  bitmap.close();
  return { ...photo, width, height, type: opaque ? "image/jpeg" : "image/png" };
}

export const decode = (file) => createImageBitmap(file, { imageOrientation: "from-image" });

/** A canvas of this size with the bitmap drawn at [left, top, width, height], by default filling it. */
export function draw(bitmap, width, height, [left, top, wide, high] = [0, 0, width, height]) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height }), context = context_of(canvas);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, left, top, wide, high);
  return canvas;
}

/** A canvas's 2D context. @param {HTMLCanvasElement} canvas */
function context_of(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw no_canvas(canvas);
  return context;
}

/** Encode a canvas; browsers give null if it exceeds their size limit or memory is short. */
export async function encode(canvas, type) {
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, type, QUALITY));
  if (!blob) throw no_canvas(canvas);
  return blob;
}

function no_canvas({ width, height }) {
  const detail = `this browser cannot hold a picture of ${width} × ${height} pixels; choose a smaller size or photo`;
  return new Problem({ detail, field: "content" });
}

function has_alpha(bitmap) {
  const side = 256;                             // even after shrinking, a few transparent pixels leave alpha below 255
  const pixels = context_of(draw(bitmap, side, side)).getImageData(0, 0, side, side).data;
  return pixels.some((value, index) => index % 4 === 3 && value < 255);
}

/** The photo upright, without metadata, longest side at most `longest`; cached, as every slider move sends it. */
export function copy_of(photo, longest) {
  if (!photo.width) return photo.file;
  const scale = Math.min(1, longest / Math.max(photo.width, photo.height));
  const [width, height] = [photo.width, photo.height].map((side) => Math.max(1, Math.round(side * scale)));
  const size = `${width}x${height}`;
  photo.copies[size] ??= shrink(photo, width, height).catch((error) => {
    delete photo.copies[size];                  // a retry may succeed
    throw error;
  });
  return photo.copies[size];
}

async function shrink({ file, type }, width, height) {
  const bitmap = await decode(file);
  try {
    return await encode(draw(bitmap, width, height), type);
  } finally {
    bitmap.close();
  }
}

/** The longest side of a preview, large enough that a narrow photo's shorter side stays above the server's minimum; the
 *  default if the photo's size is unknown. */
export function preview_side(/** @type {{width?: number, height?: number}} */ { width, height }) {
  const { preview_size, min_side } = state.page;
  if (!width || !height) return preview_size;
  return Math.max(preview_size, Math.ceil(min_side * Math.max(width, height) / Math.min(width, height)));
}

/** The photo cropped to a tile's shape, as tiles show it: all walls have one size, for which the server is warm. */
export async function tile_of(photo, size) {
  const [width, height] = size;
  if (!photo.width) return photo.file;
  const bitmap = await decode(await copy_of(photo, SHOWN_SIDE));
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  const [wide, high] = [bitmap.width * scale, bitmap.height * scale];
  const canvas = draw(bitmap, width, height, [(width - wide) / 2, (height - high) / 2, wide, high]);
  bitmap.close();
  return encode(canvas, photo.type);
}
