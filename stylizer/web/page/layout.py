"""The page and its Studio tab. Dash holds the choices; pictures stay in the browser, handled by assets/page/*.js.

files.js puts the two file inputs into `photo-drop` and `style-drop`: Dash has no native one, and dcc.Upload would send
pixels through callbacks and has no accessible name.
"""

from importlib.util import find_spec

import dash_bootstrap_components as dbc
from dash import dcc, get_asset_url, html

from stylizer.feedforward import Stylizer
from stylizer.runtimes.on_openvino import BYTES_PER_PIXEL
from stylizer.settings import Settings
from stylizer.studies import STEPS
from stylizer.styles import Style
from stylizer.web.page import about, classic, switch
from stylizer.web.page.elements import FORMATS, choice, drawn_slider, labelled, note, range_slider
from stylizer.web.samples import SampleTiles

FIRST_STYLE = "rainy-boulevard"  # preselected: its colours suit nearly any photo
TRIES = 12  # paintings in the strip under the result; the browser holds their photos
PREVIEW_SIZE = 384  # longest side in pixels while a slider moves
SIZES = {"512": "512 px", "1024": "1024 px", "2048": "2048 px", "original": "Original"}
NO_STUDIES = "Studies need torch and the separable transformer on this server."
POLISH = "Refines this painting in Classic, step by step"


def page_data(stylizer: Stylizer) -> dict:
    """What the scripts need to know about this server: its settings, its gallery and what it can do."""
    settings, styles = stylizer.settings, list(stylizer.gallery.values())
    has_torch = find_spec("torch") is not None
    return {
        "sample": get_asset_url("sample.jpg"),
        "preview_size": PREVIEW_SIZE,
        "min_side": settings.min_side,
        "max_bytes": settings.max_body_bytes,
        "max_megapixels": settings.max_megapixels,
        "first_style": _first(styles),
        "tries": TRIES,
        "max_styles": settings.max_styles,
        "model": stylizer.model,
        "bytes_per_pixel": BYTES_PER_PIXEL.get(stylizer.runtime.precision, max(BYTES_PER_PIXEL.values())),
        "classic": has_torch,
        "pictured": [style.name for style in styles if style.picture],
        "studies": stylizer.takes_studies and has_torch,
        "no_studies": NO_STUDIES,
        "study_steps": min(STEPS, settings.optimise_steps),
        "titles": {style.name: _title(style) for style in styles},
        "words": {style.name: f"{style.title} {style.artist} {style.year}" for style in styles},
    }


def make_layout(stylizer: Stylizer) -> html.Div:
    """The whole page. WeightsError if the list of weights is missing."""
    settings, styles, tiles = stylizer.settings, list(stylizer.gallery.values()), SampleTiles(stylizer)
    first = _first(styles)
    return html.Div(
        [
            dcc.Store(id="photo"),  # {name, width, height}; its pixels stay in the page
            dcc.Store(id="own-styles", data=[]),  # [{name, title, picture (blob URL), vector, study}]
            dcc.Store(id="mix"),  # {slots: [a style or null], active: the slot that a tile fills}
            dcc.Store(id="restored"),  # a mix brought back from an earlier painting
            dcc.Store(id="place", data=[0, 0]),  # of the pad's handle; its corners are on the unit circle
            dcc.Store(id="style"),  # what is painted: {title, parts: [a style and its weight]}
            _header(),
            html.Main(
                [
                    _panel("studio", [_photo(), _gallery(styles, first, tiles), _controls(settings), _result()]),
                    _panel("classic", [classic.make_panel(styles, settings)], hidden=True),
                    _panel("about", [about.make_panel(stylizer)], hidden=True),
                ]
            ),
            _footer(),
        ]
    )


def _first(styles: list[Style]) -> str:
    names = [style.name for style in styles]
    return FIRST_STYLE if FIRST_STYLE in names else names[0]


def _title(style: Style) -> str:
    return style.title if style.kind == "original" else f"{style.title}, {style.artist}, {style.year}"


