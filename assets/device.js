/* The engine that paints on the visitor's own device: a worker runs the networks, and no picture is sent. Here it is
 * started, fed and watched; where it fails, the next way to paint is taken, the server only after asking. */
"use strict";

window.stylizer ??= {};
stylizer.state ??= {};

(() => {
  const { state } = stylizer;
  Object.assign(state, {
    device: null,       // while the switch is on: {worker, rung, jobs, words, runs_on, after}
  });

  const CHOICE = "stylizer-on-device";          // in localStorage: the choice, and nothing else
  const WHOLE = 1.5e6;                          // px that are painted in one piece: the memory for it is lent for good
  // Ways to paint, each tried where the one before failed. Only want of memory makes smaller pieces worth a try.
  const LADDER = [
    { provider: "webgpu", whole: WHOLE }, { provider: "wasm", whole: WHOLE }, { provider: "wasm", whole: 2 ** 18 },
  ];
  const AFTER = {
    lost: "The graphics card was lost", memory: "The memory was not enough", black: "A picture came out black",
  };
  const KEPT = "stylizer";                      // the service worker's cache
  const POSTED = /\/api\/v1\/(stylize|wall|vectors|optimise|study)$/;
  const HOPELESS = ["simd", "altered", "missing", "silent"];    // no other way to run here would help
  // A worker that ends without a word never ran: its script did not come, as when the service worker that has it was
  // not awake yet. Seconds until it is started anew.
  const STARTS = [0.2, 1, 3];
  const SILENCE = 30;                           // seconds without a word, after which it counts as not started

  const byId = (id) => document.getElementById(id);
  const say = (children) => stylizer.set("device-words", { children });
  const keys = new WeakMap();                   // Blob: a number, so that the worker knows a photo again
  let last = 0;                                 // number given

  // The engine -------------------------------------------------------------------------------------------------------

  /** As `stylizer.server.post`, answered here. */
  function post(path, fields, options = {}) {
    const { signal } = options;
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const id = ++last, { jobs } = state.device;
      const job = { id, path, fields, options, tiles: 0, resolve, reject };
      jobs.set(id, job);
      signal?.addEventListener("abort", () => {
        if (!jobs.delete(id)) return;           // done before
        state.device?.worker?.postMessage({ cancel: id });
        reject(signal.reason);
      }, { once: true });
      if (state.device.worker) send(job);
      else start_worker();
    });
  }

  function send({ id, path, fields, tiles, options }) {
    const { worker, words } = state.device;
    const mark = (value) => (Array.isArray(value) ? value.map(mark)
      : value instanceof Blob ? { blob: value, key: key_of(value) } : value);
    const marked = Object.entries(fields).map(([field, value]) => [field, mark(value)]);
    if (words) options.on_wait?.(words);
    worker.postMessage({ id, path, fields: Object.fromEntries(marked), from: tiles });
  }

  function key_of(blob) {
    if (!keys.has(blob)) keys.set(blob, ++last);
    return keys.get(blob);
  }

  // The worker -------------------------------------------------------------------------------------------------------

  /** Start a worker on the present rung, and give it all that waits; `start` counts those that never ran. */
  function start_worker(start = 0) {
    const { device } = state;
    device.worker?.terminate();
    const worker = device.worker = new Worker("assets/device/worker.js", { type: "module" });
    const silent = () => {
      if (worker !== device.worker) return;
      clearTimeout(silence);
      if (start === STARTS.length) step_down({ kind: "silent", detail: "the worker did not start" });
      else setTimeout(() => { if (worker === device.worker) start_worker(start + 1); }, 1000 * STARTS[start]);
    };
    const silence = setTimeout(silent, 1000 * SILENCE);
    let heard = false;
    worker.onmessage = ({ data }) => {
      heard = true;
      clearTimeout(silence);
      if (worker === device.worker) hear(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      if (!heard && !event.message) return silent();
      clearTimeout(silence);
      if (worker === device.worker) step_down({ kind: "failed", detail: event.message || "the worker stopped" });
    };
    worker.postMessage({ start: { base: document.baseURI, ...LADDER[device.rung] } });
    for (const job of device.jobs.values()) send(job);
  }

  function hear({ hello, progress, ready, fault, ...answer }) {
    if (hello) return;
    if (progress) show_progress(progress);
    else if (ready) show_ready(ready);
    else if (fault) step_down(fault);
    else settle(answer);
  }

  function settle({ id, tile, words, problem, answer, seconds, pixels }) {
    const { jobs, runs_on } = state.device, job = jobs.get(id);
    if (!job) return;
    if (tile) {
      job.tiles++;
      return job.options.on_tile?.({ ...tile, picture: URL.createObjectURL(tile.picture) });
    }
    if (words) return job.options.on_wait?.(words);
    jobs.delete(id);
    if (problem) return job.reject(new stylizer.Problem(problem));
    if (seconds) say(`${runs_on}: ${(pixels / 1e6 / seconds).toPrecision(2)} megapixels a second. No picture is sent.`);
    job.resolve(answer);
  }

  function show_progress({ done, total }) {
    const [come, all] = [done, total].map((bytes) => (bytes / 1e6).toFixed(1));
    tell_all(`Getting this device ready: ${come} of ${all} MB…`);
    stylizer.set("device-progress", { hidden: false, max: String(total), value: String(done) });
  }

  function show_ready({ provider, threads, why, files }) {
    const { device } = state;
    const threaded = threads > 1 ? `${threads} threads` : "one thread";
    device.runs_on = provider === "webgpu" ? "WebGPU" : `WebAssembly, ${threaded}`;
    tell_all("");
    stylizer.set("device-progress", { hidden: true });
    say([device.after, why, `Paints here by ${device.runs_on}. No picture is sent.`].filter(Boolean).join(". "));
    keep_for_later(files);
  }

  /** For the switch and for all that waits. */
  function tell_all(words) {
    state.device.words = words;
    say(words);
    for (const { options } of state.device.jobs.values()) options.on_wait?.(words);
  }

  /** Take the next way to paint after a fault; ask about the server where none is left. */
  function step_down({ kind, detail }) {
    const { device } = state;
    const next = LADDER.findIndex(({ provider, whole }, rung) =>
      rung > device.rung && (kind === "memory" ? whole < WHOLE : provider !== "webgpu" && whole === WHOLE));
    if (next < 0 || HOPELESS.includes(kind)) return ask(detail);
    device.rung = next;
    device.after = AFTER[kind] ?? `This way to paint failed (${detail})`;
    tell_all(`${device.after}: trying another way…`);
    start_worker();
  }

  // The server, after asking -----------------------------------------------------------------------------------------

  function ask(detail) {
    const { device } = state;
    device.worker.terminate();
    device.worker = null;
    stylizer.set("device-progress", { hidden: true });
    say(`This device cannot paint: ${detail}.`);
    stylizer.set("device-question", {
      children: `This device cannot paint: ${detail}. Paint on the server instead? Your picture would be sent there.`,
    });
    const dialog = byId("device-dialog");
    dialog.returnValue = "";
    if (!dialog.open) dialog.showModal();
  }

  /** What was chosen in the dialog; closing it by Escape is no. */
  function decide() {
    const { jobs } = state.device;
    if (byId("device-dialog").returnValue === "server") return stylizer.set("on-device", { value: false });
    for (const { reject } of jobs.values()) {
      reject(new stylizer.Problem({ detail: "nothing was painted, and nothing was sent" }));
    }
    jobs.clear();
  }

  // The switch -------------------------------------------------------------------------------------------------------

  let wired = false;

  function switch_device(on) {
    if (!wired) {
      wired = true;
      const dialog = byId("device-dialog");
      byId("device-leave").onclick = () => dialog.close("server");
      byId("device-stay").onclick = () => dialog.close("");
      dialog.onclose = decide;
      on = localStorage.getItem(CHOICE) === "on";
      if (on) stylizer.set("on-device", { value: true });
    }
    if (on === Boolean(state.device)) return;
    if (on) turn_on();
    else turn_off();
  }

  function turn_on() {
    localStorage.setItem(CHOICE, "on");
    state.device = { worker: null, rung: 0, jobs: new Map(), words: "", runs_on: "", after: "" };
    state.engine = { post };
    if (window.isSecureContext) start_worker();
    else ask("browsers allow it on https and on localhost alone");
  }

  async function turn_off() {
    const { device } = state, { jobs } = device;
    localStorage.removeItem(CHOICE);
    device.worker?.terminate();
    device.worker = state.device = state.engine = null;
    stylizer.set("device-progress", { hidden: true });
    say("Paints on the server, which keeps no picture.");
    for (const { path, fields, options, resolve, reject } of jobs.values()) {
      stylizer.server.post(path, fields, options).then(resolve, reject);
    }
    await (await navigator.serviceWorker?.getRegistration())?.unregister();
    await window.caches?.delete(KEPT);
  }

  /** Have the service worker keep all that this page was made of, so that it works with the network off. */
  async function keep_for_later(files) {
    const { device } = state;
    const workers = navigator.serviceWorker;
    const there = await workers?.register("service-worker.js").catch(() => workers.getRegistration());
    if (!there) return;                         // a private window, or one that may keep nothing
    const { active } = await workers.ready;
    const here = (address) => new URL(address, document.baseURI).href;
    const loaded = performance.getEntriesByType("resource").map(({ name }) => name);
    const tiles = [...document.querySelectorAll("img[data-src]")].map(({ dataset }) => here(dataset.src));
    const all = [here("."), ...loaded, ...tiles, ...files].filter((address) => {
      const { origin, pathname } = new URL(address);
      return origin === location.origin && !POSTED.test(pathname);
    });
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      if (state.device !== device) return;
      device.offline = true;
      stylizer.set("device-offline", { hidden: false });
    };
    active.postMessage({ keep: [...new Set(all)] }, [port2]);
  }

  Object.assign(stylizer, { switch_device });
})();
