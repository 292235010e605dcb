/* Photo + style vector -> painted photo: the arithmetic of stylizer/feedforward.py, with networks running here. */

import {
  CANVAS, CODES, PHOTOS, READING, STUDIES, STYLE_SCALES, TILE_FORMAT, TILES, VECTOR_SIZE, WALL_SIDE,
} from "../../contract.js";
import { height_for, with_brushwork } from "./brushwork.js";
import * as pictures from "./picture.js";
import * as studies from "./study.js";

const { EDGE, FADE } = CANVAS;
const { FEATURE_BYTES } = PHOTOS;
const { STYLE_SIDE, READ_SIDE, READ_FOR, MOST_OCTAVES } = READING;
const { STRIDE, MARGIN, SAMPLE_SIDE, SMALLER, THINGS_SHARE } = TILES;
const KEPT_BYTES = 128 * 2 ** 20;               // limit for all photos cached between slider moves

/** An error in a request, as one of the API's problem documents. */
export class Refusal extends Error {
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

export class Painter {
  /**
   * @param {object} options
   * @param {any} options.networks    ONNX sessions {predictor, encoder, decoder}; `large()` resolves to {measure, tile}
   *   for painting in tiles; `Tensor` is the class of their inputs; `lost` rejects if the graphics card is lost
   * @param {any} options.gallery     from the server: {styles, coarser, roughness, layers, transformer}; `layers` are
   *   those that studies add to, [channels, out_channels, kernel_size]; `transformer` is its fingerprint;
   *   `study_of(name)` resolves to the bytes of a gallery style's study, or null if it has none
   * @param {any} options.limits      the server's limits on photos
   * @param {number} options.whole    most pixels painted in one piece
   */
  constructor({ networks, gallery, limits, whole }) {
    this.networks = networks;
    this.gallery = gallery;
    this.limits = limits;
    this.whole = whole;
    this.nothing = studies.size(gallery.layers);        // how many numbers a study adds; 0: no studies
    this.photos = new Map();                    // key: {picture, full, look, features, samples, …}, oldest first
  }

  // The API's three routes; `job` is { in_turn, check, on_tile, on_words, from } -----------------------------------

  async stylize(fields, job) {
    const { content, strength = 1, style_scale = 1, keep_colors = false, size, format = "png" } = fields;
    return job.in_turn(async () => {
      const chosen = await this.mix(fields);
      const photo = await this.photo(content, size, Number(style_scale));
      const since = performance.now();
      const painted = await this.paint(photo, chosen, Number(strength), is_true(keep_colors), job);
      const seconds = (performance.now() - since) / 1000;
      const answer = await pictures.encode(painted, format);
      if (!pictures.wrote(answer, format)) {
        throw new Refusal({ detail: `this browser cannot write ${format}; choose another`, field: "format" });
      }
      return { answer, seconds, pixels: painted.width * painted.height };
    });
  }

  async wall({ content, size = WALL_SIDE, style, style_name, style_vector }, { in_turn, on_tile, from = 0 }) {
    const styles = [
      ...list(style).map((file) => () => this.of_file(file)), ...list(style_name).map((name) => () => this.named(name)),
      ...list(style_vector).map((text) => () => this.of_vector(text)),
    ];
    const photo = await in_turn(() => this.photo(content, size, 1, true));
    for (let index = from; index < styles.length; index++) {
      const picture = await in_turn(async () => this.paint(photo, await styles[index](), 1));
      on_tile({ index, picture: await pictures.encode(picture, TILE_FORMAT) });
    }
    return {};
  }

  async vectors({ style }, { in_turn }) {
    return in_turn(async () => ({ answer: { vector: [...await this.read(await decoded(style, "style"))] } }));
  }

  // Styles ---------------------------------------------------------------------------------------------------------

  /** The weighted mean of the styles: files first, then names, then vectors, in the order of the weights. A style is
   *  {vector, added}; `added` is what a study adds to the decoder's weights, or null. */
  async mix({ style, style_name, style_vector, weight }) {
    const styles = [];
    for (const file of list(style)) styles.push(await this.of_file(file));
    for (const name of list(style_name)) styles.push(await this.named(name));
    styles.push(...list(style_vector).map((text) => this.of_vector(text)));
    if (!styles.length) throw new Refusal({ detail: "no style was given", field: "style" });
    const weights = list(weight).length ? list(weight).map(Number) : styles.map(() => 1);
    const sum = weights.reduce((one, other) => one + other, 0);
    const good = weights.length === styles.length && weights.every((each) => each >= 0) && sum > 0;
    if (!good) throw new Refusal({ detail: "weights must be 0 or more, one per style, not all 0", field: "weight" });
    const shares = weights.map((each) => each / sum);
    const vector = blend(styles.map((each) => each.vector), shares);
    const studied = styles.map(({ added }, index) => [added, shares[index]]).filter(([added]) => added);
    const added = studied.length ? blend(...[0, 1].map((part) => studied.map((each) => each[part]))) : null;
    return { vector, added };
  }

