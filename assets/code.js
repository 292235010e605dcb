/* The style code: the mix, strength and stroke size as a short text, so that a style can be shared without any picture.
 *
 *     style1.<base64url of: strength and stroke size in %, keep colours, parts; a part each; CRC-32 of all before>
 *
 * A part is its weight (two bytes, of 10000) and a gallery name (length, then UTF-8), or for an own style a zero, the
 * predictor's checksum (four bytes: other weights have other vectors) and its vector: 100 int16 after their scale, a
 * float32. Numbers are big-endian. Whoever writes one by hand may say anything, so what is read is checked by the rules
 * that the server has for a mix. */
"use strict";

window.stylizer ??= {};
stylizer.state ??= {};

(() => {
  const { state } = stylizer;
  Object.assign(state, {
    code: "",           // of what is wanted now,
    lacking: false,     // and whether it lacks a study that is wanted, too
    foreign: new Set(), // vectors, JSON, of own styles that other weights made
  });

  const VERSION = "1";
  const FOREIGN = "This code comes from other weights: it may look different here.";
  const STUDIED = "A code cannot hold your study, only the first impression of the painting. Save the study, and share "
    + "the file: it is dropped on the wall.";
  const NAME_SHOWN = 60;                        // characters of a name that the gallery does not know
  const VECTOR = 100, WHOLE = 10000, INT16 = 32767;
  const LONGEST = 4096;                         // characters of a code: five own styles take 1,500

  // Bytes ------------------------------------------------------------------------------------------------------------

  function crc32(bytes) {
    let crc = ~0;
    for (const byte of bytes) {
      crc ^= byte;
      for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >>> 1 ^ 0xedb88320 : crc >>> 1;
    }
    return ~crc >>> 0;
  }

  const to_text = (bytes) =>
    btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

  const to_bytes = (text) =>
    Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (each) => each.charCodeAt(0));

  /** The bytes of numbers of one of DataView's types: number_bytes("Int16", 100, -3). */
  function number_bytes(type, ...numbers) {
    const size = { Uint16: 2, Int16: 2, Uint32: 4, Float32: 4 }[type];
    const view = new DataView(new ArrayBuffer(size * numbers.length));
    numbers.forEach((number, index) => view[`set${type}`](size * index, number));
    return [...new Uint8Array(view.buffer)];
  }

  // Writing and reading ----------------------------------------------------------------------------------------------

  function write({ parts, strength, style_scale, keep_colors }) {
    const percents = [strength, style_scale].map((each) => Math.round(100 * each));
    const bytes = [...percents, Number(Boolean(keep_colors)), parts.length, ...parts.flatMap(write_part)];
    return `style${VERSION}.${to_text([...bytes, ...number_bytes("Uint32", crc32(bytes))])}`;
  }

  function write_part({ style_name, style_vector, weight }) {
    const share = number_bytes("Uint16", Math.round(WHOLE * weight));
    if (style_name) {
      const name = new TextEncoder().encode(style_name);
      return [...share, name.length, ...name];
    }
    const vector = JSON.parse(style_vector), scale = Math.max(1e-6, ...vector.map(Math.abs)) / INT16;
    return [
      ...share, 0, ...number_bytes("Uint32", model()), ...number_bytes("Float32", scale),
      ...number_bytes("Int16", ...vector.map((each) => Math.round(each / scale))),
    ];
  }

  const model = () => crc32(new TextEncoder().encode(state.page.model));

  /** What a code or a link with one says; throws Problem where it says nothing or more than a mix may be. */
  function read(text) {
    if (text.length > LONGEST) throw refusal("this is longer than any style code; copy the code alone");
    const [, version, body] = /(?:^|#)style(\d+)\.([\w-]+)$/.exec(text.trim()) ?? [];
    if (!body) throw refusal("this is no style code; one looks like style1.UGQAAQ… and is copied whole");
    if (version !== VERSION) {
      throw refusal(`this code is of version ${version}, and this page reads version ${VERSION}; reload the page`);
    }
    let mix;
    try {
      mix = read_bytes(to_bytes(body));
    } catch {
      throw refusal("this code is damaged: characters are missing or changed; copy it again, whole");
    }
    const wrong = wrong_in(mix);
    if (wrong) throw refusal(`this code cannot be painted: ${wrong}`);
    return mix;
  }

  /** What is wrong with a mix, in words; empty where nothing is. The server's own bounds, of layout.py. */
  function wrong_in({ strength, style_scale, parts }) {
    const { bounds, max_styles, titles } = state.page;
    const numbers = parts.flatMap(({ vector = [] }) => vector);
    const missing = parts.find(({ name }) => name !== undefined && !Object.hasOwn(titles, name));
    const beyond = (value, [least, most]) => !(value >= least && value <= most);
    if (!parts.length) return "it names no style";
    if (parts.length > max_styles) return `it mixes ${parts.length} styles, and at most ${max_styles} are mixed`;
    if (beyond(strength, bounds.strength)) {
      return `its strength is ${percent(strength)}, and goes from ${bounds.strength.map(percent).join(" to ")}`;
    }
    if (beyond(style_scale, bounds.style_scale)) {
      return `its strokes are ${style_scale} times as large, and may be ${bounds.style_scale.join(" to ")} times`;
    }
    if (parts.some(({ weight }) => beyond(weight, [0, 1])) || !parts.some(({ weight }) => weight > 0)) {
      return "its weights go from 0 to 1, and not all may be 0";
    }
    if (numbers.some((each) => beyond(Math.abs(each), [0, bounds.vector]))) {
      return `the numbers of its own styles go from −${bounds.vector} to ${bounds.vector}`;
    }
    return missing ? `this gallery has no style ${missing.name.slice(0, NAME_SHOWN)}` : "";
  }

  const percent = (share) => `${Math.round(100 * share)} %`;

  function read_bytes(bytes) {
    const view = new DataView(bytes.buffer), end = bytes.length - 4;
    if (crc32(bytes.slice(0, end)) !== view.getUint32(end)) throw new RangeError("checksum");
    const [strength, style_scale] = [bytes[0] / 100, bytes[1] / 100];
    const parts = [];
    let at = 4, foreign = false;
    for (let index = 0; index < bytes[3]; index++) {
      const weight = view.getUint16(at) / WHOLE, length = bytes[at + 2];
      at += 3;
      if (length) {
        parts.push({ weight, name: new TextDecoder("utf-8", { fatal: true }).decode(bytes.slice(at, at + length)) });
        at += length;
        continue;
      }
      foreign ||= view.getUint32(at) !== model();
      const scale = view.getFloat32(at + 4);
      const numbers = Array.from({ length: VECTOR }, (_, place) => view.getInt16(at + 8 + 2 * place) * scale);
      parts.push({ weight, vector: numbers.map((each) => Number(each.toPrecision(6))) });
      at += 8 + 2 * VECTOR;
    }
    if (at !== end) throw new RangeError("length");
    return { strength, style_scale, keep_colors: Boolean(bytes[2]), parts, foreign };
  }

  const refusal = (detail) => new stylizer.Problem({ detail });

  // On the page ------------------------------------------------------------------------------------------------------

  const note = (words, className) => stylizer.note("code-note", words, className);

  /** Words below the code, which are seen: they come from links and pastes too, while the part is closed. */
  function tell(words, className) {
    note(words, className);
    if (words) stylizer.set("sharing", { open: true });
  }

  /** Keep the field at what is wanted now, but where someone types in it; what was said of a code stands until then. */
  function show_code({ style, strength, style_scale, keep_colors }) {
    const before = state.code, lacking = state.lacking;
    state.code = write({ parts: style.parts, strength, style_scale, keep_colors });
    state.lacking = style.parts.some(({ study }) => study);
    if (state.code === before && state.lacking === lacking) return;
    const foreign = style.parts.some(({ style_vector }) => state.foreign.has(style_vector));
    if (before && foreign && !state.lacking) tell(FOREIGN);
    else if (before) note(state.lacking ? STUDIED : "");
    const field = document.getElementById("code");
    if (document.activeElement !== field || !field.value) stylizer.set("code", { value: state.code });
  }

  /** Choose what a code says, and paint it; `complains`: say so where it cannot be read. */
  async function open_code(text, complains = true) {
    if (!text.trim() || text === state.code) return;
    try {
      const { parts, strength, style_scale, keep_colors, foreign } = read(text);
      const slots = [];
      for (const { name, vector } of parts) {
        const numbers = JSON.stringify(vector);
        if (vector && foreign) state.foreign.add(numbers);
        slots.push(stylizer.slot_of(name ?? await stylizer.add_vector(numbers)));
      }
      state.live = state.asked = true;
      stylizer.set("strength", { value: strength });
      stylizer.set("style-scale", { value: Math.round(4 * Math.log2(style_scale)) / 4 });
      stylizer.set("keep-colors", { value: keep_colors });
      stylizer.bring_back(stylizer.mix_of(slots, parts.map(({ weight }) => weight)));
      tell(foreign ? FOREIGN : "");
    } catch (error) {
      if (complains) await complain_of(error);
    }
  }

  /** Say what is wrong with a code, and bring it into view: on a phone a link's reader is elsewhere. */
  async function complain_of(error) {
    const { message } = stylizer.as_problem(error), place = document.getElementById("code-note");
    tell(message, "note error");
    await stylizer.until(() => place.textContent === message).catch(() => {});
    place.scrollIntoView({ block: "nearest" });
  }

  function make_code() {
    const field = document.getElementById("code");
    const was_pasted = ({ inputType }) => inputType === "insertFromPaste";
    field.addEventListener("input", (event) => open_code(field.value, was_pasted(event)));
    field.addEventListener("change", () => open_code(field.value));
    field.addEventListener("focus", () => field.select());
    field.addEventListener("blur", () => {
      if (!document.getElementById("code-note").textContent) stylizer.set("code", { value: state.code });
    });
    document.getElementById("share").addEventListener("click", share);
    window.addEventListener("hashchange", open_link);
  }

  /** A style in the page's address, after #: it never reaches the server. */
  function open_link() {
    if (location.hash.length > 1) return open_code(location.hash);
  }

  async function share() {
    const link = `${location.origin}${location.pathname}#${state.code}`;
    try {
      await navigator.clipboard.writeText(link);
      tell("The link is on the clipboard.");
    } catch {
      tell(link);                               // to be copied by hand
    }
  }

  Object.assign(stylizer, { show_code, open_code, open_link, make_code });
})();
