/* The page's pictures. Dash holds what was chosen and calls the functions at the end; the pixels are here: the browser
 * turns photos upright and shrinks them (so no EXIF leaves it), posts them to the HTTP API and shows the answers. */
"use strict";

(() => {
  const RETRY_SECONDS = [0.5, 1, 2, 4, 8];      // between tries while the server is away or busy
  const RETRY_STATUSES = [429, 502, 503, 504];
  const PATIENCE = 150;                         // ms of work that need no word
  const SETTLE = 250;                           // ms after the last slider movement: time for the full size
  const SHOWN_SIDE = 1024;                      // longest side, px, at which the photo itself is shown
  const STYLE_SIDE = 1024;                      // and at which an own style is sent: the predictor looks at 256
  const QUALITY = 0.95;                         // of JPEG to the server: coarser blocks would be painted as well

  const studio = {
    page: null,         // what layout.py tells: addresses and bounds
    photo: null,        // {file, name, width, height, type, copies: {longest side: promise of a Blob}}
    own: [],            // the user's styles: {name, title, picture, vector}
    taking: Promise.resolve(),      // own styles are taken one after the other
    wanted: null,       // what the result should be: {style, strength, size, format, keep_colors, pressed}
    live: false,        // from the first Transfer on the result follows every choice
    next: null,         // at most one painting waits
    flight: null,       // and one is under way: {...wanted, photo, preview, controller, since, waits}
    settle: 0,          // timer that starts the full size
    choices: 0,         // photos chosen so far: a later one overtakes an earlier one
    place: null,        // the note that the last painting wrote to
    urls: [],           // blob URLs of results, the one on show last
  };

  const set = (id, props) => window.dash_clientside.set_props(id, props);
  const note = (id, text, className = "note") => set(id, { children: text, className });

  // Pictures ---------------------------------------------------------------------------------------------------------

  /** A File as a photo; one that this browser cannot decode has no width, and goes to the server as it is. */
  async function read_photo(file) {
    const photo = { file, name: file.name.replace(/\.[^.]*$/, "") || "photo", copies: {} };
    const bitmap = await decode(file).catch(() => null);
    if (!bitmap) return photo;
    const { width, height } = bitmap;
    const megapixels = width * height / 1e6, most = studio.page.max_megapixels;
    if (megapixels > most) {
      const detail = `the picture has ${Math.round(megapixels)} megapixels; at most ${most} are taken`;
      throw new Problem({ detail, code: "picture-out-of-bounds" });
    }
    const opaque = file.type === "image/jpeg" || !has_alpha(bitmap);
    bitmap.close();
    return { ...photo, width, height, type: opaque ? "image/jpeg" : "image/png" };
  }

  const decode = (file) => createImageBitmap(file, { imageOrientation: "from-image" });

  function draw(bitmap, width, height) {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, width, height);
    return canvas;
  }

  function has_alpha(bitmap) {
    const side = 256;                           // shrunk, a few clear pixels still show as not quite opaque
    const pixels = draw(bitmap, side, side).getContext("2d").getImageData(0, 0, side, side).data;
    return pixels.some((value, index) => index % 4 === 3 && value < 255);
  }

  /** The photo upright, without metadata, its longest side at most `longest`; kept, as every slider move sends it. */
  function copy_of(photo, longest) {
    if (!photo.width) return photo.file;
    const scale = Math.min(1, longest / Math.max(photo.width, photo.height));
    const [width, height] = [photo.width, photo.height].map((side) => Math.max(1, Math.round(side * scale)));
    photo.copies[width] ??= (async () => {
      const bitmap = await decode(photo.file);
      const canvas = draw(bitmap, width, height);
      bitmap.close();
      return new Promise((resolve) => canvas.toBlob(resolve, photo.type, QUALITY));
    })();
    return photo.copies[width];
  }

  /** Large enough a preview that a narrow photo's shorter side stays above what the server takes. */
  function preview_side({ width, height }) {
    const { preview_size, min_side } = studio.page;
    return Math.max(preview_size, Math.ceil(min_side * Math.max(width, height) / Math.min(width, height)));
  }

  // The server -------------------------------------------------------------------------------------------------------

  /** A painting's or upload's failure in words, and `place`, the note that they belong to. */
  class Problem extends Error {
    constructor({ detail, field, code, status, away = RETRY_STATUSES.includes(status) }) {
      super(detail.charAt(0).toUpperCase() + detail.slice(1).replace(/([^.!?])$/, "$1."));
      const of_picture = ["empty", "unsupported-picture", "broken-picture", "picture-out-of-bounds", "too-many-bytes"];
      this.place = field?.startsWith("style") ? "style-note"
        : field === "content" || of_picture.includes(code) ? "photo-note"
        : field ? "settings-note" : "result-note";
      this.away = away;
    }
  }

  /** POST a form; tries again while the server is away or busy, and `on_wait(words)` hears of it. Throws Problem. */
  async function post(path, fields, { signal, on_wait = () => {}, retries = RETRY_SECONDS } = {}) {
    const form = new FormData();
    for (const [field, value] of Object.entries(fields)) {
      if (value instanceof Blob) {
        if (value.size > studio.page.max_bytes) throw new Problem(too_large(value.size));
        form.append(field, value, field);       // under the field's name: the file's own is nobody's business
      } else if (value !== undefined) form.append(field, value);
    }
    for (let attempt = 0; ; attempt++) {
      let response = null;
      try {
        response = await fetch(path, { method: "POST", body: form, signal });
        if (response.ok) return await response.blob();
      } catch (error) {
        if (signal?.aborted) throw error;
        response = null;                        // cut off, be it in the middle of the answer
      }
      if (response && !RETRY_STATUSES.includes(response.status)) throw new Problem(await read_problem(response));
      if (attempt === retries.length) {
        throw new Problem(response ? await read_problem(response) : {
          detail: "the server does not answer. Nothing is lost: try again when it is back", away: true,
        });
      }
      on_wait(response?.status === 429 ? "The server is busy, waiting…" : "The server does not answer, trying again…");
      await sleep(Number(response?.headers.get("Retry-After")) || retries[attempt], signal);
    }
  }

  async function read_problem(response) {
    const body = await response.json().catch(() => ({}));
    return { detail: `the server answered ${response.status}`, ...body, status: response.status };
  }

  function too_large(bytes) {
    const [came, most] = [bytes, studio.page.max_bytes].map((each) => `${(each / 2 ** 20).toFixed(0)} MiB`);
    return { detail: `the picture is ${came}, the server takes ${most}; choose a smaller one`, code: "too-many-bytes" };
  }

  function sleep(seconds, signal) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, 1000 * seconds);
      signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
    });
  }

  // Painting ---------------------------------------------------------------------------------------------------------

  /** Paint what is wanted now, as a quick small preview or in full: at once, or when the painting under way ends. */
  function want(preview) {
    clearTimeout(studio.settle);
    studio.next = { ...studio.wanted, photo: studio.photo, preview };
    const { flight } = studio;
    if (!flight) work();
    else if (!flight.preview || flight.waits) flight.controller.abort();    // a preview is soon done: let it show
  }

  async function work() {
    const ticker = setInterval(tell_time, 100);
    set("result-frame", { "aria-busy": "true" });
    while (studio.next) {
      const job = { ...studio.next, controller: new AbortController(), since: performance.now(), waits: "" };
      [studio.flight, studio.next] = [job, null];
      try {
        await show(await paint(job), job);
      } catch (error) {
        if (!job.controller.signal.aborted) complain(error);
      }
    }
    studio.flight = null;
    clearInterval(ticker);
    set("result-frame", { "aria-busy": "false" });
    set("elapsed", { children: "" });
  }

  async function paint(job) {
    const { photo, style, strength, size, format, keep_colors, preview } = job;
    const longest = preview ? preview_side(photo) : size === "original" ? Infinity : Number(size);
    return post("api/v1/stylize", {
      content: await copy_of(photo, longest),
      style_name: style.style_name,
      style_vector: style.style_vector,
      strength,
      keep_colors,
      size: photo.width || size === "original" ? "original" : longest,      // shrunk here already, where it could be
      format: !preview ? format : photo.type === "image/png" ? "webp" : "jpeg",
    }, { signal: job.controller.signal, on_wait: (words) => { job.waits = words; } });
  }

  async function show(blob, job) {
    const url = URL.createObjectURL(blob);
    const picture = Object.assign(new Image(), { src: url });
    await picture.decode();                     // so that it replaces the one on show without a flash
    if (job.controller.signal.aborted) return URL.revokeObjectURL(url);
    studio.urls.push(url);
    while (studio.urls.length > 2) URL.revokeObjectURL(studio.urls.shift());
    set("result", { src: url, hidden: false });
    set("result-invitation", { hidden: true });
    const name = `${job.photo.name}-${job.style.title}`.normalize("NFKD").replace(/[^\w-]+/g, "-").toLowerCase();
    set("download", job.preview ? { href: null } : {
      href: url, hidden: false, download: `${name}.${job.format === "jpeg" ? "jpg" : job.format}`,
    });
    if (job.preview) return;
    if (job.pressed) document.getElementById("result-frame").scrollIntoView({ block: "nearest" });
    if (studio.place) note(studio.place, "");
    studio.place = null;
    const seconds = ((performance.now() - job.since) / 1000).toFixed(1);
    set("status", { children: `Painted in ${seconds} s, ${picture.naturalWidth} × ${picture.naturalHeight} px` });
  }

  function complain(error) {
    if (studio.place) note(studio.place, "");
    studio.place = error.place ?? "result-note";
    note(studio.place, error.message, "note error");
    set("status", { children: "" });
  }

  function tell_time() {
    const { waits, since } = studio.flight;
    const elapsed = performance.now() - since;
    if (elapsed < PATIENCE) return;
    set("status", { children: waits || "Painting…" });
    set("elapsed", { children: elapsed < 1000 ? "" : `${Math.floor(elapsed / 1000)} s` });
  }

  // Uploads ----------------------------------------------------------------------------------------------------------

  /** Make a File the photo, once the server has taken it; until then, and if it does not, the one before stays. */
  async function take_photo(file) {
    const choice = ++studio.choices;
    const said = setTimeout(note, PATIENCE, "photo-note", "Looking at the photo…");
    try {
      const photo = await read_photo(file);
      await judge(photo);
      if (choice === studio.choices) await adopt(photo);
    } catch (error) {
      if (choice === studio.choices) note("photo-note", `${file.name}: ${error.message}`, "note error");
    }
    clearTimeout(said);
  }

  /** Throws Problem for a photo that the server refuses: a small painting is tried, so its bounds stand there alone. */
  async function judge(photo) {
    try {
      await post("api/v1/stylize", {
        content: await copy_of(photo, SHOWN_SIDE),
        style_name: studio.page.first_style,
        size: photo.width ? preview_side(photo) : SHOWN_SIDE,
        format: "jpeg",
      }, { retries: [] });
    } catch (error) {
      if (!error.away) throw error;             // a server that is away or busy judges when it paints
    }
  }

  async function adopt(photo) {
    const { name, width, height } = photo;
    const shown = width ? URL.createObjectURL(await copy_of(photo, SHOWN_SIDE)) : null;
    if (studio.photo?.shown) URL.revokeObjectURL(studio.photo.shown);
    studio.photo = Object.assign(photo, { shown });
    set("photo-picture", { src: shown, hidden: !shown });
    set("photo-caption", { children: width ? `${name}, ${width} × ${height} px` : name });
    set("studio", { style: width ? { "--aspect": width / height } : {} });
    note("photo-note", shown ? "" : "This browser cannot show this format; it will be painted all the same.");
    set("photo", { data: { name, width, height, choice: studio.choices } });
  }

  /** Make a File a style: the server's hundred numbers for it are kept, so the picture is sent only once. */
  function take_style(file) {
    studio.taking = studio.taking.then(() => add_style(file));
  }

  async function add_style(file) {
    const said = setTimeout(note, PATIENCE, "style-note", "Looking at the painting…");
    try {
      const painting = await read_photo(file);
      const picture = await copy_of(painting, STYLE_SIDE);
      const { vector } = JSON.parse(await (await post("api/v1/vectors", { style: picture })).text());
      const own = { name: `own-${studio.own.length + 1}`, title: painting.name, vector: JSON.stringify(vector) };
      studio.own.push({ ...own, picture: painting.width ? URL.createObjectURL(picture) : undefined });
      note("style-note", "");
      set("own-styles", { data: [...studio.own] });
    } catch (error) {
      note("style-note", `${file.name}: ${error.message}`, "note error");
    }
    clearTimeout(said);
  }

  function make_file_input(id, parent, described_by, take) {
    const input = Object.assign(document.createElement("input"), { type: "file", id, accept: "image/*" });
    input.setAttribute("aria-describedby", described_by);
    input.addEventListener("change", () => {
      if (input.files.length) take(input.files[0]);
      input.value = "";                         // the same file may be chosen again
    });
    document.getElementById(parent).append(input);
  }

  /** Files may be dropped anywhere: on the gallery they are styles, elsewhere photos. */
  function take_drops() {
    const over = (event) => event.dataTransfer.types.includes("Files");
    const mark = (on) => document.body.classList.toggle("dragging", on);
    document.addEventListener("dragover", (event) => { if (over(event)) { event.preventDefault(); mark(true); } });
    document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) mark(false); });
    document.addEventListener("drop", (event) => {
      if (!over(event)) return;
      event.preventDefault();
      mark(false);
      const [file] = event.dataTransfer.files;
      if (file) (event.target.closest(".gallery") ? take_style : take_photo)(file);
    });
  }

  /** Load a tile's picture when it is nearly in view: html.Img has no loading="lazy". */
  function load_tiles() {
    const chosen = document.querySelector(".tiles input:checked").parentElement;
    chosen.parentElement.scrollLeft = chosen.offsetLeft - chosen.parentElement.offsetLeft - chosen.offsetWidth / 2;
    const observer = new IntersectionObserver((entries) => {
      for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
        target.src = target.dataset.src;
        observer.unobserve(target);
      }
    }, { rootMargin: "200px" });
    document.querySelectorAll("img[data-src]").forEach((tile) => observer.observe(tile));
  }

  // What Dash calls: stylizer/web/callbacks.py says when -------------------------------------------------------------

  async function start(page) {
    studio.page = page;
    make_file_input("photo-file", "photo-drop", "photo-note", take_photo);
    make_file_input("style-file", "style-drop", "style-note", take_style);
    take_drops();
    load_tiles();
    try {
      const sample = await (await fetch(page.sample)).blob();
      if (!studio.choices) await adopt(await read_photo(new File([sample], "sample.jpg", { type: sample.type })));
    } catch {
      note("photo-note", "The sample photo could not be loaded: choose one of your own.", "note error");
    }
  }

  function own_tiles(own_styles) {
    const element = (type, props) => ({ namespace: "dash_html_components", type, props });
    const options = own_styles.map(({ name, title, picture }) => ({
      value: name,
      label: [element("Img", { src: picture, alt: "" }), element("Span", { children: title, className: "title" })],
    }));
    return [options, !options.length];
  }

  function choose(own, originals, masters, own_styles, page) {
    const { triggered_id } = window.dash_clientside.callback_context;
    if (triggered_id === "own-styles") own = own_styles.at(-1)?.name;
    const chosen = { own, "own-styles": own, originals, masters }[triggered_id] ?? originals ?? masters;
    const mine = own_styles.find(({ name }) => name === chosen);
    const title = mine ? mine.title : page.titles[chosen];
    const style = mine ? { title, style_vector: mine.vector } : { title, style_name: chosen };
    const only = (value) => (value === chosen ? value : null);
    return [style, title, only(own), only(originals), only(masters)];
  }

  function say_strength(strength) {
    const words = `${Math.round(100 * strength)} %`;
    document.getElementById("strength").setAttribute("aria-valuetext", words);
    return words;
  }

  function follow(_clicks, strength, style, _photo, size, format, keep_colors) {
    const { triggered_id } = window.dash_clientside.callback_context;
    const pressed = triggered_id === "transfer";        // on a phone the result is then brought into view
    studio.wanted = { style, strength, size, format, keep_colors, pressed };
    studio.live ||= pressed;
    if (!studio.live || !studio.photo || !style) return;
    const preview = triggered_id === "strength" && Boolean(studio.photo.width);
    want(preview);
    if (preview) studio.settle = setTimeout(want, SETTLE, false);
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    studio: { start, own_tiles, choose, say_strength, follow },
  });
})();
