"""For whatever looks after the server: GET /healthz (the process is alive) and /readyz (it has painted once)."""

import threading

import numpy as np
from flask import Blueprint, Response

from stylizer.errors import NotReady
from stylizer.feedforward import Stylizer
from stylizer.web.services import Services


def make_blueprint(services: Services) -> Blueprint:
    routes, stylizer = Blueprint("health", __name__), services.stylizer
    ready = threading.Event()

    @routes.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @routes.get("/readyz")
    def readyz() -> Response:
        if not ready.is_set():
            _paint_once(stylizer)
            ready.set()
        networks = f"{stylizer.model} {services.settings.transformer_stem}@{stylizer.fingerprint}"
        return Response(f"ready: {networks}\n", mimetype="text/plain")

    return routes


def _paint_once(stylizer: Stylizer) -> None:
    side = stylizer.settings.min_side
    grey = np.full((side, side, 3), 128, np.uint8)
    try:
        stylizer.paint(stylizer.photo(grey), next(iter(stylizer.gallery.values())).vector)
    except Exception as cause:
        raise NotReady("a trial painting failed; the log says why") from cause
