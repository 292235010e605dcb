/* The photo: chosen, dropped, pasted, taken with the camera, or restored from an earlier try. */

import { PATHS } from "../contract.js";
import { engine } from "../engines/engine.js";
import { learn_pace, megapixels } from "./cost.js";
import { PATIENCE, note, set } from "./dash.js";
import { SHOWN_SIDE, copy_of, preview_side, read_photo } from "./pictures.js";
import { note_fault } from "./problems.js";
import { state } from "./state.js";
import { fill_wall } from "./wall.js";

/** @typedef {import("./state.js").Photo} Photo */

let choices = 0;                                // photos chosen so far: a later one supersedes an earlier one

/** Make a File the photo once the server has accepted it; until then, or if it refuses, the previous one stays. */
export async function take_photo(file) {
  const choice = ++choices;
  const said = setTimeout(note, PATIENCE, "photo-note", "Looking at the photo…");
  try {
    const photo = await read_photo(file);
    await judge(photo);
    if (choice !== choices) return;
    await adopt(photo);
    fill_wall();
  } catch (error) {
    if (choice === choices) note_fault("photo-note", error, file.name);
  } finally {
    clearTimeout(said);
  }
}

/** Load the initial photo, unless the user has already chosen one. */
export async function take_sample(address) {
  try {
    const sample = await (await fetch(address)).blob();
    const photo = await read_photo(new File([sample], "sample.jpg", { type: sample.type }));
    if (!choices) await adopt(photo);
  } catch {
    note("photo-note", "The sample photo could not be loaded. Choose a photo of your own.", "note error");
  }
}

/** Restore an earlier photo, which the server has already accepted. @param {Photo} photo */
export async function bring_back_photo(photo) {
  choices++;                                    // supersedes a photo that is still loading
  await adopt(photo);
  fill_wall();
}

/** Throw Problem if the server refuses a photo. Tries a small painting, so that bounds are defined only there. */
async function judge(photo) {
  try {
    const since = performance.now();
    await engine().post(PATHS.STYLIZE, {
      content: await copy_of(photo, SHOWN_SIDE),
      style_name: state.page.first_style,
      size: photo.width ? preview_side(photo) : SHOWN_SIDE,
      format: "jpeg",
    }, { retries: [] });
    const pixels = megapixels(photo, preview_side(photo), 1)?.in_all;
    if (pixels) learn_pace(pixels, (performance.now() - since) / 1000);
  } catch (error) {
    if (!error.away) throw error;               // an unavailable or busy server will judge when it paints
  }
}

/** @param {Photo} photo */
async function adopt(photo) {
  const { name, width, height } = photo;
  const shown = width ? URL.createObjectURL(await copy_of(photo, SHOWN_SIDE)) : null;
  if (state.photo?.shown) URL.revokeObjectURL(state.photo.shown);
  state.photo = Object.assign(photo, { shown });
  set("photo-picture", { src: shown, hidden: !shown });
  set("photo-caption", { children: width ? `${name}, ${width} × ${height} px` : name });
  set("studio", { style: width && height ? { "--aspect": width / height } : {} });
  note("photo-note", shown ? "" : "This browser cannot show this format, but it can be painted.");
  set("photo", { data: { name, width, height, choice: choices } });
}
