/* Starts the page: gives Dash the functions that stylizer/web/page/callbacks.py names, then starts Dash.
 *
 * Dash holds the user's choices; pixels stay in the browser, which turns photos upright, shrinks them, passes them to
 * an engine (engines/) and shows the result. */

import { server } from "./engines/server.js";
import { make_camera } from "./page/camera.js";
import * as classic from "./page/classic.js";
import { make_code, open_link, show_code } from "./page/code.js";
import { make_divider, make_zoom } from "./page/compare.js";
import { make_tabs } from "./page/controls.js";
import { say_cost } from "./page/cost.js";
import { by_id, by_name, say_value } from "./page/dash.js";
import { take_files } from "./page/files.js";
import * as mix from "./page/mix.js";
import { own_tiles } from "./page/own.js";
import { make_pad } from "./page/pad.js";
import { take_sample } from "./page/photo.js";
import * as result from "./page/result.js";
import { state } from "./page/state.js";
import { keep_subject, recall_studies, show_study, stop_study, study } from "./page/study.js";
import { make_switch, switch_device } from "./page/switch.js";
import { recall, undo_by_keyboard } from "./page/tries.js";
import { search, search_by_keyboard, watch_tiles } from "./page/wall.js";

/** Called once, when Dash has drawn the page. */
async function start() {
  make_tabs();
  take_files();
  make_camera();
  watch_tiles();
  make_divider();
  make_zoom();
  make_code();
  make_pad();
  make_switch();
  classic.make_classic();
  by_id("size").setAttribute("aria-describedby", "size-cost");
  document.addEventListener("keydown", undo_by_keyboard);
  by_id("search").addEventListener("keydown", search_by_keyboard);
  await take_sample(state.page.sample);
  await recall_studies();
  open_link();
}

/** The mix or its weights changed. */
function weigh(values, triggered) {
  show_study(values.mix);
  return mix.weigh(values, triggered);
}

/** Something changed that affects the result. */
function follow(values, triggered) {
  result.follow(values, triggered);
  say_cost();
  if (state.wanted) show_code(state.wanted);
}

const say_strength = ({ strength }) => say_value("strength", mix.percent(strength));
const say_scale = ({ style_scale }) => say_value("style-scale", `× ${(2 ** style_scale).toFixed(2)}`);

state.page = JSON.parse(by_id("page").textContent ?? "");
server.max_bytes = state.page.max_bytes;
const dash = /** @type {any} */ (window);
dash.dash_clientside = {
  ...dash.dash_clientside,
  studio: by_name({
    start, own_tiles, search, weigh, follow, say_strength, say_scale, recall, study, stop_study, keep_subject,
    switch_device, choose: mix.choose, surprise: mix.surprise, copy: result.copy, cancel: result.cancel,
  }),
  classic: by_name(classic),
};
new dash.DashRenderer();
