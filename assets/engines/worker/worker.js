/* Paints in the visitor's own browser: the HTTP API's stylize, wall and vectors without a server. ../device.js starts
 * this worker, and a new one after a fault: an error of the device or of the files it runs, reported once. Errors in a
 * request are reported as problems, as on the server.
 *
 *   to here     { start: { base, provider, whole } }, { id, path, fields, from }, { cancel: id }
 *   from here   { hello: true }, as soon as the script runs; { progress: { done, total } },
 *               { ready: { provider, threads, why, files } }, { fault: { kind, detail } },
 *               { id, answer, seconds, pixels }, { id, tile: { index, picture } }, { id, words }, { id, problem } */

import { PATHS } from "../../contract.js";
import { Painter, Refusal } from "./painter.js";

// (module (func (result v128) (i8x16.splat (i32.const 0))))
const SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11,
]);
const MOST_THREADS = 8;                         // with more, threads wait for each other
const TRIAL_SIDE = 128;                         // px of the picture used to test a graphics card
const TRUSTED = 0.01;                           // largest mean difference from WebAssembly, in [0, 1]
const KEEP_ON_CARD = { preferredOutputLocation: "gpu-buffer" };
const NO_MEMORY = /memory|alloc|OOM/i;          // how browsers and the runtime report that memory ran out

class Fault extends Error {
  constructor(kind, detail) {
    super(detail);
    this.kind = kind;
  }
}

/** @type {Promise<Painter>} */
let painter;                                    // from the first message on
let turn = Promise.resolve();                   // one picture at a time; the wall yields after each tile
const cancelled = new Set();

postMessage({ hello: true });

onmessage = ({ data }) => {
  if (data.start) painter = start(data.start);
  else if (data.cancel) return cancelled.add(data.cancel);
  (data.start ? painter : answer(data)).catch(tell);
};

function tell(error) {
  const kind = error.kind ?? (NO_MEMORY.test(error) ? "memory" : "failed");
  postMessage({ fault: { kind, detail: String(error.message ?? error) } });
}

async function answer({ id, path, fields, from }) {
  const check = async () => {
    await new Promise((resolve) => setTimeout(resolve));        // lets a cancellation come in
    if (cancelled.has(id)) throw new Refusal({ detail: "the request was cancelled" });
  };
  const in_turn = (task) => {
    const mine = turn.then(check).then(task);
    turn = mine.catch(() => {});
    return mine;
  };
  try {
    const paint = await painter;
    const answers = { [PATHS.STYLIZE]: "stylize", [PATHS.VECTORS]: "vectors", [PATHS.WALL]: "wall" };
    const [on_tile, on_words] = [(tile) => postMessage({ id, tile }), (words) => postMessage({ id, words })];
    postMessage({ id, ...await paint[answers[path]](fields, { in_turn, check, on_tile, on_words, from }) });
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    postMessage({ id, problem: error.problem });
  } finally {
    cancelled.delete(id);
  }
}

// Starting -----------------------------------------------------------------------------------------------------------

