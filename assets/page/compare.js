/* Looking at the result: the divider that uncovers the photo; zoom and pan, for both. */

import { drag, keys } from "./controls.js";
import { by_id, parent_of, set } from "./dash.js";

const COMPARE_KEYS = {                          // % of the photo -> % of the photo
  ArrowLeft: (now) => now - 5, ArrowDown: (now) => now - 5, ArrowRight: (now) => now + 5, ArrowUp: (now) => now + 5,
  PageDown: (now) => now - 20, PageUp: (now) => now + 20, Home: () => 0, End: () => 100,
};
const ZOOM_STEP = 1.5, PAN_STEP = 80, DOUBLE = 500;       // factor, CSS px, ms between two taps
const ZOOM_KEYS = {
  "+": () => zoom_by(ZOOM_STEP), "=": () => zoom_by(ZOOM_STEP), "-": () => zoom_by(1 / ZOOM_STEP),
  0: () => look(1, 0, 0), 1: () => look(full_zoom()),
};
const PAN_KEYS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

let view = { zoom: 1, x: 0, y: 0 };             // 1 fits the frame; x and y, CSS px, move the centre
/** @type {{width: number, height: number} | null} */
let full = null;                                // size of the last full painting: previews are smaller

const frame = () => by_id("result-frame");

/** A divider in a frame that uncovers the photo from the left, by pointer and by keys. */
export function make_divider(id = "compare") {
  const divider = by_id(id);
  drag(divider, (event) => {
    const { left, width } = parent_of(divider).getBoundingClientRect();
    move_divider(id, 100 * (event.clientX - left) / width);
  });
  const now = () => Number(divider.getAttribute("aria-valuenow"));
  keys(divider, COMPARE_KEYS, (next) => move_divider(id, next(now())));
}

export function move_divider(id, share) {
  const divider = by_id(id);
  const percent = Math.round(Math.min(100, Math.max(0, share)));
  divider.setAttribute("aria-valuenow", String(percent));
  divider.setAttribute("aria-valuetext", `${percent} % as it was`);
  parent_of(divider).style.setProperty("--split", `${percent}%`);
}

// Zoom and pan -----------------------------------------------------------------------------------------------------

/** CSS px of the whole picture in its frame. @param {{width: number, height: number}} picture */
function fitted(picture) {
  const { width, height } = frame().getBoundingClientRect();
  const scale = Math.min(width / picture.width, height / picture.height);
  return [picture.width * scale, picture.height * scale];
}

/** The zoom at which a pixel of the painting is one screen pixel; 1 while there is no painting. */
const full_zoom = () => (full ? full.width / fitted(full)[0] / window.devicePixelRatio : 1);

/** Set zoom and position, limited so that the frame stays filled. */
function look(zoom, x = view.x, y = view.y) {
  if (!full || !frame().clientWidth) return;    // nothing to show, or another tab is open
  const { width, height } = frame().getBoundingClientRect(), [wide, high] = fitted(full);
  zoom = Math.min(Math.max(4, 4 * full_zoom()), Math.max(1, zoom));
  const within = (at, slack) => Math.max(-slack, Math.min(slack, at));
  x = within(x, Math.max(0, wide * zoom - width) / 2);
  y = within(y, Math.max(0, high * zoom - height) / 2);
  view = { zoom, x, y };
  for (const [name, value] of [["--zoom", String(zoom)], ["--x", `${x}px`], ["--y", `${y}px`]]) {
    frame().style.setProperty(name, value);
  }
  frame().classList.toggle("zoomed", zoom > 1);
  set("zoom-level", { children: `${Math.round(100 * zoom / full_zoom())} %` });
  set("zoom-out", { disabled: zoom === 1 });
}

/** Zoom around a point of the screen, which stays in place; by default around the centre. */
function zoom_by(factor, point) {
  if (!full) return;
  const { left, top, width, height } = frame().getBoundingClientRect();
  const [px, py] = point ? [point.clientX - left - width / 2, point.clientY - top - height / 2] : [0, 0];
  const { zoom, x, y } = view;
  const next = Math.min(Math.max(4, 4 * full_zoom()), Math.max(1, zoom * factor)), grown = next / zoom;
  look(next, px - (px - x) * grown, py - (py - y) * grown);
}

const fit_or_full = (point) => (view.zoom > 1 ? look(1, 0, 0) : zoom_by(Math.max(2, full_zoom()), point));

/** The wheel scrolls the page while it can scroll, and otherwise zooms. */
function zoom_by_wheel(event) {
  const { deltaY, deltaMode, ctrlKey } = event;
  const scrolls = view.zoom === 1 && (deltaY > 0 || window.scrollY > 0);
  if (!full || scrolls && !ctrlKey) return;     // a touchpad's pinch arrives as wheel with Ctrl
  event.preventDefault();
  zoom_by(Math.exp(-deltaY * (deltaMode ? 0.05 : ctrlKey ? 0.01 : 0.002)), event);
}

/** One pointer pans, two pinch, a double tap toggles full size. */
function zoom_by_pointers() {
  const pointers = new Map(), mine = (event) => !event.target.closest("button, [role=slider]");
  let tapped = -Infinity;
  const spread = () => {
    const [one, other = one] = pointers.values();
    return {
      clientX: (one.clientX + other.clientX) / 2, clientY: (one.clientY + other.clientY) / 2,
      apart: Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY),
    };
  };
  frame().addEventListener("pointerdown", (event) => {
    if (event.button || !mine(event) || !full) return;
    frame().setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    if (pointers.size === 1 && event.timeStamp - tapped < DOUBLE) fit_or_full(event);
    tapped = event.timeStamp;
  });
  frame().addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = spread();
    pointers.set(event.pointerId, event);
    const after = spread(), { zoom, x, y } = view;
    look(zoom, x + after.clientX - before.clientX, y + after.clientY - before.clientY);
    if (before.apart && after.apart) zoom_by(after.apart / before.apart, after);
  });
  for (const end of /** @type {const} */ (["pointerup", "pointercancel"])) {
    frame().addEventListener(end, (event) => pointers.delete(event.pointerId));
  }
  frame().addEventListener("dragstart", (event) => event.preventDefault());      // it pans instead
  // With two fingers down nothing may scroll, which would end the pinch.
  const hold = (event) => { if (event.touches.length > 1 && event.cancelable) event.preventDefault(); };
  frame().addEventListener("touchmove", hold, { passive: false });
}

export function make_zoom() {
  frame().addEventListener("wheel", zoom_by_wheel, { passive: false });
  zoom_by_pointers();
  keys(frame(), ZOOM_KEYS, (act) => act());
  keys(frame(), PAN_KEYS, ([x, y]) => {
    look(view.zoom, view.x + x * PAN_STEP, view.y + y * PAN_STEP);
  });
  by_id("zoom-in").addEventListener("click", () => zoom_by(ZOOM_STEP));
  by_id("zoom-out").addEventListener("click", () => zoom_by(1 / ZOOM_STEP));
  by_id("zoom-level").addEventListener("click", () => fit_or_full());
  new ResizeObserver(() => look(view.zoom)).observe(frame());
}

/** A new painting is shown: keep the zoom, unless its photo is another one. */
export function show_zoom({ naturalWidth: width, naturalHeight: height }, is_another_photo) {
  const first = !full;
  full = { width, height };
  if (first) set("zoom", { hidden: false });
  if (is_another_photo) look(1, 0, 0);
  else look(view.zoom);
}
