"""The web application: one Flask server with the page (Dash) and the HTTP API. Nothing is stored between requests."""

import json
import os
import socket
import sys
import threading
from collections.abc import Callable

from dash import Dash
from flask import Blueprint, Flask, Response

from stylizer import memory
from stylizer.feedforward import Stylizer
from stylizer.serving.limits import Limits
from stylizer.serving.server import Server, stop_at_signals
from stylizer.settings import Folder, Settings
from stylizer.web import callbacks, classic, optimise, private, study
from stylizer.web.api import make_api
from stylizer.web.form import FormRequest
from stylizer.web.gate import guard
from stylizer.web.jobs import Jobs
from stylizer.web.layout import make_layout, page_data
from stylizer.web.observe import observe
from stylizer.web.private import SERVICE_WORKER
from stylizer.web.problems import problem
from stylizer.web.turns import Turns

BACKLOG = 512  # connections that the system holds until they are accepted

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
<link rel="icon" href="assets/favicon.svg" type="image/svg+xml">
<meta name="color-scheme" content="light dark">
<meta name="description" content="Your photo, painted like any painting. Runs on this machine; keeps no picture.">
{%css%}
{modules}
</head>
<body>
<noscript>Stylizer needs JavaScript: it prepares your pictures here, and the server keeps none.</noscript>
{%app_entry%}
<script type="application/json" id="page">{page}</script>
<div>{%config%}{%scripts%}{%renderer%}</div>
</body>
</html>"""


class StylizerServer(Flask):
    request_class = FormRequest


def create_app(settings: Settings | None = None) -> Dash:
    """The application, its weights loaded and checked; `.server` is the WSGI callable. WeightsError, and ParameterError
    where the page's files are missing."""
    settings = settings or Settings.from_env()
    Folder().check("assets", settings.assets)  # our own need not be there for those who only train
    memory.settle()
    stylizer = Stylizer(settings=settings)
    server = StylizerServer("stylizer", static_folder=None)
    server.url_map.merge_slashes = False  # no redirect from //elsewhere
    server.config.update(MAX_CONTENT_LENGTH=settings.max_body_bytes, MAX_STYLES=settings.max_styles)
    turns = Turns(settings.slots, settings.queue_length, settings.queue_seconds)
    server.extensions["stylizer"] = {"settings": settings, "turns": turns}
    server.extensions["stylizer.serving"] = {
        "limits": Limits.of(settings), **observe(server, settings, stylizer, turns),
    }  # fmt: skip
    api = make_api(stylizer, turns)
    jobs = Jobs(settings)
    optimise.add_routes(api, stylizer, jobs)
    study.add_routes(api, stylizer, jobs)
    server.register_blueprint(api)
    server.register_blueprint(private.make_private(stylizer))
    server.register_blueprint(_make_site(settings))
    app = Dash(
        "stylizer", server=server, title="Stylizer", update_title=None, assets_folder=str(settings.assets.resolve()),
        assets_path_ignore=["^engines$", "^page$"], assets_ignore=r"^contract\.js$",  # main.mjs imports them
        compress=True,                          # text alone: pictures and weights are small already
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )  # fmt: skip
    app.index_string = _index(stylizer)
    app.renderer = "// started by main.mjs, once it has given Dash its functions"
    app.layout = make_layout(stylizer)
    callbacks.register(app, settings.max_styles)
    private.register(app)
    classic.register(app)
    guard(server, settings)
    _harden(app)
    server.register_error_handler(Exception, problem)
    return app


def _index(stylizer: Stylizer) -> str:
    """PAGE with what the scripts must know, and with the addresses of all of them, so that they load side by side."""
    assets = stylizer.settings.assets
    files = sorted(file for pattern in ("*.js", "page/*.js", "engines/*.js") for file in assets.glob(pattern))
    addresses = [file.relative_to(assets).as_posix() for file in files if file.name != SERVICE_WORKER]
    links = "\n".join(f'<link rel="modulepreload" href="assets/{address}">' for address in addresses)
    data = json.dumps(page_data(stylizer)).replace("<", "\\u003c")  # nothing in it may end the script element
    return PAGE.replace("{modules}", links).replace("{page}", data)


def serve(app: Dash, host: str, port: int, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serve on this machine until interrupted; OSError where the address is taken or is none.

    For the public: gunicorn, with gunicorn.conf.py, which starts it anew should it ever end.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=BACKLOG) as listener:
        server = Server(app.server, [listener], **app.server.extensions["stylizer.serving"])
        stop_at_signals(server)
        on_ready()
        server.run()
    if server.busy:  # native code that did not end in time, under which the interpreter must not pull its memory away
        sys.stdout.flush()
        os._exit(0)


def _make_site(settings: Settings) -> Blueprint:
    """What browsers and crawlers ask every site for, unasked."""
    site = Blueprint("site", __name__)

    @site.get("/robots.txt")
    def robots() -> Response:
        return Response("User-agent: *\nDisallow: /api/\n", mimetype="text/plain")

    @site.get("/favicon.ico")
    def icon() -> Response:
        picture = (settings.assets / "favicon.svg").read_bytes()
        return Response(picture, mimetype="image/svg+xml", headers={"Cache-Control": "public, max-age=86400"})

    return site


def _harden(app: Dash) -> None:
    """Headers of every answer: scripts and pictures from here alone, in no one else's frame."""
    policy: dict[str, str] = {}
    lock = threading.Lock()

    def content_security_policy() -> str:
        with lock:  # Dash knows its inline script's hash only once the page is laid out
            if not policy:
                scripts = " ".join(f"'{each.strip(chr(39))}'" for each in app.csp_hashes())
                policy["value"] = (
                    f"default-src 'self'; script-src 'self' 'wasm-unsafe-eval' {scripts}; worker-src 'self'; "
                    "style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; object-src 'none'; "
                    "base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
                )
        return policy["value"]

    @app.server.after_request
    def add_headers(response):
        response.headers.setdefault("Content-Security-Policy", content_security_policy())
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        # Isolated from other origins, a browser lets WebAssembly have threads.
        response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        response.headers.setdefault("Cross-Origin-Embedder-Policy", "require-corp")
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        response.headers.setdefault("Permissions-Policy", "camera=(self), microphone=(), geolocation=()")
        return response
