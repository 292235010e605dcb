"""Seen running: log lines and Prometheus metrics of answers. Nothing of a picture, a name or an address is in them.

Paths are told as the templates of their routes: what a client made up appears nowhere.
"""

import json
import logging
import sys
import time
from collections.abc import Callable

from flask import Blueprint, Flask, Response, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client import generate_latest as written
from prometheus_client.core import GaugeMetricFamily

from stylizer.feedforward import Stylizer
from stylizer.serving.server import Server
from stylizer.settings import Settings
from stylizer.web.turns import Turns

log = logging.getLogger("stylizer")
access = logging.getLogger("stylizer.access")

NO_ROUTE = "none"  # of what is at no path of ours, or was refused before its path was looked at
ANY = "/<path:path>"  # where Dash would answer with the page, at any path whatever
STAGES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)  # seconds; bounds of the histograms
REQUESTS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


def observe(app: Flask, settings: Settings, stylizer: Stylizer, turns: Turns) -> dict[str, Callable]:
    """What the server is to call, by the settings. To be called before any other function that looks at requests."""

    @app.before_request
    def tell_route() -> None:
        rule = request.url_rule.rule if request.url_rule else ANY
        request.environ["stylizer.route"] = NO_ROUTE if rule == ANY else rule

    told: list[Callable[[dict], None]] = []
    metrics = Metrics(stylizer, turns)
    if settings.log_format == "json" or settings.access_log:
        write_logs(settings.log_format)
    if settings.access_log:
        told.append(tell)
    if settings.metrics:
        told.append(metrics.count)
        app.register_blueprint(metrics.blueprint())

    def observe_all(record: dict) -> None:
        for each in told:
            each(record)

    return {"observe": observe_all, "on_start": metrics.start} if told else {}


# Logs ---------------------------------------------------------------------------------------------------------------


class JsonLines(logging.Formatter):
    """One JSON object a line, as log collectors of clouds read them; `severity` and `message` are Google's names."""

    def format(self, record: logging.LogRecord) -> str:
        told = {"time": _time(record.created), "severity": record.levelname, "logger": record.name}
        told["message"] = record.getMessage()
        return json.dumps(told | getattr(record, "fields", {}))


def write_logs(format: str) -> None:
    """Have what the package logs written to stderr, each line as text or as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(JsonLines() if format == "json" else text)
    log.handlers = [handler]  # of this format alone, however many applications are made
    log.setLevel(logging.INFO)


def tell(record: dict) -> None:
    """The line of one answer."""
    fields = {
        "id": record["id"],
        "method": record.get("method", "-"),
        "route": record.get("route") or NO_ROUTE,
        "status": record["status"],
        "code": record.get("code", "-"),
        "ms": round(1000 * record["seconds"], 1),
        "in": record["in"],
        "out": record.get("out", 0),
        "stages": {stage: round(1000 * seconds, 1) for stage, seconds in record.get("stages", {}).items()},
    }
    stages = ",".join(f"{stage}:{ms:g}" for stage, ms in fields["stages"].items())
    words = " ".join(f"{key}={value}" for key, value in (fields | {"stages": stages or "-"}).items())
    access.info(words, extra={"fields": fields})


def _time(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


# Metrics ------------------------------------------------------------------------------------------------------------


class Metrics:
    """What Prometheus may ask of one application; each has a registry of its own."""

    def __init__(self, stylizer: Stylizer, turns: Turns):
        self.registry = CollectorRegistry()
        self._stylizer, self._turns, self._server = stylizer, turns, None
        made = {"namespace": "stylizer", "registry": self.registry}
        self._requests = Counter("requests", "Answers, by route and status", ["route", "status"], **made)
        self._refusals = Counter("refusals", "Problems told, by their code", ["code"], **made)
        self._seconds = Histogram(
            "request_seconds", "From headers to last byte, by route", ["route"], buckets=REQUESTS, **made
        )
        self._stages = Histogram("stage_seconds", "Parts of a painting", ["stage"], buckets=STAGES, **made)
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def start(self, server: Server) -> None:
        self._server = server

    def count(self, record: dict) -> None:
        route = record.get("route") or NO_ROUTE
        self._requests.labels(route, record["status"]).inc()
        self._seconds.labels(route).observe(record["seconds"])
        if "code" in record:
            self._refusals.labels(record["code"]).inc()
        for stage, seconds in record.get("stages", {}).items():
            self._stages.labels(stage).observe(seconds)

    def collect(self):
        """What is so at this moment; prometheus_client calls it."""
        gauges = {
            "turns_waiting": ("Pictures that wait for their turn", self._turns.waiting),
            "turns_at_work": ("Pictures that are painted", self._turns.at_work),
            "places_taken": ("Requests that paint or wait", self._turns.taken),
            "photos_kept": ("Photos remembered between slider moves", self._stylizer.photos_kept),
        }
        if self._server:
            gauges["connections"] = ("Connections that are open", len(self._server.connections))
            gauges["body_bytes"] = ("Bytes of requests that wait to be painted", self._server.held)
        for name, (words, value) in gauges.items():
            yield GaugeMetricFamily(f"stylizer_{name}", words, value)

    def blueprint(self) -> Blueprint:
        blueprint = Blueprint("metrics", __name__)

        @blueprint.get("/metrics")
        def metrics() -> Response:
            return Response(written(self.registry), content_type=CONTENT_TYPE_LATEST)

        return blueprint
