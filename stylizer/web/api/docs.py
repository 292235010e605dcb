"""The API's description: GET /api/v1/openapi.json for programs, and /api/docs, the same as a page for people."""

from collections.abc import Iterable
from html import escape

from flask import Blueprint, Response, jsonify

from stylizer.contract import codes
from stylizer.web.api.openapi import specification
from stylizer.web.services import Services

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Stylizer API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font-size: .9em; }
pre, .scroll { overflow-x: auto; }
th, td { text-align: left; padding: .25rem 1rem .25rem 0; vertical-align: top; }
</style>
</head>
<body>
"""
EXAMPLE = """<h2>Example</h2>
<pre>curl -F content=@photo.jpg -F style_name=starry-night -F strength=0.8 \\
     http://127.0.0.1:8050/api/v1/stylize -o painted.png</pre>
"""


def make_blueprint(services: Services) -> Blueprint:
    routes = Blueprint("docs", __name__)

    @routes.get("/api/v1/openapi.json")
    def openapi() -> Response:
        return jsonify(specification(services.settings))

    @routes.get("/api/docs")
    def docs() -> Response:
        return Response(docs_page(specification(services.settings)), mimetype="text/html")

    return routes


def docs_page(spec: dict) -> str:
    """The description as one plain HTML page, which needs no script."""
    info = spec["info"]
    operations = [
        _operation(method, path, operation)
        for path, methods in spec["paths"].items()
        for method, operation in methods.items()
    ]
    return "\n".join(
        [
            f"{PAGE}<h1>{info['title']} API</h1>",
            f"<p>{info['description']} Machine-readable: <a href='v1/openapi.json'>openapi.json</a>.</p>",
            *operations,
            _errors(),
            f"{EXAMPLE}</body></html>",
        ]
    )


def _operation(method: str, path: str, operation: dict) -> str:
    parts = [f"<h2><code>{method.upper()} {escape(path)}</code></h2>", f"<p>{escape(operation['summary'])}.</p>"]
    if "requestBody" in operation:
        form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
        parts.append(
            _table(
                f"<tr>{_head(name)}<td>{escape(field['description'])}"
                f"{' (required)' * (name in form['required'])}</td></tr>"
                for name, field in form["properties"].items()
            )
        )
    for answer in operation["responses"]["200"]["content"].values():
        if "description" in answer["schema"]:
            parts.append(f"<p>{escape(answer['schema']['description'])}.</p>")
    return "\n".join(parts)


def _errors() -> str:
    rows = (
        f"<tr id='{code}'>{_head(code)}<td>{status}</td><td>{escape(title)}</td></tr>"
        for code, (status, title) in sorted(codes().items())
    )
    words = "Errors are <code>application/problem+json</code> with one of these codes."
    return f"<h2>Errors</h2><p>{words}</p>{_table(rows)}"


def _head(text: str) -> str:
    return f"<th scope='row'><code>{text}</code></th>"


def _table(rows: Iterable[str]) -> str:
    return f"<div class='scroll'><table>{''.join(rows)}</table></div>"
