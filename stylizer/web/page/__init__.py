"""The page: a Dash layout whose callbacks all run in the browser, in the scripts of assets/."""

import json

from dash import Dash
from flask import Flask

from stylizer.feedforward import Stylizer
from stylizer.web.device import SERVICE_WORKER
from stylizer.web.page import callbacks, classic, switch
from stylizer.web.page.layout import make_layout, page_data

HTML = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
<link rel="icon" href="assets/favicon.svg" type="image/svg+xml">
<meta name="color-scheme" content="light dark">
<meta name="description" content="Your photo in the style of any painting. Runs on this machine; no picture is stored.">
{%css%}
{modules}
</head>
<body>
<noscript>Stylizer needs JavaScript: your pictures are prepared in the browser, and the server stores none.</noscript>
{%app_entry%}
<script type="application/json" id="page">{page}</script>
<div>{%config%}{%scripts%}{%renderer%}</div>
</body>
</html>"""


def make_page(server: Flask, stylizer: Stylizer) -> Dash:
    """Dash at the root of this server."""
    settings = stylizer.settings
    app = Dash(
        "stylizer",
        server=server,
        title="Stylizer",
        update_title=None,
        assets_folder=str(settings.assets.resolve()),
        assets_path_ignore=["^engines$", "^page$"],
        assets_ignore=r"^contract\.js$",  # main.mjs imports them
        compress=True,  # only text: pictures and weights are compressed already
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )
    app.index_string = _html(stylizer)
    app.renderer = "// started by main.mjs, once it has given Dash its functions"
    app.layout = make_layout(stylizer)
    callbacks.register(app, settings.max_styles)
    switch.register(app)
    classic.register(app)
    return app


def _html(stylizer: Stylizer) -> str:
    """HTML with the data that the scripts need, and links to all scripts so that they load in parallel."""
    assets = stylizer.settings.assets
    files = sorted(file for pattern in ("*.js", "page/*.js", "engines/*.js") for file in assets.glob(pattern))
    addresses = [file.relative_to(assets).as_posix() for file in files if file.name != SERVICE_WORKER]
    links = "\n".join(f'<link rel="modulepreload" href="assets/{address}">' for address in addresses)
    data = json.dumps(page_data(stylizer)).replace("<", "\\u003c")  # nothing in it may end the script element
    return HTML.replace("{modules}", links).replace("{page}", data)
