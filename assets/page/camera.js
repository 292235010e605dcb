/* The camera: a dialog that shows its picture and takes photos. It runs only while the dialog is open and the page is
 * visible. */

import { Problem, as_problem } from "../engines/problem.js";
import { by_id, child, control, note } from "./dash.js";
import { take_photo } from "./photo.js";
import { draw, encode } from "./pictures.js";

const REFUSALS = new Map(Object.entries({
  SecurityError: "browsers allow it only on https and on localhost",
  NotAllowedError: "the browser is not allowed to use the camera; allow it next to the address bar, and try again",
  NotFoundError: "there is no camera on this device",
  NotReadableError: "the camera is in use by another program; close that, and try again",
}));

const dialog = () => /** @type {HTMLDialogElement} */ (by_id("camera"));
const video = () => child(dialog(), "video");

/** @type {MediaStream | null} */
let camera = null;
let facing = "user";                            // or "environment": the camera on the back

export function make_camera() {
  const view = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
  by_id("camera-view").append(view);
  const listen = (id, act) => by_id(id).addEventListener("click", act);
  listen("camera-open", open_camera);
  listen("camera-take", take_picture);
  listen("camera-close", close_camera);
  listen("camera-switch", () => {
    facing = facing === "user" ? "environment" : "user";
    start_camera();
  });
  dialog().addEventListener("close", stop_camera);                 // by Escape
  document.addEventListener("visibilitychange", () => { if (document.hidden) close_camera(); });
}

function open_camera() {
  note("photo-note", "");
  dialog().showModal();
  return start_camera();
}

async function start_camera() {
  stop_camera();
  control("camera-take").disabled = true;
  try {
    if (!navigator.mediaDevices) throw new DOMException("no camera without https", "SecurityError");
    const ideal = { facingMode: facing, width: { ideal: 1920 }, height: { ideal: 1440 } };
    const stream = await navigator.mediaDevices.getUserMedia({ video: ideal });
    if (!dialog().open) return stream.getTracks().forEach((track) => track.stop());   // closed in the meantime
    camera = video().srcObject = stream;
    await video().play();
    const { facingMode = "user" } = stream.getVideoTracks()[0].getSettings();
    video().classList.toggle("mirrored", facingMode === "user");     // as in a mirror; the photo is not mirrored
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
    by_id("camera-switch").hidden = cameras.length < 2;
    control("camera-take").disabled = false;
  } catch (error) {
    if (error.name === "AbortError" && !dialog().open) return;
    close_camera();
    const words = REFUSALS.get(error.name) ?? "the browser could not start it; try again";
    note("photo-note", new Problem({ detail: `no camera: ${words}` }).message, "note error");
  }
}

function stop_camera() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = video().srcObject = null;
}

/** Stop immediately: the dialog's own event comes only after it has closed. */
function close_camera() {
  stop_camera();
  dialog().close();
}

async function take_picture() {
  const { videoWidth: width, videoHeight: height } = video();
  try {
    const blob = await encode(draw(video(), width, height), "image/jpeg");
    take_photo(new File([blob], "camera.jpg", { type: blob.type }));
  } catch (error) {
    note("photo-note", as_problem(error).message, "note error");
  }
  close_camera();
}
