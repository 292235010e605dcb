/* Keeps the page, the runtime and the weights, so that private mode works with the network off. Addresses that carry a
 * version come from here; all else from the network, and from here where there is none. It sees no picture: those are
 * posted, and what is posted passes by. */
"use strict";

const KEPT = "stylizer";
const worker = /** @type {any} */ (self);       // a ServiceWorkerGlobalScope, whose types would clash with the page's
const is_immutable = (response) => response.headers.get("Cache-Control")?.includes("immutable");

worker.addEventListener("install", () => worker.skipWaiting());
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && new URL(request.url).origin === location.origin) event.respondWith(answer(request));
});

/** { keep: addresses } from the page: what is missing is fetched, and versions that nobody asks for any more go. */
worker.addEventListener("message", (event) => {
  event.waitUntil(keep(event.data.keep).then(() => event.ports[0].postMessage("kept"), () => {}));
});

async function answer(request) {
  const cache = await caches.open(KEPT);
  const kept = await cache.match(request, { ignoreSearch: request.mode === "navigate" });
  if (kept && is_immutable(kept) && request.cache !== "reload") return kept;
  let response;
  try {
    response = await fetch(request);
    if (response.status === 200) await cache.put(request, response.clone());
  } catch (error) {
    if (kept) return kept;                      // no network, or one that broke off in the middle
    if (!response) throw error;                 // else there is no room to keep it in
  }
  return response;
}

async function keep(addresses) {
  const cache = await caches.open(KEPT), wanted = new Set(addresses);
  for (const request of await cache.keys()) {
    const response = await cache.match(request);
    if (response && is_immutable(response) && !wanted.has(request.url)) await cache.delete(request);
  }
  for (const address of wanted) if (!await cache.match(address)) await cache.add(address);
}