  /** A painting, or a study of one. */
  async of_file({ blob }) {
    const bytes = new Uint8Array(await blob.slice(0, STUDIES.MAX_BYTES + 1).arrayBuffer());
    if (studies.looks_like_study(bytes)) return this.of_study(bytes);
    return { vector: await this.read(await decoded({ blob }, "style")), added: null };
  }

  of_study(bytes) {
    const study = studies.parse(bytes, this.gallery.layers);
    if (typeof study === "string") throw new Refusal({ detail: study, field: "style" });
    if (study.origin !== this.gallery.transformer) {
      const detail = `this study was made for transformer ${study.origin}, not ${this.gallery.transformer}; `
        + "study the painting again";
      throw new Refusal({ detail, field: "style" });
    }
    return { vector: study.vector, added: studies.added(study, this.gallery.layers) };
  }

  async named(name) {
    if (!Object.hasOwn(this.gallery.styles, name)) {
      throw new Refusal({ detail: `there is no style ${name}`, field: "style_name" });
    }
    const bytes = await this.gallery.study_of(name);
    return bytes ? this.of_study(bytes) : { vector: Float32Array.from(this.gallery.styles[name]), added: null };
  }

  of_vector = (text) => ({ vector: as_vector(text), added: null });

  /** The style vector of a painting or photo: the mean over the squares that cover it. */
  async read(whole) {
    const picture = pictures.resize_shorter(whole, READ_SIDE), vectors = [];
    for (const top of starts(picture.height)) {
      for (const left of starts(picture.width)) vectors.push(await this.predict(picture, left, top));
    }
    return blend(vectors, vectors.map(() => 1 / vectors.length));
  }

  async predict(picture, left, top) {
    const planes = pictures.to_planes(picture, left, top, STYLE_SIDE, STYLE_SIDE);
    const shape = [1, 3, STYLE_SIDE, STYLE_SIDE];
    const { vector } = await this.networks.predictor.run({ style: new this.networks.Tensor("float32", planes, shape) });
    return vector.data;
  }

  // Painting -------------------------------------------------------------------------------------------------------

  /** The photo, decoded: `full` at the result's size, and `picture`, its canvas, larger for smaller strokes; for larger
   *  strokes with a smaller draft, which is painted first. Repeating a call costs nothing while the photo is cached. */
  async photo(content, size = /** @type {number | "original"} */ ("original"), style_scale = 1, only_shrink = false) {
    const name = [content.key, size, style_scale].join(" ");
    const kept = this.photos.get(name);
    this.photos.delete(name);
    if (kept) {
      this.photos.set(name, kept);              // newest last
      return kept;
    }
    const [least, most] = STYLE_SCALES;
    if (!(style_scale >= least && style_scale <= most)) {
      const detail = `style_scale is ${style_scale}; it must be from ${least} to ${most}`;
      throw new Refusal({ detail, field: "style_scale" });
    }
    const source = await decoded(content, "content");
    const longest = Math.max(source.width, source.height);
    const scale = size === "original" || only_shrink && longest < size ? 1 : size / longest;
    const sides = (factor) => [source.width, source.height].map((side) => Math.max(1, Math.round(side * factor)));
    const full_size = sides(scale);
    const painted_size = full_size.map((side) => Math.max(1, Math.round(side / style_scale)));
    this.check_size(...full_size);
    this.check_size(...painted_size);
    const [full, other] = [full_size, painted_size].map((size) => pictures.resize_to(source, ...size));
    const [target, painted] = [full_size, painted_size].map((size) => Math.max(...size));
    const photo = { full, picture: painted > target ? other : full };
    if (painted < target) {
      photo.draft = { full: other, picture: other };
      photo.draft_share = Math.min(Math.log2(target / painted), 1);
    }
    this.photos.set(name, photo);
    return photo;
  }

  check_size(width, height) {
    const { min_side, max_side, max_ratio, max_megapixels } = this.limits;
    const [shorter, longer] = [Math.min(width, height), Math.max(width, height)];
    const bound = shorter < min_side ? `each side must be at least ${min_side} pixels`
      : longer > max_side ? `each side may be at most ${max_side} pixels`
      : longer > max_ratio * shorter ? `the longer side may be at most ${max_ratio} times the shorter`
      : width * height > 1e6 * max_megapixels ? `at most ${max_megapixels} megapixels are allowed` : "";
    if (!bound) return;
    const detail = `the photo is ${width}x${height} pixels; ${bound}`;
    throw new Refusal({ detail, field: "content", code: CODES.PICTURE_OUT_OF_BOUNDS });
  }