def _header() -> html.Header:
    tabs = (("studio", "Studio"), ("classic", "Classic"), ("about", "About"))
    return html.Header(
        [
            html.H1("Stylizer"),
            html.P("Your photo in the style of any painting."),
            html.Div(
                [_tab(id, name, selected=id == "studio") for id, name in tabs],
                className="tabs",
                role="tablist",
                **{"aria-label": "Parts of this page"},
            ),
        ]
    )


def _tab(id: str, name: str, selected: bool) -> html.Button:
    aria = {"aria-controls": id, "aria-selected": str(selected).lower()}
    return html.Button(name, id=f"{id}-tab", role="tab", tabIndex=0 if selected else -1, **aria)


def _panel(id: str, children: list, **properties) -> html.Div:
    return html.Div(children, id=id, role="tabpanel", **{"aria-labelledby": f"{id}-tab"}, **properties)


def _photo() -> html.Section:
    return html.Section(
        [
            html.Div(
                [
                    html.H2(html.Label("Photo", htmlFor="photo-file")),
                    html.Span(id="photo-caption", className="caption"),
                    html.Button("Camera", id="camera-open", className="minor"),
                ],
                className="heading",
            ),
            html.Div(
                [
                    html.Img(id="photo-picture", alt="Original photo", src=get_asset_url("sample.jpg")),
                    html.Span("Choose, drop or paste a photo", className="invitation"),
                ],
                id="photo-drop",
                className="frame drop",
            ),
            note("photo-note"),
            _camera(),
        ],
        className="photo",
    )


def _camera() -> html.Dialog:
    return html.Dialog(
        [
            html.Div(id="camera-view", className="frame"),
            html.Div(
                [
                    html.Button("Close", id="camera-close", className="minor"),
                    html.Button("Switch camera", id="camera-switch", className="minor", hidden=True),
                    html.Button("Take photo", id="camera-take"),
                ],
                className="actions",
            ),
        ],
        id="camera",
        **{"aria-label": "Camera"},
    )


def _gallery(styles: list[Style], first: str, tiles: SampleTiles) -> html.Section:
    originals = [style for style in styles if style.kind == "original"]
    masters = [style for style in styles if style.kind == "master"]
    return html.Section(
        [
            html.Div([html.H2("Style"), html.Span(id="style-caption", className="caption")], className="heading"),
            html.Div(
                [
                    html.Label("Style picture", htmlFor="style-file"),
                    html.Span("Choose or drop any painting, or a study", className="invitation"),
                ],
                id="style-drop",
                className="drop",
            ),
            note("style-note"),
            _study(),
            _search(),
            html.Div(
                [
                    html.H3("Yours", id="own-heading", hidden=True),
                    _tiles("own", []),
                    html.H3("Originals", id="originals-heading"),
                    _tiles("originals", [_tile(style, tiles.address(style)) for style in originals], first),
                    html.H3("After the masters", id="masters-heading"),
                    _tiles("masters", [_tile(style, tiles.address(style)) for style in masters], first),
                ],
                className="wall",
                role="radiogroup",
                **{"aria-label": "Style"},
            ),
        ],
        className="gallery",
    )


