/* Incoming files: chosen, dropped anywhere, or pasted. On the gallery they become styles, elsewhere photos. */

import { open_code } from "./code.js";
import { by_id } from "./dash.js";
import { take_style } from "./own.js";
import { take_photo } from "./photo.js";

const CODE = /^\S*\bstyle\d+\.[\w-]+$/;

export function take_files() {
  make_file_input("photo-file", "photo-drop", "photo-note", "image/*", take_photo);
  make_file_input("style-file", "style-drop", "style-note", "image/*,.safetensors", take_style);
  take_drops();
  document.addEventListener("paste", take_paste);
}

/** Dash has no native file input, and dcc.Upload would send pixels through callbacks and has no accessible name. */
function make_file_input(id, parent, described_by, accept, take) {
  const input = Object.assign(document.createElement("input"), { type: "file", id, accept });
  input.setAttribute("aria-describedby", described_by);
  input.addEventListener("change", () => {
    if (input.files?.length) take(input.files[0]);
    input.value = "";                           // so that the same file can be chosen again
  });
  by_id(parent).append(input);
}

function take_drops() {
  const over = (event) => event.dataTransfer.types.includes("Files");
  const mark = (on) => document.body.classList.toggle("dragging", on);
  document.addEventListener("dragover", (event) => { if (over(event)) { event.preventDefault(); mark(true); } });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) mark(false); });
  document.addEventListener("drop", (event) => {
    if (!over(event)) return;
    event.preventDefault();
    mark(false);
    const [file] = event.dataTransfer?.files ?? [];
    const target = /** @type {Element} */ (event.target);
    if (file) (target.closest(".gallery") ? take_style : take_photo)(file);
  });
}

/** A pasted picture becomes the photo; a style code pasted outside text fields is opened. */
function take_paste(event) {
  const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
  const text = event.clipboardData.getData("text/plain").trim();
  if (file) take_photo(new File([file], file.name.replace(/^image\./, "pasted."), { type: file.type }));
  else if (CODE.test(text) && !event.target.closest("input, textarea")) open_code(text);
  else return;
  event.preventDefault();
}
