/* The Classic tab: the server optimises a picture and streams how far it is; here it is watched, paused and compared.
 *
 * A pause keeps nothing on the server: the request ends, and going on is another one that begins with the picture
 * shown. So a pause may last, a broken connection is a pause, and nobody's place on the server is held meanwhile. */
"use strict";

window.stylizer ??= {};
stylizer.state ??= {};

(() => {
  const { state } = stylizer;
  Object.assign(state, {
    asking: null,       // promise of what GET api/v1/optimise tells, once the tab was open,
    offers: null,       // and what it told
    painting: null,     // the painting chosen, as Dash has it: {name, title}
    job: null,          // the picture being optimised, or the last one: see paint()
  });

  const PATH = "api/v1/optimise";
  const RETRIES = Array(24).fill(5);            // seconds: a place on the server comes free after a minute or so
  const PRIVATE = "Classic runs on the server alone, and you chose that no picture is sent there. Switch that off in "
    + "the Studio to paint here.";
  const POLISH_STEPS = 30;
  const CURVES = ["variation", "style", "content", "total"];        // the last one drawn lies on top
  const RATE_STEPS = 12;                        // whose pace tells the time left

  const set = (id, props) => stylizer.set(id, props);
  const get = (id) => document.getElementById(id);

  // What is chosen ---------------------------------------------------------------------------------------------------

  function start() {
    const panel = get("classic");
    new MutationObserver(() => panel.hidden || open()).observe(panel, { attributeFilter: ["hidden"] });
    stylizer.make_divider("classic-compare");
    new ResizeObserver(draw_curve).observe(get("loss-curve"));
  }

  /** The first time that the tab is seen: load the paintings, and ask the server what it can do. */
  async function open() {
    for (const image of document.querySelectorAll("img[data-picture]:not([src])")) image.src = image.dataset.picture;
    say_inits();
    await (state.asking ??= ask());
  }

  async function ask() {
    const said = setTimeout(say, stylizer.PATIENCE, "classic-note", "Asking the server for its networks…");
    try {
      const response = await fetch(PATH);
      if (!response.ok) throw new stylizer.Problem(await stylizer.read_problem(response));
      const offers = state.offers = await response.json();
      const { defaults, backbones } = offers;
      set("backbone", { options: backbones.map(network_option), value: backbones[0].name });
      set("classic-choices", { data: offers });
      for (const id of ["content_weight", "style_weight"]) set(id.replace("_", "-"), { value: power_of(defaults[id]) });
      set("steps", { value: defaults.steps });
      set("seed", { value: defaults.seed });
      set("classic-paint", { disabled: false });
      say("classic-note", "");
    } catch (error) {
      const words = error instanceof stylizer.Problem ? error.message
        : "The server does not answer. Open this tab again when it is back.";
      say("classic-note", words, true);
      state.asking = null;                      // the next look at the tab asks again
    }
    clearTimeout(said);
  }

  function network_option({ name, title, state: where, megabytes }) {
    const away = where === "downloadable";
    const label = away ? `${title} (${megabytes} MB)` : title;
    return { value: name, label, disabled: away && !state.offers?.bounds.download };
  }

  function say(id, words, wrong = false) {
    const more = id === "classic-note" ? " wide" : "";
    stylizer.note(id, words, `note${wrong ? " error" : ""}${more}`);
  }

  function show_photo(photo) {
    if (!photo) return "";
    const { shown } = state.photo;
    set("classic-photo", { src: shown ?? undefined, hidden: !shown });
    set("classic-parts", { style: photo.width ? { "--aspect": photo.width / photo.height } : {} });
    say("classic-photo-note", "");
    say_inits();
    return photo.width ? `${photo.name}, ${photo.width} × ${photo.height} px` : photo.name;
  }

  /** Only a result that was painted from this photo can be gone on from. */
  const polishable = () => state.result && state.painted_photo === state.photo;

  function say_inits() {
    const labels = [...get("init").options].map(({ value, label }) => ({ value, label }));
    const options = labels.map((each) => ({ ...each, disabled: each.value === "studio" && !polishable() }));
    set("init", { options, ...(get("init").value === "studio" && !polishable() ? { value: "photo" } : {}) });
  }

  const own_paintings = (own_styles) => {
    const seen = own_styles.filter(({ picture }) => picture);       // the others this browser cannot decode
    set("classic-own-heading", { hidden: !seen.length });
    return seen.map(({ name, title, picture }) => ({
      value: name,
      label: [stylizer.element("Img", { src: picture, alt: "" }),
        stylizer.element("Span", { children: title, className: "title" })],
    }));
  };

  function choose(own, originals, own_styles, page) {
    const id = window.dash_clientside.callback_context.triggered_id;
    const newest = own_styles.findLast(({ picture }) => picture)?.name;
    const name = { "classic-own": own, "own-styles": newest, "classic-originals": originals }[id] ?? own ?? originals;
    const mine = own_styles.find((each) => each.name === name);
    const title = mine?.title ?? page.titles[name];
    say("classic-style-note", "");
    return [{ name, title }, mine ? name : null, mine ? null : name, title];
  }

  function follow_network(name, choices) {
    const network = choices?.backbones.find((each) => each.name === name);
    if (!network) return [[], null, [], [], ""];
    const options = network.layers.map((layer) => ({ value: layer, label: layer }));
    set("tv-weight", { value: power_of(network.tv_weight) });
    const note = network.state !== "downloadable" ? ""
      : `The server downloads ${network.megabytes} MB when you first paint with it.`;
    return [options, network.content_layers[0], options, network.style_layers, note];
  }

  const power_of = (weight) => Math.round(20 * Math.log10(weight)) / 20;      // a place on the slider
  const weight_of = (power) => Number((10 ** power).toPrecision(2));

  function say_weight(power) {
    const { triggered_id } = window.dash_clientside.callback_context;
    if (power === undefined || power === null) return "";
    const words = String(weight_of(power));
    get(triggered_id ?? "")?.setAttribute("aria-valuetext", words);
    return words;
  }

  const show_seed = (init) => init !== "noise";

  const choose_photo = () => get("photo-file").click();
  const choose_style = () => get("style-file").click();

  // A picture under way ----------------------------------------------------------------------------------------------

  async function paint(_clicks, style, backbone, content_layer, style_layers, ...rest) {
    const [content_weight, style_weight, tv_weight, init, steps, seed, longest, format] = rest;
    if (state.engine) return complain(PRIVATE);
    if (!style_layers.length) return complain("Choose at least one style layer.");
    if (!(Number(steps) >= 1)) return complain("Give a number of steps, 1 or more.");
    state.job?.controller.abort();
    forget(state.job);
    const { photo } = state;
    const weights = {
      content: weight_of(content_weight), style: weight_of(style_weight), variation: weight_of(tv_weight),
    };
    const job = state.job = {
      photo, style, weights, format, steps: Number(steps),
      done: 0,          // steps before this request
      points: [],       // {step, total, content, style, variation, at}: weighted, as they are summed; at is ms
      picture: null,    // Blob of the newest picture,
      picture_step: 0,  // and the step that it shows
      begin: init === "studio" ? state.result : null,       // what it begins with, where that is a picture
      single: null,     // promise of the single pass's address
      phase: "running", controller: new AbortController(), urls: [],
    };
    const own = state.own.find(({ name }) => name === style.name);
    try {
      job.content = await stylizer.copy_of(photo, Number(longest));
      job.painting = own ? { style: await (await fetch(own.picture)).blob() } : { style_name: style.name };
    } catch {
      return complain("This browser cannot read the photo or the painting any more. Choose it again.");
    }
    job.fields = {
      content: job.content, ...job.painting, backbone, content_layer, style_layers, format,
      content_weight: weights.content, style_weight: weights.style, tv_weight: weights.variation,
      init: init === "studio" ? "feedforward" : init, seed, size: photo.width ? undefined : longest,
    };
    job.before = photo.shown && URL.createObjectURL(await stylizer.copy_of(photo, stylizer.SHOWN_SIDE));
    if (job.before) job.urls.push(job.before);
    for (const part of ["", "-style", "-photo", "-result"]) say(`classic${part}-note`, "");
    set("classic-download", { hidden: true });
    set("compare-with", { value: "photo" });
    set("classic-before", { src: job.before, hidden: true });
    get("classic-frame").scrollIntoView({ block: "nearest" });
    await run(job);
  }

  /** One request: the steps that are left, from the picture so far where there is one. */
  async function run(job) {
    Object.assign(job, { phase: "running", controller: new AbortController(), waits: "Waiting for the server…" });
    const from = job.picture ?? job.begin;
    show_phase(job);
    try {
      await stylizer.server.post(PATH, {
        ...job.fields, steps: job.steps - job.done, ...(from && { init: "feedforward", start: from }),
      }, {
        signal: job.controller.signal, retries: RETRIES, on_line: (line) => take(job, line),
        on_wait: (words) => {
          job.waits = words.includes("busy") ? "The server is optimising another picture; yours is next…" : words;
          show_phase(job);
        },
      });
      if (job.phase === "running") throw new stylizer.Problem({ detail: "the connection broke", away: true });
    } catch (error) {
      if (job !== state.job || job.controller.signal.aborted) return;
      job.phase = "failed";
      rewind(job);
      show_phase(job);
      fail(error, job);
    }
  }

  /** A line of the stream. */
  function take(job, { event, step, losses, picture, download, problem, late }) {
    if (job !== state.job || job.controller.signal.aborted) return;
    if (event === "error") throw new stylizer.Problem(problem);
    if (event === "progress") {
      job.waits = download ? fetching(download) : "";
      if (losses?.total !== undefined) add_point(job, job.done + step, losses);
    } else {
      [job.picture, job.picture_step] = [to_blob(picture, event === "result" ? job.format : "jpeg"), job.done + step];
      show_picture(job);
    }
    if (event === "result") {
      job.phase = "done";
      job.late = late;
    }
    show_phase(job);
  }

  const fetching = ({ megabytes, of }) =>
    `Downloading the network: ${Math.round(megabytes)}${of ? ` of ${Math.round(of)}` : ""} MB…`;

  function add_point(job, step, losses) {
    const last = job.points.at(-1);
    if (last && step < last.step || last?.step === step && last.leg === job.done) return;        // told anew
    const weighted = Object.keys(job.weights).filter((name) => name in losses)
      .map((name) => [name, job.weights[name] * losses[name]]);
    if (last?.step === step) job.points.pop();  // the picture a pause was taken up with
    const parts = Object.fromEntries(weighted);
    job.points.push({ step, leg: job.done, at: performance.now(), total: losses.total, ...parts });
    draw_curve();
  }

  function to_blob(base64, format) {
    const bytes = Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
    return new Blob([bytes], { type: `image/${format}` });
  }

  async function show_picture(job) {
    const url = URL.createObjectURL(job.picture), phase = job.phase;
    job.urls.push(url);
    const image = Object.assign(new Image(), { src: url });
    await image.decode();                       // so that it replaces the one on show without a flash
    if (job !== state.job || job.shown_step > job.picture_step) return;
    job.shown_step = job.picture_step;
    set("classic-result", { src: url, hidden: false });
    set("classic-invitation", { hidden: true });
    set("classic-before", { hidden: !job.before });
    set("classic-compare", { hidden: !job.before });
    set("compare-choice", { hidden: !job.before });
    const stale = job.urls.filter((each) => each !== url && each !== job.before && each !== job.single_url);
    stale.slice(0, -2).forEach((each) => URL.revokeObjectURL(each));
    job.urls = job.urls.filter((each) => !stale.slice(0, -2).includes(each));
    if (job.phase !== "running") offer_download(job, url);
    job.url = url;
    job.size = [image.naturalWidth, image.naturalHeight];
    if (phase !== job.phase || job.phase === "done") show_phase(job);
  }

  function offer_download(job, url) {
    const download = stylizer.file_name(job, job.picture.type.replace("image/", ""), "-classic");
    set("classic-download", { href: url, hidden: false, download });
  }

  /** What the page says of the job as it is now. */
  function show_phase(job) {
    if (job !== state.job) return;
    const { phase, points, steps, waits } = job;
    const step = phase === "running" ? points.at(-1)?.step ?? 0 : job.picture_step;
    const running = phase === "running";
    const words = {
      running: waits || (points.length ? `Step ${step} of ${steps}` : "Getting ready…"),
      paused: `Paused at step ${step} of ${steps}`,
      failed: job.picture ? `Stopped at step ${step} of ${steps}` : "",
      stopped: job.picture ? `Cancelled at step ${step} of ${steps}: this is the picture so far` : "Cancelled",
      done: `${job.late ? `The server’s time was over at step ${step} of ${steps}` : `Done, ${step} ${step === 1 ? "step" : "steps"}`}`
        + (job.size ? `, ${job.size.join(" × ")} px` : ""),
    }[phase];
    set("classic-status", { children: words });
    set("classic-left", { children: running && !waits ? time_left(job) : "" });
    set("classic-frame", { "aria-busy": String(running) });
    set("classic-progress", { hidden: !points.length || phase === "done", value: String(step / steps) });
    set("classic-pause", { hidden: !running });
    set("classic-resume", { hidden: phase !== "paused" && !(phase === "failed" && job.picture) });
    set("classic-cancel", { hidden: !running && phase !== "paused" });
    set("classic-paint", { children: running || phase === "paused" ? "Paint anew" : "Paint" });
    if (!running && job.picture && job.url) offer_download(job, job.url);
    set("loss", { hidden: !points.length });
  }

  function time_left({ points, steps, done }) {
    const recent = points.filter(({ leg }) => leg === done).slice(-RATE_STEPS);
    if (recent.length < 3) return "";
    const pace = (recent.at(-1).at - recent[0].at) / (recent.at(-1).step - recent[0].step);
    const left = pace * (steps - recent.at(-1).step) / 1000;
    return left < 1 ? "" : `about ${stylizer.in_seconds(left)} left`;
  }

  /** The steps that no picture shows are lost with the request. */
  function rewind(job) {
    job.done = job.picture ? job.picture_step : 0;
    job.points = job.points.filter(({ step }) => step <= job.done);
    draw_curve();
  }

  function pause() {
    const { job } = state;
    if (job?.phase !== "running") return;
    job.phase = "paused";
    job.controller.abort();
    rewind(job);
    show_phase(job);
    get("classic-resume").focus({ preventScroll: true });
  }

  function resume() {
    const { job } = state;
    if (!["paused", "failed"].includes(job?.phase)) return;
    if (state.engine) return complain(PRIVATE);
    say("classic-result-note", "");
    run(job);
    get("classic-pause").focus({ preventScroll: true });
  }

  function cancel() {
    const { job } = state;
    if (!["running", "paused"].includes(job?.phase)) return;
    job.phase = "stopped";
    job.controller.abort();
    rewind(job);
    show_phase(job);
    get("classic-paint").focus({ preventScroll: true });
  }

  function forget(job) {
    if (job) setTimeout(() => job.urls.forEach((url) => URL.revokeObjectURL(url)), 1000);   // shown until replaced
  }

  function complain(words) {
    say("classic-note", words, true);
  }

  /** A failure in words, beside its cause. */
  function fail(error, job) {
    const known = error instanceof stylizer.Problem;
    const place = !known ? "classic-result-note"
      : ["style", "style_name"].includes(error.field) ? "classic-style-note"
      : error.place === "photo-note" ? "classic-photo-note"
      : error.field ? "classic-note" : "classic-result-note";
    const words = known ? error.message : "The connection to the server broke.";
    const more = job.picture && !error.field ? " The picture so far is kept: Go on takes it up again." : "";
    say(place, words + more, true);
  }

  // Compare ----------------------------------------------------------------------------------------------------------

  /** Under the divider lies the photo, or what the feed-forward network makes of it in the same style. */
  async function compare_with(what) {
    const { job } = state;
    if (!job) return;
    let src = job.before;
    if (what === "single") {
      set("compare-note", { children: "Painting it…" });
      job.single ??= job.begin ? Promise.resolve(job.begin) : stylizer.engine().post("api/v1/stylize", {
        content: job.content, ...job.painting, size: job.photo.width ? "original" : job.fields.size, format: "jpeg",
      });
      try {
        const blob = await job.single;
        if (job === state.job && !job.single_url) job.urls.push(job.single_url = URL.createObjectURL(blob));
        src = job.single_url;
      } catch (error) {
        job.single = null;
        if (job !== state.job) return;
        say("classic-result-note", stylizer.as_problem(error).message, true);
        set("compare-with", { value: "photo" });
      }
      set("compare-note", { children: "" });
    }
    if (job !== state.job) return;
    set("classic-before", { src, hidden: false });
    const unmoved = get("classic-compare").getAttribute("aria-valuenow") === "0";
    if (what === "single" && unmoved) stylizer.move_divider("classic-compare", 50);
  }

  // Polish -----------------------------------------------------------------------------------------------------------

  /** From the studio: go on from its result, with the heaviest of its styles that there is a picture of. */
  async function polish() {
    stylizer.open_tab("classic-tab");
    await open();
    if (!state.offers) return;                  // and the note says why
    const steps = Math.min(POLISH_STEPS, state.offers.bounds.steps);
    set("init", { value: "studio" });
    set("steps", { value: steps });
    const [found] = stylizer.polishable(state.wanted.style.parts);
    const painting = document.querySelector(`.paintings input[value="${CSS.escape(found)}"]`);
    if (!painting.checked) painting.click();
    // Dash answers when it comes to it: with the painting, and with the layers of a network that was just asked for.
    const taken = () => state.painting?.name === found && get("content-layer").value && get("init").value === "studio"
      && get("steps").value === String(steps) && !get("classic-paint").disabled;
    try {
      await stylizer.until(taken);
      get("classic-paint").click();
    } catch (error) {
      complain(error.message);
    }
  }

  /** The painting that is chosen, once Dash has it. */
  function note_painting(painting) {
    state.painting = painting;
  }

  // The loss curve: logarithmic, weighted parts and their sum -------------------------------------------------------

  const MARGIN = { left: 44, right: 10, top: 8, bottom: 24 };

  function draw_curve() {
    const box = get("loss-curve"), { job } = state;
    if (!job?.points.length || !box.clientWidth) return;
    const { points, steps } = job, [width, height] = [box.clientWidth, box.clientHeight];
    const values = points.flatMap((point) => CURVES.map((name) => point[name])).filter((value) => value > 0);
    // Ten thousandths of the most are not to be told from nothing; a decade at least, and whole ones.
    const top = Math.ceil(Math.log10(Math.max(...values)) - 1e-9);
    const bottom = Math.min(top - 1, Math.floor(Math.log10(Math.max(Math.min(...values), 10 ** (top - 4))) + 1e-9));
    const x = (step) => MARGIN.left + (width - MARGIN.left - MARGIN.right) * step / steps;
    const y = (value) => {
      const share = (top - Math.max(Math.log10(value), bottom)) / (top - bottom);
      return MARGIN.top + (height - MARGIN.top - MARGIN.bottom) * share;
    };
    const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
    for (let power = bottom; power <= top; power++) {
      const at = y(10 ** power);
      svg.append(shape("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: at, y2: at }));
      svg.append(shape("text", { x: MARGIN.left - 8, y: at + 4, "text-anchor": "end" }, decade(power)));
    }
    for (const [step, anchor] of [[0, "start"], [steps, "end"]]) {
      svg.append(shape("text", { x: x(step), y: height - 6, "text-anchor": anchor }, `${step ? "step " : ""}${step}`));
    }
    for (const name of CURVES) {
      const line = points.filter((point) => point[name] > 0)
        .map((point) => `${x(point.step).toFixed(1)},${y(point[name]).toFixed(1)}`).join(" ");
      if (line) svg.append(shape("polyline", { class: name, points: line }));
    }
    const [first, last] = [points[0], points.at(-1)];
    svg.append(shape("circle", { class: "total", cx: x(last.step), cy: y(last.total), r: 3.5 }));
    svg.setAttribute("aria-label",
      `Loss over steps: ${short(first.total)} at step ${first.step}, ${short(last.total)} at step ${last.step}`);
    box.replaceChildren(svg);
    for (const name of CURVES) set(`loss-${name}`, { children: last[name] === undefined ? "" : short(last[name]) });
  }

  function shape(name, attributes, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  const short = (value) => (value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(2))));
  const decade = (power) => (power < -3 || power > 4 ? `1e${power}` : String(Number((10 ** power).toPrecision(1))));

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    classic: {
      start, show_photo, own_paintings, choose, note_painting, follow_network, say_weight, show_seed, choose_photo,
      choose_style, paint, pause, resume, cancel, compare_with, polish,
    },
  });
})();