def _study() -> html.Div:
    """Studying the chosen painting; hidden unless it is one of the visitor's own."""
    return html.Div(
        [
            html.Div(
                [
                    dbc.Button("Study this painting", id="study", className="minor"),
                    html.Button("Stop here", id="study-stop", className="minor", hidden=True),
                    html.A("Save study", id="study-save", hidden=True),
                ],
                className="actions",
            ),
            html.Span(id="study-words", className="value", **{"aria-live": "polite"}),
            dbc.Checkbox(id="study-keep", label="Keep it in this browser", value=False),
            html.Progress(id="study-progress", hidden=True, **{"aria-label": "Study"}),
            note("study-note"),
        ],
        id="study-part",
        hidden=True,
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
    """A part of the wall. All parts share one name, so they are one group of radio buttons to the browser."""
    value = value if value in [option["value"] for option in options] else None
    return dbc.RadioItems(id=id, name="style", options=options, value=value, className="tiles")


def _tile(style: Style, source: str) -> dict:
    lines = [html.Span(style.title, className="title")]
    if style.kind == "master":
        lines.append(html.Span(f"{style.artist}, {style.year}", className="credit"))
    # data-src: wall.js loads a tile when it scrolls into view, since html.Img has no loading="lazy"
    return {"label": [html.Img(alt="", **{"data-src": source}), *lines], "value": style.name}


def _controls(settings: Settings) -> html.Section:
    return html.Section(
        [
            _mix(settings.max_styles),
            range_slider("strength", "Strength", ("the photo", "the style"), min=0, max=1, step=0.05, value=1),
            range_slider("style-scale", "Strokes", ("finer", "broader"), min=-1, max=1, step=0.25, value=0),  # log2
            labelled("Size", choice("size", SIZES, "1024")),
            labelled("Format", choice("format", FORMATS, "png")),
            html.P(id="size-cost", className="value"),
            dbc.Checkbox(id="keep-colors", label="Keep colours", value=False),
            switch.make_switch(settings),
            dbc.Button("Transfer", id="transfer"),
            note("settings-note"),
            _code(),
        ],
        className="controls",
    )


def _code() -> html.Details:
    """The style as text: code.js keeps it up to date, and reads a code that is pasted there."""
    return html.Details(
        [
            html.Summary("Share this style"),
            html.P("The code holds the mix and its settings, but no picture. Paste someone’s code to use their style."),
            html.Div(
                [
                    html.Label("Style code", htmlFor="code", className="unseen"),
                    dbc.Input(id="code", type="text", autocomplete="off"),
                    html.Button("Share as link", id="share", className="minor"),
                ],
                className="code",
            ),
            note("code-note"),
        ],
        id="sharing",
        className="share",
    )


def _mix(most: int) -> html.Div:
    """Up to `most` styles, one of them active: a tile chosen on the wall replaces it. A slider weights two styles; more
    are the corners of a pad."""
    return html.Div(
        [
            html.Div(
                [
                    html.H2("Mix"),
                    html.Div(
                        [
                            dbc.Button("Surprise me", id="surprise", className="minor"),
                            dbc.Button("Add a style", id="mix-add", className="minor"),
                        ],
                        className="actions",
                    ),
                ],
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
                    drawn_slider("handle", "Mix", "Arrow keys move it, Home centres it, numbers go to the corners"),
                ],
                id="pad",
                hidden=True,
            ),
        ],
        className="mix",
    )


def _result() -> html.Section:
    return html.Section(
        [
            html.Div(
                [
                    html.H2("Result"),
                    html.Div(
                        [
                            html.Button("Polish", id="polish", className="minor", hidden=True, title=POLISH),
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
                    html.Div(html.Img(id="result", alt="Stylised photo", hidden=True), className="layer painted"),
                    html.Div(html.Img(id="before", alt="", hidden=True), className="layer original"),
                    # dragged from the left edge over the result, it reveals the photo
                    drawn_slider("compare", "Compare", "Drag to compare", className="divider", hidden=True),
                    html.P("Choose a style and press Transfer.", id="result-invitation", className="invitation"),
                    _zoom(),
                    html.Div(className="bar"),
                ],
                id="result-frame",
                className="frame",
                role="group",
                tabIndex=0,
                **{"aria-label": "Result: plus and minus zoom, arrow keys move"},
            ),
            html.Div(
                [
                    html.Span(id="status", role="status"),
                    html.Span(id="elapsed", **{"aria-hidden": "true"}),
                    html.Button("Cancel", id="cancel", className="minor", hidden=True),
                ],
                className="status",
            ),
            note("result-note"),
            _tries(),
        ],
        className="result",
    )


def _zoom() -> html.Div:
    return html.Div(
        [
            html.Button("−", id="zoom-out", className="minor", **{"aria-label": "Zoom out"}),
            html.Button("100 %", id="zoom-level", className="minor", title="Full size or fit"),
            html.Button("+", id="zoom-in", className="minor", **{"aria-label": "Zoom in"}),
        ],
        id="zoom",
        hidden=True,
    )


def _tries() -> html.Div:
    """Undo, the paintings so far as thumbnails, redo."""
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


def _footer() -> html.Footer:
    return html.Footer(
        [
            html.P("Pictures are painted in the server’s memory and never stored. File names are not sent."),
            html.P([html.A("HTTP API", href="api/docs")]),
        ]
    )
