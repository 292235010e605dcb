/* Caches the page, the runtime and the weights, so that painting on this device works offline. Versioned URLs come from
 * the cache; everything else from the network, or from the cache if offline. It sees no pictures: they are POSTed, and
 * it does not handle POST. */
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

/** { keep: URLs } from the page: fetch what is missing, and delete versions no longer requested. */
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
    if (kept) return kept;                      // no network, or a broken connection
    if (!response) throw error;                 // otherwise only the cache is full
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
