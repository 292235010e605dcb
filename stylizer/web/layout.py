"""The page's elements. Dash holds what was chosen; pictures stay in the browser, where assets/studio.js handles them.

The two file inputs are made by studio.js inside `photo-drop` and `style-drop`: Dash has no native one, and dcc.Upload
would send pixels through callbacks and has no accessible name.
"""

import hashlib
from urllib.parse import quote

import dash_bootstrap_components as dbc
from dash import dcc, get_asset_url, html

from stylizer.settings import Settings
from stylizer.styles import Style
from stylizer.weights import checksums

FIRST_STYLE = "rainy-boulevard"     # chosen at the start: its colours suit nearly any photo
TRIES = 12                          # kept in the strip under the result; the browser holds their photos
PREVIEW_SIZE = 384                  # longest side painted while the slider moves, in pixels
SIZES = {"512": "512 px", "1024": "1024 px", "2048": "2048 px", "original": "Original"}
FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP"}


def make_layout(styles: list[Style], settings: Settings) -> html.Div:
    """The whole page for this gallery. Reads the list of weights only; raises WeightsError where it is missing."""
    names = [style.name for style in styles]
    first = FIRST_STYLE if FIRST_STYLE in names else names[0]
    page = {
        "sample": get_asset_url("sample.jpg"),
        "preview_size": PREVIEW_SIZE,
        "min_side": settings.min_side,
        "max_bytes": settings.max_body_bytes,
        "max_megapixels": settings.max_megapixels,
        "first_style": first,
        "tries": TRIES,
        "max_styles": settings.max_styles,
        "titles": {style.name: _title(style) for style in styles},
        "words": {style.name: f"{style.title} {style.artist} {style.year}" for style in styles},
    }
    return html.Div(
        [
            dcc.Store(id="page", data=page),            # what studio.js must know
            dcc.Store(id="photo"),                      # {name, width, height}; its pixels are studio.js's
            dcc.Store(id="own-styles", data=[]),        # [{name, title, picture (blob URL), vector}]
            dcc.Store(id="mix"),                        # {slots: [a style or null], active: the slot that tiles fill}
            dcc.Store(id="restored"),                   # a mix that an earlier try brings back
            dcc.Store(id="place", data=[0, 0]),         # of the pad's handle; corners lie on the unit circle
            dcc.Store(id="style"),                      # what is painted: {title, parts: [a style and its weight]}
            _header(),
            html.Main([_photo(), _gallery(styles, first, settings), _controls(settings), _result()], id="studio"),
            _footer(),
        ]
    )


def _title(style: Style) -> str:
    return style.title if style.kind == "original" else f"{style.title}, {style.artist}, {style.year}"


def _header() -> html.Header:
    return html.Header([html.H1("Stylizer"), html.P("Your photo, painted the way of any painting.")])


def _photo() -> html.Section:
    return html.Section(
        [
            html.Div(
                [
                    html.H2(html.Label("Photo", htmlFor="photo-file")),
                    html.Span(id="photo-caption", className="caption"),
                ],
                className="heading",
            ),
            html.Div(
                [
                    html.Img(id="photo-picture", alt="The photo as it is", src=get_asset_url("sample.jpg")),
                    html.Span("Choose or drop yours", className="invitation"),
                ],
                id="photo-drop",
                className="frame drop",
            ),
            _note("photo-note"),
        ],
        className="photo",
    )


def _gallery(styles: list[Style], first: str, settings: Settings) -> html.Section:
    # A change of weights changes every tile, and with this their addresses, so that browsers may keep them.
    version = hashlib.sha256(repr(sorted(checksums(settings.models).items())).encode()).hexdigest()[:12]
    originals = [style for style in styles if style.kind == "original"]
    masters = [style for style in styles if style.kind == "master"]
    return html.Section(
        [
            html.Div([html.H2("Style"), html.Span(id="style-caption", className="caption")], className="heading"),
            html.Div(
                [
                    html.Label("Style picture", htmlFor="style-file"),
                    html.Span("Choose or drop any painting", className="invitation"),
                ],
                id="style-drop",
                className="drop",
            ),
            _note("style-note"),
            _search(),
            html.Div(
                [
                    html.H3("Yours", id="own-heading", hidden=True),
                    _tiles("own", []),
                    html.H3("Originals", id="originals-heading"),
                    _tiles("originals", [_tile(style, version) for style in originals], first),
                    html.H3("After the masters", id="masters-heading"),
                    _tiles("masters", [_tile(style, version) for style in masters], first),
                ],
                className="wall",
                role="radiogroup",
                **{"aria-label": "Style"},
            ),
        ],
        className="gallery",
    )


def _search() -> html.Div:
    hint = "Search title, artist or year"
    return html.Div(
        [
            html.Label("Search styles", htmlFor="search", className="unseen"),
            dbc.Input(id="search", type="search", placeholder=hint, autocomplete="off"),
            html.Span(id="search-count", className="value", **{"aria-live": "polite"}),
        ],
        className="search",
    )


def _tiles(id: str, options: list[dict], value: str | None = None) -> dbc.RadioItems:
    """A part of the wall. All parts bear one name, so that to the browser they are one group of radio buttons."""
    value = value if value in [option["value"] for option in options] else None
    return dbc.RadioItems(id=id, name="style", options=options, value=value, className="tiles")


