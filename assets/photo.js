/* Pictures coming in: the photo and the user's own styles, chosen, dropped or pasted. */
"use strict";

window.stylizer ??= {};
stylizer.state ??= {};

(() => {
  const { state } = stylizer;
  Object.assign(state, {
    photo: null,        // see pictures.js
    choices: 0,         // photos chosen so far: a later one overtakes an earlier one
    own: [],            // the user's styles: {name, title, picture, vector, study}
    taking: Promise.resolve(),      // own styles are taken one after the other
  });

  const STYLE_SIDE = 1024;                      // px at which an own style is sent: it is read at 384

  /** Make a File the photo, once the server has taken it; until then, and if it does not, the one before stays. */
  async function take_photo(file) {
    const choice = ++state.choices;
    const said = setTimeout(stylizer.note, stylizer.PATIENCE, "photo-note", "Looking at the photo…");
    try {
      const photo = await stylizer.read_photo(file);
      await judge(photo);
      if (choice !== state.choices) return;
      await adopt(photo);
      stylizer.fill_wall();
    } catch (error) {
      if (choice === state.choices) say_fault("photo-note", file, error);
    } finally {
      clearTimeout(said);
    }
  }

  function say_fault(place, file, error) {
    stylizer.note(place, `${file.name}: ${stylizer.as_problem(error).message}`, "note error");
  }

  /** Throws Problem for a photo that the server refuses: a small painting is tried, so its bounds stand there alone. */
  async function judge(photo) {
    try {
      const since = performance.now();
      await stylizer.engine().post("api/v1/stylize", {
        content: await stylizer.copy_of(photo, stylizer.SHOWN_SIDE),
        style_name: state.page.first_style,
        size: photo.width ? stylizer.preview_side(photo) : stylizer.SHOWN_SIDE,
        format: "jpeg",
      }, { retries: [] });
      const pixels = stylizer.megapixels(photo, stylizer.preview_side(photo), 1)?.in_all;
      if (pixels) stylizer.learn_pace(pixels, (performance.now() - since) / 1000);
    } catch (error) {
      if (!error.away) throw error;             // a server that is away or busy judges when it paints
    }
  }

  async function adopt(photo) {
    const { name, width, height } = photo;
    const shown = width ? URL.createObjectURL(await stylizer.copy_of(photo, stylizer.SHOWN_SIDE)) : null;
    if (state.photo?.shown) URL.revokeObjectURL(state.photo.shown);
    state.photo = Object.assign(photo, { shown });
    stylizer.set("photo-picture", { src: shown, hidden: !shown });
    stylizer.set("photo-caption", { children: width ? `${name}, ${width} × ${height} px` : name });
    stylizer.set("studio", { style: width ? { "--aspect": width / height } : {} });
    stylizer.note("photo-note", shown ? "" : "This browser cannot show this format; it will be painted all the same.");
    stylizer.set("photo", { data: { name, width, height, choice: state.choices } });
  }

  /** Make a File a style: the server's hundred numbers for it are kept, so the picture is sent only once. */
  function take_style(file) {
    state.taking = state.taking.then(() => add_style(file));
  }

  async function add_style(file) {
    const said = setTimeout(stylizer.note, stylizer.PATIENCE, "style-note", "Looking at the painting…");
    try {
      if (stylizer.is_study(file)) {
        await stylizer.add_study(file);
        return stylizer.note("style-note", "");
      }
      const painting = await stylizer.read_photo(file);
      const picture = await stylizer.copy_of(painting, STYLE_SIDE);
      const { vector } = await stylizer.engine().post("api/v1/vectors", { style: picture });
      const shown = painting.width ? URL.createObjectURL(picture) : undefined;
      await add_vector(JSON.stringify(vector), painting.name, shown, picture);
      stylizer.note("style-note", "");
    } catch (error) {
      say_fault("style-note", file, error);
    } finally {
      clearTimeout(said);
    }
  }

  /** A tile for this vector, JSON, unless there is one; gives its name once it is drawn. */
  async function add_vector(vector, title = "Shared style", picture = undefined, painting = undefined) {
    const there = state.own.find((each) => each.vector === vector && !each.study && !picture);
    return there ? there.name : add_style_of({ title, vector, picture }, painting);
  }

  /** A tile for {title, vector, picture, study}, of which the last two may be missing; `painting`: what it was read
   *  from, to be studied. */
  async function add_style_of(style, painting = undefined) {
    const own = { name: `own-${state.own.length + 1}`, ...style };
    if (painting) state.paintings.set(own.name, painting);
    state.own.push(own);
    stylizer.set("own-styles", { data: [...state.own] });
    await stylizer.tile_there(own.name);
    stylizer.paint_tiles({ own: [own], signal: (state.wall ??= new AbortController()).signal });
    return own.name;
  }

  function make_file_input(id, parent, described_by, take) {
    const accept = id === "style-file" ? "image/*,.safetensors" : "image/*";
    const input = Object.assign(document.createElement("input"), { type: "file", id, accept });
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

  const CODE = /^\S*\bstyle\d+\.[\w-]+$/;

  /** A picture that is pasted anywhere is the photo; a style code pasted where no text is typed is opened. */
  function take_pastes() {
    document.addEventListener("paste", (event) => {
      const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
      const text = event.clipboardData.getData("text/plain").trim();
      if (file) take_photo(new File([file], file.name.replace(/^image\./, "pasted."), { type: file.type }));
      else if (CODE.test(text) && !event.target.closest("input, textarea")) stylizer.open_code(text);
      else return;
      event.preventDefault();
    });
  }

  Object.assign(stylizer, {
    take_photo, adopt, take_style, add_vector, add_style_of, make_file_input, take_drops, take_pastes,
  });
})();
