"""The files with which a browser paints on the visitor's own device, served from our own origin: the runtime, the
networks, the gallery and its studies.

The runtime is ONNX Runtime Web, fetched from the npm registry when the project is set up (`make device`). Without it
the page paints on the server only, and the switch says why.
"""

import gzip
import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TypeVar

import numpy as np
from flask import Blueprint, Response, jsonify, request, send_file
from werkzeug.exceptions import NotFound

from stylizer import weights
from stylizer.errors import ParameterError, shown
from stylizer.feedforward import Stylizer
from stylizer.runtimes.on_openvino import TRANSFORMER_PARTS
from stylizer.settings import Settings
from stylizer.studies import LAYERS, SUFFIX, dump
from stylizer.web.services import Services

# What a browser loads: a script, the glue that starts threads, and the machine code. The first runs on processors; the
# others on graphics cards too, depending on how the browser lets WebAssembly wait. 4 to 7 MB each over the network.
RUNTIMES = {
    "wasm": ("ort.wasm.min.mjs", "ort-wasm-simd-threaded"),
    "webgpu-jspi": ("ort.jspi.min.mjs", "ort-wasm-simd-threaded.jspi"),
    "webgpu": ("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify"),
}
SERVICE_WORKER = "service-worker.js"  # in assets/engines/
GALLERY = "gallery.json"  # the styles' vectors, and what the device needs for larger strokes, brushwork and studies
LIMITS = ("min_side", "max_side", "max_ratio", "max_megapixels")  # settings that the device enforces as well
MEDIA = {".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}
KEPT = "public, max-age=31536000, immutable"
MISSING = "Needs onnxruntime-web on this server: install npm, then run make device."

T = TypeVar("T")


def has_runtime(settings: Settings) -> bool:
    return all((settings.browser_runtime / file).is_file() for name in RUNTIMES for file in _parts(name).values())


def make_blueprint(services: Services) -> Blueprint:
    routes, settings, files = Blueprint("device", __name__), services.settings, DeviceFiles(services.stylizer)

    @routes.get("/device/manifest.json")
    def manifest() -> Response:
        runtime = request.args.get("runtime", "wasm")
        if runtime not in RUNTIMES:
            raise ParameterError("runtime", f"runtime is {shown(runtime)}; choose from {', '.join(RUNTIMES)}")
        if not has_runtime(settings):
            raise NotFound(MISSING)
        response = jsonify(files.manifest(runtime))
        response.headers["Cache-Control"] = "no-cache"
        return response

    @routes.get("/device/<version>/<file>")
    def file(version: str, file: str) -> Response:
        if file not in files.known or files.entry(file)["sha256"][:12] != version:
            raise NotFound(f"there is no {shown(file)} in that version; device/manifest.json lists what there is")
        return files.answer(file, gzipped=request.accept_encodings["gzip"] > 0)

    @routes.get("/service-worker.js")
    def service_worker() -> Response:
        """At the root, because a service worker controls only what is at its own path or below it."""
        script = (settings.assets / "engines" / SERVICE_WORKER).read_bytes()
        return Response(script, mimetype="text/javascript", headers={"Cache-Control": "no-cache"})

    return routes


def once(work: Callable[[str], T]) -> Callable[[str], T]:
    """Its result for each name, computed once: concurrent callers of one name wait, those of other names do not."""
    done: dict[str, T] = {}
    locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
    of_locks = threading.Lock()

    @wraps(work)
    def result(name: str) -> T:
        with of_locks:
            lock = locks[name]
        with lock:
            if name not in done:
                done[name] = work(name)
            return done[name]

    return result


class DeviceFiles:
    """The files by name. Every address holds the file's checksum, so browsers may cache it for good."""

    def __init__(self, stylizer: Stylizer):
        self._settings = stylizer.settings
        self._gallery = json.dumps(_gallery(stylizer), separators=(",", ":")).encode()
        self._networks = _networks(self._settings)
        gallery = stylizer.gallery.values()
        self._studies = {f"{style.name}{SUFFIX}": style.study for style in gallery if style.study}
        runtimes = (file for name in RUNTIMES for file in _parts(name).values())
        self.known: set[str] = {GALLERY, *self._networks.values(), *self._studies, *runtimes}
        self.entry, self._packed = once(self._entry), once(self._pack)

    def manifest(self, runtime: str) -> dict:
        """What a browser has to load, for this runtime and for the one that works everywhere."""
        settings = self._settings
        return {
            "runtimes": {
                name: {part: self.entry(file) for part, file in _parts(name).items()} for name in {runtime, "wasm"}
            },
            "weights": {name: self.entry(file) for name, file in self._networks.items()},
            "gallery": self.entry(GALLERY),
            "studies": {file.removesuffix(SUFFIX): self.entry(file) for file in self._studies},
            "limits": {name: getattr(settings, name) for name in LIMITS},
        }

    def answer(self, file: str, gzipped: bool) -> Response:
        """The file; weights are never packed, since they do not get smaller."""
        headers = {"Cache-Control": KEPT, "Vary": "Accept-Encoding"}
        media = MEDIA.get(Path(file).suffix, "application/octet-stream")
        if file in self._studies:
            return Response(self._contents(file), mimetype=media, headers=headers)
        if gzipped and file not in self._networks.values():
            return Response(self._packed(file), mimetype=media, headers={**headers, "Content-Encoding": "gzip"})
        if file == GALLERY:
            return Response(self._gallery, mimetype=media, headers=headers)
        # Sent straight from the disk: read first, these megabytes would add up. The browser verifies the checksum.
        response = send_file(self._path(file).resolve(), mimetype=media, conditional=False, etag=False)
        response.headers.update(headers)
        return response

    def _entry(self, file: str) -> dict:
        data = self._contents(file)
        digest = hashlib.sha256(data).hexdigest()
        return {"url": f"device/{digest[:12]}/{file}", "sha256": digest, "bytes": len(data)}

    def _pack(self, file: str) -> bytes:
        return gzip.compress(self._contents(file), mtime=0)  # half a second

    def _contents(self, file: str) -> bytes:
        if file == GALLERY:
            return self._gallery
        if file in self._studies:
            return dump(self._studies[file])
        if file in self._networks.values():
            return weights.read(self._settings.models, file)
        return self._path(file).read_bytes()

    def _path(self, file: str) -> Path:
        settings = self._settings
        return (settings.models if file in self._networks.values() else settings.browser_runtime) / file


def _gallery(stylizer: Stylizer) -> dict:
    return {
        "styles": {style.name: _numbers(style.vector) for style in stylizer.gallery.values()},
        "coarser": _numbers(stylizer.coarser),
        "roughness": _numbers(stylizer.roughness),
        "transformer": stylizer.fingerprint,
        "layers": [layer[1:] for layer in LAYERS] if stylizer.takes_studies else [],
    }


def _numbers(vector: np.ndarray) -> list[float]:
    """With no more digits than float32 has."""
    return [float(str(number)) for number in vector]


def _networks(settings: Settings) -> dict[str, str]:
    """{network: its file}."""
    parts = {part: f"{settings.transformer_stem}-{part}.onnx" for part in TRANSFORMER_PARTS}
    return {"predictor": f"{settings.predictor_stem}.onnx", **parts}


def _parts(runtime: str) -> dict[str, str]:
    """{part of a runtime: its file}."""
    script, core = RUNTIMES[runtime]
    return {"script": script, "glue": f"{core}.mjs", "binary": f"{core}.wasm"}
