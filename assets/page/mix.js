/* The mix: styles in slots; two are weighted by a slider, more by the pad. */

import { by_id, child, element, set } from "./dash.js";
import { move_handle, place_of, show_pad, weights_at } from "./pad.js";
import { own_style, paint_next, state } from "./state.js";
import { tiles } from "./wall.js";

/** @typedef {import("./state.js").Slot} Slot @typedef {import("./state.js").Mix} Mix
 *  @typedef {import("./state.js").WeighedMix} WeighedMix */

let mixed = 0;                                  // styles in the mix
let painted = "";                               // the weighted mix that was last passed on

export const percent = (weight) => `${Math.round(100 * weight)} %`;

/** A style of the wall as a slot of the mix. @param {string} name @returns {Slot} */
export function slot_of(name) {
  const mine = own_style(name), { titles } = state.page;
  if (mine) return { name, title: mine.title, style_vector: mine.vector, study: mine.study };
  return { name, title: Object.hasOwn(titles, name) ? titles[name] : name, style_name: name };
}

/** The mix of these styles with these weights. @param {Slot[]} slots @param {number[]} weights @returns {WeighedMix} */
export function mix_of(slots, weights) {
  const sum = weights.reduce((one, other) => one + other, 0), shares = weights.map((each) => each / sum);
  const place = slots.length > 2 ? place_of(shares) : /** @type {[number, number]} */ ([0, 0]);
  return { mix: { slots, active: 0 }, balance: shares[1] ?? 0.5, place };
}

/** Make this the current mix. @param {WeighedMix} weighed */
export function bring_back({ mix, balance, place }) {
  mixed = mix.slots.length;                     // keeps the weights
  set("balance", { value: balance });
  move_handle(place);
  set("restored", { data: mix });
}

/** Choose one to three other gallery styles, weighted at random, and paint them at once. */
export function surprise() {
  const all = Object.keys(state.page.titles), now = state.wanted?.style.parts ?? [];
  const others = all.filter((name) => !now.some(({ style_name }) => style_name === name));
  const names = others.length ? others : all;
  const count = Math.min(names.length, 1 + Math.floor(3 * Math.random()));
  const chosen = Array.from({ length: count }, () => names.splice(Math.floor(names.length * Math.random()), 1)[0]);
  paint_next();
  bring_back(mix_of(chosen.map(slot_of), chosen.map(() => 0.2 + Math.random())));
}

/** A tile fills the active slot of the mix; buttons add, activate and remove slots. */
export function choose({ own, originals, masters, own_styles, restored, mix }, triggered) {
  const [id = ""] = triggered;
  const slots = [...(id === "restored" ? restored : mix)?.slots ?? []];
  const [, part, digits] = /^(slot|drop)-(\d+)$/.exec(id) ?? [], index = Number(digits);
  let active = mix?.active ?? 0;
  if (id === "restored") {
    active = restored.active;
    painted = "";                               // requested: paint even what was painted last
  } else if (id === "mix-add") {
    active = slots.push(null) - 1;
    document.querySelector(".gallery")?.scrollIntoView({ block: "nearest" });       // on a phone it may be off-screen
  } else if (part === "slot") active = index;
  else if (part === "drop") {
    const [dropped] = slots.splice(index, 1);
    if (!slots.some(Boolean)) slots.splice(0, slots.length, dropped);       // there is always at least one style
    active = Math.min(active > index ? active - 1 : active, slots.length - 1);
    by_id("mix-add").focus();                   // the focused button may be gone
  } else if (id !== "own-styles" || !own_styles.at(-1)?.recalled) {     // recalled styles do not change the choice
    const chosen = { own, "own-styles": own_styles.at(-1)?.name, originals, masters }[id] ?? originals ?? masters;
    slots[active] = slot_of(chosen);
  }
  const name = slots[active]?.name;
  const among = (names) => (names.includes(name) ? name : null);
  const shown_in = (id) => tiles().filter(({ tile }) => tile.closest(`#${id}`)).map(({ name }) => name);
  return {
    mix: { slots, active }, own: among(own_styles.map((each) => each.name)),
    originals: among(shown_in("originals")), masters: among(shown_in("masters")),
  };
}

/** The mix with its weights: 1 for one style, from the slider for two, from the handle on the pad for more. */
export function weigh({ mix, balance, place }, triggered) {
  const styles = mix.slots.filter(Boolean), count = styles.length;
  if (count !== mixed) {                        // a different number of styles starts with equal weights
    mixed = count;
    [balance, place] = [0.5, [0, 0]];
    set("balance", { value: balance });
    move_handle(place);
  }
  const weights = count === 1 ? [1] : count === 2 ? [1 - balance, Number(balance)] : weights_at(count, place);
  const words = styles.map(({ title }, index) => `${title} ${percent(weights[index])}`).join(", ");
  show_slots(mix, weights);
  set("balance-row", { hidden: count !== 2 });
  if (count === 2) by_id("balance").setAttribute("aria-valuetext", words);
  show_pad(count, place, weights, words);
  const parts = styles.map(({ style_name, style_vector, study }, index) => ({
    style_name, style_vector, study, weight: weights[index].toFixed(4),
  }));
  const title = styles.map((style) => style.title).join(" + ");
  if (JSON.stringify(parts) === painted) return {};
  painted = JSON.stringify(parts);
  const moved = triggered.length === 1 && triggered[0] !== "mix";
  const from = { mix: { slots: styles, active: Math.max(0, styles.indexOf(mix.slots[mix.active])) }, balance, place };
  return { style: { title, parts, moved, from }, style_caption: title };
}

function show_slots({ slots, active }, weights) {
  const shares = weights.values(), most = state.page.max_styles;
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
    by_id(`slot-${index}`).setAttribute("aria-pressed", String(index === active));
    set(`drop-${index}`, { children: ["×", element("Span", {
      children: ` Remove ${style?.title ?? "the empty place"}`, className: "unseen",
    })] });
  }
  set("mix-add", { disabled: slots.length === most || slots.includes(null) });
  for (const { tile, name } of tiles()) {
    const numbers = slots.flatMap((style, index) => (style?.name === name && slots.length > 1 ? [index + 1] : []));
    child(tile, "label").dataset.mixed = numbers.join(" ");
  }
}
