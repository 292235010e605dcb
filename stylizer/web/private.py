"""Painting on the visitor's own device: the runtime, the networks and the worker that a browser needs, from our origin.

The runtime is ONNX Runtime Web, fetched from the npm registry when the project is set up (`make device`). Without it
the page paints on the server alone, and the switch says why.
"""

import gzip
import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import dash_bootstrap_components as dbc
import numpy as np
from dash import ClientsideFunction, Dash, Input, html
from flask import Blueprint, Response, jsonify, request, send_file
from werkzeug.exceptions import NotFound

from stylizer import weights
from stylizer.errors import ParameterError, shown
from stylizer.feedforward import Stylizer
from stylizer.runtimes import TRANSFORMER_PARTS
from stylizer.settings import Settings
from stylizer.studies import LAYERS, SUFFIX, dump

# What a browser loads: a script, the glue that starts threads, and the machine code. The first runs on processors; the
# others on graphics cards too, by what the browser lets WebAssembly wait with. 4 to 7 MB each as they are sent.
RUNTIMES = {
    "wasm": ("ort.wasm.min.mjs", "ort-wasm-simd-threaded"),
    "webgpu-jspi": ("ort.jspi.min.mjs", "ort-wasm-simd-threaded.jspi"),
    "webgpu": ("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify"),
}
SERVICE_WORKER = "service-worker.js"  # in assets/engines/
GALLERY = "gallery.json"  # every style's vector, what makes strokes broader, and what studies add to
MEDIA = {".mjs": "text/javascript", ".wasm": "application/wasm", ".onnx": "application/octet-stream"}
KEPT = "public, max-age=31536000, immutable"
MISSING = "Needs onnxruntime-web on this server: install npm, then run make device."


def has_runtime(settings: Settings) -> bool:
    return all((settings.browser_runtime / file).is_file() for name in RUNTIMES for file in _files(name).values())


def once(work: Callable[[str], object]) -> Callable[[str], object]:
    """Its result for each name, worked out once: who asks meanwhile waits for it, and for no other name's."""
    done: dict[str, object] = {}
    locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
    of_locks = threading.Lock()

    @wraps(work)
    def result(name: str) -> object:
        with of_locks:
            lock = locks[name]
        with lock:
            if name not in done:
                done[name] = work(name)
            return done[name]

    return result


