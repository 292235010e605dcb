/* The engine on the server: forms posted to the HTTP API. */

import { CODES, MEDIA_TYPES, RETRY_STATUSES, TILE_FORMAT } from "../contract.js";
import { Problem } from "./problem.js";

const RETRY_SECONDS = [0.5, 1, 2, 4, 8];        // between attempts while the server is unavailable or busy
const LONGEST_WAIT = 60;                        // seconds, whatever the server asks for
const BUSY = "The server is busy, waiting…";
const WAITS = new Map([                         // why a retry may succeed
  [CODES.BUSY, BUSY],
  [CODES.OUT_OF_MEMORY, "The server is short of memory, waiting…"],
  [CODES.NOT_READY, "The server is starting, waiting…"],
  [CODES.RESTARTING, "The server is restarting, waiting…"],
  [CODES.TOOK_TOO_LONG, "The server is overloaded, trying again…"],
]);
const AWAY = "The server does not answer, trying again…";

/** @implements {Engine} */
class Server {
  max_bytes = Infinity;                         // of a request; set when the page starts

  /** POST a form, with lists as repeated fields; retries while the server is unavailable or busy.
   *  @param {string} path @param {Fields} fields @param {Options} [options] */
  async post(path, fields, { signal, on_wait = () => {}, on_tile, on_line, retries = RETRY_SECONDS } = {}) {
    const form = make_form(fields);
    let begun = false;
    for (let attempt = 0; ; attempt++) {
      /** @type {Response | null} */
      let response = null;
      let problem;
      try {
        response = await fetch(path, { method: "POST", body: form, signal });
        if (response.ok && on_line) return await read_lines(response, (line) => { begun = true; on_line(line); });
        if (response.ok) return await read_answer(response, on_tile, form);
        problem = await read_problem(response);
      } catch (error) {
        if (signal?.aborted || begun || error instanceof Problem && !error.away) throw error;
        problem = error instanceof Problem ? error.document : null;     // null: the answer was cut off
      }
      if (problem && !RETRY_STATUSES.includes(problem.status)) throw new Problem(problem);
      if (attempt === retries.length) {
        throw new Problem(problem ?? {
          detail: "the server does not answer. Nothing is lost; try again later", away: true,
        });
      }
      on_wait(WAITS.get(problem?.code) ?? (problem?.status === 429 ? BUSY : AWAY));
      const asked = Number(response?.headers.get("Retry-After"));
      await sleep(Math.min(asked > 0 ? asked : retries[attempt], LONGEST_WAIT), signal);
    }
  }
}

export const server = new Server();

/** @typedef {import("./engine.js").Engine} Engine @typedef {import("./engine.js").Fields} Fields
 *  @typedef {import("./engine.js").Options} Options */

/** @param {Fields} fields */
function make_form(fields) {
  const form = new FormData();
  for (const [field, value] of Object.entries(fields)) {
    if (value instanceof Blob) {
      if (value.size > server.max_bytes) throw new Problem(too_large(value.size));
      form.append(field, value, field);         // under the field's name: the file's own stays private
    } else for (const each of [value ?? []].flat()) form.append(field, each instanceof Blob ? each : String(each));
  }
  return form;
}

async function read_answer(response, on_tile, form) {
  const type = response.headers.get("Content-Type") ?? "";
  if (type.startsWith("application/json")) return response.json();
  if (!type.startsWith("application/x-ndjson")) return response.blob();
  let missing = ["style", "style_name", "style_vector"].reduce((sum, field) => sum + form.getAll(field).length, 0);
  await read_lines(response, ({ index, picture, problem }) => {
    if (problem) throw new Problem(problem);
    missing--;
    on_tile({ index, picture: `data:${MEDIA_TYPES[TILE_FORMAT]};base64,${picture}` });
  });
  if (missing > 0) throw new Error(`the wall ended ${missing} tiles early`);
}

/** The problem document of an error response. */
export async function read_problem(response) {
  const body = await response.json().catch(() => ({}));
  return { detail: `the server answered ${response.status}`, ...body, status: response.status };
}

function too_large(bytes) {
  const [came, most] = [bytes, server.max_bytes].map((each) => `${(each / 2 ** 20).toFixed(0)} MiB`);
  const detail = `the picture has ${came}, but the server accepts at most ${most}; choose a smaller one`;
  return { detail, code: CODES.TOO_MANY_BYTES };
}

function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();                   // an earlier abort fires no event
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}

/** Pass each JSON line of an answer to `take` as it arrives; an answer that ends within a line was cut off. */
async function read_lines(response, take) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    if (done && rest.trim()) return take(JSON.parse(rest));           // SyntaxError if it is incomplete
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim()) take(JSON.parse(line));
  }
}
