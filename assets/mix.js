/* The mix: up to five styles; two are weighed by a slider, more by a handle on a pad whose corners they are. */
"use strict";

window.stylizer ??= {};
stylizer.state ??= {};

(() => {
  const { state } = stylizer;
  Object.assign(state, {
    mixed: 0,           // styles in the mix,
    handle: [0, 0],     // its place on the pad: keys may be pressed faster than Dash tells
    painted: "",        // and the mix with its weights as it was last given on
  });

  const PAD_RADIUS = 0.42;                      // of the pad's side
  const SNAP = 0.08;                            // this near a corner, a pointer is in it
  const STEP = 0.06;                            // of the handle by an arrow key
  const PAD_KEYS = {
    ArrowLeft: ([x, y]) => [x - STEP, y], ArrowRight: ([x, y]) => [x + STEP, y],
    ArrowUp: ([x, y]) => [x, y - STEP], ArrowDown: ([x, y]) => [x, y + STEP], Home: () => [0, 0],
    ...Object.fromEntries([1, 2, 3, 4, 5].map((number) => [number, (at) => corners(state.mixed)[number - 1] ?? at])),
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
      state.handle = onto_pad(state.mixed, point);
      stylizer.set("place", { data: state.handle });
    };
    const follow_pointer = ({ clientX, clientY }) => {
      const { left, top, width, height } = pad.getBoundingClientRect();
      const point = [(clientX - left) / width, (clientY - top) / height].map((each) => (each - 0.5) / PAD_RADIUS);
      move(snapped(state.mixed, point));
    };
    stylizer.drag(pad, follow_pointer, handle);
    pad.addEventListener("pointerdown", follow_pointer);
    stylizer.keys(handle, PAD_KEYS, (next) => move(next(state.handle)));
  }

  const on_pad = ([x, y]) => ({ left: `${50 + 100 * PAD_RADIUS * x}%`, top: `${50 + 100 * PAD_RADIUS * y}%` });
  const percent = (weight) => `${Math.round(100 * weight)} %`;
  const in_words = (styles, weights) =>
    styles.map(({ title }, index) => `${title} ${percent(weights[index])}`).join(", ");

  function show_mix({ slots, active }, weights, most) {
    const shares = weights.values();
    for (let index = 0; index < most; index++) {
      const style = slots[index], many = slots.length > 1;
      stylizer.set(`row-${index}`, { hidden: index >= slots.length || !many });
      if (index >= slots.length) continue;
      const words = style?.title ?? "Choose a style from the wall";
      stylizer.set(`slot-${index}`, { className: `minor slot${index === active ? " active" : ""}`, children: [
        stylizer.element("Span", { children: String(index + 1), className: "number" }),
        stylizer.element("Span", { children: words, className: "title" }),
        stylizer.element("Span", { children: style ? percent(shares.next().value) : "", className: "value" }),
      ] });
      document.getElementById(`slot-${index}`).setAttribute("aria-pressed", index === active);
      stylizer.set(`drop-${index}`, { children: ["×", stylizer.element("Span", {
        children: ` Take out ${style?.title ?? "the empty place"}`, className: "unseen",
      })] });
    }
    stylizer.set("mix-add", { disabled: slots.length === most || slots.includes(null) });
    for (const { tile, name } of stylizer.tiles()) {
      const numbers = slots.flatMap((style, index) => (style?.name === name && slots.length > 1 ? [index + 1] : []));
      tile.querySelector("label").dataset.mixed = numbers.join(" ");
    }
  }

  function show_pad(count, place, weights, styles) {
    const balance = document.getElementById("balance"), handle = document.getElementById("handle");
    stylizer.set("balance-row", { hidden: count !== 2 });
    stylizer.set("pad", { hidden: count < 3, className: `corners-${count}` });
    if (count === 2) balance.setAttribute("aria-valuetext", in_words(styles, weights));
    if (count < 3) return;
    const shape = corners(count).map(on_pad).map(({ left, top }) => `${left} ${top}`).join(", ");
    stylizer.set("pad-ground", { style: { clipPath: `polygon(${shape})` } });
    for (let index = 0; document.getElementById(`corner-${index}`); index++) {
      const style = index < count ? on_pad(corners(count)[index]) : {};
      stylizer.set(`corner-${index}`, { hidden: index >= count, style });
    }
    stylizer.set("handle", { style: on_pad(place) });
    handle.setAttribute("aria-valuenow", Math.round(100 * weights[0]));
    handle.setAttribute("aria-valuetext", in_words(styles, weights));
  }

  /** A style of the wall, as the mix holds it. */
  function slot_of(name, { titles } = state.page) {
    const mine = state.own.find((each) => each.name === name);
    if (mine) return { name, title: mine.title, style_vector: mine.vector, study: mine.study };
    return { name, title: Object.hasOwn(titles, name) ? titles[name] : name, style_name: name };
  }

  /** The mix of these styles by these weights: {mix, balance, place}, as tries keep it. The corners' weighted mean is
   *  the place on the pad that has these weights. */
  function mix_of(slots, weights) {
    const sum = weights.reduce((one, other) => one + other, 0), shares = weights.map((each) => each / sum);
    const along = (axis) => corners(slots.length).reduce((at, corner, index) => at + shares[index] * corner[axis], 0);
    const place = slots.length > 2 ? [along(0), along(1)] : [0, 0];
    return { mix: { slots, active: 0 }, balance: shares[1] ?? 0.5, place };
  }

  /** Make such a mix the one that is wanted. */
  function bring_back({ mix, balance, place }) {
    state.mixed = mix.slots.length;             // so that the shares stay
    state.handle = place;
    stylizer.set("balance", { value: balance });
    stylizer.set("place", { data: place });
    stylizer.set("restored", { data: mix });
  }

  /** One to three styles of the gallery other than those chosen now, weighed at random, and painted at once. */
  function surprise() {
    const all = Object.keys(state.page.titles);
    const others = all.filter((name) => !state.wanted.style.parts.some(({ style_name }) => style_name === name));
    const names = others.length ? others : all;
    const count = Math.min(names.length, 1 + Math.floor(3 * Math.random()));
    const chosen = Array.from({ length: count }, () => names.splice(Math.floor(names.length * Math.random()), 1)[0]);
    state.live = state.asked = true;
    bring_back(mix_of(chosen.map((name) => slot_of(name)), chosen.map(() => 0.2 + Math.random())));
  }

  /** A tile fills the active slot of the mix; slots are added, made active and dropped by their buttons. */
  function choose(own, originals, masters, own_styles, restored, ...rest) {
    const [page, mix] = rest.slice(-2);
    const id = window.dash_clientside.callback_context.triggered_id ?? "";
    const slots = [...(id === "restored" ? restored : mix)?.slots ?? []];
    const [, part, index] = /^(slot|drop)-(\d+)$/.exec(id) ?? [];
    let active = mix?.active ?? 0;
    if (id === "restored") {
      active = restored.active;
      state.painted = null;                     // asked for: painted even where it is what was painted last
    } else if (id === "mix-add") {
      active = slots.push(null) - 1;
      document.querySelector(".gallery").scrollIntoView({ block: "nearest" });      // on a phone it is elsewhere
    } else if (part === "slot") active = Number(index);
    else if (part === "drop") {
      const [dropped] = slots.splice(index, 1);
      if (!slots.some(Boolean)) slots.splice(0, slots.length, dropped);     // one style there always is
      active = Math.min(active > index ? active - 1 : active, slots.length - 1);
      document.getElementById("mix-add").focus();           // the button that had the focus may be gone
    } else if (id !== "own-styles" || !own_styles.at(-1)?.recalled) {   // what was kept here leaves the choice alone
      const chosen = { own, "own-styles": own_styles.at(-1)?.name, originals, masters }[id] ?? originals ?? masters;
      slots[active] = slot_of(chosen, page);
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
    if (count !== state.mixed) {                // another number of styles starts from equal shares
      state.mixed = count;
      [balance, place] = [0.5, [0, 0]];
      stylizer.set("balance", { value: balance });
      stylizer.set("place", { data: state.handle = place });
    }
    const weights = count === 1 ? [1] : count === 2 ? [1 - balance, Number(balance)] : pad_weights(count, place);
    show_mix(mix, weights, page.max_styles);
    show_pad(count, place, weights, styles);
    stylizer.show_study(mix);
    const parts = styles.map(({ style_name, style_vector, study }, index) => ({
      style_name, style_vector, study, weight: weights[index].toFixed(4),
    }));
    const title = styles.map((style) => style.title).join(" + ");
    const painted = JSON.stringify(parts);
    if (painted === state.painted) return [no_update, no_update];
    state.painted = painted;
    const moved = triggered.length === 1 && triggered_id !== "mix";
    const from = { mix: { slots: styles, active: Math.max(0, styles.indexOf(mix.slots[mix.active])) }, balance, place };
    return [{ title, parts, moved, from }, title];
  }

  Object.assign(stylizer, { make_pad, percent, slot_of, mix_of, bring_back, surprise, choose, weigh });
})();
