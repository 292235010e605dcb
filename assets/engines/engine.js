/* An engine paints: the server or this device. The page paints everything through this common interface. */

import { server } from "./server.js";

/**
 * @typedef {Blob | string | number | boolean | null | undefined} Value
 * @typedef {Record<string, Value | Value[]>} Fields    of the HTTP API's form; undefined is omitted
 *
 * @typedef {object} Options
 * @property {AbortSignal} [signal]   aborting rejects the promise immediately
 * @property {(words: string) => void} [on_wait]    why there is no answer yet, for users
 * @property {(tile: {index: number, picture: string}) => void} [on_tile]    a tile of the wall, on arrival; `picture`
 *   is a URL for an <img>, data: or blob:, to be revoked once the image has loaded
 * @property {(line: any) => void} [on_line]    server only: each line of a streamed answer; errors after the first line
 *   are not retried
 * @property {number[]} [retries]     server only: seconds between attempts while it is unavailable or busy
 *
 * @typedef {object} Engine
 * @property {(path: string, fields: Fields, options?: Options) => Promise<any>} post    `path` is one of the API's:
 *   "api/v1/stylize", "api/v1/wall" or "api/v1/vectors". Resolves to a Blob for a picture, an object for JSON, and
 *   undefined for the wall, after its last tile. Rejects with a Problem.
 */

/** @type {Engine} */
let chosen = server;

/** The engine in use. */
export const engine = () => chosen;

/** Paint with this engine from now on. @param {Engine} next */
export function use(next) {
  chosen = next;
}

/** Whether pictures are sent to the server to be painted. */
export const on_server = () => chosen === server;
