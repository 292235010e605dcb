"""The About tab: how it works, what runs, what happens to pictures, and whose work it is."""

from dash import get_asset_url, html

from stylizer import __version__, weights
from stylizer.feedforward import Stylizer
from stylizer.settings import Settings

PAPERS = (
    ("the networks, and strength by interpolation", "Ghiasi et al. 2017", "https://arxiv.org/abs/1705.06830"),
    ("conditional instance normalisation", "Dumoulin et al. 2017", "https://arxiv.org/abs/1610.07629"),
    ("the style predictor’s trunk", "Sandler et al. 2018", "https://arxiv.org/abs/1801.04381"),
    ("optimisation with Gram matrices, as in Classic", "Gatys et al. 2016", "https://arxiv.org/abs/1508.06576"),
)
ROAD = (
    "The predictor, a network, turns a painting into a hundred numbers. The transformer, another network, turns a "
    "photograph into a painting; the hundred numbers control how."
)


def make_panel(stylizer: Stylizer) -> html.Div:
    """The tab's contents, for the networks and the gallery in use."""
    return html.Div([_how(), _networks(stylizer), _privacy(stylizer.settings), _credits(stylizer)], className="about")


def _how() -> html.Section:
    return html.Section(
        [
            html.H2("From a photograph to a painting"),
            html.Img(src=get_asset_url("road.svg"), alt=ROAD, className="road"),
            html.P(
                "One network, the predictor, reads a painting into a hundred numbers: how it is painted, not what it "
                "shows. A second one, the transformer, paints your photograph by those numbers in a single pass."
            ),
            html.P(
                "That turns styles into arithmetic. Strength moves from the photograph’s own numbers to the "
                "painting’s. A mix is the weighted mean of up to five styles. For broader strokes, a small draft is "
                "painted first and then painted over; for finer ones, a larger picture is painted. A style code spells "
                "the numbers out."
            ),
            html.P(
                "A hundred numbers are a first impression. A study spends a minute or more learning one painting, and "
                "adds a little to the transformer’s weights. Studies mix and have a strength, too."
            ),
            html.P(
                "Half of the transformer depends only on the photograph. Its result is kept while you move the "
                "sliders, and only the other half runs again."
            ),
        ]
    )


def _networks(stylizer: Stylizer) -> html.Section:
    runtime, settings = stylizer.runtime, stylizer.settings
    names = (settings.predictor_stem, settings.transformer_stem, "vgg-narrow")
    facts = weights.facts(settings.models)
    rows = [_network(name, facts[f"{name}.safetensors"]) for name in names if f"{name}.safetensors" in facts]
    return html.Section(
        [
            html.H2("What runs"),
            html.Table(
                [
                    html.Thead(html.Tr([html.Th(each, scope="col") for each in ("Network", "Parameters", "Size")])),
                    html.Tbody(rows),
                ]
            ),
            html.P(f"On this server: {runtime.library}, {runtime.device}, {runtime.precision}. Version {__version__}."),
        ]
    )


def _network(name: str, facts: weights.Facts) -> html.Tr:
    source = weights.record(f"{name}.safetensors")
    cells = [html.Td(f"{facts.parameters / 1e6:.2f} million"), html.Td(f"{facts.bytes / 1e6:.1f} MB")]
    return html.Tr([html.Th(source.title, scope="row"), *cells])


def _privacy(settings: Settings) -> html.Section:
    return html.Section(
        [
            html.H2("Your pictures"),
            html.Ul(
                [
                    html.Li(
                        "Your browser sends a copy of the photograph, turned upright and shrunk: without file name, "
                        "location or camera data."
                    ),
                    html.Li(
                        "The server paints in memory and stores nothing: no files, no log of pictures, no cookies. To "
                        f"make the sliders fast, it keeps up to {settings.cached_photos} photographs in memory until "
                        "others replace them."
                    ),
                    html.Li(
                        "Your own painting is sent once; after that, only its hundred numbers are. Classic and studies "
                        "need the painting itself and send it each time."
                    ),
                    html.Li(
                        "A study of it exists only in this page, and is sent whenever you paint with it. Your browser "
                        "keeps it if you tick the box, until you untick it."
                    ),
                    html.Li("With On this device, your browser paints and no picture is sent."),
                    html.Li("This page loads nothing from anywhere else. When you close it, your paintings are gone."),
                    html.Li("The camera is on only while its window is open."),
                ]
            ),
        ]
    )


def _credits(stylizer: Stylizer) -> html.Section:
    masters = sum(style.kind == "master" for style in stylizer.gallery.values())
    papers = [html.Li([f"{what}: ", html.A(who, href=where, rel="noreferrer")]) for what, who, where in PAPERS]
    return html.Section(
        [
            html.H2("Credits"),
            html.P(
                "The code, the weights, the original styles and the sample photograph are this project’s own, under "
                f"the Apache License 2.0. The pictures of the {masters} paintings after the masters are not included: "
                "only their hundred numbers, a study for some, and title, artist and year. The paintings are in the "
                "public domain where copyright ends 70 years after the artist’s death."
            ),
            html.P("The ideas come from these papers:"),
            html.Ul(papers),
        ]
    )
