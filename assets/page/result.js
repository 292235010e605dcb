/* The result: paints the current choices, one painting at a time, and shows them. */

import { PATHS } from "../contract.js";
import { engine } from "../engines/engine.js";
import { Problem, as_problem } from "../engines/problem.js";
import { show_zoom } from "./compare.js";
import { expect_seconds, in_seconds, learn_pace, megapixels, say_cost } from "./cost.js";
import { PATIENCE, by_id, note, set } from "./dash.js";
import { copy_of, draw, encode, preview_side } from "./pictures.js";
import { place_of } from "./problems.js";
import { own_style, paint_next, state } from "./state.js";
import { remember } from "./tries.js";

const SETTLE = 250;                             // ms after the last slider movement until painting in full size
const NAME_LENGTH = 60;                         // characters of a download's name: file systems allow 255 bytes

/** @type {any} */
let next = null;                                // at most one painting waits
/** @type {any} */
let flight = null;                              // and one is in progress: {...wanted, photo, preview, controller, …}
let settling = 0;                               // timer that starts the full size
/** @type {string | null} */
let place = null;                               // the note that the last painting wrote to
/** @type {string[]} */
const urls = [];                                // blob URLs of results, the one shown last

/** Paint the current choices, as a quick small preview or in full: at once, or after the current painting. */
function want(preview) {
  clearTimeout(settling);
  next = { ...state.wanted, photo: state.photo, preview };
  if (!flight) work();
  else if (!flight.preview || flight.waits) flight.controller.abort();    // let a preview finish: it is quick
}

async function work() {
  const ticker = setInterval(tell_time, 100);
  set("result-frame", { "aria-busy": "true" });
  while (next) {
    const job = { ...next, controller: new AbortController(), since: performance.now(), waits: "" };
    [flight, next] = [job, null];
    const side = job.preview ? preview_side(job.photo) : job.size;
    job.megapixels = megapixels(job.photo, side, job.style_scale)?.in_all;
    try {
      const blob = await paint(job);
      if (!job.waits && job.megapixels) learn_pace(job.megapixels, (performance.now() - job.since) / 1000);
      await show(blob, job);
    } catch (error) {
      if (!job.controller.signal.aborted) complain(error);
    }
  }
  flight = null;
  clearInterval(ticker);
  set("result-frame", { "aria-busy": "false" });
  set("elapsed", { children: "" });
  set("cancel", { hidden: true });
}

/** Cancel painting and keep what is shown; the next choice paints again. */
export function cancel() {
  clearTimeout(settling);
  next = null;
  flight?.controller.abort();
  set("status", { children: "Cancelled" });
}

async function paint(job) {
  const { photo, style, strength, style_scale, size, format, keep_colors, preview } = job;
  const studied = style.parts.filter((part) => part.study);
  const named = style.parts.filter(({ style_name }) => style_name);
  const own = style.parts.filter((part) => part.style_vector && !part.study);
  const longest = preview ? preview_side(photo) : size === "original" ? Infinity : Number(size);
  return engine().post(PATHS.STYLIZE, {
    content: await copy_of(photo, longest),
    style: studied.map((part) => state.studies.get(part.study)),
    style_name: named.map(({ style_name }) => style_name),
    style_vector: own.map(({ style_vector }) => style_vector),
    weight: [...studied, ...named, ...own].map(({ weight }) => weight),   // in the API's order: files first
    strength,
    style_scale: style_scale === 1 ? undefined : style_scale,
    keep_colors,
    size: photo.width || size === "original" ? "original" : longest,      // already shrunk here, if possible
    format: !preview ? format : photo.type === "image/png" ? "webp" : "jpeg",
  }, { signal: job.controller.signal, on_wait: (words) => { job.waits = words; } });
}

