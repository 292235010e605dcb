"""Log lines and Prometheus metrics. They hold nothing of a picture, a name or an address.

Paths appear only as the templates of their routes, never as a client wrote them.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import Blueprint, Flask, Response, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client import generate_latest as written
from prometheus_client.core import GaugeMetricFamily

from stylizer.serving.server import Server
from stylizer.web.services import Services

log = logging.getLogger("stylizer")
access = logging.getLogger("stylizer.access")

NO_ROUTE = "none"  # for requests to no path of ours, and those refused before their path was read
ANY = "/<path:path>"  # Dash's own route, which serves the page at any path
STAGES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)  # seconds; buckets of the histograms
REQUESTS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


def observe(app: Flask, services: Services) -> dict[str, Callable]:
    """The server's hooks, as the settings have it. To be called before any other function that handles requests."""
    settings = services.settings

    @app.before_request
    def note_route() -> None:
        rule = request.url_rule.rule if request.url_rule else ANY
        request.environ["stylizer.route"] = NO_ROUTE if rule == ANY else rule

    observers: list[Callable[[dict], None]] = []
    metrics = Metrics(services)
    if settings.log_format == "json" or settings.access_log:
        write_logs(settings.log_format)
    if settings.access_log:
        observers.append(log_answer)
    if settings.metrics:
        observers.append(metrics.count)
        app.register_blueprint(metrics.make_blueprint())

    def observe_all(record: dict) -> None:
        for observer in observers:
            observer(record)

    return {"observe": observe_all, "on_start": metrics.start} if observers else {}


# Logs ---------------------------------------------------------------------------------------------------------------


class JsonLines(logging.Formatter):
    """One JSON object per line, for cloud log collectors; `severity` and `message` are Google's names."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record.created), "severity": record.levelname, "logger": record.name}
        line["message"] = record.getMessage()
        return json.dumps(line | getattr(record, "fields", {}))


def write_logs(format: str) -> None:
    """Write the package's log to stderr, as lines of text or JSON."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(JsonLines() if format == "json" else text)
    log.handlers = [handler]  # one handler, however many applications are made
    log.setLevel(logging.INFO)


def log_answer(record: dict) -> None:
    """Log one answer."""
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
    """The metrics of one application; each application has its own registry."""

    def __init__(self, services: Services):
        self.registry = CollectorRegistry()
        self._stylizer, self._turns = services.stylizer, services.turns
        self._server: Server | None = None
        made: dict[str, Any] = {"namespace": "stylizer", "registry": self.registry}
        self._requests = Counter("requests", "Answers, by route and status", ["route", "status"], **made)
        self._refusals = Counter("refusals", "Errors answered, by their code", ["code"], **made)
        self._seconds = Histogram(
            "request_seconds", "From headers to last byte, by route", ["route"], buckets=REQUESTS, **made
        )
        self._stages = Histogram("stage_seconds", "Stages of a painting", ["stage"], buckets=STAGES, **made)
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

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges; prometheus_client calls this."""
        gauges = {
            "turns_waiting": ("Pictures waiting for their turn", self._turns.waiting),
            "turns_at_work": ("Pictures being painted", self._turns.at_work),
            "places_taken": ("Requests that paint or wait", self._turns.taken),
            "photos_kept": ("Photos cached between slider moves", len(self._stylizer.photos)),
        }
        if self._server:
            gauges["connections"] = ("Open connections", len(self._server.connections))
            gauges["body_bytes"] = ("Bytes of requests waiting to be painted", self._server.held)
        for name, (words, value) in gauges.items():
            yield GaugeMetricFamily(f"stylizer_{name}", words, value)

    def make_blueprint(self) -> Blueprint:
        routes = Blueprint("metrics", __name__)

        @routes.get("/metrics")
        def metrics() -> Response:
            return Response(written(self.registry), content_type=CONTENT_TYPE_LATEST)

        return routes
