/* Studying one of the user's paintings: the server learns a study of it, the photo shows the progress, and the study
 * stays in this page. It is sent with each painting, and saved as a file or kept in the browser only on request. */

import { PATHS, STUDY_SUFFIX } from "../contract.js";
import { on_server } from "../engines/engine.js";
import { Problem } from "../engines/problem.js";
import { server } from "../engines/server.js";
import { expect_seconds, in_seconds } from "./cost.js";
import { by_id, note, parent_of, set } from "./dash.js";
import { bring_back, slot_of } from "./mix.js";
import { keep_study, recall_own } from "./own.js";
import { copy_of, preview_side } from "./pictures.js";
import { note_fault } from "./problems.js";
import { show_in_passing } from "./result.js";
import { own_style, paint_next, state } from "./state.js";
import { paint_own_tiles } from "./wall.js";

const NOT_KEPT = "This browser cannot store it. Save the study as a file instead.";
const STORE = "studies";                        // in IndexedDB: only what the user asked to keep
// A step takes as long as so many paintings of 0.1 megapixels, measured in float32 on AVX2; for the time estimate.
const PAINTINGS_A_STEP = 6, MEGAPIXELS = 0.1;

/** @type {{name: string, controller: AbortController, blob: Blob | null, first: any} | null} */
let studying = null;                            // the study in progress
/** @type {string | null} */
let subject = null;                             // name of the own style shown in the section below the gallery

/** Show the study section for the mix's active style, if it is an own style. */
export function show_study(mix) {
  const style = mix.slots[mix.active], mine = style && own_style(style.name);
  const there = mine && (state.paintings.has(mine.name) || mine.study);
  if (subject && subject !== mine?.name && !studying) note("study-note", "");
  subject = there ? mine.name : null;
  if (!studying) rest();
}

/** Show the section's state while no study is in progress. */
function rest() {
  const mine = own_style(subject);
  set("study-part", { hidden: !mine });
  if (!mine) return;
  const here = !on_server();
  set("study", {
    hidden: !state.paintings.has(mine.name), disabled: here || !state.page.studies,
    children: mine.study ? "Study it again" : "Study this painting",
  });
  set("study-words", { children: words_before(mine, here) });
  set("study-progress", { hidden: true });
  set("study-stop", { hidden: true });
  const href = mine.study ? address_of(mine.study) : null;
  set("study-save", { hidden: !href, href, download: `${file_stem(mine.title)}${STUDY_SUFFIX}` });
  parent_of(by_id("study-keep")).hidden = !mine.study || !window.indexedDB;
  set("study-keep", { value: Boolean(mine.kept) });
}

function words_before(mine, here) {
  if (!state.page.studies) return state.page.no_studies;
  if (here) return "Studies are made on the server: turn off “On this device” first.";
  if (mine.kept) return "Studied, and kept in this browser.";
  if (mine.study) return "Studied. It is gone when you close the page.";
  const seconds = state.page.study_steps * PAINTINGS_A_STEP * (expect_seconds(MEGAPIXELS) ?? 0);    // 0: unknown
  const time = seconds ? `about ${in_seconds(seconds)}` : "about a minute";
  return `Takes ${time} and comes closer to its brushwork.`;
}

const file_stem = (title) =>
  title.normalize("NFC").replace(/[^\p{L}\p{M}\p{N}_]+/gu, "-").replace(/^-+|-+$/g, "").toLowerCase() || "painting";

/** A study's URL, for the link that saves it. @param {string} id */
function address_of(id) {
  const blob = state.studies.get(id);
  if (!blob) return null;
  return blob.url ??= URL.createObjectURL(blob);
}

