/* The Classic tab: the server optimises a picture and streams its progress; here it is shown, paused and compared.
 *
 * A pause keeps nothing on the server: the request ends, and resuming sends another that starts from the picture
 * shown. So a pause may last, a broken connection is a pause, and no place on the server stays occupied meanwhile. */

import { PATHS } from "../contract.js";
import { engine, on_server } from "../engines/engine.js";
import { Problem, as_problem } from "../engines/problem.js";
import { read_problem, server } from "../engines/server.js";
import { make_divider, move_divider } from "./compare.js";
import { open_tab } from "./controls.js";
import { in_seconds } from "./cost.js";
import { PATIENCE, by_id, child, control, element, note, say_value, set, until } from "./dash.js";
import { draw_curve } from "./loss_curve.js";
import { SHOWN_SIDE, copy_of } from "./pictures.js";
import { place_of } from "./problems.js";
import { file_name, pictured } from "./result.js";
import { own_style, state } from "./state.js";

const RETRIES = Array(24).fill(5);              // seconds: a place on the server becomes free after a minute or so
const PRIVATE = "Classic runs only on the server, but “On this device” is on, so no picture is sent there. Turn it off "
  + "in the Studio to paint here.";
const POLISH_STEPS = 30;
const RATE_STEPS = 12;                          // from whose pace the time left is estimated

/** @type {Promise<void> | null} */
let asking = null;                              // GET api/v1/optimise, once the tab was opened,
/** @type {any} */
let offers = null;                              // and its answer
/** @type {{name: string, title: string} | null} */
let painting = null;                            // the chosen painting, according to Dash
/** @type {any} */
let current = null;                             // the current or last job: see paint()

// Choices ----------------------------------------------------------------------------------------------------------

/** Called once, when the page has been drawn. */
export function make_classic() {
  const panel = by_id("classic");
  new MutationObserver(() => panel.hidden || open()).observe(panel, { attributeFilter: ["hidden"] });
  make_divider("classic-compare");
  new ResizeObserver(() => draw_curve(current)).observe(by_id("loss-curve"));
}

/** When the tab is first shown: load the paintings, and ask the server what it offers. */
async function open() {
  /** @type {NodeListOf<HTMLImageElement>} */
  const waiting = document.querySelectorAll("img[data-picture]:not([src])");
  for (const image of waiting) image.src = image.dataset.picture ?? "";
  say_inits();
  await (asking ??= ask());
}

async function ask() {
  const said = setTimeout(say, PATIENCE, "classic-note", "Asking the server for its networks…");
  try {
    const response = await fetch(PATHS.OPTIMISE);
    if (!response.ok) throw new Problem(await read_problem(response));
    offers = await response.json();
    const { defaults, backbones } = offers;
    set("backbone", { options: backbones.map(network_option), value: backbones[0].name });
    set("classic-choices", { data: offers });
    for (const id of ["content_weight", "style_weight"]) set(id.replace("_", "-"), { value: power_of(defaults[id]) });
    set("steps", { value: defaults.steps });
    set("seed", { value: defaults.seed });
    set("classic-paint", { disabled: false });
    say("classic-note", "");
  } catch (error) {
    const words = error instanceof Problem ? error.message
      : "The server does not answer. Open this tab again when it is back.";
    say("classic-note", words, true);
    asking = null;                              // ask again when the tab is next shown
  }
  clearTimeout(said);
}

function network_option({ name, title, state: where, megabytes }) {
  const away = where === "downloadable";
  const label = away ? `${title} (${megabytes} MB)` : title;
  return { value: name, label, disabled: away && !offers?.bounds.download };
}

function say(id, words, wrong = false) {
  const more = id === "classic-note" ? " wide" : "";
  note(id, words, `note${wrong ? " error" : ""}${more}`);
}

export function show_photo({ photo }) {
  if (!photo) return "";
  const shown = state.photo?.shown;
  set("classic-photo", { src: shown ?? undefined, hidden: !shown });
  set("classic-parts", { style: photo.width ? { "--aspect": photo.width / photo.height } : {} });
  say("classic-photo-note", "");
  say_inits();
  return photo.width ? `${photo.name}, ${photo.width} × ${photo.height} px` : photo.name;
}

/** Only a result painted from this photo can be continued. */
const polishable = () => state.result && state.painted_photo === state.photo;

function say_inits() {
  const labels = [...control("init").options].map(({ value, label }) => ({ value, label }));
  const options = labels.map((each) => ({ ...each, disabled: each.value === "studio" && !polishable() }));
  set("init", { options, ...(control("init").value === "studio" && !polishable() ? { value: "photo" } : {}) });
}

