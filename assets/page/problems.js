/* Where on the page a problem is told: beside the control that it is about. */

import { CODES } from "../contract.js";
import { as_problem } from "../engines/problem.js";
import { note } from "./dash.js";

/** @type {string[]} */
const OF_PICTURE = [
  CODES.EMPTY, CODES.UNSUPPORTED_PICTURE, CODES.BROKEN_PICTURE, CODES.PICTURE_OUT_OF_BOUNDS, CODES.TOO_MANY_BYTES,
];

/** The note that a problem belongs to. @param {import("../engines/problem.js").Problem} problem */
export function place_of({ field, code }) {
  if (field?.startsWith("style")) return "style-note";
  if (field === "content" || OF_PICTURE.includes(code ?? "")) return "photo-note";
  return field ? "settings-note" : "result-note";
}

/** Say what went wrong, after what it was about where that is named. */
export function note_fault(place, error, about = "") {
  const { message } = as_problem(error);
  note(place, about ? `${about}: ${message}` : message, "note error");
}
