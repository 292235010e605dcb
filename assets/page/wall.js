/* The wall: the photo in every style, small; and searching it. */

import { PATHS } from "../contract.js";
import { engine } from "../engines/engine.js";
import { by_id, child, parent_of, until } from "./dash.js";
import { tile_of } from "./pictures.js";
import { note_fault } from "./problems.js";
import { state } from "./state.js";

const TILE = [180, 120];                        // px of a wall's tile on an ordinary display,
const DENSE_TILE = [240, 160];                  // and on one with more than a pixel and a half per CSS pixel

const in_view = new Set();                      // names of the tiles on the screen
let under_way = new AbortController();          // the wall being painted

/** @typedef {import("./state.js").OwnStyle} OwnStyle */

/** All elements for a selector. @param {string} selector @returns {HTMLElement[]} */
const all = (selector) => [...document.querySelectorAll(selector)].map((each) => /** @type {HTMLElement} */ (each));

export const tiles = () => all(".tiles .form-check").map((tile) => ({
  tile, name: child(tile, "input").value, image: child(tile, "img"),
}));

/** @returns {HTMLImageElement | null} */
const tile_image = (name) => document.querySelector(`.tiles input[value="${CSS.escape(name)}"] + label img`);

/** Paint the photo on every tile: own styles first, then those on the screen, then the rest. */
export async function fill_wall() {
  under_way.abort();
  const { signal } = under_way = new AbortController();
  if (!state.photo) return;                     // the sample failed to load, and no photo was chosen
  for (const { name, image } of tiles()) {      // until it is painted, a tile shows the sample photo
    image.classList.add("waiting");
    if (in_view.has(name) && image.dataset.src) image.src = image.dataset.src;
    else if (image.dataset.src) image.removeAttribute("src");
  }
  const names = Object.keys(state.page.titles);
  names.sort((one, other) => Number(in_view.has(other)) - Number(in_view.has(one)));
  if (state.own.length) await paint_tiles({ own: state.own, signal });
  await paint_tiles({ names, signal });
}

/** Paint tiles for these own styles, as part of the wall being painted. */
export const paint_own_tiles = (own) => paint_tiles({ own, signal: under_way.signal });

/** Paint these tiles and show each as it arrives; on failure the sample stays, with a note next to the wall.
 *  @param {{own?: OwnStyle[], names?: string[], signal: AbortSignal}} tiles    the user's styles, the gallery's */
async function paint_tiles({ own = [], names = [], signal }) {
  const size = window.devicePixelRatio > 1.5 ? DENSE_TILE : TILE;
  const [studied, bare] = [own.filter(({ study }) => study), own.filter(({ study }) => !study)];
  const order = [...studied.map(({ name }) => name), ...names, ...bare.map(({ name }) => name)];
  if (!state.photo) return;
  try {
    await engine().post(PATHS.WALL, {
      content: await tile_of(state.photo, size), size: size[0],
      style: studied.map(({ study = "" }) => state.studies.get(study)),
      style_name: names, style_vector: bare.map(({ vector }) => vector),
    }, { signal, on_tile: ({ index, picture }) => {
      const image = tile_image(order[index]);
      if (signal.aborted || !image) return URL.revokeObjectURL(picture);
      image.addEventListener("load", () => URL.revokeObjectURL(picture), { once: true });
      image.src = picture;
      image.classList.remove("waiting");
    } });
  } catch (error) {
    if (signal.aborted) return;
    order.forEach((name) => tile_image(name)?.classList.remove("waiting"));
    note_fault("style-note", error, "The gallery cannot show your picture");
  }
}

/** Wait until Dash has drawn a new tile. */
export const tile_there = (name) => until(() => tile_image(name));

/** Track which tiles are on the screen, and load the sample there: html.Img has no loading="lazy". */
export function watch_tiles() {
  const [chosen] = all(".tiles .form-check:has(input:checked)");
  const strip = parent_of(chosen);
  strip.scrollLeft = chosen.offsetLeft - strip.offsetLeft - chosen.offsetWidth / 2;
  const observer = new IntersectionObserver((entries) => {
    for (const { target: element, isIntersecting } of entries) {
      const target = /** @type {HTMLImageElement} */ (element), { src } = target.dataset;
      const tile = target.closest(".form-check");
      if (tile) in_view[isIntersecting ? "add" : "delete"](child(tile, "input").value);
      if (isIntersecting && src && !target.getAttribute("src")) target.src = src;
    }
  }, { rootMargin: "200px" });
  all("img[data-src]").forEach((image) => observer.observe(image));
}

/** Show the tiles that match all words by title, artist or year, ignoring accents and case. */
export function search({ search: text, own_styles }) {
  const plain = (words) => words.normalize("NFKD").replace(/\p{Mark}/gu, "").toLowerCase();
  const wanted = plain(text ?? "").split(/\s+/).filter(Boolean);
  const own = Object.fromEntries(own_styles.map(({ name, title }) => [name, title]));
  const words = { ...own, ...state.page.words };
  const matching = new Set(Object.keys(words).filter((name) => {
    const here = plain(words[name]);
    return wanted.every((word) => here.includes(word));
  }));
  for (const { tile, name } of tiles()) tile.hidden = !matching.has(name);
  for (const part of all(".tiles")) {
    const names = part.id === "own" ? Object.keys(own)    // Dash may not have drawn the newest tile yet
      : [...part.querySelectorAll("input")].map(({ value }) => value);
    const empty = !names.some((name) => matching.has(name));
    by_id(`${part.id}-heading`).hidden = part.hidden = empty;
  }
  if (!wanted.length) return "";
  return matching.size ? `${matching.size} of ${Object.keys(words).length} styles` : "No style matches";
}

/** In the search box, Enter chooses the first match, and arrow down moves there. */
export function search_by_keyboard(event) {
  if (!["Enter", "ArrowDown"].includes(event.key)) return;
  const [first] = all(".tiles .form-check:not([hidden]) input");
  if (event.key === "Enter") first?.click();
  first?.focus();
  event.preventDefault();
}