async function show(blob, job) {
  const url = URL.createObjectURL(blob);
  const picture = Object.assign(new Image(), { src: url });
  try {
    await picture.decode();                     // so that it replaces the one shown without flickering
  } catch (error) {
    URL.revokeObjectURL(url);
    throw error;
  }
  if (job.controller.signal.aborted) return URL.revokeObjectURL(url);
  keep_url(url);
  set("result", { src: url, hidden: false });
  set("before", { src: job.photo.shown, hidden: !job.photo.shown });
  set("compare", { hidden: !job.photo.shown });
  set("result-invitation", { hidden: true });
  const download = file_name(job, job.format);
  set("download", job.preview ? { href: null } : { href: url, hidden: false, download });
  set("polish", { hidden: !pictured(job.style.parts).length, disabled: job.preview });
  set("copy", { style: window.ClipboardItem ? {} : { display: "none" }, disabled: job.preview });
  if (job.preview) return;
  state.result = blob;
  show_zoom(picture, job.photo !== state.painted_photo);
  state.painted_photo = job.photo;
  state.painted_style = job.style;
  remember(job, picture);
  say_cost();
  if (state.asked) by_id("result-frame").scrollIntoView({ block: "nearest" });
  state.asked = false;
  if (place) note(place, "");
  place = null;
  const seconds = ((performance.now() - job.since) / 1000).toFixed(1);
  const pixels = `${picture.naturalWidth} × ${picture.naturalHeight} px`;
  set("status", { children: `Painted in ${seconds} s, ${pixels}` });
}

/** Keep the URL of the picture to be shown, and of the one it replaces until then. */
function keep_url(url) {
  urls.push(url);
  for (const old of urls.splice(0, urls.length - 2)) URL.revokeObjectURL(old);
}

/** Names of those styles that have a picture, by descending weight: others cannot be polished. */
export function pictured(parts) {
  if (!state.page.classic) return [];
  const name_of = ({ style_name, style_vector }) =>
    style_name ?? state.own.find(({ vector, picture }) => picture && vector === style_vector)?.name;
  const has_picture = (name) => state.page.pictured.includes(name) || Boolean(own_style(name));
  return [...parts].sort((one, other) => other.weight - one.weight).map(name_of).filter(has_picture);
}

/** Show an intermediate picture, without actions for it; a painting in progress takes precedence. */
export function show_in_passing(blob) {
  if (flight) return;
  const url = URL.createObjectURL(blob);
  keep_url(url);
  set("result", { src: url, hidden: false });
  set("result-invitation", { hidden: true });
  set("download", { href: null });
  set("polish", { disabled: true });
  set("copy", { disabled: true });
}

function complain(thrown) {
  const error = as_problem(thrown);
  if (place) note(place, "");
  place = place_of(error);
  note(place, error.message, "note error");
  set("status", { children: "" });
}

/** A download's file name: photo and style, keeping letters and digits of any script. */
export function file_name(job, format, ending = "") {
  const name = `${job.photo.name}-${job.style.title}`.normalize("NFC").replace(/[^\p{L}\p{M}\p{N}_]+/gu, "-");
  const short = [...name.replace(/^[-\p{M}]+/u, "").toLowerCase()].slice(0, NAME_LENGTH).join("").replace(/-+$/, "");
  return `${short || "painting"}${ending}.${format === "jpeg" ? "jpg" : format}`;
}

function tell_time() {
  const { waits, since, megapixels } = flight;
  const elapsed = (performance.now() - since) / 1000;
  if (elapsed < PATIENCE / 1000) return;
  set("status", { children: waits || "Painting…" });
  if (elapsed < 1) return;
  const left = (expect_seconds(megapixels) ?? 0) - elapsed;
  const words = left >= 1 && !waits ? `, about ${in_seconds(left)} left` : "";
  set("elapsed", { children: `${Math.floor(elapsed)} s${words}` });
  set("cancel", { hidden: false });
}

/** A choice changed: paint it, first as a preview if a slider moved. */
export function follow({ strength, style_scale, style, size, format, keep_colors }, triggered) {
  const [changed] = triggered;
  state.wanted = style ? { style, strength, style_scale: 2 ** style_scale, size, format, keep_colors } : null;
  if (changed === "transfer") paint_next();
  if (!state.live || !state.photo || !style) return;
  const moved = ["strength", "style-scale"].includes(changed) || changed === "style" && style.moved;
  const preview = moved && Boolean(state.photo.width);
  want(preview);
  if (preview) settling = window.setTimeout(want, SETTLE, false);
}

/** Copy the result to the clipboard, which requires PNG. */
export async function copy() {
  const { result } = state;
  if (!result) return;                          // the button is disabled until there is one
  const as_png = async () => {
    if (result.type === "image/png") return result;
    const bitmap = await createImageBitmap(result);
    const canvas = draw(bitmap, bitmap.width, bitmap.height);
    return encode(canvas, "image/png");
  };
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": as_png() })]);
    set("status", { children: "Copied to the clipboard" });
  } catch {
    complain(new Problem({ detail: "this browser does not allow the page to copy pictures; use Download" }));
  }
}
