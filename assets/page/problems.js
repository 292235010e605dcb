/* Where on the page a problem is shown: next to the control that it concerns. */

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

/** Show what went wrong, after `about` if given. */
export function note_fault(place, error, about = "") {
  const { message } = as_problem(error);
  note(place, about ? `${about}: ${message}` : message, "note error");
}
