/* The strip of earlier paintings; undo and redo. */

import { by_id, element, parent_of, set } from "./dash.js";
import { bring_back, percent } from "./mix.js";
import { bring_back_photo } from "./photo.js";
import { draw } from "./pictures.js";
import { state } from "./state.js";

/** @typedef {import("./state.js").Photo} Photo @typedef {import("./state.js").WeighedMix} WeighedMix */

const THUMB_HEIGHT = 96;
const TYPED = "input:is([type=search], [type=text], [type=number]), textarea";

/** @type {{key: string, photo: Photo, thumb: string, words: string, settings: object, from: WeighedMix}[]} */
const tries = [];                               // full paintings so far, newest last
let current = -1;                               // the one shown

/** Add a painting's settings to the strip; if it is already there, only mark it. */
export function remember({ photo, style, strength, style_scale, size, format, keep_colors }, picture) {
  const settings = { strength, "style-scale": Math.log2(style_scale), size, format, "keep-colors": keep_colors };
  const key = JSON.stringify([style.parts, Object.values(settings).map(String)]);
  current = tries.findIndex((each) => each.key === key && each.photo === photo);
  if (current < 0) {
    const { naturalWidth, naturalHeight } = picture;
    const width = Math.max(1, Math.round(THUMB_HEIGHT * naturalWidth / naturalHeight));
    const thumb = draw(picture, width, THUMB_HEIGHT).toDataURL("image/webp", 0.8);
    const words = `${style.title}, ${percent(strength)}`;
    tries.push({ key, photo, thumb, words, settings, from: style.from });
    if (tries.length > state.page.tries) tries.shift();
    current = tries.length - 1;
  }
  show_tries();
}

function show_tries() {
  set("tries", { hidden: tries.length < 2 });
  set("undo", { disabled: current <= 0 });
  set("redo", { disabled: current >= tries.length - 1 });
  tries.forEach(({ thumb, words }, index) => {
    set(`try-${index}`, { hidden: false, title: words, children: [
      element("Img", { src: thumb, alt: "" }),
      element("Span", { children: `Try ${index + 1}: ${words}`, className: "unseen" }),
    ] });
    by_id(`try-${index}`).setAttribute("aria-current", String(index === current));
  });
  requestAnimationFrame(() => {                 // once Dash has drawn the newest
    const shown = by_id(`try-${current}`), strip = parent_of(shown);
    strip.scrollLeft = shown.offsetLeft - strip.offsetLeft - (strip.clientWidth - shown.clientWidth) / 2;
  });
}

/** Restore an earlier painting's settings and photo, and paint it again. */
async function restore({ photo, settings, from }) {
  show_tries();
  for (const [id, value] of Object.entries(settings)) set(id, { value });
  bring_back(from);
  if (photo !== state.photo) await bring_back_photo(photo);
}

/** Undo and redo by the usual keys, except in text fields. */
export function undo_by_keyboard(event) {
  const elsewhere = by_id("studio").hidden || event.target.matches(TYPED);
  if (!(event.ctrlKey || event.metaKey) || elsewhere) return;
  const key = event.key.toLowerCase();
  const button = key === "z" ? (event.shiftKey ? "redo" : "undo") : key === "y" ? "redo" : null;
  if (!button) return;
  event.preventDefault();
  by_id(button).click();
}

/** Undo, redo, or go to a chosen try. */
export function recall(_values, triggered) {
  const [button] = triggered;
  const step = { undo: -1, redo: 1 }[button];
  const index = step ? current + step : Number(button.replace("try-", ""));
  if (!tries[index]) return;
  current = index;
  restore(tries[index]);
}
