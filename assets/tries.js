/* The strip of what was painted so far; undo and redo. */
"use strict";

window.stylizer ??= {};
stylizer.state ??= {};

(() => {
  const { state } = stylizer;
  Object.assign(state, {
    tries: [],          // paintings in full so far, the newest last: {key, photo, thumb, words, settings, from}
    current: -1,        // the one on show
  });

  const THUMB_HEIGHT = 96;
  const TYPED = "input:is([type=search], [type=text], [type=number]), textarea";

  /** Keep a painting's settings in the strip; one that was there before is only marked. */
  function remember({ photo, style, strength, style_scale, size, format, keep_colors }, picture) {
    const settings = { strength, "style-scale": Math.log2(style_scale), size, format, "keep-colors": keep_colors };
    const key = JSON.stringify([style.parts, Object.values(settings).map(String)]);
    state.current = state.tries.findIndex((each) => each.key === key && each.photo === photo);
    if (state.current < 0) {
      const { naturalWidth, naturalHeight } = picture;
      const width = Math.max(1, Math.round(THUMB_HEIGHT * naturalWidth / naturalHeight));
      const thumb = stylizer.draw(picture, width, THUMB_HEIGHT).toDataURL("image/webp", 0.8);
      const words = `${style.title}, ${stylizer.percent(strength)}`;
      state.tries.push({ key, photo, thumb, words, settings, from: style.from });
      if (state.tries.length > state.page.tries) state.tries.shift();
      state.current = state.tries.length - 1;
    }
    show_tries();
  }

  function show_tries() {
    const { tries, current } = state;
    stylizer.set("tries", { hidden: tries.length < 2 });
    stylizer.set("undo", { disabled: current <= 0 });
    stylizer.set("redo", { disabled: current >= tries.length - 1 });
    tries.forEach(({ thumb, words }, index) => {
      stylizer.set(`try-${index}`, { hidden: false, title: words, children: [
        stylizer.element("Img", { src: thumb, alt: "" }),
        stylizer.element("Span", { children: `Try ${index + 1}: ${words}`, className: "unseen" }),
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
    for (const [id, value] of Object.entries(settings)) stylizer.set(id, { value });
    stylizer.bring_back(from);
    if (photo === state.photo) return;
    state.choices++;                            // a photo on its way in comes too late
    await stylizer.adopt(photo);
    stylizer.fill_wall();
  }

  /** Undo and redo by the usual keys, but where text is typed. */
  function undo_by_keyboard(event) {
    const elsewhere = document.getElementById("studio").hidden || event.target.matches(TYPED);
    if (!(event.ctrlKey || event.metaKey) || elsewhere) return;
    const key = event.key.toLowerCase();
    const button = key === "z" ? (event.shiftKey ? "redo" : "undo") : key === "y" ? "redo" : null;
    if (!button) return;
    event.preventDefault();
    document.getElementById(button).click();
  }

  function recall() {
    const { triggered_id } = window.dash_clientside.callback_context;
    const step = { undo: -1, redo: 1 }[triggered_id];
    const index = step ? state.current + step : Number(triggered_id.replace("try-", ""));
    if (!state.tries[index]) return;
    state.current = index;
    restore(state.tries[index]);
  }

  Object.assign(stylizer, { remember, undo_by_keyboard, recall });
})();