export const own_paintings = ({ own_styles }) => {
  const seen = own_styles.filter(({ picture }) => picture);       // this browser cannot decode the others
  set("classic-own-heading", { hidden: !seen.length });
  return seen.map(({ name, title, picture }) => ({
    value: name,
    label: [element("Img", { src: picture, alt: "" }),
      element("Span", { children: title, className: "title" })],
  }));
};

/** Choosing in one part of the wall clears the choice in the other. */
export function choose({ classic_own: own, classic_originals: originals, own_styles }, triggered) {
  const [id] = triggered;
  const newest = own_styles.findLast(({ picture }) => picture)?.name;
  const name = { "classic-own": own, "own-styles": newest, "classic-originals": originals }[id] ?? own ?? originals;
  const mine = own_styles.find((each) => each.name === name);
  const title = mine?.title ?? state.page.titles[name];
  say("classic-style-note", "");
  return {
    classic_style: { name, title }, classic_own: mine ? name : null, classic_originals: mine ? null : name,
    classic_style_caption: title,
  };
}

/** The layers of the chosen network. */
export function follow_network({ backbone, classic_choices: choices }) {
  const network = choices?.backbones.find((each) => each.name === backbone);
  if (!network) return { content_layer: null, style_layers: [], network_note: "" };
  const options = network.layers.map((layer) => ({ value: layer, label: layer }));
  set("tv-weight", { value: power_of(network.tv_weight) });
  const words = network.state !== "downloadable" ? ""
    : `The server downloads ${network.megabytes} MB when you first paint with it.`;
  set("content-layer", { options });
  set("style-layers", { options });
  return { content_layer: network.content_layers[0], style_layers: network.style_layers, network_note: words };
}

const power_of = (weight) => Math.round(20 * Math.log10(weight)) / 20;      // a slider position
const weight_of = (power) => Number((10 ** power).toPrecision(2));

/** The weight at a slider's position, in words. */
export function say_weight(slider) {
  const [[name, power]] = Object.entries(slider);
  return power === undefined || power === null ? "" : say_value(name.replace("_", "-"), String(weight_of(power)));
}

/** Whether the seed is hidden: only noise needs one. */
export const show_seed = ({ init }) => init !== "noise";

export const choose_photo = () => by_id("photo-file").click();
export const choose_style = () => by_id("style-file").click();

// Painting ---------------------------------------------------------------------------------------------------------

/** Start painting with the current choices. */
export async function paint({
  classic_style: style, backbone, content_layer, style_layers, content_weight, style_weight, tv_weight, init, steps,
  seed, longest, save_as: format,
}) {
  if (!on_server()) return complain(PRIVATE);
  if (!style_layers.length) return complain("Choose at least one style layer.");
  if (!(Number(steps) >= 1)) return complain("Give a number of steps, 1 or more.");
  const { photo } = state;
  if (!photo) return complain("Choose a photo first.");
  const weights = {
    content: weight_of(content_weight), style: weight_of(style_weight), variation: weight_of(tv_weight),
  };
  const own = own_style(style.name);
  let content, shown, picture;
  try {
    content = await copy_of(photo, Number(longest));
    shown = photo.shown && await copy_of(photo, SHOWN_SIDE);
    picture = own?.picture ? { style: await (await fetch(own.picture)).blob() } : { style_name: style.name };
  } catch {
    return complain("This browser cannot read the photo or the painting any more. Choose it again.");
  }
  current?.controller.abort();
  forget(current);
  /** @type {any} */
  const job = current = {
    photo, style, weights, format, content, painting: picture, steps: Number(steps),
    before: shown && URL.createObjectURL(shown),          // the photo, under the divider
    done: 0,                                    // steps done before this request
    points: [],                  // {step, total, content, style, variation, at}: weighted terms; at is ms
    picture: null,                              // Blob of the newest picture,
    picture_step: 0,                            // and its step
    begin: init === "studio" ? state.result : null,       // the starting picture, if any
    single: null,                               // promise of the single pass's picture
    phase: "running", controller: new AbortController(), urls: [],
  };
  job.fields = {
    content, ...picture, backbone, content_layer, style_layers, format,
    content_weight: weights.content, style_weight: weights.style, tv_weight: weights.variation,
    init: init === "studio" ? "feedforward" : init, seed, size: photo.width ? undefined : longest,
  };
  if (job.before) job.urls.push(job.before);
  for (const part of ["", "-style", "-photo", "-result"]) say(`classic${part}-note`, "");
  set("classic-download", { hidden: true });
  set("compare-with", { value: "photo" });
  set("classic-before", { src: job.before, hidden: true });
  by_id("classic-frame").scrollIntoView({ block: "nearest" });
  await run(job);
}

