/* An engine paints: the server or this device. All that the page paints goes through their one interface. */

import { server } from "./server.js";

/**
 * @typedef {Blob | string | number | boolean | null | undefined} Value
 * @typedef {Record<string, Value | Value[]>} Fields    of the HTTP API's form; undefined is left out
 *
 * @typedef {object} Options
 * @property {AbortSignal} [signal]   once aborted, the promise is rejected at once
 * @property {(words: string) => void} [on_wait]    why nothing comes yet, for people
 * @property {(tile: {index: number, picture: string}) => void} [on_tile]    a tile of the wall, as it comes; `picture`
 *   is an address for an <img>, data: or blob:, to be revoked once the image has loaded
 * @property {(line: any) => void} [on_line]    the server only: each line of an answer that is a stream; after the
 *   first one, what goes wrong is not tried again
 * @property {number[]} [retries]     the server only: seconds between tries while it is away or busy
 *
 * @typedef {object} Engine
 * @property {(path: string, fields: Fields, options?: Options) => Promise<any>} post    `path` is one of the API's:
 *   "api/v1/stylize", "api/v1/wall" or "api/v1/vectors". The promise gives a Blob for a picture, an object for JSON,
 *   and nothing for the wall, after its last tile. It is rejected with a Problem.
 */

/** @type {Engine} */
let chosen = server;

/** The engine in use. */
export const engine = () => chosen;

/** Paint by this engine from now on. @param {Engine} next */
export function use(next) {
  chosen = next;
}

/** Whether pictures are sent to the server to be painted. */
export const on_server = () => chosen === server;
