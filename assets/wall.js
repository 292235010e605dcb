/* The wall: the photo in every style, small; and the search in it. */
"use strict";

window.stylizer ??= {};
stylizer.state ??= {};

(() => {
  const { state } = stylizer;
  Object.assign(state, {
    in_view: new Set(),             // names of the tiles that are on the screen
    wall: null,         // AbortController of the wall under way
  });

  const TILE = [180, 120];                      // px of a tile of the wall on a plain display,
  const DENSE_TILE = [240, 160];                // and on one with more than a pixel and a half per CSS pixel

  const tiles = () => [...document.querySelectorAll(".tiles .form-check")].map((tile) => ({
    tile, name: tile.querySelector("input").value, image: tile.querySelector("img"),
  }));

  const tile_image = (name) => document.querySelector(`.tiles input[value="${CSS.escape(name)}"] + label img`);

  /** Paint the photo on every tile: own styles first, then what is on the screen, then the rest. */
  async function fill_wall() {
    state.wall?.abort();
    const { signal } = state.wall = new AbortController();
    if (!state.photo) return;                   // the sample could not be loaded, and there is none yet
    for (const { name, image } of tiles()) {    // until its painting comes, a tile shows the sample photo
      image.classList.add("waiting");
      if (state.in_view.has(name) && image.dataset.src) image.src = image.dataset.src;
      else if (image.dataset.src) image.removeAttribute("src");
    }
    const names = Object.keys(state.page.titles);
    names.sort((one, other) => state.in_view.has(other) - state.in_view.has(one));
    if (state.own.length) await paint_tiles({ own: state.own, signal });
    await paint_tiles({ names, signal });
  }

  /** Paint these tiles as the server sends them; a failure leaves the sample there and is told beside the wall. */
  async function paint_tiles({ own = [], names = [], signal }) {
    const size = window.devicePixelRatio > 1.5 ? DENSE_TILE : TILE;
    const [studied, bare] = [own.filter(({ study }) => study), own.filter(({ study }) => !study)];
    const order = [...studied.map(({ name }) => name), ...names, ...bare.map(({ name }) => name)];
    if (!state.photo) return;
    try {
      await stylizer.engine().post("api/v1/wall", {
        content: await stylizer.tile_of(state.photo, size), size: size[0],
        style: studied.map(({ study }) => state.studies.get(study)),
        style_name: names, style_vector: bare.map(({ vector }) => vector),
      }, { signal, on_tile: ({ index, picture }) => {
        const image = tile_image(order[index]);
        if (signal.aborted || !image) return URL.revokeObjectURL(picture);
        image.addEventListener("load", () => URL.revokeObjectURL(picture), { once: true });
        image.src = picture;
        image.classList.remove("waiting");
      } });
    } catch (error) {
      if (signal.aborted) return;
      order.forEach((name) => tile_image(name)?.classList.remove("waiting"));
      const { message } = stylizer.as_problem(error);
      stylizer.note("style-note", `The gallery cannot show your picture: ${message}`, "note error");
    }
  }

  /** Dash draws a new tile when it comes to it. */
  const tile_there = (name) => stylizer.until(() => tile_image(name));

  /** Know which tiles are on the screen, and load the sample there: html.Img has no loading="lazy". */
  function watch_tiles() {
    const chosen = document.querySelector(".tiles input:checked").parentElement;
    chosen.parentElement.scrollLeft = chosen.offsetLeft - chosen.parentElement.offsetLeft - chosen.offsetWidth / 2;
    const observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const name = target.closest(".form-check").querySelector("input").value;
        state.in_view[isIntersecting ? "add" : "delete"](name);
        if (isIntersecting && !target.getAttribute("src")) target.src = target.dataset.src;
      }
    }, { rootMargin: "200px" });
    document.querySelectorAll("img[data-src]").forEach((image) => observer.observe(image));
  }

  function own_tiles(own_styles) {
    return own_styles.map(({ name, title, picture }) => ({
      value: name,
      label: [
        stylizer.element("Img", { src: picture, alt: "" }),
        stylizer.element("Img", { src: picture, alt: "", className: "painting" }),
        stylizer.element("Span", { children: title, className: "title" }),
      ],
    }));
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

  Object.assign(stylizer, {
    tiles, fill_wall, paint_tiles, tile_there, watch_tiles, own_tiles, search, search_by_keyboard,
  });
})();
