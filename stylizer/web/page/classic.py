"""The Classic tab: it shows a picture while the server optimises it (stylizer/web/api/optimise.py).

assets/page/classic.js fills it. The loss networks and their layers are fetched when the tab is first opened, because
the server has to import torch to list them.
"""

from urllib.parse import quote

import dash_bootstrap_components as dbc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html

from stylizer.settings import Settings
from stylizer.styles import Style
from stylizer.web.api.fields import MAX_SEED
from stylizer.web.page.elements import FORMATS, choice, drawn_slider, labelled, note, range_slider

SIZES = (256, 384, 512, 768, 1024)  # longest side in pixels
INITS = {
    "photo": "The photo",
    "feedforward": "A single pass",
    "noise": "Noise",
    "studio": "The Studio result",
}


def make_panel(styles: list[Style], settings: Settings) -> html.Div:
    return html.Div(
        [
            dcc.Store(id="classic-choices"),  # the answer of GET api/v1/optimise
            dcc.Store(id="classic-style"),  # {name, title}
            _photo(),
            _styles([style for style in styles if style.picture]),
            _controls(settings),
            _result(),
        ],
        id="classic-parts",
        className="classic",
    )


def register(app: Dash) -> None:
    app.clientside_callback(
        _in_classic("show_photo"), Output("classic-photo-caption", "children"), Input("photo", "data")
    )
    app.clientside_callback(_in_classic("own_paintings"), Output("classic-own", "options"), Input("own-styles", "data"))
    app.clientside_callback(_in_classic("note_painting"), Input("classic-style", "data"))
    app.clientside_callback(  # a choice in one part of the wall clears the other
        _in_classic("choose"),
        Output("classic-style", "data"),
        Output("classic-own", "value"),
        Output("classic-originals", "value"),
        Output("classic-style-caption", "children"),
        Input("classic-own", "value"),
        Input("classic-originals", "value"),
        Input("own-styles", "data"),
    )
    app.clientside_callback(
        _in_classic("follow_network"),
        Output("content-layer", "value"),
        Output("style-layers", "value"),
        Output("network-note", "children"),
        Input("backbone", "value"),
        Input("classic-choices", "data"),
        prevent_initial_call=True,
    )
    for id in WEIGHTS:
        app.clientside_callback(_in_classic("say_weight"), Output(f"{id}-value", "children"), Input(id, "value"))
    app.clientside_callback(_in_classic("show_seed"), Output("seed-choice", "hidden"), Input("init", "value"))
    app.clientside_callback(
        _in_classic("paint"),
        Input("classic-paint", "n_clicks"),
        State("classic-style", "data"),
        *[
            State(id, "value")
            for id in (
                "backbone",
                "content-layer",
                "style-layers",
                *WEIGHTS,
                "init",
                "steps",
                "seed",
                "longest",
                "save-as",
            )
        ],
        prevent_initial_call=True,
    )
    for button in ("pause", "resume", "cancel", "polish", "choose_photo", "choose_style"):
        id = "polish" if button == "polish" else f"classic-{button.replace('_', '-')}"
        app.clientside_callback(_in_classic(button), Input(id, "n_clicks"), prevent_initial_call=True)
    app.clientside_callback(_in_classic("compare_with"), Input("compare-with", "value"), prevent_initial_call=True)


def _in_classic(function: str) -> ClientsideFunction:
    return ClientsideFunction(namespace="classic", function_name=function)


def _styles(originals: list[Style]) -> html.Section:
    return html.Section(
        [
            html.Div(
                [html.H2("Painting"), html.Span(id="classic-style-caption", className="caption")], className="heading"
            ),
            html.Button("Add your own painting", id="classic-choose-style", className="minor add"),
            note("classic-style-note"),
            html.Div(
                [
                    html.H3("Yours", id="classic-own-heading", hidden=True),
                    _paintings("classic-own", []),
                    html.H3("Originals"),
                    _paintings("classic-originals", [_painting(style) for style in originals], originals[0].name),
                ],
                className="wall",
                role="radiogroup",
                **{"aria-label": "Painting"},
            ),
        ],
        className="gallery",
    )


def _paintings(id: str, options: list[dict], value: str | None = None) -> dbc.RadioItems:
    return dbc.RadioItems(id=id, name="painting", options=options, value=value, className="paintings")


def _painting(style: Style) -> dict:
    # data-picture: classic.js loads it when the tab is opened
    source = f"api/v1/styles/{quote(style.name)}/picture.webp"
    return {
        "label": [html.Img(alt="", **{"data-picture": source}), html.Span(style.title, className="title")],
        "value": style.name,
    }


