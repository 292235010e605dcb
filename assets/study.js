/* A minute with one painting of the user's own: the server learns a study of it, the photo shows how it goes, and the
 * study stays in this page: it is sent along with each painting, and saved as a file or kept in the browser only if the user wants. */
"use strict";

window.stylizer ??= {};
stylizer.state ??= {};

(() => {
  const { state } = stylizer;
  Object.assign(state, {
    paintings: new Map(),           // {name of an own style: Blob of the painting, as it was sent}
    studies: new Map(),             // {id: Blob of the study}; earlier tries keep theirs
    studying: null,     // {name, controller, blob, first}: the one under way
    subject: null,      // name of the own style that the part below the wall is about
  });

  const SUFFIX = ".study.safetensors";
  const STORE = "studies";                      // in IndexedDB: what the user asked to keep, and nothing else
  // A step takes as long as so many paintings of 0.1 megapixels, seen in float32 on AVX2: to say the time beforehand.
  const PAINTINGS_A_STEP = 6, MEGAPIXELS = 0.1;

  const own = (name) => state.own.find((each) => each.name === name);

  /** Show what can be done with the style that is active in the mix; nothing for one of the gallery. */
  function show_study(mix) {
    const style = mix.slots[mix.active], mine = style && own(style.name);
    const there = mine && (state.paintings.has(mine.name) || mine.study);
    if (state.subject && state.subject !== mine?.name && !state.studying) stylizer.note("study-note", "");
    state.subject = there ? mine.name : null;
    if (!state.studying) rest();
  }

  /** As it is while nothing is being studied. */
  function rest() {
    const mine = own(state.subject);
    stylizer.set("study-part", { hidden: !mine });
    if (!mine) return;
    const here = stylizer.engine() !== stylizer.server;
    stylizer.set("study", {
      hidden: !state.paintings.has(mine.name), disabled: here || !state.page.studies,
      children: mine.study ? "Study it again" : "Study this painting",
    });
    stylizer.set("study-words", { children: words_before(mine, here) });
    stylizer.set("study-progress", { hidden: true });
    stylizer.set("study-stop", { hidden: true });
    const href = mine.study ? address_of(mine.study) : null;
    stylizer.set("study-save", { hidden: !href, href, download: `${file_stem(mine.title)}${SUFFIX}` });
    document.getElementById("study-keep").parentElement.hidden = !mine.study || !window.indexedDB;
    stylizer.set("study-keep", { value: Boolean(mine.kept) });
  }

  function words_before(mine, here) {
    if (!state.page.studies) return state.page.no_studies;
    if (here) return "Studies are made on the server: turn off “On this device” for it.";
    if (mine.study) return mine.kept ? "Studied, and kept in this browser." : "Studied. It is gone when you close the page.";
    const seconds = state.page.study_steps * PAINTINGS_A_STEP * stylizer.expect_seconds(MEGAPIXELS);
    const time = seconds ? `about ${stylizer.in_seconds(seconds)}` : "about a minute";
    return `Takes ${time} and comes closer to its brushwork.`;
  }

  const file_stem = (title) =>
    title.normalize("NFC").replace(/[^\p{L}\p{M}\p{N}_]+/gu, "-").replace(/^-+|-+$/g, "").toLowerCase() || "painting";

  /** A study's address, for the link that saves it. */
  function address_of(id) {
    const blob = state.studies.get(id);
    return blob.url ??= URL.createObjectURL(blob);
  }

  /** Learn the subject, on the photo of now; what is there when it is stopped is kept. */
  async function study() {
    const { subject: name, photo } = state;
    if (state.studying || !state.paintings.has(name)) return;
    const job = state.studying = { name, controller: new AbortController(), blob: null, first: null };
    stylizer.note("study-note", "");
    stylizer.set("study", { hidden: true });
    stylizer.set("study-save", { hidden: true });
    document.getElementById("study-keep").parentElement.hidden = true;
    stylizer.set("study-stop", { hidden: false, disabled: true });
    stylizer.set("study-progress", { hidden: false, max: String(state.page.study_steps), value: "0" });
    stylizer.set("study-words", { children: "Getting ready…" });
    try {
      const side = photo?.width && stylizer.preview_side(photo);
      await stylizer.server.post("api/v1/study", {
        style: state.paintings.get(name), steps: state.page.study_steps,
        content: photo ? await (side ? stylizer.copy_of(photo, side) : photo.file) : undefined,
      }, {
        signal: job.controller.signal, on_line: (line) => hear(job, line),
        on_wait: (words) => stylizer.set("study-words", { children: words }),
      });
    } catch (error) {
      if (!job.controller.signal.aborted) stylizer.note("study-note", stylizer.as_problem(error).message, "note error");
    }
    state.studying = null;
    if (job.blob) await keep_study(name, job.blob);
    rest();
  }

  function hear(job, { event, step, steps, picture, study, problem }) {
    if (problem) throw Object.assign(new stylizer.Problem(problem), { problem });
    if (event === "progress" && step) {
      job.first ??= { step, at: performance.now() };        // before it, networks were loaded
      const pace = (performance.now() - job.first.at) / 1000 / (step - job.first.step);
      const left = step > job.first.step ? `, about ${stylizer.in_seconds(pace * (steps - step))} left` : "";
      stylizer.set("study-progress", { value: String(step) });
      stylizer.set("study-words", { children: `Step ${step} of ${steps}${left}.` });
    }
    if (!study) return;
    job.blob = new Blob([bytes_of(study)]);
    stylizer.set("study-stop", { disabled: false });
    if (event === "preview") stylizer.show_in_passing(new Blob([bytes_of(picture)], { type: "image/jpeg" }));
  }

  const bytes_of = (text) => Uint8Array.from(atob(text), (each) => each.charCodeAt(0));

  function stop_study() {
    state.studying?.controller.abort();
  }

  /** From now on the style is painted by the study, wherever it stands in the mix. */
  async function keep_study(name, blob) {
    const mine = own(name), id = `${name}.${state.studies.size + 1}`;
    state.studies.set(id, blob);
    mine.study = id;
    if (mine.kept) await keep(mine);
    stylizer.paint_tiles({ own: [mine], signal: (state.wall ??= new AbortController()).signal });
    const { from } = state.wanted.style;
    state.live = state.asked = true;
    const slots = from.mix.slots.map((slot) => (slot.name === name ? stylizer.slot_of(name) : slot));
    stylizer.bring_back({ ...from, mix: { ...from.mix, slots } });
  }

  /** A file that is a study, dropped or chosen: a style of its own. */
  async function add_study(file) {
    const blob = new Blob([await file.arrayBuffer()]), id = `file.${state.studies.size + 1}`;
    const { vector } = await stylizer.engine().post("api/v1/vectors", { style: blob });
    state.studies.set(id, blob);
    await stylizer.add_style_of({ title: file.name.replace(SUFFIX, ""), vector: JSON.stringify(vector), study: id });
  }

  // Kept in this browser, if asked ----------------------------------------------------------------------------------

  /** What `work(store)` asks for, once it is done. */
  function in_store(mode, work) {
    return new Promise((resolve, reject) => {
      const opening = indexedDB.open("stylizer", 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "id" });
      opening.onerror = () => reject(opening.error);
      opening.onsuccess = () => {
        const database = opening.result, transaction = database.transaction(STORE, mode);
        const request = work(transaction.objectStore(STORE));
        transaction.oncomplete = () => { database.close(); resolve(request.result); };
        transaction.onerror = transaction.onabort = () => { database.close(); reject(transaction.error); };
      };
    });
  }

  async function keep(mine) {
    mine.kept ??= crypto.randomUUID();
    const { kept: id, title, vector, study } = mine;
    await in_store("readwrite", (store) => store.put({ id, title, vector, study: state.studies.get(study) }));
  }

  async function forget(mine) {
    const { kept } = mine;
    delete mine.kept;
    await in_store("readwrite", (store) => store.delete(kept));
  }

  /** The checkbox: keep the subject's study in this browser, or no longer. */
  async function keep_subject(wanted) {
    const mine = own(state.subject);
    if (!mine?.study || Boolean(wanted) === Boolean(mine.kept)) return;
    try {
      await (wanted ? keep : forget)(mine);
      rest();
    } catch {
      stylizer.note("study-note", "This browser keeps nothing here: save the study as a file.", "note error");
      stylizer.set("study-keep", { value: Boolean(mine.kept) });
    }
  }

  /** Tiles for what was kept here before, the choice left as it is. */
  async function recall_studies() {
    const kept = window.indexedDB ? await in_store("readonly", (store) => store.getAll()).catch(() => []) : [];
    for (const { id, title, vector, study } of kept) {
      state.studies.set(id, study);
      state.own.push({ name: `own-${state.own.length + 1}`, title, vector, study: id, kept: id, recalled: true });
    }
    if (kept.length) stylizer.set("own-styles", { data: [...state.own] });
  }

  const is_study = (file) => file.name.endsWith(".safetensors");

  Object.assign(stylizer, { show_study, study, stop_study, add_study, is_study, keep_subject, recall_studies });
})();