/** Load, verify and try the runtime and the weights. `whole`: most pixels painted in one piece. */
async function start({ base, provider, whole }) {
  if (!WebAssembly.validate(SIMD)) throw new Fault("simd", "this browser has no WebAssembly SIMD");
  const kind = provider === "webgpu" ? await graphics() : "wasm";
  const manifest_of = (kind) => new URL(`device/manifest.json?runtime=${kind}`, base).href;
  const manifest = await (await get(manifest_of(kind))).json();
  const runtime = manifest.runtimes[kind];
  const { measure, tile, ...small } = manifest.weights;         // those two are loaded when a picture is large
  const wanted = { ...small, gallery: manifest.gallery, binary: runtime.binary };
  const total = Object.values(wanted).reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  const loaded = {};
  for (const [name, file] of Object.entries(wanted)) {
    loaded[name] = await load(file, base, (bytes) => postMessage({ progress: { done: done += bytes, total } }));
  }
  const ort = await import(new URL(runtime.script.url, base).href);
  ort.env.logLevel = "error";
  ort.env.wasm.wasmPaths = { mjs: new URL(runtime.glue.url, base).href };
  ort.env.wasm.wasmBinary = loaded.binary;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
  const make = (weights, provider, options) => ort.InferenceSession.create(weights, {
    executionProviders: [provider], logSeverityLevel: 3, ...options,
  });
  const networks = async (provider) => ({
    large: once(async () => ({
      measure: await make(await load(measure, base), provider), tile: await make(await load(tile, base), provider),
    })),
    encoder: await make(loaded.encoder, provider, provider === "webgpu" ? KEEP_ON_CARD : {}),
    decoder: await make(loaded.decoder, provider),
  });
  const gallery = JSON.parse(new TextDecoder().decode(loaded.gallery));
  gallery.study_of = async (name) =>
    (Object.hasOwn(manifest.studies, name) ? load(manifest.studies[name], base) : null);
  const predictor = await make(loaded.predictor, "wasm");       // small, and exact, because vectors are kept
  const painter_of = (found, lost) => new Painter({
    networks: { predictor, ...found, Tensor: ort.Tensor, lost }, gallery, limits: manifest.limits, whole,
  });
  const on_processor = painter_of(await networks("wasm"), new Promise(() => {}));
  const listed = [
    manifest.weights, manifest.studies, { gallery: manifest.gallery }, ...Object.values(manifest.runtimes),
  ]
    .flatMap((part) => Object.values(part).map(({ url }) => new URL(url, base).href));
  const loaded_here = performance.getEntriesByType("resource").map(({ name }) => name);
  const files = [...listed, ...loaded_here, location.href, manifest_of("wasm")];
  const ready = (provider, why) => postMessage({ ready: { provider, why, threads: ort.env.wasm.numThreads, files } });
  if (kind === "wasm") {
    ready("wasm");
    return on_processor;
  }
  const device = await ort.env.webgpu.device;
  const lost = device.lost.then(() => { throw new Fault("lost", "the graphics card was lost"); });
  lost.catch(() => {});                         // handled by whatever is running then
  const on_card = painter_of(await networks("webgpu"), lost);
  const why = await doubt(on_card, on_processor);
  ready(why ? "wasm" : "webgpu", why);
  return why ? on_processor : on_card;
}

/** A function that calls `make` on first use and keeps its promise. */
function once(make) {
  let made = null;
  return () => made ??= make().catch((error) => {
    made = null;                                // a retry may succeed
    throw error;
  });
}

/** The runtime for this browser's graphics card, by how WebAssembly can wait in it; "wasm" if there is no card. */
async function graphics() {
  /** @type {(GPUAdapter & {isFallbackAdapter?: boolean}) | null | undefined} */      // older browsers
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  if (!adapter || (adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter)) return "wasm";
  return "Suspending" in WebAssembly ? "webgpu-jspi" : "webgpu";
}

/** Why not to use the card: its picture differs from WebAssembly's, or it is slower; else empty. */
async function doubt(on_card, on_processor) {
  const trial = (painter) => painter.trial(TRIAL_SIDE);
  const expected = await trial(on_processor);
  const since = performance.now();
  await trial(on_processor);
  const patience = performance.now() - since;
  const painted = await trial(on_card);         // the first time compiles shaders
  const difference = painted.reduce((sum, value, index) => sum + Math.abs(value - expected[index]), 0);
  if (!(difference / painted.length < TRUSTED)) return "WebGPU gives wrong results here";
  const start = performance.now();
  await trial(on_card);
  return performance.now() - start > patience ? "WebGPU is slower here" : "";
}

// Downloads ----------------------------------------------------------------------------------------------------------

async function get(url, options) {
  const response = await fetch(url, options).catch(() => null);
  if (!response?.ok) throw new Fault("missing", "the files it needs could not be downloaded");
  return response;
}

/** A file's bytes, if their sha256 matches the manifest; one that was truncated or altered is requested once more. */
async function load({ url, sha256 }, base, on_bytes = (_bytes) => {}) {
  for (const cache of ["default", "reload"]) {
    const bytes = await read(await get(new URL(url, base), { cache }), cache === "default" ? on_bytes : () => {});
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    if ([...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") === sha256) return bytes;
  }
  throw new Fault("altered", `${url.split("/").at(-1)} was truncated or altered during download`);
}

async function read(response, on_bytes) {
  const parts = [];
  for (const reader = response.body.getReader(); ;) {
    const { value, done } = await reader.read().catch(() => { throw new Fault("missing", "a download was cut off"); });
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    parts.push(value);
    on_bytes(value.length);
  }
}
