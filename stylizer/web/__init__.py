"""The web application: one Flask server with the page (Dash) and the HTTP API. Nothing is stored between requests."""

import socket
import threading
from collections.abc import Callable

from dash import Dash
from flask import Blueprint, Flask, Response
from werkzeug.serving import WSGIRequestHandler, make_server

from stylizer.feedforward import Stylizer
from stylizer.settings import Settings
from stylizer.web import callbacks, classic, optimise, private
from stylizer.web.api import make_api
from stylizer.web.form import FormRequest
from stylizer.web.gate import guard
from stylizer.web.layout import make_layout
from stylizer.web.problems import problem

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
<link rel="icon" href="assets/favicon.svg" type="image/svg+xml">
<meta name="color-scheme" content="light dark">
<meta name="description" content="Your photo, painted like any painting. Runs on this machine; keeps no picture.">
{%css%}
</head>
<body>
<noscript>Stylizer needs JavaScript: it prepares your pictures here, and the server keeps none.</noscript>
{%app_entry%}
<div>{%config%}{%scripts%}{%renderer%}</div>
</body>
</html>"""


class StylizerServer(Flask):
    request_class = FormRequest


def create_app(settings: Settings | None = None) -> Dash:
    """The application, its weights loaded and checked; `.server` is the WSGI callable. Raises WeightsError."""
    settings = settings or Settings.from_env()
    stylizer = Stylizer(settings=settings)
    server = StylizerServer("stylizer", static_folder=None)
    server.url_map.merge_slashes = False  # no redirect from //elsewhere
    server.config.update(MAX_CONTENT_LENGTH=settings.max_body_bytes, MAX_STYLES=settings.max_styles)
    api = make_api(stylizer)
    optimise.add_routes(api, stylizer)
    server.register_blueprint(api)
    server.register_blueprint(private.make_private(stylizer))
    server.register_blueprint(_make_site(settings))
    app = Dash(
        "stylizer", server=server, title="Stylizer", update_title=None, assets_folder=str(settings.assets.resolve()),
        assets_path_ignore=["device"],          # workers: served, but no scripts of the page
        compress=True,                          # text alone: pictures and weights are small already
        index_string=PAGE, meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )  # fmt: skip
    app.layout = make_layout(stylizer)
    callbacks.register(app, settings.max_styles)
    private.register(app)
    classic.register(app)
    guard(server, settings)
    _harden(app)
    server.register_error_handler(Exception, problem)
    return app


def serve(app: Dash, host: str, port: int, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serve on this machine until interrupted, a thread a request; OSError where the address is taken or is none.

    For the public: gunicorn, with gunicorn.conf.py.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:     # werkzeug would exit by itself at an error
        options = {"threaded": True, "request_handler": QuietHandler, "fd": listener.fileno()}
        server = make_server(host, port, app.server, **options)
        on_ready()
        server.serve_forever()


class QuietHandler(WSGIRequestHandler):
    """Keeps connections open between slider moves, and writes no access log."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_args, **_kwargs) -> None:
        pass


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