def _photo() -> html.Section:
    return html.Section(
        [
            html.Div(
                [
                    html.H2("Photo"),
                    html.Span(id="classic-photo-caption", className="caption"),
                    html.Button("Change", id="classic-choose-photo", className="minor"),
                ],
                className="heading",
            ),
            html.Div(html.Img(id="classic-photo", alt="The photo to paint"), className="frame"),
            note("classic-photo-note"),
        ],
        className="photo",
    )


# id: (label, what its ends stand for). The sliders' values are powers of ten.
WEIGHTS = {
    "content-weight": ("Content weight", ("loose", "faithful")),
    "style-weight": ("Style weight", ("subtle", "strong")),
    "tv-weight": ("Smoothness", ("grainy", "smooth")),
}


def _controls(settings: Settings) -> html.Section:
    sizes = {str(size): f"{size} px" for size in SIZES if size <= settings.optimise_size}
    return html.Section(
        [
            labelled("Loss network", dbc.Select(id="backbone", options=[]), wide=True),
            html.P(id="network-note", className="value wide"),
            labelled("Content layer", dbc.Select(id="content-layer", options=[]), wide=True),
            html.Fieldset(
                [
                    html.Legend("Style layers"),
                    dbc.Checklist(id="style-layers", options=[], value=[], inline=True),
                    html.Div([html.Span("colour and grain"), html.Span("shapes")], className="ends"),
                ],
                className="wide layers",
            ),
            *[range_slider(id, label, ends, "wide", min=-2, max=3, step=0.05) for id, (label, ends) in WEIGHTS.items()],
            labelled("Start from", choice("init", INITS, "photo")),
            labelled("Steps", dbc.Input(id="steps", type="number", min=1, max=settings.optimise_steps, step=1)),
            labelled("Longest side", choice("longest", sizes, "512" if "512" in sizes else max(sizes, key=int))),
            labelled("Save as", choice("save-as", FORMATS, "png")),
            labelled("Seed", dbc.Input(id="seed", type="number", min=0, max=MAX_SEED, step=1), id="seed-choice"),
            html.Button("Paint", id="classic-paint", className="wide", disabled=True),
            note("classic-note", "wide"),
        ],
        className="controls",
    )


def _result() -> html.Section:
    return html.Section(
        [
            html.Div([html.H2("Result"), html.A("Download", id="classic-download", hidden=True)], className="heading"),
            html.Div(
                [
                    _layer("painted", html.Img(id="classic-result", alt="Optimised picture", hidden=True)),
                    _layer("original", html.Img(id="classic-before", alt="", hidden=True)),
                    drawn_slider("classic-compare", "Compare", "Drag to compare", className="divider", hidden=True),
                    html.P("The picture appears here, step by step.", id="classic-invitation", className="invitation"),
                    html.Div(className="bar"),
                ],
                id="classic-frame",
                className="frame",
            ),
            html.Progress(id="classic-progress", hidden=True, max="1", value="0", **{"aria-label": "Steps done"}),
            html.Div(
                [
                    html.Span(id="classic-status", role="status"),
                    html.Span(id="classic-left", className="value", **{"aria-hidden": "true"}),
                    html.Span(
                        [
                            html.Button("Pause", id="classic-pause", className="minor", hidden=True),
                            html.Button("Go on", id="classic-resume", className="minor", hidden=True),
                            html.Button("Cancel", id="classic-cancel", className="minor", hidden=True),
                        ],
                        className="actions",
                    ),
                ],
                className="status",
            ),
            note("classic-result-note"),
            html.Div(
                [
                    html.Label("Compare with", htmlFor="compare-with"),
                    choice("compare-with", {"photo": "The photo", "single": "A single pass"}, "photo"),
                    html.Span(id="compare-note", className="value", role="status"),
                ],
                id="compare-choice",
                className="compare-choice",
                hidden=True,
            ),
            html.Figure(
                [
                    html.Figcaption(["Loss", *[_key(name, label) for name, label in LOSSES.items()]]),
                    html.Div(id="loss-curve"),  # classic.js draws it
                ],
                id="loss",
                hidden=True,
            ),
        ],
        className="result",
    )


LOSSES = {"total": "total", "content": "content", "style": "style", "variation": "variation"}  # of a Step: legend


def _key(name: str, label: str) -> html.Span:
    return html.Span([label, html.Span(id=f"loss-{name}", className="value")], className=f"key {name}")


def _layer(kind: str, picture: html.Img) -> html.Div:
    return html.Div(picture, className=f"layer {kind}")
