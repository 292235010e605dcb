"""The About panel: how it works, what runs, what becomes of pictures, and whose work it is."""

from dash import get_asset_url, html

from stylizer import __version__, weights
from stylizer.feedforward import Stylizer
from stylizer.settings import Settings

PAPERS = (
    ("the network, and strength by arithmetic", "Ghiasi et al. 2017", "https://arxiv.org/abs/1705.06830"),
    ("conditional instance normalisation", "Dumoulin et al. 2017", "https://arxiv.org/abs/1610.07629"),
    ("the style predictor’s trunk", "Sandler et al. 2018", "https://arxiv.org/abs/1801.04381"),
    ("style by Gram matrices, which Classic follows", "Gatys et al. 2016", "https://arxiv.org/abs/1508.06576"),
)
ROAD = (
    "A painting goes through a network, the predictor, and becomes a hundred numbers. A photograph goes through the "
    "transformer, which those numbers steer, and comes out painted."
)


def make_panel(stylizer: Stylizer) -> html.Div:
    """The panel's words and tables, for the networks and the gallery at hand."""
    return html.Div([_how(), _networks(stylizer), _privacy(stylizer.settings), _credits(stylizer)], className="about")


def _how() -> html.Section:
    return html.Section(
        [
            html.H2("From a photograph to a painting"),
            html.Img(src=get_asset_url("road.svg"), alt=ROAD, className="road"),
            html.P(
                "A network looks at a painting and answers with a hundred numbers: how it is painted, not what it "
                "shows. A second network paints your photograph by such numbers, whole, in one pass."
            ),
            html.P(
                "That makes styles arithmetic. Strength goes from the photograph’s own numbers to the painting’s. A "
                "mix is the weighted mean of up to five. Strokes are made broader by painting a small draft and then "
                "painting over it, and finer by painting a larger picture. A style code is the numbers, written down."
            ),
            html.P(
                "A hundred numbers are a first impression. A study spends a minute or more on one painting and adds a "
                "little to the second network’s weights. That is arithmetic, too: it mixes, and has a strength."
            ),
            html.P(
                "Half of the second network sees the photograph alone, so its answer is kept while you move the "
                "sliders, and only the other half is asked again."
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
    source = weights.WEIGHTS.get(name, weights.UNKNOWN)
    cells = [html.Td(f"{facts.parameters / 1e6:.2f} million"), html.Td(f"{facts.bytes / 1e6:.1f} MB")]
    return html.Tr([html.Th(source.title, scope="row"), *cells])


def _privacy(settings: Settings) -> html.Section:
    return html.Section(
        [
            html.H2("Your pictures"),
            html.Ul(
                [
                    html.Li(
                        "Your browser turns a photograph upright and shrinks it, and sends the copy: no file name, no "
                        "place, no camera data."
                    ),
                    html.Li(
                        "The server paints in memory and stores nothing: no file, no log of pictures, no cookie. So "
                        f"that sliders answer at once it remembers up to {settings.cached_photos} photographs in "
                        "memory, until others take their place."
                    ),
                    html.Li(
                        "A painting of yours is sent once; from then on its hundred numbers stand for it. Classic "
                        "and a study need the painting itself, and send it along."
                    ),
                    html.Li(
                        "A study of it lies in this page alone, and is sent with each painting. Your browser keeps it "
                        "if you tick so, until you untick it."
                    ),
                    html.Li("With the switch On this device your browser paints, and no picture is sent."),
                    html.Li("This page asks no other computer for anything. Close it, and your tries are gone."),
                    html.Li("The camera runs only while its window is open."),
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
                "Code, weights, original styles and the sample photograph are this project’s own, under the Apache "
                f"License 2.0. Of the {masters} paintings after the masters no picture is here, only their hundred "
                "numbers, for some a study, and title, artist and year. The paintings are in the public domain where "
                "life and 70 years is the rule."
            ),
            html.P("The ideas are these papers’:"),
            html.Ul(papers),
        ]
    )
