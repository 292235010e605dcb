/* The result: what is wanted is painted, one painting at a time, and shown. */
"use strict";

window.stylizer ??= {};
stylizer.state ??= {};

(() => {
  const { state } = stylizer;
  Object.assign(state, {
    wanted: null,       // what the result should be: {style, strength, style_scale, size, format, keep_colors}
    live: false,        // from the first Transfer on the result follows every choice
    asked: false,       // by a button: on a phone the result is then brought into view
    next: null,         // at most one painting waits
    flight: null,       // and one is under way: {...wanted, photo, preview, controller, since, waits, megapixels}
    settle: 0,          // timer that starts the full size
    place: null,        // the note that the last painting wrote to
    urls: [],           // blob URLs of results, the one on show last
    result: null,       // Blob of the last painting in full,
    painted_photo: null,            // and its photo
  });

  const SETTLE = 250;                           // ms after the last slider movement: time for the full size
  const NAME_LENGTH = 60;                       // characters of a download's name: file systems take 255 bytes

  /** Paint what is wanted now, as a quick small preview or in full: at once, or when the painting under way ends. */
  function want(preview) {
    clearTimeout(state.settle);
    state.next = { ...state.wanted, photo: state.photo, preview };
    const { flight } = state;
    if (!flight) work();
    else if (!flight.preview || flight.waits) flight.controller.abort();    // a preview is soon done: let it show
  }

  async function work() {
    const ticker = setInterval(tell_time, 100);
    stylizer.set("result-frame", { "aria-busy": "true" });
    while (state.next) {
      const job = { ...state.next, controller: new AbortController(), since: performance.now(), waits: "" };
      [state.flight, state.next] = [job, null];
      const side = job.preview ? stylizer.preview_side(job.photo) : job.size;
      job.megapixels = stylizer.megapixels(job.photo, side, job.style_scale)?.in_all;
      try {
        const blob = await paint(job);
        if (!job.waits && job.megapixels) stylizer.learn_pace(job.megapixels, (performance.now() - job.since) / 1000);
        await show(blob, job);
      } catch (error) {
        if (!job.controller.signal.aborted) complain(error);
      }
    }
    state.flight = null;
    clearInterval(ticker);
    stylizer.set("result-frame", { "aria-busy": "false" });
    stylizer.set("elapsed", { children: "" });
    stylizer.set("cancel", { hidden: true });
  }

  /** Leave it at what is on show; the next choice paints again. */
  function cancel() {
    clearTimeout(state.settle);
    state.next = null;
    state.flight?.controller.abort();
    stylizer.set("status", { children: "Cancelled" });
  }

  async function paint(job) {
    const { photo, style, strength, style_scale, size, format, keep_colors, preview } = job;
    const studied = style.parts.filter((part) => part.study);
    const named = style.parts.filter(({ style_name }) => style_name);
    const own = style.parts.filter((part) => part.style_vector && !part.study);
    const longest = preview ? stylizer.preview_side(photo) : size === "original" ? Infinity : Number(size);
    return stylizer.engine().post("api/v1/stylize", {
      content: await stylizer.copy_of(photo, longest),
      style: studied.map((part) => state.studies.get(part.study)),
      style_name: named.map(({ style_name }) => style_name),
      style_vector: own.map(({ style_vector }) => style_vector),
      weight: [...studied, ...named, ...own].map(({ weight }) => weight),   // in the API's order: files first
      strength,
      style_scale: style_scale === 1 ? undefined : style_scale,
      keep_colors,
      size: photo.width || size === "original" ? "original" : longest,      // shrunk here already, where it could be
      format: !preview ? format : photo.type === "image/png" ? "webp" : "jpeg",
    }, { signal: job.controller.signal, on_wait: (words) => { job.waits = words; } });
  }

  async function show(blob, job) {
    const url = URL.createObjectURL(blob);
    const picture = Object.assign(new Image(), { src: url });
    try {
      await picture.decode();                   // so that it replaces the one on show without a flash
    } catch (error) {
      URL.revokeObjectURL(url);
      throw error;
    }
    if (job.controller.signal.aborted) return URL.revokeObjectURL(url);
    state.urls.push(url);
    while (state.urls.length > 2) URL.revokeObjectURL(state.urls.shift());
    stylizer.set("result", { src: url, hidden: false });
    stylizer.set("before", { src: job.photo.shown, hidden: !job.photo.shown });
    stylizer.set("compare", { hidden: !job.photo.shown });
    stylizer.set("result-invitation", { hidden: true });
    const download = stylizer.file_name(job, job.format);
    stylizer.set("download", job.preview ? { href: null } : { href: url, hidden: false, download });
    stylizer.set("polish", { hidden: !polishable(job.style.parts).length, disabled: job.preview });
    stylizer.set("copy", { style: window.ClipboardItem ? {} : { display: "none" }, disabled: job.preview });
    if (job.preview) return;
    state.result = blob;
    stylizer.show_zoom(picture, job.photo !== state.painted_photo);
    state.painted_photo = job.photo;
    stylizer.remember(job, picture);
    stylizer.say_cost();
    if (state.asked) document.getElementById("result-frame").scrollIntoView({ block: "nearest" });
    state.asked = false;
    if (state.place) stylizer.note(state.place, "");
    state.place = null;
    const seconds = ((performance.now() - job.since) / 1000).toFixed(1);
    const pixels = `${picture.naturalWidth} × ${picture.naturalHeight} px`;
    stylizer.set("status", { children: `Painted in ${seconds} s, ${pixels}` });
  }

  /** The names of these styles that there is a picture of, the heaviest first: others cannot be polished. */
  function polishable(parts) {
    if (!state.page.classic) return [];
    const name_of = ({ style_name, style_vector }) =>
      style_name ?? state.own.find(({ vector, picture }) => picture && vector === style_vector)?.name;
    const pictured = (name) => state.page.pictured.includes(name) || state.own.some((each) => each.name === name);
    return [...parts].sort((one, other) => other.weight - one.weight).map(name_of).filter(pictured);
  }

  /** A picture on the way to another, with nothing to be done with it; a painting under way goes first. */
  function show_in_passing(blob) {
    if (state.flight) return;
    const url = URL.createObjectURL(blob);
    state.urls.push(url);
    while (state.urls.length > 2) URL.revokeObjectURL(state.urls.shift());
    stylizer.set("result", { src: url, hidden: false });
    stylizer.set("result-invitation", { hidden: true });
    stylizer.set("download", { href: null });
    stylizer.set("polish", { disabled: true });
    stylizer.set("copy", { disabled: true });
  }

  function complain(thrown) {
    const error = stylizer.as_problem(thrown);
    if (state.place) stylizer.note(state.place, "");
    state.place = error.place;
    stylizer.note(state.place, error.message, "note error");
    stylizer.set("status", { children: "" });
  }

  /** What a download is called: the photo's and the style's names, of which letters and digits of any script stay. */
  function file_name(job, format, ending = "") {
    const name = `${job.photo.name}-${job.style.title}`.normalize("NFC").replace(/[^\p{L}\p{M}\p{N}_]+/gu, "-");
    const short = [...name.replace(/^[-\p{M}]+/u, "").toLowerCase()].slice(0, NAME_LENGTH).join("").replace(/-+$/, "");
    return `${short || "painting"}${ending}.${format === "jpeg" ? "jpg" : format}`;
  }

  function tell_time() {
    const { waits, since, megapixels } = state.flight;
    const elapsed = (performance.now() - since) / 1000;
    if (elapsed < stylizer.PATIENCE / 1000) return;
    stylizer.set("status", { children: waits || "Painting…" });
    if (elapsed < 1) return;
    const left = stylizer.expect_seconds(megapixels) - elapsed;
    const words = left >= 1 && !waits ? `, about ${stylizer.in_seconds(left)} left` : "";
    stylizer.set("elapsed", { children: `${Math.floor(elapsed)} s${words}` });
    stylizer.set("cancel", { hidden: false });
  }

  function follow(_clicks, strength, log_scale, style, _photo, size, format, keep_colors) {
    const { triggered_id } = window.dash_clientside.callback_context;
    state.wanted = { style, strength, style_scale: 2 ** log_scale, size, format, keep_colors };
    if (triggered_id === "transfer") state.live = state.asked = true;
    stylizer.say_cost();
    if (style) stylizer.show_code(state.wanted);
    if (!state.live || !state.photo || !style) return;
    const moved = ["strength", "style-scale"].includes(triggered_id) || triggered_id === "style" && style.moved;
    const preview = moved && Boolean(state.photo.width);
    want(preview);
    if (preview) state.settle = setTimeout(want, SETTLE, false);
  }

  /** Put the result on the clipboard, which takes pictures as PNG. */
  async function copy() {
    const as_png = async () => {
      if (state.result.type === "image/png") return state.result;
      const bitmap = await createImageBitmap(state.result);
      const canvas = stylizer.draw(bitmap, bitmap.width, bitmap.height);
      return stylizer.encode(canvas, "image/png");
    };
    try {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": as_png() })]);
      stylizer.set("status", { children: "Copied to the clipboard" });
    } catch {
      complain(new stylizer.Problem({ detail: "this browser does not let the page copy pictures: use Download" }));
    }
  }

  Object.assign(stylizer, { want, complain, cancel, file_name, follow, copy, polishable, show_in_passing });
})();
