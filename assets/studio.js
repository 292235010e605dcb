/* What starts the page, and what its other scripts share. Dash holds what was chosen, and calls functions of `stylizer`
 * as stylizer/web/callbacks.py says; the pixels are here: the browser turns photos upright and shrinks them (so no EXIF
 * leaves it), posts them to the HTTP API and shows the answers.
 *
 * Scripts load in any order: each adds its functions to `stylizer` and what it keeps to `stylizer.state`, and uses the
 * others' only when called. */
"use strict";

window.stylizer ??= {};
stylizer.state ??= {};

(() => {
  const { state } = stylizer;
  Object.assign(state, {
    page: null,         // what layout.py tells: addresses and bounds
  });

  const PATIENCE = 150;                         // ms of work that need no word
  const LOOK = 20, LOST = 20000;                // ms between looks at what Dash is at, and until it is given up

  const set = (id, props) => window.dash_clientside.set_props(id, props);
  const note = (id, text, className = "note") => set(id, { children: text, className });

  const element = (type, props) => ({ namespace: "dash_html_components", type, props });

  /** Wait for the condition, which Dash brings about when it comes to it; throws Problem where it never does. */
  async function until(condition) {
    for (const end = performance.now() + LOST; !condition();) {
      if (performance.now() > end) throw new stylizer.Problem({ detail: "the page lost its way; try again" });
      await new Promise((resolve) => setTimeout(resolve, LOOK));
    }
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
      const taken = event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey;
      if (taken || !Object.hasOwn(table, event.key)) return;
      event.preventDefault();
      take(table[event.key]);
    });
  }

  /** Tabs as ARIA has them: one is in the tab order, arrow keys go to the others. */
  function make_tabs() {
    const tabs = [...document.querySelectorAll("[role=tab]")];
    const beside = (step) => tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    for (const tab of tabs) {
      tab.addEventListener("click", () => open_tab(tab.id));
      keys(tab, { ArrowLeft: -1, ArrowRight: 1 }, (step) => { beside(step).focus(); open_tab(beside(0).id); });
    }
  }

  /** Show the panel of this tab, "studio-tab" or "classic-tab". */
  function open_tab(id) {
    for (const tab of document.querySelectorAll("[role=tab]")) {
      const open = tab.id === id;
      tab.setAttribute("aria-selected", open);
      tab.tabIndex = open ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !open;
    }
  }

  async function start(page) {
    state.page = page;
    make_tabs();
    stylizer.make_file_input("photo-file", "photo-drop", "photo-note", stylizer.take_photo);
    stylizer.make_file_input("style-file", "style-drop", "style-note", stylizer.take_style);
    stylizer.take_drops();
    stylizer.take_pastes();
    stylizer.make_camera();
    stylizer.watch_tiles();
    stylizer.make_divider();
    stylizer.make_zoom();
    stylizer.make_code();
    document.getElementById("size").setAttribute("aria-describedby", "size-cost");
    stylizer.make_pad();
    document.addEventListener("keydown", stylizer.undo_by_keyboard);
    document.getElementById("search").addEventListener("keydown", stylizer.search_by_keyboard);
    try {
      const sample = await (await fetch(page.sample)).blob();
      const photo = await stylizer.read_photo(new File([sample], "sample.jpg", { type: sample.type }));
      if (!state.choices) await stylizer.adopt(photo);
    } catch {
      note("photo-note", "The sample photo could not be loaded: choose one of your own.", "note error");
    }
    await stylizer.recall_studies();
    stylizer.open_link();
  }

  function say_strength(strength) {
    return say("strength", `${Math.round(100 * strength)} %`);
  }

  function say_scale(log_scale) {
    return say("style-scale", `× ${(2 ** log_scale).toFixed(2)}`);
  }

  /** A slider's value in words, for the eye and for screen readers. */
  function say(id, words) {
    document.getElementById(id).setAttribute("aria-valuetext", words);
    return words;
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, { studio: stylizer });
  Object.assign(stylizer, {
    PATIENCE, set, note, until, element, drag, keys, open_tab, start, say_strength, say_scale,
  });
})();
