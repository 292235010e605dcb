/* State that several parts of the page share. State that only one part needs stays in that part. */

/**
 * @typedef {object} Photo        a chosen picture; without width if this browser cannot decode it
 * @property {Blob} file
 * @property {string} name        without suffix
 * @property {Record<string, Promise<Blob>>} copies    shrunk copies, by size
 * @property {number} [width]
 * @property {number} [height]
 * @property {string} [type]      media type of the copies
 * @property {string | null} [shown]    URL of the copy on the page
 *
 * @typedef {object} OwnStyle     a user's own style
 * @property {string} name
 * @property {string} title
 * @property {string} vector      style vector, JSON
 * @property {string} [picture]   URL of the painting; missing if this browser cannot decode it
 * @property {string} [study]     key in `state.studies`
 * @property {string} [kept]      key in IndexedDB, if the user asked to keep the study
 * @property {boolean} [recalled] whether it was kept on an earlier visit
 *
 * @typedef {object} Slot         a place in the mix
 * @property {string} name
 * @property {string} title
 * @property {string} [style_name]
 * @property {string} [style_vector]
 * @property {string} [study]
 *
 * @typedef {{slots: (Slot | null)[], active: number}} Mix
 * @typedef {{mix: Mix, balance: number, place: Point}} WeighedMix    `balance` weights two, `place` on the pad more
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
  paintings: new Map(), // own style's name -> the painting as sent
  /** @type {Map<string, Blob & {url?: string}>} */
  studies: new Map(),                           // by key; earlier tries keep theirs
  /** @type {Wanted | null} */
  wanted: null,
  live: false,                                  // after the first Transfer, the result follows every choice
  asked: false,                                 // by a button, so a phone should scroll to the result
  /** @type {Blob | null} */
  result: null,                                 // the last full painting,
  /** @type {Photo | null} */
  painted_photo: null,                          // its photo,
  /** @type {Style | null} */
  painted_style: null,                          // and its style
};

/** Paint the next choice at once, and scroll to it. */
export function paint_next() {
  state.live = state.asked = true;
}

/** The user's own style of this name. */
export const own_style = (name) => state.own.find((each) => each.name === name);
