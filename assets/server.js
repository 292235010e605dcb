/* Engines paint. An engine is an object with one function, and `engine()` is the one in use: `stylizer.state.engine`
 * where a script has put another there, and the server otherwise. All that paints goes through it:
 *
 *     post(path, fields, { signal, on_wait, on_tile, retries }) -> Promise
 *
 *   path      of the HTTP API: "api/v1/stylize", "api/v1/wall" or "api/v1/vectors"
 *   fields    {the API's field name: Blob, string, number, boolean, or a list of them; undefined is left out}
 *   signal    an AbortSignal; once aborted, the promise is rejected at once
 *   on_wait   (words) => {}: why nothing comes yet, for people
 *   on_tile   ({ index, picture }) => {}: a tile of the wall as it comes; picture is an address for an <img>, data: or
 *             blob:, and revoked once the image has loaded
 *   on_line   (object) => {}, of the server alone: each line of an answer that is a stream; once one has come, what
 *             goes wrong is not tried again
 *   retries   seconds between tries while the server is away or busy; [] for none. Other engines may pass it over
 *
 * The promise gives a Blob for a picture, the object for JSON, and nothing for the wall, when its last tile has come.
 * It is rejected with `new stylizer.Problem({ detail, field, code, status, away })`, the members being those of the
 * API's problem documents: what went wrong in words, and beside which control to say it. */
"use strict";

window.stylizer ??= {};
stylizer.state ??= {};

(() => {
  const { state } = stylizer;
  Object.assign(state, {
    engine: null,       // in the server's place
  });

  const RETRY_SECONDS = [0.5, 1, 2, 4, 8];      // between tries while the server is away or busy
  const RETRY_STATUSES = [429, 502, 503, 504];
  const LONGEST_WAIT = 60;                      // seconds, whatever the server asks for
  const WAITS = new Map(Object.entries({        // why a server that refuses now may take the same later, by its code
    "busy": "The server is busy, waiting…",
    "out-of-memory": "The server is short of memory, waiting…",
    "not-ready": "The server is starting, waiting…",
    "restarting": "The server is restarting, waiting…",
    "took-too-long": "The server has too much to do, trying again…",
  }));
  const AWAY = "The server does not answer, trying again…";
  // What browsers throw where a picture, not the server, is at fault: their words are for programmers.
  const FAULTS = new Map(Object.entries({
    NotReadableError: "the file cannot be read any more, it was moved or changed; choose it again",
    NotFoundError: "the file cannot be read any more, it was moved or changed; choose it again",
    EncodingError: "this browser cannot read the picture; save it as JPEG or PNG",
    InvalidStateError: "this browser cannot read the picture; save it as JPEG or PNG",
    RangeError: "this browser has not enough memory for it; close other tabs, or choose a smaller picture",
  }));

  /** A painting's or upload's failure in words, and `place`, the note that they belong to. */
  class Problem extends Error {
    constructor({ detail, field, code, status, away = RETRY_STATUSES.includes(status) }) {
      super(detail.charAt(0).toUpperCase() + detail.slice(1).replace(/([^.!?])$/, "$1."));
      const of_picture = ["empty", "unsupported-picture", "broken-picture", "picture-out-of-bounds", "too-many-bytes"];
      this.place = field?.startsWith("style") ? "style-note"
        : field === "content" || of_picture.includes(code) ? "photo-note"
        : field ? "settings-note" : "result-note";
      Object.assign(this, { field, away });
    }
  }

  /** Any error as a Problem, so that nobody reads the browser's own words. */
  function as_problem(error) {
    if (error instanceof Problem) return error;
    const detail = FAULTS.get(error?.name) ?? "something went wrong on this page; try again, or reload it";
    return new Problem({ detail });
  }

  /** POST a form, lists as repeated fields; tries again while the server is away or busy. */
  async function post(path, fields, { signal, on_wait = () => {}, on_tile, on_line, retries = RETRY_SECONDS } = {}) {
    let begun = false;
    const form = new FormData();
    for (const [field, value] of Object.entries(fields)) {
      if (value instanceof Blob) {
        if (value.size > state.page.max_bytes) throw new Problem(too_large(value.size));
        form.append(field, value, field);       // under the field's name: the file's own is nobody's business
      } else for (const each of [value ?? []].flat()) form.append(field, each);
    }
    for (let attempt = 0; ; attempt++) {
      let response = null, problem = null;
      try {
        response = await fetch(path, { method: "POST", body: form, signal });
        if (response.ok && on_line) return await read_lines(response, (line) => { begun = true; on_line(line); });
        if (response.ok) return await read_answer(response, on_tile, form);
        problem = await read_problem(response);
      } catch (error) {
        if (signal?.aborted || begun || error instanceof Problem && !error.away) throw error;
        problem = error.problem ?? null;        // told in the middle of the answer; or cut off, there too
      }
      if (problem && !RETRY_STATUSES.includes(problem.status)) throw new Problem(problem);
      if (attempt === retries.length) {
        throw new Problem(problem ?? {
          detail: "the server does not answer. Nothing is lost: try again when it is back", away: true,
        });
      }
      on_wait(WAITS.get(problem?.code) ?? (problem?.status === 429 ? WAITS.get("busy") : AWAY));
      const asked = Number(response?.headers.get("Retry-After"));
      await sleep(Math.min(asked > 0 ? asked : retries[attempt], LONGEST_WAIT), signal);
    }
  }

  async function read_answer(response, on_tile, form) {
    const type = response.headers.get("Content-Type") ?? "";
    if (type.startsWith("application/json")) return response.json();
    if (!type.startsWith("application/x-ndjson")) return response.blob();
    let missing = ["style", "style_name", "style_vector"].reduce((sum, field) => sum + form.getAll(field).length, 0);
    await read_lines(response, ({ index, picture, problem }) => {
      if (problem) throw Object.assign(new Problem(problem), { problem });
      missing--;
      on_tile({ index, picture: `data:image/webp;base64,${picture}` });
    });
    if (missing > 0) throw new Error(`the wall ended ${missing} tiles early`);
  }

  async function read_problem(response) {
    const body = await response.json().catch(() => ({}));
    return { detail: `the server answered ${response.status}`, ...body, status: response.status };
  }

  function too_large(bytes) {
    const [came, most] = [bytes, state.page.max_bytes].map((each) => `${(each / 2 ** 20).toFixed(0)} MiB`);
    return { detail: `the picture is ${came}, the server takes ${most}; choose a smaller one`, code: "too-many-bytes" };
  }

  function sleep(seconds, signal) {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();                 // whoever was aborted before hears of it never again
      const timer = setTimeout(resolve, 1000 * seconds);
      signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
    });
  }

  /** Give each line of an answer, JSON, to `take` as it comes in; an answer that ends within a line was cut off. */
  async function read_lines(response, take) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done && rest.trim()) return take(JSON.parse(rest));           // SyntaxError where half of it is missing
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.trim()) take(JSON.parse(line));
    }
  }

  const server = { post };
  const engine = () => state.engine ?? server;

  Object.assign(stylizer, { Problem, as_problem, server, engine, read_problem });
})();
