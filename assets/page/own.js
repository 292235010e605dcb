/* The user's own styles: paintings, studies, and vectors from style codes. */

import { engine } from "../engines/engine.js";
import { PATHS, STUDY_SUFFIX } from "../contract.js";
import { PATIENCE, element, note, set } from "./dash.js";
import { copy_of, read_photo } from "./pictures.js";
import { note_fault } from "./problems.js";
import { state } from "./state.js";
import { paint_own_tiles, tile_there } from "./wall.js";

/** @typedef {import("./state.js").OwnStyle} OwnStyle */

const STYLE_SIDE = 1024;                        // px at which a painting is sent: it is read at 384

let taking = Promise.resolve();                 // files are added one after another

/** Add a File as a style: its vector from the server is kept, so the picture is sent only once. */
export function take_style(file) {
  taking = taking.then(() => add_file(file));
}

async function add_file(file) {
  const said = setTimeout(note, PATIENCE, "style-note", "Looking at the painting…");
  try {
    if (file.name.endsWith(".safetensors")) await add_study(file);
    else await add_painting(file);
    note("style-note", "");
  } catch (error) {
    note_fault("style-note", error, file.name);
  } finally {
    clearTimeout(said);
  }
}

async function add_painting(file) {
  const painting = await read_photo(file);
  const picture = await copy_of(painting, STYLE_SIDE);
  const { vector } = await engine().post(PATHS.VECTORS, { style: picture });
  const shown = painting.width ? URL.createObjectURL(picture) : undefined;
  await add_own({ title: painting.name, vector: JSON.stringify(vector), picture: shown }, picture);
}

async function add_study(file) {
  const study = new Blob([await file.arrayBuffer()]);
  const { vector } = await engine().post(PATHS.VECTORS, { style: study });
  const title = file.name.replace(STUDY_SUFFIX, "");
  await add_own({ title, vector: JSON.stringify(vector), study: keep_study("file", study) });
}

/** Store a study's bytes and return their key. */
export function keep_study(name, study) {
  const key = `${name}.${state.studies.size + 1}`;
  state.studies.set(key, study);
  return key;
}

/** The name of the tile for this vector (JSON), which is created if missing. */
export async function add_vector(vector) {
  const there = state.own.find((each) => each.vector === vector && !each.study);
  return there ? there.name : add_own({ title: "Shared style", vector });
}

/** Add a tile for this style and return its name once it is drawn. `painting`: its source, for studies.
 *  @param {Omit<OwnStyle, "name">} style @param {Blob} [painting] */
async function add_own(style, painting) {
  const own = { name: `own-${state.own.length + 1}`, ...style };
  if (painting) state.paintings.set(own.name, painting);
  state.own.push(own);
  set("own-styles", { data: [...state.own] });
  await tile_there(own.name);
  paint_own_tiles([own]);
  return own.name;
}

/** Add tiles for styles of an earlier visit, without changing the choice. @param {Omit<OwnStyle, "name">[]} styles */
export function recall_own(styles) {
  for (const style of styles) state.own.push({ name: `own-${state.own.length + 1}`, ...style, recalled: true });
  if (styles.length) set("own-styles", { data: [...state.own] });
}

/** The tiles of own styles, for Dash. */
export function own_tiles({ own_styles }) {
  return own_styles.map(({ name, title, picture }) => ({
    value: name,
    label: [
      element("Img", { src: picture, alt: "" }),
      element("Img", { src: picture, alt: "", className: "painting" }),
      element("Span", { children: title, className: "title" }),
    ],
  }));
}