/** One request: the remaining steps, from the picture so far if there is one. */
async function run(job) {
  Object.assign(job, { phase: "running", controller: new AbortController(), waits: "Waiting for the server…" });
  const from = job.picture ?? job.begin;
  show_phase(job);
  try {
    await server.post(PATHS.OPTIMISE, {
      ...job.fields, steps: job.steps - job.done, ...(from && { init: "feedforward", start: from }),
    }, {
      signal: job.controller.signal, retries: RETRIES, on_line: (line) => take(job, line),
      on_wait: (words) => {
        job.waits = words.includes("busy") ? "The server is optimising another picture; yours is next…" : words;
        show_phase(job);
      },
    });
    if (job.phase === "running") throw new Problem({ detail: "the connection broke", away: true });
  } catch (error) {
    if (job !== current || job.controller.signal.aborted) return;
    job.phase = "failed";
    rewind(job);
    show_phase(job);
    fail(error, job);
  }
}

/** Process a line of the stream. */
function take(job, { event, step, losses, picture, download, problem, late }) {
  if (job !== current || job.controller.signal.aborted) return;
  if (event === "error") throw new Problem(problem);
  if (event === "progress") {
    job.waits = download ? fetching(download) : "";
    if (losses?.total !== undefined) add_point(job, job.done + step, losses);
  } else {
    [job.picture, job.picture_step] = [to_blob(picture, event === "result" ? job.format : "jpeg"), job.done + step];
    show_picture(job);
  }
  if (event === "result") {
    job.phase = "done";
    job.late = late;
  }
  show_phase(job);
}

const fetching = ({ megabytes, of }) =>
  `Downloading the network: ${Math.round(megabytes)}${of ? ` of ${Math.round(of)}` : ""} MB…`;

function add_point(job, step, losses) {
  const last = job.points.at(-1);
  if (last && step < last.step || last?.step === step && last.leg === job.done) return;        // repeated
  const weighted = Object.keys(job.weights).filter((name) => name in losses)
    .map((name) => [name, job.weights[name] * losses[name]]);
  if (last?.step === step) job.points.pop();    // the picture from which it was resumed
  const parts = Object.fromEntries(weighted);
  job.points.push({ step, leg: job.done, at: performance.now(), total: losses.total, ...parts });
  draw_curve(job);
}

function to_blob(base64, format) {
  const bytes = Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
  return new Blob([bytes], { type: `image/${format}` });
}

async function show_picture(job) {
  const url = URL.createObjectURL(job.picture), phase = job.phase;
  job.urls.push(url);
  const image = Object.assign(new Image(), { src: url });
  await image.decode();                         // so that it replaces the one shown without flickering
  if (job !== current || job.shown_step > job.picture_step) return;
  job.shown_step = job.picture_step;
  set("classic-result", { src: url, hidden: false });
  set("classic-invitation", { hidden: true });
  set("classic-before", { hidden: !job.before });
  set("classic-compare", { hidden: !job.before });
  set("compare-choice", { hidden: !job.before });
  const stale = job.urls.filter((each) => each !== url && each !== job.before && each !== job.single_url);
  stale.slice(0, -2).forEach((each) => URL.revokeObjectURL(each));
  job.urls = job.urls.filter((each) => !stale.slice(0, -2).includes(each));
  if (job.phase !== "running") offer_download(job, url);
  job.url = url;
  job.size = [image.naturalWidth, image.naturalHeight];
  if (phase !== job.phase || job.phase === "done") show_phase(job);
}

function offer_download(job, url) {
  const download = file_name(job, job.picture.type.replace("image/", ""), "-classic");
  set("classic-download", { href: url, hidden: false, download });
}

/** Show the job's state on the page. */
function show_phase(job) {
  if (job !== current) return;
  const { phase, points, steps, waits } = job;
  const step = phase === "running" ? points.at(-1)?.step ?? 0 : job.picture_step;
  const running = phase === "running";
  const words = {
    running: waits || (points.length ? `Step ${step} of ${steps}` : "Getting ready…"),
    paused: `Paused at step ${step} of ${steps}`,
    failed: job.picture ? `Stopped at step ${step} of ${steps}` : "",
    stopped: job.picture ? `Cancelled at step ${step} of ${steps}: this is the picture so far` : "Cancelled",
    done: (job.late ? `The server’s time limit was reached at step ${step} of ${steps}`
      : `Done, ${step} ${step === 1 ? "step" : "steps"}`) + (job.size ? `, ${job.size.join(" × ")} px` : ""),
  }[phase];
  set("classic-status", { children: words });
  set("classic-left", { children: running && !waits ? time_left(job) : "" });
  set("classic-frame", { "aria-busy": String(running) });
  set("classic-progress", { hidden: !points.length || phase === "done", value: String(step / steps) });
  set("classic-pause", { hidden: !running });
  set("classic-resume", { hidden: phase !== "paused" && !(phase === "failed" && job.picture) });
  set("classic-cancel", { hidden: !running && phase !== "paused" });
  set("classic-paint", { children: running || phase === "paused" ? "Paint anew" : "Paint" });
  if (!running && job.picture && job.url) offer_download(job, job.url);
  set("loss", { hidden: !points.length });
}

