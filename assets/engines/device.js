/* The engine on the visitor's own device: a worker runs the networks, and no picture is sent. This module starts, feeds
 * and monitors it. If it fails, the next configuration is tried; if none is left, `on_fault` is called. */

import { Problem } from "./problem.js";

const WHOLE = 1.5e6;                            // px painted in one piece: its memory is never freed
// Configurations, each tried if the one before failed. Smaller pieces are tried only if memory ran out.
export const LADDER = [
  { provider: "webgpu", whole: WHOLE }, { provider: "wasm", whole: WHOLE }, { provider: "wasm", whole: 2 ** 18 },
];
const AFTER = {
  lost: "The graphics card was lost", memory: "There was not enough memory", black: "A picture came out black",
};
const HOPELESS = ["simd", "altered", "missing", "silent"];      // no other configuration would help
// A worker that ends without a message never ran: its script did not load, for example because the service worker that
// has it was not awake yet. Seconds until it is restarted.
const STARTS = [0.2, 1, 3];
const SILENCE = 30;                             // seconds without a message, after which it counts as not started
const SCRIPT = new URL("worker/worker.js", import.meta.url);

const keys = new WeakMap();                     // Blob: a number, so that the worker recognises a photo
let last = 0;                                   // last number assigned

/** @typedef {import("./engine.js").Engine} Engine @typedef {import("./engine.js").Fields} Fields
 *  @typedef {import("./engine.js").Options} Options
 *
 *  @typedef {object} Listener
 *  @property {(words: string) => void} on_words
 *  @property {(progress: {done: number, total: number} | null) => void} on_progress    of the download, in bytes
 *  @property {(files: string[]) => void} on_ready    with the URLs of everything loaded
 *  @property {(detail: string) => void} on_fault     this device cannot paint; requests wait */

/** @implements {Engine} */
export class Device {
  /** @param {Listener} listener */
  constructor(listener) {
    this.listener = listener;
    this.rung = 0;                              // of the ladder
    /** @type {Map<number, any>} */
    this.jobs = new Map();                      // pending requests
    this.words = "";                            // why they wait
    this.runs_on = "";
    this.after = "";                            // the last fault
    /** @type {Worker | null} */
    this.worker = null;
  }

  /** Like the server's `post`, answered here. @param {string} path @param {Fields} fields @param {Options} [options] */
  post(path, fields, options = {}) {
    const { signal } = options;
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const id = ++last;
      const job = { id, path, fields, options, tiles: 0, resolve, reject };
      this.jobs.set(id, job);
      signal?.addEventListener("abort", () => {
        if (!this.jobs.delete(id)) return;      // already done
        this.worker?.postMessage({ cancel: id });
        reject(signal.reason);
      }, { once: true });
      if (this.worker) this.#send(job);
      else this.start();
    });
  }

  /** Start a worker on the current rung with all pending requests; `start` counts those that never ran. */
  start(start = 0) {
    this.worker?.terminate();
    const worker = this.worker = new Worker(SCRIPT, { type: "module" });
    const silent = () => {
      if (worker !== this.worker) return;
      clearTimeout(silence);
      if (start === STARTS.length) this.#step_down({ kind: "silent", detail: "the worker did not start" });
      else setTimeout(() => { if (worker === this.worker) this.start(start + 1); }, 1000 * STARTS[start]);
    };
    const silence = setTimeout(silent, 1000 * SILENCE);
    let heard = false;
    worker.onmessage = ({ data }) => {
      heard = true;
      clearTimeout(silence);
      if (worker === this.worker) this.#hear(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      if (!heard && !event.message) return silent();
      clearTimeout(silence);
      if (worker === this.worker) this.#step_down({ kind: "failed", detail: event.message || "the worker stopped" });
    };
    worker.postMessage({ start: { base: document.baseURI, ...LADDER[this.rung] } });
    for (const job of this.jobs.values()) this.#send(job);
  }

  stop() {
    this.worker?.terminate();
    this.worker = null;
  }

  /** Pass all pending requests to another engine. @param {Engine} engine */
  hand_over(engine) {
    for (const { path, fields, options, resolve, reject } of this.jobs.values()) {
      engine.post(path, fields, options).then(resolve, reject);
    }
    this.jobs.clear();
  }

  /** Reject all pending requests. @param {Problem} problem */
  refuse(problem) {
    for (const { reject } of this.jobs.values()) reject(problem);
    this.jobs.clear();
  }

  #send({ id, path, fields, tiles, options }) {
    const mark = (value) => (Array.isArray(value) ? value.map(mark)
      : value instanceof Blob ? { blob: value, key: key_of(value) } : value);
    const marked = Object.entries(fields).map(([field, value]) => [field, mark(value)]);
    if (this.words) options.on_wait?.(this.words);
    this.worker?.postMessage({ id, path, fields: Object.fromEntries(marked), from: tiles });
  }

  /** @param {any} message    as described in worker.js */
  #hear(message) {
    const { hello, progress, ready, fault } = message;
    if (hello) return;
    if (progress) this.#show_progress(progress);
    else if (ready) this.#show_ready(ready);
    else if (fault) this.#step_down(fault);
    else this.#settle(message);
  }

  #settle({ id, tile, words, problem, answer, seconds, pixels }) {
    const job = this.jobs.get(id);
    if (!job) return;
    if (tile) {
      job.tiles++;
      return job.options.on_tile?.({ ...tile, picture: URL.createObjectURL(tile.picture) });
    }
    if (words) return job.options.on_wait?.(words);
    this.jobs.delete(id);
    if (problem) return job.reject(new Problem(problem));
    if (seconds) {
      const pace = (pixels / 1e6 / seconds).toPrecision(2);
      this.listener.on_words(`${this.runs_on}: ${pace} megapixels per second. No picture is sent.`);
    }
    job.resolve(answer);
  }

  #show_progress({ done, total }) {
    const [come, all] = [done, total].map((bytes) => (bytes / 1e6).toFixed(1));
    this.#tell_all(`Getting this device ready: ${come} of ${all} MB…`);
    this.listener.on_progress({ done, total });
  }

  #show_ready({ provider, threads, why, files }) {
    const threaded = threads > 1 ? `${threads} threads` : "one thread";
    this.runs_on = provider === "webgpu" ? "WebGPU" : `WebAssembly, ${threaded}`;
    this.#tell_all("");
    this.listener.on_progress(null);
    const words = [this.after, why, `Paints here with ${this.runs_on}. No picture is sent.`];
    this.listener.on_words(words.filter(Boolean).join(". "));
    this.listener.on_ready(files);
  }

  /** Tell the listener and all pending requests. */
  #tell_all(words) {
    this.words = words;
    this.listener.on_words(words);
    for (const { options } of this.jobs.values()) options.on_wait?.(words);
  }

  /** Try the next configuration after a fault. */
  #step_down({ kind, detail }) {
    const next = LADDER.findIndex(({ provider, whole }, rung) =>
      rung > this.rung && (kind === "memory" ? whole < WHOLE : provider !== "webgpu" && whole === WHOLE));
    if (next < 0 || HOPELESS.includes(kind)) {
      this.stop();
      this.listener.on_progress(null);
      return this.listener.on_fault(detail);
    }
    this.rung = next;
    this.after = AFTER[kind] ?? `Painting failed (${detail})`;
    this.#tell_all(`${this.after}: trying another way…`);
    this.start();
  }
}

function key_of(blob) {
  if (!keys.has(blob)) keys.set(blob, ++last);
  return keys.get(blob);
}
