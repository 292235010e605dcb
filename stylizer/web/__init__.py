"""The web application: one Flask server with the page and the HTTP API. Nothing is stored between requests.

`page/` is the page (Dash), `api/` the HTTP API, `device.py` what a browser needs to paint by itself.
"""

import os
import socket
import sys
from collections.abc import Callable

from dash import Dash
from flask import Flask

from stylizer import memory
from stylizer.feedforward import Stylizer
from stylizer.serving.limits import Limits
from stylizer.serving.server import Server, stop_at_signals
from stylizer.settings import Folder, Settings
from stylizer.web import device, gate, observe, site
from stylizer.web.api import docs, health, optimise, paint, study, styles
from stylizer.web.api.form import FormRequest
from stylizer.web.page import make_page
from stylizer.web.problems import problem
from stylizer.web.services import Services

ROUTES = (paint, optimise, study, styles, health, docs, device, site)  # each makes a blueprint
BACKLOG = 512  # connections that the system holds until they are accepted


class StylizerServer(Flask):
    request_class = FormRequest


def create_app(settings: Settings | None = None) -> Dash:
    """The application, its weights loaded and checked; `.server` is the WSGI callable.

    WeightsError if weights are missing or damaged, ParameterError if the page's files are missing.
    """
    settings = settings or Settings.from_env()
    Folder().check("assets", settings.assets)  # Settings let our own folder be missing, for those who only train
    memory.settle()
    services = Services.of(Stylizer(settings=settings))
    server = StylizerServer("stylizer", static_folder=None)
    server.url_map.merge_slashes = False  # no redirect from //elsewhere
    server.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    server.extensions["stylizer"] = services
    server.extensions["stylizer.serving"] = {"limits": Limits.of(settings), **observe.observe(server, services)}
    for subject in ROUTES:
        server.register_blueprint(subject.make_blueprint(services))
    app = make_page(server, services.stylizer)
    gate.guard(server, settings)
    gate.add_security_headers(app)
    server.register_error_handler(Exception, problem)
    return app


def serve(app: Dash, host: str, port: int, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serve on this machine until interrupted; OSError if the address is taken or does not exist.

    For the public use gunicorn with gunicorn.conf.py, which restarts it if it ever dies.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=BACKLOG) as listener:
        server = Server(app.server, [listener], **app.server.extensions["stylizer.serving"])
        stop_at_signals(server)
        on_ready()
        server.run()
    if server.busy:  # native code is still running, and the interpreter must not free its memory
        sys.stdout.flush()
        os._exit(0)