function time_left({ points, steps, done }) {
  const recent = points.filter(({ leg }) => leg === done).slice(-RATE_STEPS);
  if (recent.length < 3) return "";
  const pace = (recent.at(-1).at - recent[0].at) / (recent.at(-1).step - recent[0].step);
  const left = pace * (steps - recent.at(-1).step) / 1000;
  return left < 1 ? "" : `about ${in_seconds(left)} left`;
}

/** Steps after the newest picture are lost with the request. */
function rewind(job) {
  job.done = job.picture ? job.picture_step : 0;
  job.points = job.points.filter(({ step }) => step <= job.done);
  draw_curve(job);
}

export function pause() {
  const job = current;
  if (job?.phase !== "running") return;
  job.phase = "paused";
  job.controller.abort();
  rewind(job);
  show_phase(job);
  by_id("classic-resume").focus({ preventScroll: true });
}

export function resume() {
  const job = current;
  if (!["paused", "failed"].includes(job?.phase)) return;
  if (!on_server()) return complain(PRIVATE);
  say("classic-result-note", "");
  run(job);
  by_id("classic-pause").focus({ preventScroll: true });
}

export function cancel() {
  const job = current;
  if (!["running", "paused"].includes(job?.phase)) return;
  job.phase = "stopped";
  job.controller.abort();
  rewind(job);
  show_phase(job);
  by_id("classic-paint").focus({ preventScroll: true });
}

function forget(job) {
  if (job) setTimeout(() => job.urls.forEach((url) => URL.revokeObjectURL(url)), 1000);   // shown until replaced
}

function complain(words) {
  say("classic-note", words, true);
}

/** Show an error message next to its cause. */
function fail(error, job) {
  const known = error instanceof Problem;
  const place = !known ? "classic-result-note"
    : ["style", "style_name"].includes(error.field ?? "") ? "classic-style-note"
    : place_of(error) === "photo-note" ? "classic-photo-note"
    : error.field ? "classic-note" : "classic-result-note";
  const words = known ? error.message : "The connection to the server broke.";
  const more = job.picture && !error.field ? " The picture so far is kept: Go on takes it up again." : "";
  say(place, words + more, true);
}

// Compare ----------------------------------------------------------------------------------------------------------

/** Show under the divider the photo, or the feed-forward network's result in the same style. */
export async function compare_with({ compare_with: what }) {
  const job = current;
  if (!job) return;
  let src = job.before;
  if (what === "single") {
    set("compare-note", { children: "Painting it…" });
    job.single ??= job.begin ? Promise.resolve(job.begin) : engine().post(PATHS.STYLIZE, {
      content: job.content, ...job.painting, size: job.photo.width ? "original" : job.fields.size, format: "jpeg",
    });
    try {
      const blob = await job.single;
      if (job === current && !job.single_url) job.urls.push(job.single_url = URL.createObjectURL(blob));
      src = job.single_url;
    } catch (error) {
      job.single = null;
      if (job !== current) return;
      say("classic-result-note", as_problem(error).message, true);
      set("compare-with", { value: "photo" });
    }
    set("compare-note", { children: "" });
  }
  if (job !== current) return;
  set("classic-before", { src, hidden: false });
  const unmoved = by_id("classic-compare").getAttribute("aria-valuenow") === "0";
  if (what === "single" && unmoved) move_divider("classic-compare", 50);
}

// Polish -----------------------------------------------------------------------------------------------------------

/** From the studio: continue from its result, with the style of largest weight that has a picture. */
export async function polish() {
  open_tab("classic-tab");
  await open();
  if (!offers) return;                          // the note says why
  const steps = Math.min(POLISH_STEPS, offers.bounds.steps);
  set("init", { value: "studio" });
  set("steps", { value: steps });
  const [found] = pictured(state.painted_style?.parts ?? []);
  const mark = child(document, `.paintings input[value="${CSS.escape(found)}"]`);
  if (!mark.matches(":checked")) mark.click();
  // Dash updates asynchronously: the painting, and the layers of a network that was just requested.
  const taken = () => painting?.name === found && control("content-layer").value && control("init").value === "studio"
    && control("steps").value === String(steps) && !control("classic-paint").disabled;
  try {
    await until(taken);
    by_id("classic-paint").click();
  } catch (error) {
    complain(error.message);
  }
}

/** Remember the chosen painting, once Dash has it. */
export function note_painting({ classic_style }) {
  painting = classic_style;
}
