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
  const TILE = [180, 120];                      // px of a tile of the wall on a plain display,
  const DENSE_TILE = [240, 160];                // and on one with more than a pixel and a half per CSS pixel
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
    in_view: new Set(),             // names of the tiles that are on the screen
    wall: null,         // AbortController of the wall under way
    result: null,       // Blob of the last painting in full
    tries: [],          // paintings in full so far, the newest last: {key, photo, thumb, words, settings, from}
    current: -1,        // the one on show
    mixed: 0,           // styles in the mix,
    handle: [0, 0],     // its place on the pad: keys may be pressed faster than Dash tells
    painted: "",        // and the mix with its weights as it was last given on
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

  /** POST a form, lists as repeated fields, and `read` the answer; tries again while the server is away or busy, and
   *  `on_wait(words)` hears of it. Throws Problem. */
  async function post(path, fields, options = {}) {
    const { signal, on_wait = () => {}, retries = RETRY_SECONDS, read = (response) => response.blob() } = options;
    const form = new FormData();
    for (const [field, value] of Object.entries(fields)) {
      if (value instanceof Blob) {
        if (value.size > studio.page.max_bytes) throw new Problem(too_large(value.size));
        form.append(field, value, field);       // under the field's name: the file's own is nobody's business
      } else for (const each of [value ?? []].flat()) form.append(field, each);
    }
    for (let attempt = 0; ; attempt++) {
      let response = null;
      try {
        response = await fetch(path, { method: "POST", body: form, signal });
        if (response.ok) return await read(response);
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
    const named = style.parts.filter(({ style_name }) => style_name);
    const own = style.parts.filter(({ style_vector }) => style_vector);
    const longest = preview ? preview_side(photo) : size === "original" ? Infinity : Number(size);
    return post("api/v1/stylize", {
      content: await copy_of(photo, longest),
      style_name: named.map(({ style_name }) => style_name),
      style_vector: own.map(({ style_vector }) => style_vector),
      weight: [...named, ...own].map(({ weight }) => weight),       // in the API's order: names, then vectors
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
    set("before", { src: job.photo.shown, hidden: !job.photo.shown });
    set("compare", { hidden: !job.photo.shown });
    set("result-invitation", { hidden: true });
    const name = `${job.photo.name}-${job.style.title}`.normalize("NFKD").replace(/[^\w-]+/g, "-").toLowerCase();
    set("download", job.preview ? { href: null } : {
      href: url, hidden: false, download: `${name}.${job.format === "jpeg" ? "jpg" : job.format}`,
    });
    set("copy", { style: window.ClipboardItem ? {} : { display: "none" }, disabled: job.preview });
    if (job.preview) return;
    studio.result = blob;
    remember(job, picture);
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

  // The wall: the photo in every style, small -------------------------------------------------------------------------

  const tiles = () => [...document.querySelectorAll(".tiles .form-check")].map((tile) => ({
    tile, name: tile.querySelector("input").value, image: tile.querySelector("img"),
  }));

  const tile_image = (name) => document.querySelector(`.tiles input[value="${CSS.escape(name)}"] + label img`);

  /** Paint the photo on every tile: own styles first, then what is on the screen, then the rest. */
  async function fill_wall() {
    studio.wall?.abort();
    const { signal } = studio.wall = new AbortController();
    for (const { name, image } of tiles()) {    // until its painting comes, a tile shows the sample photo
      image.classList.add("waiting");
      if (studio.in_view.has(name) && image.dataset.src) image.src = image.dataset.src;
      else if (image.dataset.src) image.removeAttribute("src");
    }
    const names = Object.keys(studio.page.titles);
    names.sort((one, other) => studio.in_view.has(other) - studio.in_view.has(one));
    if (studio.own.length) await paint_tiles({ own: studio.own, signal });
    await paint_tiles({ names, signal });
  }

  /** Paint these tiles as the server sends them; a failure leaves the sample there and is told beside the wall. */
  async function paint_tiles({ own = [], names = [], signal }) {
    const size = window.devicePixelRatio > 1.5 ? DENSE_TILE : TILE;
    const order = [...names, ...own.map(({ name }) => name)];
    try {
      await post("api/v1/wall", {
        content: await tile_of(studio.photo, size), size: size[0],
        style_name: names, style_vector: own.map(({ vector }) => vector),
      }, { signal, read: (response) => read_lines(response, ({ index, picture, problem }) => {
        if (problem) throw new Problem(problem);
        const image = tile_image(order[index]);
        if (signal.aborted || !image) return;
        image.src = `data:image/webp;base64,${picture}`;
        image.classList.remove("waiting");
      }) });
    } catch (error) {
      if (signal.aborted) return;
      order.forEach((name) => tile_image(name)?.classList.remove("waiting"));
      note("style-note", `The gallery cannot show your picture: ${error.message}`, "note error");
    }
  }

  /** Dash draws a new tile when it comes to it. */
  async function tile_there(name) {
    while (!tile_image(name)) await new Promise(requestAnimationFrame);
  }

  /** Give each line of an answer, JSON, to `take` as it comes in. */
  async function read_lines(response, take) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      lines.forEach((line) => take(JSON.parse(line)));
    }
  }

  /** The photo cut to a tile's shape, as the tiles show it: every wall has one size, for which the server is warm. */
  async function tile_of(photo, [width, height]) {
    if (!photo.width) return photo.file;
    const bitmap = await decode(await copy_of(photo, SHOWN_SIDE));
    const scale = Math.max(width / bitmap.width, height / bitmap.height);
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    const [wide, high] = [bitmap.width * scale, bitmap.height * scale];
    context.drawImage(bitmap, (width - wide) / 2, (height - high) / 2, wide, high);
    bitmap.close();
    return new Promise((resolve) => canvas.toBlob(resolve, photo.type, QUALITY));
  }

  /** Know which tiles are on the screen, and load the sample there: html.Img has no loading="lazy". */
  function watch_tiles() {
    const chosen = document.querySelector(".tiles input:checked").parentElement;
    chosen.parentElement.scrollLeft = chosen.offsetLeft - chosen.parentElement.offsetLeft - chosen.offsetWidth / 2;
    const observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const name = target.closest(".form-check").querySelector("input").value;
        studio.in_view[isIntersecting ? "add" : "delete"](name);
        if (isIntersecting && !target.getAttribute("src")) target.src = target.dataset.src;
      }
    }, { rootMargin: "200px" });
    document.querySelectorAll("img[data-src]").forEach((image) => observer.observe(image));
  }

  // The mix ----------------------------------------------------------------------------------------------------------

  const element = (type, props) => ({ namespace: "dash_html_components", type, props });
  const PAD_RADIUS = 0.42;                      // of the pad's side
  const SNAP = 0.08;                            // this near a corner, a pointer is in it
  const STEP = 0.06;                            // of the handle by an arrow key
  const PAD_KEYS = {
    ArrowLeft: ([x, y]) => [x - STEP, y], ArrowRight: ([x, y]) => [x + STEP, y],
    ArrowUp: ([x, y]) => [x, y - STEP], ArrowDown: ([x, y]) => [x, y + STEP], Home: () => [0, 0],
    ...Object.fromEntries([1, 2, 3, 4, 5].map((number) => [number, (at) => corners(studio.mixed)[number - 1] ?? at])),
  };

  /** The pad's corners on the unit circle: the first on top, four as an upright square. */
  const corners = (count) => Array.from({ length: count }, (_, index) => {
    const angle = 2 * Math.PI * (index - (count === 4 ? 0.5 : 0)) / count - Math.PI / 2;
    return [Math.cos(angle), Math.sin(angle)];
  });

  /** Twice the area of the triangle; negative where `point` lies outside the edge from `one` to `other`. */
  const area = (point, one, other) =>
    (one[0] - point[0]) * (other[1] - point[1]) - (other[0] - point[0]) * (one[1] - point[1]);

  const edges = (count, point) =>
    corners(count).map((corner, index, all) => area(point, corner, all[(index + 1) % count]));

  /** Wachspress coordinates in a regular polygon: smooth inside, exactly 1 in a corner, two styles alone on an edge. */
  function pad_weights(count, point) {
    const areas = edges(count, point).map((each) => Math.max(0, each));
    const products = areas.map((_, corner) => areas.reduce((product, each, edge) =>
      (edge === corner || edge === (corner + count - 1) % count ? product : product * each), 1));
    const sum = products.reduce((one, other) => one + other, 0);
    return products.map((each) => each / sum);
  }

  const snapped = (count, point) =>
    corners(count).find((corner) => Math.hypot(corner[0] - point[0], corner[1] - point[1]) < SNAP) ?? point;

  /** The nearest place on the way to the middle that the pad has. */
  function onto_pad(count, point) {
    const middle = edges(count, [0, 0])[0];
    const outside = edges(count, point).filter((each) => each < 0);
    const share = Math.min(1, ...outside.map((each) => middle / (middle - each)));
    return point.map((each) => each * share);
  }

  /** The pad's handle, by pointer anywhere on the pad and by keys; Dash holds its place. */
  function make_pad() {
    const pad = document.getElementById("pad"), handle = document.getElementById("handle");
    const move = (point) => {
      studio.handle = onto_pad(studio.mixed, point);
      set("place", { data: studio.handle });
    };
    const follow_pointer = ({ clientX, clientY }) => {
      const { left, top, width, height } = pad.getBoundingClientRect();
      const point = [(clientX - left) / width, (clientY - top) / height].map((each) => (each - 0.5) / PAD_RADIUS);
      move(snapped(studio.mixed, point));
    };
    drag(pad, follow_pointer, handle);
    pad.addEventListener("pointerdown", follow_pointer);
    keys(handle, PAD_KEYS, (next) => move(next(studio.handle)));
  }

  const on_pad = ([x, y]) => ({ left: `${50 + 100 * PAD_RADIUS * x}%`, top: `${50 + 100 * PAD_RADIUS * y}%` });
  const percent = (weight) => `${Math.round(100 * weight)} %`;
  const in_words = (styles, weights) =>
    styles.map(({ title }, index) => `${title} ${percent(weights[index])}`).join(", ");

  function show_mix({ slots, active }, weights, most) {
    const shares = weights.values();
    for (let index = 0; index < most; index++) {
      const style = slots[index], many = slots.length > 1;
      set(`row-${index}`, { hidden: index >= slots.length || !many });
      if (index >= slots.length) continue;
      const words = style?.title ?? "Choose a style from the wall";
      set(`slot-${index}`, { className: `minor slot${index === active ? " active" : ""}`, children: [
        element("Span", { children: String(index + 1), className: "number" }),
        element("Span", { children: words, className: "title" }),
        element("Span", { children: style ? percent(shares.next().value) : "", className: "value" }),
      ] });
      document.getElementById(`slot-${index}`).setAttribute("aria-pressed", index === active);
      set(`drop-${index}`, { children: ["×", element("Span", {
        children: ` Take out ${style?.title ?? "the empty place"}`, className: "unseen",
      })] });
    }
    set("mix-add", { disabled: slots.length === most || slots.includes(null) });
    for (const { tile, name } of tiles()) {
      const numbers = slots.flatMap((style, index) => (style?.name === name && slots.length > 1 ? [index + 1] : []));
      tile.querySelector("label").dataset.mixed = numbers.join(" ");
    }
  }

  function show_pad(count, place, weights, styles) {
    const balance = document.getElementById("balance"), handle = document.getElementById("handle");
    set("balance-row", { hidden: count !== 2 });
    set("pad", { hidden: count < 3, className: `corners-${count}` });
    if (count === 2) balance.setAttribute("aria-valuetext", in_words(styles, weights));
    if (count < 3) return;
    const shape = corners(count).map(on_pad).map(({ left, top }) => `${left} ${top}`).join(", ");
    set("pad-ground", { style: { clipPath: `polygon(${shape})` } });
    for (let index = 0; document.getElementById(`corner-${index}`); index++) {
      set(`corner-${index}`, { hidden: index >= count, style: index < count ? on_pad(corners(count)[index]) : {} });
    }
    set("handle", { style: on_pad(place) });
    handle.setAttribute("aria-valuenow", Math.round(100 * weights[0]));
    handle.setAttribute("aria-valuetext", in_words(styles, weights));
  }

  // Tries ------------------------------------------------------------------------------------------------------------

  const THUMB_HEIGHT = 96;

  /** Keep a painting's settings in the strip; one that was there before is only marked. */
  function remember({ photo, style, strength, size, format, keep_colors }, picture) {
    const settings = { strength, size, format, "keep-colors": keep_colors };
    const key = JSON.stringify([style.parts, Object.values(settings).map(String)]);
    studio.current = studio.tries.findIndex((each) => each.key === key && each.photo === photo);
    if (studio.current < 0) {
      const { naturalWidth, naturalHeight } = picture;
      const width = Math.max(1, Math.round(THUMB_HEIGHT * naturalWidth / naturalHeight));
      const thumb = draw(picture, width, THUMB_HEIGHT).toDataURL("image/webp", 0.8);
      const words = `${style.title}, ${percent(strength)}`;
      studio.tries.push({ key, photo, thumb, words, settings, from: style.from });
      if (studio.tries.length > studio.page.tries) studio.tries.shift();
      studio.current = studio.tries.length - 1;
    }
    show_tries();
  }

  function show_tries() {
    const { tries, current } = studio;
    set("tries", { hidden: tries.length < 2 });
    set("undo", { disabled: current <= 0 });
    set("redo", { disabled: current >= tries.length - 1 });
    tries.forEach(({ thumb, words }, index) => {
      set(`try-${index}`, { hidden: false, title: words, children: [
        element("Img", { src: thumb, alt: "" }),
        element("Span", { children: `Try ${index + 1}: ${words}`, className: "unseen" }),
      ] });
      document.getElementById(`try-${index}`).setAttribute("aria-current", index === current);
    });
    requestAnimationFrame(() => {               // once Dash has drawn the newest
      const shown = document.getElementById(`try-${current}`), strip = shown.parentElement;
      strip.scrollLeft = shown.offsetLeft - strip.offsetLeft - (strip.clientWidth - shown.clientWidth) / 2;
    });
  }

  /** Bring back what an earlier painting was made from, its photo too; it is then painted again. */
  async function restore({ photo, settings, from }) {
    show_tries();
    studio.mixed = from.mix.slots.length;       // so that the shares stay
    studio.handle = from.place;
    set("balance", { value: from.balance });
    set("place", { data: from.place });
    for (const [id, value] of Object.entries(settings)) set(id, { value });
    set("restored", { data: from.mix });
    if (photo === studio.photo) return;
    studio.choices++;                           // a photo on its way in comes too late
    await adopt(photo);
    fill_wall();
  }

  /** Undo and redo by the usual keys, but where text is typed. */
  function undo_by_keyboard(event) {
    if (!(event.ctrlKey || event.metaKey) || event.target.type === "search") return;
    const key = event.key.toLowerCase();
    const button = key === "z" ? (event.shiftKey ? "redo" : "undo") : key === "y" ? "redo" : null;
    if (!button) return;
    event.preventDefault();
    document.getElementById(button).click();
  }

  // Compare ----------------------------------------------------------------------------------------------------------

  const COMPARE_KEYS = {                        // from % of the photo to % of the photo
    ArrowLeft: (now) => now - 5, ArrowDown: (now) => now - 5, ArrowRight: (now) => now + 5, ArrowUp: (now) => now + 5,
    PageDown: (now) => now - 20, PageUp: (now) => now + 20, Home: () => 0, End: () => 100,
  };

  /** The divider uncovers the photo from the left, by pointer and by keys. */
  function make_divider() {
    const divider = document.getElementById("compare"), frame = document.getElementById("result-frame");
    const move = (share) => {
      const percent = Math.round(Math.min(100, Math.max(0, share)));
      divider.setAttribute("aria-valuenow", percent);
      divider.setAttribute("aria-valuetext", `${percent} % as it was`);
      frame.style.setProperty("--split", `${percent}%`);
    };
    drag(divider, (event) => {
      const { left, width } = frame.getBoundingClientRect();
      move(100 * (event.clientX - left) / width);
    });
    keys(divider, COMPARE_KEYS, (next) => move(next(Number(divider.getAttribute("aria-valuenow")))));
  }

  /** `move(event)` for every movement of a pointer that was pressed on the element. */
  function drag(element, move, focused = element) {
    element.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      element.setPointerCapture(event.pointerId);
      focused.focus({ preventScroll: true });
      event.preventDefault();
    });
    element.addEventListener("pointermove", (event) => {
      if (element.hasPointerCapture(event.pointerId)) move(event);
    });
  }

  /** `take(what the table says)` for a key that the table has. */
  function keys(element, table, take) {
    element.addEventListener("keydown", (event) => {
      if (!Object.hasOwn(table, event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      take(table[event.key]);
    });
  }

  // Uploads ----------------------------------------------------------------------------------------------------------

  /** Make a File the photo, once the server has taken it; until then, and if it does not, the one before stays. */
  async function take_photo(file) {
    const choice = ++studio.choices;
    const said = setTimeout(note, PATIENCE, "photo-note", "Looking at the photo…");
    try {
      const photo = await read_photo(file);
      await judge(photo);
      if (choice !== studio.choices) return;
      await adopt(photo);
      fill_wall();
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
      await tile_there(own.name);
      paint_tiles({ own: [own], signal: (studio.wall ??= new AbortController()).signal });
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

  // What Dash calls: stylizer/web/callbacks.py says when -------------------------------------------------------------

  async function start(page) {
    studio.page = page;
    make_file_input("photo-file", "photo-drop", "photo-note", take_photo);
    make_file_input("style-file", "style-drop", "style-note", take_style);
    take_drops();
    watch_tiles();
    make_divider();
    make_pad();
    document.addEventListener("keydown", undo_by_keyboard);
    document.getElementById("search").addEventListener("keydown", search_by_keyboard);
    try {
      const sample = await (await fetch(page.sample)).blob();
      if (!studio.choices) await adopt(await read_photo(new File([sample], "sample.jpg", { type: sample.type })));
    } catch {
      note("photo-note", "The sample photo could not be loaded: choose one of your own.", "note error");
    }
  }

  function own_tiles(own_styles) {
    const options = own_styles.map(({ name, title, picture }) => ({
      value: name,
      label: [
        element("Img", { src: picture, alt: "" }),
        element("Img", { src: picture, alt: "", className: "painting" }),
        element("Span", { children: title, className: "title" }),
      ],
    }));
    return options;
  }

  /** Show the tiles that have all the words in title, artist or year; accents and case do not matter. */
  function search(text, own_styles, page) {
    const plain = (words) => words.normalize("NFKD").replace(/\p{Mark}/gu, "").toLowerCase();
    const wanted = plain(text ?? "").split(/\s+/).filter(Boolean);
    const own = Object.fromEntries(own_styles.map(({ name, title }) => [name, title]));
    const words = { ...own, ...page.words };
    const matching = new Set(Object.keys(words).filter((name) => {
      const here = plain(words[name]);
      return wanted.every((word) => here.includes(word));
    }));
    for (const { tile, name } of tiles()) tile.hidden = !matching.has(name);
    for (const part of document.querySelectorAll(".tiles")) {
      const names = part.id === "own" ? Object.keys(own)    // whose newest tile Dash has yet to draw
        : [...part.querySelectorAll("input")].map(({ value }) => value);
      const empty = !names.some((name) => matching.has(name));
      document.getElementById(`${part.id}-heading`).hidden = part.hidden = empty;
    }
    if (!wanted.length) return "";
    return matching.size ? `${matching.size} of ${Object.keys(words).length} styles` : "No style matches";
  }

  /** From the search box, Enter takes the first match, and an arrow down goes there. */
  function search_by_keyboard(event) {
    if (!["Enter", "ArrowDown"].includes(event.key)) return;
    const first = document.querySelector(".tiles .form-check:not([hidden]) input");
    if (event.key === "Enter") first?.click();
    first?.focus();
    event.preventDefault();
  }

  /** A tile fills the active slot of the mix; slots are added, made active and dropped by their buttons. */
  function choose(own, originals, masters, own_styles, restored, ...rest) {
    const [page, mix] = rest.slice(-2);
    const id = window.dash_clientside.callback_context.triggered_id ?? "";
    const slots = [...(id === "restored" ? restored : mix)?.slots ?? []];
    const [, part, index] = /^(slot|drop)-(\d+)$/.exec(id) ?? [];
    let active = mix?.active ?? 0;
    if (id === "restored") active = restored.active;
    else if (id === "mix-add") {
      active = slots.push(null) - 1;
      document.querySelector(".gallery").scrollIntoView({ block: "nearest" });      // on a phone it is elsewhere
    } else if (part === "slot") active = Number(index);
    else if (part === "drop") {
      const [dropped] = slots.splice(index, 1);
      if (!slots.some(Boolean)) slots.splice(0, slots.length, dropped);     // one style there always is
      active = Math.min(active > index ? active - 1 : active, slots.length - 1);
      document.getElementById("mix-add").focus();           // the button that had the focus may be gone
    } else {
      const chosen = { own, "own-styles": own_styles.at(-1)?.name, originals, masters }[id] ?? originals ?? masters;
      const mine = own_styles.find(({ name }) => name === chosen);
      slots[active] = mine ? { name: chosen, title: mine.title, style_vector: mine.vector }
        : { name: chosen, title: page.titles[chosen], style_name: chosen };
    }
    const name = slots[active]?.name;
    const among = (names) => (names.includes(name) ? name : null);
    const part_names = (id) => [...document.querySelectorAll(`#${id} input`)].map(({ value }) => value);
    return [{ slots, active }, among(own_styles.map((each) => each.name)), among(part_names("originals")),
      among(part_names("masters"))];
  }

  /** The mix with its weights: one style counts whole, two by the slider, more by the handle's place on the pad. */
  function weigh(mix, balance, place, page) {
    const { triggered_id, triggered } = window.dash_clientside.callback_context;
    const { no_update } = window.dash_clientside;
    const styles = mix.slots.filter(Boolean), count = styles.length;
    if (count !== studio.mixed) {               // another number of styles starts from equal shares
      studio.mixed = count;
      [balance, place] = [0.5, [0, 0]];
      set("balance", { value: balance });
      set("place", { data: studio.handle = place });
    }
    const weights = count === 1 ? [1] : count === 2 ? [1 - balance, Number(balance)] : pad_weights(count, place);
    show_mix(mix, weights, page.max_styles);
    show_pad(count, place, weights, styles);
    const parts = styles.map(({ style_name, style_vector }, index) => ({
      style_name, style_vector, weight: weights[index].toFixed(4),
    }));
    const title = styles.map((style) => style.title).join(" + ");
    const painted = JSON.stringify(parts);
    if (painted === studio.painted) return [no_update, no_update];
    studio.painted = painted;
    const moved = triggered.length === 1 && triggered_id !== "mix";
    const from = { mix: { slots: styles, active: Math.max(0, styles.indexOf(mix.slots[mix.active])) }, balance, place };
    return [{ title, parts, moved, from }, title];
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
    const moved = triggered_id === "strength" || triggered_id === "style" && style.moved;
    const preview = moved && Boolean(studio.photo.width);
    want(preview);
    if (preview) studio.settle = setTimeout(want, SETTLE, false);
  }

  function recall() {
    const { triggered_id } = window.dash_clientside.callback_context;
    const step = { undo: -1, redo: 1 }[triggered_id];
    const index = step ? studio.current + step : Number(triggered_id.replace("try-", ""));
    if (!studio.tries[index]) return;
    studio.current = index;
    restore(studio.tries[index]);
  }

  /** Put the result on the clipboard, which takes pictures as PNG. */
  async function copy() {
    const as_png = async () => {
      if (studio.result.type === "image/png") return studio.result;
      const bitmap = await createImageBitmap(studio.result);
      const canvas = draw(bitmap, bitmap.width, bitmap.height);
      return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    };
    try {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": as_png() })]);
      set("status", { children: "Copied to the clipboard" });
    } catch {
      complain(new Problem({ detail: "this browser does not let the page copy pictures: use Download" }));
    }
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    studio: { start, own_tiles, search, choose, weigh, say_strength, follow, recall, copy },
  });
})();