  /** The photo painted in a style, at its own size and with its alpha. */
  async paint(photo, { vector, added }, strength, keep_colors = false, job = null) {
    const { full } = photo, height = height_for(vector, this.gallery.roughness);
    if (strength === 0) {
      this.trim();
      return full;
    }
    if (strength < 1) {
      photo.own_vector ??= await this.read(full);
      vector = blend([vector, photo.own_vector], [strength, 1 - strength]);
      added = added ? blend([added], [strength]) : null;
    }
    const style = { vector, added, height };
    let painted;
    if (photo.draft) {                          // painting over it gives large strokes that are also sharp
      const draft = await this.paint_canvas(photo.draft, style, job);
      const enlarged = pictures.resize_to(draft, full.width, full.height);
      const share = strength * photo.draft_share;
      const canvas = { picture: pictures.lerp(ground(photo, height), enlarged, share), brushed: true };
      painted = await this.paint_canvas(canvas, style, job);
      forget(canvas);
    } else painted = await this.paint_canvas(photo, style, job);
    painted = pictures.resize_to(painted, full.width, full.height);
    if (strength < FADE) painted = pictures.lerp(pictures.opaque(full), painted, strength / FADE);
    if (keep_colors) pictures.add_luma(painted, full, painted, full);       // the photo's chroma, the painting's luma
    pictures.take_alpha(painted, full);
    this.trim();
    return painted;
  }

  /** Paint the photo's canvas; opaque. */
  async paint_canvas(photo, { vector, added, height: brush }, job) {
    const { width, height } = photo.picture, painted = pictures.opaque(photo.picture);
    const broader = this.style(blend([vector, this.gallery.coarser], [1, octaves(width, height)]));
    const way = up_to_stride(width) * up_to_stride(height) > this.whole ? "paint_in_tiles" : "paint_whole";
    const greatest = await this[way](photo, { vector: broader, ...this.studied(added) }, brush, painted, job);
    if (!(greatest > 1 / 255)) throw Object.assign(new Error("the picture came out black"), { kind: "black" });
    return painted;
  }

  /** Fill `painted` and return its maximum, or NaN if any value is. `brush`: height of the brushwork. */
  async paint_whole(photo, style, brush, painted) {
    const { width, height } = painted, [wide, high] = [width, height].map((side) => up_to_stride(side + 2 * EDGE));
    const features = await this.features(photo, brush, wide, high);
    photo.look ??= pictures.survey(photo.picture);
    const stylised = photo.look.calm ? await this.paint_calm(photo.look, features, style, wide, high)
      : (await this.run(this.networks.decoder, { features, ...style })).stylised;
    return pictures.from_planes(stylised.data, wide, high, [EDGE, EDGE], painted, [0, 0, width, height]);
  }

  /** Encoded features, cached for all heights if the photo is small, as on a wall; otherwise only for the last. */
  async features(photo, brush, wide, high) {
    const kept = photo.features ??= new Map();
    if (!kept.has(brush)) {
      const found = await this.encode(ground(photo, brush), [-EDGE, -EDGE, wide, high]);
      if ((kept.size + 1) * 4 * found.size > FEATURE_BYTES) dispose_all(kept);
      kept.set(brush, found);
    }
    return kept.get(brush);
  }

  /** Paint a nearly blank picture, with statistics that emphasise its things and ignore rounding errors. */
  async paint_calm(look, features, { vector, ...studied }, wide, high) {
    const { measure, tile } = await this.networks.large();
    const counts = this.counts([[-EDGE, -EDGE, wide, high]], look);
    const { affine } = await this.run(measure, { features, vector, ...counts, ...studied });
    return (await this.run(tile, { features, affine, vector, ...studied })).stylised;
  }

  /** Weights of the places in windows, and the share of the least variances to apply. */
  counts(windows, look) {
    const [, , width, height] = windows[0];
    const shape = [windows.length, 1, height / STRIDE, width / STRIDE];
    const weights = new this.networks.Tensor("float32", pictures.weigh(windows, look, STRIDE), shape);
    return { weights, floor: new this.networks.Tensor("float32", Float32Array.of(look.floor), [1]) };
  }

