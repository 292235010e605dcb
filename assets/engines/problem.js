/* Errors while painting, with messages for users. */

import { RETRY_STATUSES } from "../contract.js";

// What browsers throw if a picture, not the server, is at fault: their own messages are for programmers.
const FAULTS = new Map(Object.entries({
  NotReadableError: "the file can no longer be read because it was moved or changed; choose it again",
  NotFoundError: "the file can no longer be read because it was moved or changed; choose it again",
  EncodingError: "this browser cannot read the picture; save it as JPEG or PNG",
  InvalidStateError: "this browser cannot read the picture; save it as JPEG or PNG",
  RangeError: "this browser does not have enough memory for it; close other tabs, or choose a smaller picture",
}));

/** An error in the form of the API's problem documents.
 *
 *  `detail` is the message, `field` the request field that it concerns, `code` one of the API's problem codes; `away`:
 *  the server is unavailable or busy, and a retry may succeed. */
export class Problem extends Error {
  /** @param {{detail: string, field?: string, code?: string, status?: number, away?: boolean}} document */
  constructor(document) {
    const { detail, field, code, status = 0, away = RETRY_STATUSES.includes(status) } = document;
    super(detail.charAt(0).toUpperCase() + detail.slice(1).replace(/([^.!?])$/, "$1."));
    this.document = document;
    this.field = field;
    this.code = code;
    this.away = away;
  }
}

/** Any error as a Problem, so that users never see the browser's own messages. @returns {Problem} */
export function as_problem(error) {
  if (error instanceof Problem) return error;
  const detail = FAULTS.get(error?.name) ?? "something went wrong on this page; try again, or reload it";
  return new Problem({ detail });
}
