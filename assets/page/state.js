/* What several parts of the page share. What only one part needs, that part keeps to itself. */

/**
 * @typedef {object} Photo        a picture that was chosen; one that this browser cannot decode has no width
 * @property {Blob} file
 * @property {string} name        without its ending
 * @property {Record<string, Promise<Blob>>} copies    shrunk ones, by their size
 * @property {number} [width]
 * @property {number} [height]
 * @property {string} [type]      media type of the copies
 * @property {string | null} [shown]    address of the copy on the page
 *
 * @typedef {object} OwnStyle     a style that the user brought
 * @property {string} name
 * @property {string} title
 * @property {string} vector      style vector, JSON
 * @property {string} [picture]   address of the painting; none where this browser cannot decode it
 * @property {string} [study]     key in `state.studies`
 * @property {string} [kept]      key in IndexedDB, where the user asked to keep the study
 * @property {boolean} [recalled] it was kept on an earlier visit
 *
 * @typedef {object} Slot         a place in the mix
 * @property {string} name
 * @property {string} title
 * @property {string} [style_name]
 * @property {string} [style_vector]
 * @property {string} [study]
 *
 * @typedef {{slots: (Slot | null)[], active: number}} Mix
 * @typedef {{mix: Mix, balance: number, place: Point}} WeighedMix    `balance` weighs two, `place` on the pad more
 * @typedef {[number, number]} Point
 *
 * @typedef {object} Part         a style and its weight
 * @property {string} [style_name]
 * @property {string} [style_vector]
 * @property {string} [study]
 * @property {string} weight
 *
 * @typedef {{title: string, parts: Part[], moved: boolean, from: WeighedMix}} Style    what is painted
 *
 * @typedef {object} Wanted       what the result should be
 * @property {Style} style
 * @property {number} strength
 * @property {number} style_scale
 * @property {string} size        longest side in pixels, or "original"
 * @property {string} format
 * @property {boolean} keep_colors
 */

export const state = {
  /** @type {any} */
  page: null,                                   // settings and bounds, from layout.py
  /** @type {Photo | null} */
  photo: null,
  /** @type {OwnStyle[]} */
  own: [],
  /** @type {Map<string, Blob>} */
  paintings: new Map(), // by the name of an own style: the painting, as it was sent
  /** @type {Map<string, Blob & {url?: string}>} */
  studies: new Map(),                           // by key; earlier tries keep theirs
  /** @type {Wanted | null} */
  wanted: null,
  live: false,                                  // from the first Transfer on, the result follows every choice
  asked: false,                                 // by a button: on a phone the result is then scrolled into view
  /** @type {Blob | null} */
  result: null,                                 // the last full painting,
  /** @type {Photo | null} */
  painted_photo: null,                          // its photo,
  /** @type {Style | null} */
  painted_style: null,                          // and its style
};

/** The next choice is painted at once, and shown. */
export function paint_next() {
  state.live = state.asked = true;
}

/** The user's style of that name. */
export const own_style = (name) => state.own.find((each) => each.name === name);