/** Study the subject, using the current photo; if stopped, the study so far is kept. */
export async function study() {
  const name = subject, { photo } = state;
  if (studying || !name || !state.paintings.has(name)) return;
  const job = studying = { name, controller: new AbortController(), blob: null, first: null };
  note("study-note", "");
  set("study", { hidden: true });
  set("study-save", { hidden: true });
  parent_of(by_id("study-keep")).hidden = true;
  set("study-stop", { hidden: false, disabled: true });
  set("study-progress", { hidden: false, max: String(state.page.study_steps), value: "0" });
  set("study-words", { children: "Getting ready…" });
  try {
    const side = photo?.width && preview_side(photo);
    await server.post(PATHS.STUDY, {
      style: state.paintings.get(name), steps: state.page.study_steps,
      content: photo ? await (side ? copy_of(photo, side) : photo.file) : undefined,
    }, {
      signal: job.controller.signal, on_line: (line) => hear(job, line),
      on_wait: (words) => set("study-words", { children: words }),
    });
  } catch (error) {
    if (!job.controller.signal.aborted) note_fault("study-note", error);
  }
  studying = null;
  if (job.blob) await take_up(name, job.blob);
  rest();
}

function hear(job, { event, step, steps, picture, study, problem }) {
  if (problem) throw new Problem(problem);
  if (event === "progress" && step) {
    job.first ??= { step, at: performance.now() };        // after loading the networks
    const pace = (performance.now() - job.first.at) / 1000 / (step - job.first.step);
    const left = step > job.first.step ? `, about ${in_seconds(pace * (steps - step))} left` : "";
    set("study-progress", { value: String(step) });
    set("study-words", { children: `Step ${step} of ${steps}${left}.` });
  }
  if (!study) return;
  job.blob = new Blob([bytes_of(study)]);
  set("study-stop", { disabled: false });
  if (event === "preview") show_in_passing(new Blob([bytes_of(picture)], { type: "image/jpeg" }));
}

const bytes_of = (text) => Uint8Array.from(atob(text), (each) => each.charCodeAt(0));

export function stop_study() {
  studying?.controller.abort();
}

/** Use the study for its style from now on, wherever it is in the mix. */
async function take_up(name, blob) {
  const mine = own_style(name);
  if (!mine) return;
  mine.study = keep_study(name, blob);
  if (mine.kept) await keep(mine).catch(() => note("study-note", NOT_KEPT, "note error"));
  paint_own_tiles([mine]);
  if (!state.wanted) return;
  const { from } = state.wanted.style;
  paint_next();
  const slots = from.mix.slots.map((slot) => (slot?.name === name ? slot_of(name) : slot));
  bring_back({ ...from, mix: { ...from.mix, slots } });
}

// Stored in this browser on request ---------------------------------------------------------------------------------

/** The result of the request that `work(store)` makes. */
function in_store(mode, work) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("stylizer", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "id" });
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const database = opening.result, transaction = database.transaction(STORE, mode);
      const request = work(transaction.objectStore(STORE));
      transaction.oncomplete = () => { database.close(); resolve(request.result); };
      transaction.onerror = transaction.onabort = () => { database.close(); reject(transaction.error); };
    };
  });
}

async function keep(mine) {
  mine.kept ??= crypto.randomUUID();
  const { kept: id, title, vector, study } = mine;
  await in_store("readwrite", (store) => store.put({ id, title, vector, study: state.studies.get(study) }));
}

async function forget(mine) {
  const { kept } = mine;
  delete mine.kept;
  await in_store("readwrite", (store) => store.delete(kept));
}

/** The checkbox: keep the subject's study in this browser, or remove it. */
export async function keep_subject({ study_keep: wanted }) {
  const mine = own_style(subject);
  if (!mine?.study || Boolean(wanted) === Boolean(mine.kept)) return;
  try {
    await (wanted ? keep : forget)(mine);
    rest();
  } catch {
    note("study-note", NOT_KEPT, "note error");
    set("study-keep", { value: Boolean(mine.kept) });
  }
}

/** Add tiles for studies kept earlier, without changing the choice. */
export async function recall_studies() {
  const kept = window.indexedDB ? await in_store("readonly", (store) => store.getAll()).catch(() => []) : [];
  for (const { id, study } of kept) state.studies.set(id, study);
  recall_own(kept.map(({ id, title, vector }) => ({ title, vector, study: id, kept: id })));
}

