/* The switch "On this device": which engine paints. It falls back to the server only with the user's consent. */

import { Device } from "../engines/device.js";
import { use } from "../engines/engine.js";
import { Problem } from "../engines/problem.js";
import { server } from "../engines/server.js";
import { by_id, set } from "./dash.js";

const CHOICE = "stylizer-on-device";            // in localStorage: only the choice
const CACHE = "stylizer";                       // the service worker's
const POSTED = /\/api\/v1\/(stylize|wall|vectors|optimise|study)$/;

/** @type {Device | null} */
let device = null;                              // while the switch is on

const say = (children) => set("device-words", { children });
const dialog = () => /** @type {HTMLDialogElement} */ (by_id("device-dialog"));

/** Called once at the start: restore the choice of the last visit. */
export function make_switch() {
  by_id("device-leave").onclick = () => dialog().close("server");
  by_id("device-stay").onclick = () => dialog().close("");
  dialog().onclose = decide;
  if (localStorage.getItem(CHOICE) === "on") set("on-device", { value: true });
}

export function switch_device({ on_device }) {
  if (on_device && !device) turn_on();
  else if (!on_device && device) turn_off(device);
}

function turn_on() {
  localStorage.setItem(CHOICE, "on");
  const here = device = new Device({
    on_words: say, on_progress: show_progress, on_fault: ask,
    on_ready: (files) => keep_for_later(files, here),
  });
  use(device);
  if (window.isSecureContext) device.start();
  else ask("browsers allow it only on https and on localhost");
}

/** @param {Device} left */
async function turn_off(left) {
  device = null;
  localStorage.removeItem(CHOICE);
  left.stop();
  use(server);
  show_progress(null);
  say("Paints on the server, which keeps no pictures.");
  left.hand_over(server);
  await (await navigator.serviceWorker?.getRegistration())?.unregister();
  await window.caches?.delete(CACHE);
}

function show_progress(progress) {
  const bar = progress ? { max: String(progress.total), value: String(progress.done) } : {};
  set("device-progress", { hidden: !progress, ...bar });
}

/** This device cannot paint: ask whether the server may. */
function ask(detail) {
  say(`This device cannot paint: ${detail}.`);
  set("device-question", {
    children: `This device cannot paint: ${detail}. Paint on the server instead? Your picture would be sent there.`,
  });
  dialog().returnValue = "";
  if (!dialog().open) dialog().showModal();
}

/** Apply the dialog's answer; closing it with Escape means no. */
function decide() {
  if (dialog().returnValue === "server") return set("on-device", { value: false });
  device?.refuse(new Problem({ detail: "nothing was painted, and nothing was sent" }));
}

/** Have the service worker cache everything this page loaded, so that it works offline. */
async function keep_for_later(files, here) {
  const workers = navigator.serviceWorker;
  const there = await workers?.register("service-worker.js").catch(() => workers.getRegistration());
  if (!there) return;                           // a private window, or one without storage
  const { active } = await workers.ready;
  const address_of = (path) => new URL(path, document.baseURI).href;
  const loaded = performance.getEntriesByType("resource").map(({ name }) => name);
  const images = /** @type {HTMLImageElement[]} */ ([...document.querySelectorAll("img[data-src]")]);
  const tiles = images.map(({ dataset }) => address_of(dataset.src));
  const all = [address_of("."), ...loaded, ...tiles, ...files].filter((address) => {
    const { origin, pathname } = new URL(address);
    return origin === location.origin && !POSTED.test(pathname);
  });
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    if (device === here) set("device-offline", { hidden: false });
  };
  active?.postMessage({ keep: [...new Set(all)] }, [port2]);
}