def _tile(style: Style, version: str) -> dict:
    source = f"api/v1/styles/{quote(style.name)}/sample.webp?v={version}"
    lines = [html.Span(style.title, className="title")]
    if style.kind == "master":
        lines.append(html.Span(f"{style.artist}, {style.year}", className="credit"))
    # data-src: studio.js loads a tile when it comes into view, since html.Img has no loading="lazy"
    return {"label": [html.Img(alt="", **{"data-src": source}), *lines], "value": style.name}


def _controls(settings: Settings) -> html.Section:
    return html.Section(
        [
            _mix(settings.max_styles),
            html.Div(
                [
                    html.Div(
                        [
                            html.Label("Strength", htmlFor="strength"),
                            html.Span("100 %", id="strength-value", className="value", **{"aria-hidden": "true"}),
                        ],
                        className="heading",
                    ),
                    dbc.Input(id="strength", type="range", min=0, max=1, step=0.05, value=1),
                    html.Div([html.Span("the photo’s own"), html.Span("the style’s")], className="ends"),
                ],
                className="strength",
            ),
            html.Div([html.Label("Size", htmlFor="size"), _choice("size", SIZES, "1024")], className="choice"),
            html.Div([html.Label("Format", htmlFor="format"), _choice("format", FORMATS, "png")], className="choice"),
            dbc.Checkbox(id="keep-colors", label="Keep colours", value=False),
            dbc.Button("Transfer", id="transfer"),
            _note("settings-note"),
        ],
        className="controls",
    )


def _mix(most: int) -> html.Div:
    """Up to `most` styles, of which one is active: a tile chosen on the wall takes its place. Two are weighed by a
    slider, more by a pad whose corners they are."""
    return html.Div(
        [
            html.Div(
                [html.H2("Mix"), dbc.Button("Add a style", id="mix-add", className="minor")],
                className="heading",
            ),
            html.Div(
                [
                    html.Div(
                        [
                            dbc.Button(id=f"slot-{index}", className="minor slot"),
                            dbc.Button("×", id=f"drop-{index}", className="minor drop-slot"),
                        ],
                        id=f"row-{index}",
                        className="slot-row",
                        hidden=True,
                    )
                    for index in range(most)
                ]
            ),
            html.Div(
                [
                    html.Label("Balance", htmlFor="balance", className="unseen"),
                    html.Span("1", className="number", **{"aria-hidden": "true"}),
                    dbc.Input(id="balance", type="range", min=0, max=1, step=0.05, value=0.5),
                    html.Span("2", className="number", **{"aria-hidden": "true"}),
                ],
                id="balance-row",
                hidden=True,
            ),
            html.Div(
                [
                    html.Div(id="pad-ground"),
                    *[html.Span(str(index + 1), id=f"corner-{index}", className="corner") for index in range(most)],
                    _slider("handle", "Mix", "Arrow keys move it, Home goes to the middle, numbers to the corners"),
                ],
                id="pad",
                hidden=True,
            ),
        ],
        className="mix",
    )


def _choice(id: str, options: dict[str, str], value: str) -> dbc.Select:
    return dbc.Select(id=id, options=[{"value": each, "label": label} for each, label in options.items()], value=value)


def _result() -> html.Section:
    return html.Section(
        [
            html.Div(
                [
                    html.H2("Result"),
                    html.Div(
                        [
                            dbc.Button("Copy", id="copy", className="minor", style={"display": "none"}),
                            html.A("Download", id="download", hidden=True),
                        ],
                        className="actions",
                    ),
                ],
                className="heading",
            ),
            html.Div(
                [
                    html.Img(id="result", alt="Stylised photo", hidden=True),
                    html.Img(id="before", alt="", hidden=True),
                    # drawn from the left edge over the result, it uncovers the photo
                    _slider("compare", "Compare", "Drag to compare", className="divider", hidden=True),
                    html.P("Choose a style and press Transfer.", id="result-invitation", className="invitation"),
                    html.Div(className="bar"),
                ],
                id="result-frame",
                className="frame",
            ),
            html.Div(
                [html.Span(id="status", role="status"), html.Span(id="elapsed", **{"aria-hidden": "true"})],
                className="status",
            ),
            _note("result-note"),
            _tries(),
        ],
        className="result",
    )


def _tries() -> html.Div:
    """What was painted so far, small: a step back, the tries, a step forth."""
    tries = [html.Button(id=f"try-{index}", className="try", hidden=True) for index in range(TRIES)]
    return html.Div(
        [
            html.Button("↶", id="undo", className="minor", title="Undo", **{"aria-label": "Undo"}),
            html.Div(tries, className="strip"),
            html.Button("↷", id="redo", className="minor", title="Redo", **{"aria-label": "Redo"}),
        ],
        id="tries",
        hidden=True,
    )


def _slider(id: str, name: str, hint: str, **properties) -> html.Div:
    """What studio.js moves by pointer and keys, where no native slider fits."""
    values = {"aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "0"}
    return html.Div(id=id, role="slider", tabIndex=0, title=hint, **{"aria-label": name}, **values, **properties)


def _footer() -> html.Footer:
    return html.Footer(
        [
            html.P("Pictures are painted in the server’s memory and forgotten: none is stored, no file name is sent."),
            html.P([html.A("HTTP API", href="api/docs")]),
        ]
    )


def _note(id: str) -> html.P:
    """Words beside what they are about; screen readers say them when they change."""
    return html.P(id=id, className="note", role="alert")