def make_private(stylizer: Stylizer) -> Blueprint:
    """The routes. Every file has its checksum in its address, so that browsers may keep it for good."""
    private, settings = Blueprint("private", __name__), stylizer.settings
    limits = {name: getattr(settings, name) for name in ("min_side", "max_side", "max_ratio", "max_megapixels")}
    vectors = {style.name: _numbers(style.vector) for style in stylizer.gallery.values()}
    studied = {f"{style.name}{SUFFIX}": style.study for style in stylizer.gallery.values() if style.study}
    stored = {
        "styles": vectors, "coarser": _numbers(stylizer.coarser), "roughness": _numbers(stylizer.roughness),
        "transformer": stylizer.transformer,
        "layers": [layer[1:] for layer in LAYERS] if stylizer.takes_studies else [],
    }  # fmt: skip
    gallery, networks = json.dumps(stored, separators=(",", ":")).encode(), set(_networks(settings).values())
    known = {GALLERY, *networks, *studied, *(file for name in RUNTIMES for file in _files(name).values())}

    def contents(file: str) -> bytes:
        if file == GALLERY:
            return gallery
        if file in studied:
            return dump(studied[file])
        if file in networks:
            return weights.read(settings.models, file)
        return (settings.browser_runtime / file).read_bytes()

    @once
    def entry(file: str) -> dict:
        data = contents(file)
        digest = hashlib.sha256(data).hexdigest()
        return {"url": f"device/{digest[:12]}/{file}", "sha256": digest, "bytes": len(data)}

    @once
    def packed(file: str) -> bytes:
        return gzip.compress(contents(file), mtime=0)  # half a second

    @private.get("/device/manifest.json")
    def manifest() -> Response:
        kind = request.args.get("runtime", "wasm")
        if kind not in RUNTIMES:
            raise ParameterError("runtime", f"runtime is {shown(kind)}; choose from {', '.join(RUNTIMES)}")
        if not has_runtime(settings):
            raise NotFound(MISSING)
        runtimes = {name: {part: entry(file) for part, file in _files(name).items()} for name in {kind, "wasm"}}
        files = {name: entry(file) for name, file in _networks(settings).items()}
        studies = {file.removesuffix(SUFFIX): entry(file) for file in studied}
        response = jsonify(
            runtimes=runtimes, weights=files, gallery=entry(GALLERY), studies=studies, limits=limits
        )
        response.headers["Cache-Control"] = "no-cache"
        return response

    @private.get("/device/<version>/<file>")
    def file(version: str, file: str) -> Response:
        if file not in known or entry(file)["sha256"][:12] != version:
            raise NotFound(f"there is no {shown(file)} of that version; device/manifest.json lists what there is")
        headers = {"Cache-Control": KEPT, "Vary": "Accept-Encoding"}
        media = MEDIA.get(Path(file).suffix, "application/json")
        if file in studied:
            return Response(contents(file), mimetype="application/octet-stream", headers=headers)
        if file not in networks and "gzip" in request.accept_encodings:
            return Response(packed(file), mimetype=media, headers={**headers, "Content-Encoding": "gzip"})
        if file == GALLERY:
            return Response(gallery, mimetype=media, headers=headers)
        # From the disk as it is read: megabytes a reader would add up. Its checksum is the browser's to look at.
        path = (settings.models if file in networks else settings.browser_runtime) / file
        response = send_file(path.resolve(), mimetype=media, conditional=False, etag=False)
        response.headers.update(headers)
        return response

    @private.get("/service-worker.js")
    def service_worker() -> Response:
        """At the root, because a service worker sees only what lies beside and below it."""
        script = (settings.assets / "engines" / SERVICE_WORKER).read_bytes()
        return Response(script, mimetype="text/javascript", headers={"Cache-Control": "no-cache"})

    return private


def _numbers(vector: np.ndarray) -> list[float]:
    """No more digits than float32 has."""
    return [float(str(number)) for number in vector]


def _networks(settings: Settings) -> dict[str, str]:
    """{network: its file}."""
    parts = {part: f"{settings.transformer_stem}-{part}.onnx" for part in TRANSFORMER_PARTS}
    return {"predictor": f"{settings.predictor_stem}.onnx", **parts}


def _files(runtime: str) -> dict[str, str]:
    script, core = RUNTIMES[runtime]
    return {"script": script, "glue": f"{core}.mjs", "binary": f"{core}.wasm"}


# On the page --------------------------------------------------------------------------------------------------------


def make_switch(settings: Settings) -> html.Div:
    """The switch, what it says of itself, and the question that is asked before a picture would leave the device."""
    there = has_runtime(settings)
    return html.Div(
        [
            dbc.Switch(id="on-device", label="On this device", value=False, disabled=not there),
            html.P(
                "Paints in your browser: no picture is sent." if there else MISSING,
                id="device-words", **{"aria-live": "polite"},
            ),
            html.P("Works offline from now on.", id="device-offline", hidden=True),
            html.Progress(id="device-progress", hidden=True, **{"aria-label": "Download"}),
            html.Dialog(
                [
                    html.P(id="device-question"),
                    html.Div(
                        [
                            html.Button("Not now", id="device-stay", className="minor"),
                            html.Button("Paint on the server", id="device-leave", className="minor"),
                        ],
                        className="actions",
                    ),
                ],
                id="device-dialog",
                **{"aria-labelledby": "device-question"},
            ),
        ],
        id="engine-switch",
    )  # fmt: skip


def register(app: Dash) -> None:
    app.clientside_callback(ClientsideFunction("studio", "switch_device"), Input("on-device", "value"))