  /** Like `paint_whole`, in tiles: of each tile, keep the pixels closer to its centre than to any other's. */
  async paint_in_tiles(photo, { vector, ...studied }, brush, painted, job) {
    const { width, height } = painted;
    const { measure, tile } = await this.networks.large();
    photo.look ??= pictures.survey(photo.picture);
    const windows = this.windows(photo.picture, photo.look), counts = this.counts(windows, photo.look);
    const seen = ground(photo, brush), samples = photo.samples ??= new Map();
    if (!samples.has(brush)) {
      dispose_all(samples);
      samples.set(brush, await this.sample(seen, windows));
    }
    const { affine } = await this.run(measure, { features: samples.get(brush), vector, ...counts, ...studied });
    const [side] = this.tiles();
    const [across, down] = [width, height].map((length) => axis(length, side));
    let greatest = 0, done = 0;
    for (const row of down) {
      for (const column of across) {
        job?.on_words(`Painting piece ${++done} of ${across.length * down.length}…`);
        await job?.check();
        const features = await this.encode(seen, [column.start, row.start, column.outer, row.outer]);
        const { stylised } = await this.run(tile, { features, affine, vector, ...studied });
        const inside = [column.from - column.start, row.from - row.start];
        const kept = [column.from, row.from, column.to - column.from, row.to - row.from];
        const here = pictures.from_planes(stylised.data, column.outer, row.outer, inside, painted, kept);
        greatest = Math.max(greatest, here);
        features.dispose();
      }
    }
    return greatest;
  }

  /** Tiles as on the server if memory is short: [side in px with margins, samples], of which the samples take half as
   *  much again. The first that may be painted in one piece, or else the last. */
  tiles = () => SMALLER.find(([side]) => side * side <= this.whole) ?? SMALLER[SMALLER.length - 1];

  /** Windows for samples, spread over the picture; in a sparse one, mostly where its things are. */
  windows({ width, height }, look) {
    const side = SAMPLE_SIDE, [, count] = this.tiles();
    const all = (downs, acrosses) => downs.flatMap((top) => acrosses.map((left) => [left, top, side, side]));
    if (!look.share) {
      const columns = Math.max(1, Math.round(Math.sqrt(count * width / height)));
      const rows = Math.max(1, Math.round(count / columns));
      return all(middles(height, rows), middles(width, columns));
    }
    const squares = all(side_by_side(height), side_by_side(width));
    const [with_things, others] = [true, false].map((wanted) =>
      squares.filter((window) => pictures.has_things(look, window) === wanted));
    const rest = Math.min(others.length, Math.max(Math.floor(count / 4), count - with_things.length));
    return [...spread(with_things, count - rest), ...spread(others, rest)];
  }

  /** Features (N, C, s/4, s/4) of N windows, at the picture's full size. */
  async sample(picture, windows) {
    let all = new Float32Array(0), shape = [];
    for (const [index, window] of windows.entries()) {
      const features = await this.encode(picture, window);
      if (!index) {
        shape = features.dims.slice(1);
        all = new Float32Array(windows.length * features.size);
      }
      all.set(await features.getData(), index * features.size);
      features.dispose();
    }
    return new this.networks.Tensor("float32", all, [windows.length, ...shape]);
  }

  /** Features of a window [left, top, width, height] of the picture, mirrored beyond its edges. */
  async encode(picture, [left, top, width, height]) {
    const size = 3 * width * height;
    if (this.planes?.length !== size) this.planes = new Float32Array(size);     // reused for all tiles
    pictures.to_planes(picture, left, top, width, height, this.planes);
    const content = new this.networks.Tensor("float32", this.planes, [1, 3, height, width]);
    return (await this.run(this.networks.encoder, { content })).features;
  }

  run = (network, feeds) => Promise.race([network.run(feeds), this.networks.lost]);

  style = (vector) => new this.networks.Tensor("float32", vector, [1, VECTOR_SIZE]);

  /** What a study adds, as input for decoder, measure and tile; empty for the plain transformer. */
  studied(added) {
    if (!this.nothing) return {};
    return { added: new this.networks.Tensor("float32", added ?? new Float32Array(this.nothing), [this.nothing]) };
  }

  /** Paint a small pattern, as planes, to compare devices: all must give the same. */
  async trial(side) {
    const data = Uint8ClampedArray.from({ length: 4 * side * side }, (_, index) => index * index % 251);
    const features = await this.encode({ width: side, height: side, data }, [0, 0, side, side]);
    const vector = this.style(Float32Array.from({ length: VECTOR_SIZE }, (_, index) => Math.sin(index)));
    return (await this.run(this.networks.decoder, { features, vector, ...this.studied(null) })).stylised.data;
  }

