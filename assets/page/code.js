/* The style code field, and links that contain a style code. */

import { as_problem } from "../engines/problem.js";
import { by_id, control, note, set, until } from "./dash.js";
import { bring_back, mix_of, slot_of } from "./mix.js";
import { add_vector } from "./own.js";
import { paint_next, state } from "./state.js";
import { read, write } from "./style_code.js";

const FOREIGN = "This code was made with other weights: it may look different here.";
const STUDIED = "A code cannot contain your study, only the painting’s style vector. To share the study, save it as a "
  + "file, which can be dropped on the gallery.";

let code = "";                                  // of the current style,
let lacks_study = false;                        // and whether that has a study, which the code lacks
const foreign_vectors = new Set();              // JSON, of own styles made with other weights

const say = (words, className) => note("code-note", words, className);

/** Show a message below the code, opening the section: links and pastes need it too. */
function tell(words, className) {
  say(words, className);
  if (words) set("sharing", { open: true });
}

/** Show the current style's code, unless the user is typing in the field; until it changes, messages stay. */
export function show_code({ style, strength, style_scale, keep_colors }) {
  const before = code, lacked = lacks_study;
  code = write({ parts: style.parts, strength, style_scale, keep_colors }, state.page);
  lacks_study = style.parts.some(({ study }) => study);
  if (code === before && lacks_study === lacked) return;
  const foreign = style.parts.some(({ style_vector }) => foreign_vectors.has(style_vector));
  if (before && foreign && !lacks_study) tell(FOREIGN);
  else if (before) say(lacks_study ? STUDIED : "");
  const field = control("code");
  if (document.activeElement !== field || !field.value) set("code", { value: code });
}

/** Apply a code and paint it; `complains`: whether to report one that cannot be read. */
export async function open_code(text, complains = true) {
  if (!text.trim() || text === code) return;
  try {
    const { parts, strength, style_scale, keep_colors, foreign } = read(text, state.page);
    const slots = [];
    for (const { name, vector } of parts) {
      const numbers = JSON.stringify(vector);
      if (vector && foreign) foreign_vectors.add(numbers);
      slots.push(slot_of(name ?? await add_vector(numbers)));
    }
    paint_next();
    set("strength", { value: strength });
    set("style-scale", { value: Math.round(4 * Math.log2(style_scale)) / 4 });
    set("keep-colors", { value: keep_colors });
    bring_back(mix_of(slots, parts.map(({ weight }) => weight)));
    tell(foreign ? FOREIGN : "");
  } catch (error) {
    if (complains) await complain_of(error);
  }
}

/** Show what is wrong with a code, and scroll to it: on a phone it may be off-screen. */
async function complain_of(error) {
  const { message } = as_problem(error), place = by_id("code-note");
  tell(message, "note error");
  await until(() => place.textContent === message).catch(() => {});
  place.scrollIntoView({ block: "nearest" });
}

export function make_code() {
  const field = control("code");
  const was_pasted = ({ inputType }) => inputType === "insertFromPaste";
  field.addEventListener("input", (event) => open_code(field.value, was_pasted(event)));
  field.addEventListener("change", () => open_code(field.value));
  field.addEventListener("focus", () => field.select());
  field.addEventListener("blur", () => {
    if (!by_id("code-note").textContent) set("code", { value: code });
  });
  by_id("share").addEventListener("click", share);
  window.addEventListener("hashchange", open_link);
}

/** Open a style code in the page's URL, after #: it never reaches the server. */
export function open_link() {
  if (location.hash.length > 1) return open_code(location.hash);
}

async function share() {
  const link = `${location.origin}${location.pathname}#${code}`;
  try {
    await navigator.clipboard.writeText(link);
    tell("Link copied to the clipboard.");
  } catch {
    tell(link);                                 // to be copied manually
  }
}