  /** Drop the oldest photos until the rest fits. */
  trim() {
    const cost = (photo) => photo.picture.data.length
      + (photo.full === photo.picture ? 0 : photo.full.data.length) + (photo.draft ? cost(photo.draft) : 0)
      + encoded(photo).flatMap((each) => [...each.values()]).reduce((all, { size }) => all + 4 * size, 0);
    let sum = [...this.photos.values()].reduce((all, photo) => all + cost(photo), 0);
    for (const [name, photo] of this.photos) {
      if (sum <= KEPT_BYTES) return;
      sum -= cost(photo);
      forget(photo);                            // a wall may still be using it
      if (photo.draft) forget(photo.draft);
      this.photos.delete(name);
    }
  }
}

/** A photo's cached tensors, by height of the brushwork. */
const encoded = ({ features, samples }) => [features, samples].filter(Boolean);

const forget = (photo) => encoded(photo).forEach(dispose_all);

function dispose_all(tensors) {
  tensors.forEach((tensor) => tensor.dispose());
  tensors.clear();
}

/** The encoder's input: the photo with brushwork of this height on its plain areas, which grows by half as many octaves
 *  as a style's strokes. A nearly blank page gets less, so that it stays blank. */
function ground(photo, height) {
  const { picture, brushed } = photo;
  if (brushed) return picture;
  const { floor, share } = photo.look ??= pictures.survey(picture);
  const bare = Math.max(floor, share / THINGS_SHARE);
  return with_brushwork(picture, (1 - bare) * height, 2 ** (octaves(picture.width, picture.height) / 2));
}

const up_to_stride = (length) => STRIDE * Math.ceil(length / STRIDE);

/** Tiles along one side, including its mirrored edges: each reads `outer` pixels from `start` and keeps those between
 *  `from` and `to`. */
export function axis(length, side) {
  const padded = up_to_stride(length + 2 * EDGE), outer = Math.min(side, padded);
  const count = outer === padded ? 1 : Math.ceil((padded - 2 * MARGIN) / (side - 2 * MARGIN));
  const starts = Array.from({ length: count }, (_, index) =>
    STRIDE * Math.floor((padded - outer) * index / Math.max(1, count - 1) / STRIDE) - EDGE);
  const border = (index) => (index === 0 ? 0 : index === count ? length
    : Math.floor((starts[index] + starts[index - 1] + outer) / 2));
  return starts.map((start, index) => ({ start, outer, from: border(index), to: border(index + 1) }));
}

/** Start positions of samples at the centres of `parts` equal parts of a side, */
const middles = (length, parts) => Array.from({ length: parts }, (_, index) =>
  Math.max(0, Math.min(length - SAMPLE_SIDE, Math.floor((index + 0.5) * length / parts - SAMPLE_SIDE / 2))));

/** and of samples that cover it, the last one moved inwards. */
const side_by_side = (length) => Array.from({ length: Math.ceil(length / SAMPLE_SIDE) }, (_, index) =>
  Math.min(index * SAMPLE_SIDE, length - SAMPLE_SIDE));

/** At most `most` places, evenly spread. */
function spread(places, most) {
  const count = Math.min(most, places.length);
  return Array.from({ length: count }, (_, index) => places[Math.floor(index * places.length / count)]);
}

/** Factor of `coarser` added to a vector for a picture of this size: a vector determines how large strokes are in
 *  pixels. */
function octaves(width, height) {
  return Math.min(Math.max(Math.log2(Math.max(width, height) / READ_FOR), 0), MOST_OCTAVES);
}

/** Start positions of the fewest evenly spread squares that cover a length. */
function starts(length) {
  const last = Math.ceil(length / STYLE_SIDE) - 1;
  return Array.from({ length: last + 1 }, (_, index) => Math.floor(index * (length - STYLE_SIDE) / Math.max(1, last)));
}

const list = (value) => [value ?? []].flat();
const is_true = (value) => value === true || value === "true";

function as_vector(text) {
  const vector = Float32Array.from(typeof text === "string" ? JSON.parse(text) : text);
  if (vector.length === VECTOR_SIZE && vector.every(Number.isFinite)) return vector;
  throw new Refusal({ detail: `a style vector is ${VECTOR_SIZE} finite numbers`, field: "style_vector" });
}

function blend(arrays, shares) {
  return Float32Array.from({ length: arrays[0].length }, (_, index) =>
    arrays.reduce((sum, array, which) => sum + shares[which] * array[index], 0));
}

async function decoded({ blob }, field) {
  try {
    return await pictures.decode(blob);
  } catch {
    const detail = "this browser cannot read the picture; save it as JPEG or PNG";
    throw new Refusal({ detail, field, code: CODES.BROKEN_PICTURE });
  }
}
