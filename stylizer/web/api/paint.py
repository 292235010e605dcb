"""What the feed-forward network paints: POST /api/v1/stylize (a photo), /wall (it in many styles) and /vectors."""

import base64
import math
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, jsonify, request

from stylizer import images
from stylizer.contract import PATHS, TILE_FORMAT, WALL_TILES
from stylizer.errors import ParameterError
from stylizer.feedforward import Stopwatch, Stylizer
from stylizer.images import FORMATS
from stylizer.parameters import check_styles, check_weights
from stylizer.progress import Interrupt
from stylizer.reading import READ_SIDE
from stylizer.settings import Settings
from stylizer.studies import looks_like_study
from stylizer.styles import Blend, Style, find
from stylizer.web.api.form import read_form
from stylizer.web.problems import describe
from stylizer.web.samples import TILE_QUALITY
from stylizer.web.services import Services
from stylizer.web.streaming import interrupt_of_request, json_line, stream

READ = 0.2  # reading a style costs as much as painting so many megapixels

Source = Style | Blend | bytes  # a style as the request gives it; bytes are a study or a painting, not read yet


def make_blueprint(services: Services) -> Blueprint:
    routes = Blueprint("paint", __name__)

    @routes.post(f"/{PATHS['stylize']}")
    def stylize() -> Response:
        return _stylize(services, read_form())

    @routes.post(f"/{PATHS['wall']}")
    def wall() -> Response:
        return _wall(services, read_form())

    @routes.post(f"/{PATHS['vectors']}")
    def vectors() -> Response:
        return _vectors(services, read_form())

    return routes


# A photo ------------------------------------------------------------------------------------------------------------


def _stylize(services: Services, form: dict[str, Any]) -> Response:
    stylizer, settings, interrupt = services.stylizer, services.settings, interrupt_of_request()
    stopwatch = request.environ["stylizer.stages"] = Stopwatch()
    sources = _mixed(stylizer, form)
    size, scale = form["size"], form["style_scale"]
    largest = settings.api_size if size is None else None
    megapixels = megapixels_painted(form["content"], size, largest, scale, settings)
    with services.turns.enter(megapixels) as place, place.turn(megapixels, interrupt) as between_tiles:
        with stopwatch("style"):
            chosen = stylizer.mix([_read(stylizer, each, interrupt) for each in sources], form["weight"])
        photo = stylizer.photo(
            form["content"], size, largest=largest, style_scale=scale, stopwatch=stopwatch, interrupt=interrupt
        )
        painted = stylizer.paint(
            photo,
            chosen,
            form["strength"],
            form["keep_colors"],
            stopwatch,
            between_tiles,
            interrupt,
            form["keep_light"],
        )
        interrupt()
        with stopwatch("encode-picture"):
            data = images.encode(painted, form["format"])
    return Response(
        data,
        mimetype=FORMATS[form["format"]],
        headers={
            "Cache-Control": "no-store",
            "Server-Timing": ", ".join(f"{stage};dur={1000 * seconds:.1f}" for stage, seconds in stopwatch.items()),
        },
    )


def _mixed(stylizer: Stylizer, form: dict[str, Any]) -> list[Source]:
    """The styles of a mix: files, then names, then vectors, which is the order of the weights.

    Their number, weights and names are checked, and no picture is decoded. Names are never read as paths.
    """
    count = len(form["style"]) + len(form["style_name"]) + len(form["style_vector"])
    check_styles(count, stylizer.settings.max_styles)
    check_weights(form["weight"], count)
    named = [find(stylizer.gallery, name) for name in form["style_name"]]
    return [*form["style"], *named, *map(Blend, form["style_vector"])]


def _read(stylizer: Stylizer, source: Source, interrupt: Interrupt) -> Blend:
    """A painting's pixels are gone when this returns, so a mix holds one decoded painting at a time."""
    if not isinstance(source, bytes):
        return Blend.of(source)
    if looks_like_study(source):
        return stylizer.style(source)
    painting = images.decode(source, stylizer.settings, "style", images.shortest_side(READ_SIDE))
    return stylizer.style(painting, interrupt)


def megapixels_painted(
    content: bytes, size: int | str | None, largest: int | None, style_scale: float, settings: Settings
) -> float:
    """What a painting costs, from the photo's header and the size that the request names.

    ParameterError for too large an enlargement: a photo of a kilobyte must not cost minutes.
    """
    own = images.measure(content, settings)
    longest = size if isinstance(size, int) else min(max(own), largest or max(own))
    target = images.scaled(own, longest / max(own))
    most = max(own) * max(1.0, math.sqrt(settings.enlarge_megapixels * 1e6 / math.prod(own)))
    if longest > most:
        raise ParameterError(
            "size",
            f"size is {longest}, which would enlarge this photo of {own[0]}x{own[1]} to "
            f"{math.prod(target) / 1e6:.1f} megapixels; ask for at most {int(most)} pixels",
        )
    other = style_scale**-2  # of the pixels: painted instead of them, or before them as a draft
    return math.prod(target) * (other if other >= 1 else 1 + other) / 1e6


# The wall -----------------------------------------------------------------------------------------------------------


def _wall(services: Services, form: dict[str, Any]) -> Response:
    stylizer, interrupt = services.stylizer, interrupt_of_request()
    wanted, megapixels = _tiles(stylizer, form), form["size"] ** 2 / 1e6
    place = services.turns.enter(megapixels)  # for the whole wall, which holds a thread
    try:
        with place.turn(megapixels, interrupt):
            photo = stylizer.photo(form["content"], largest=form["size"], interrupt=interrupt)
    except BaseException:
        place.leave()
        raise

    def paint(source: Source) -> str:
        # One turn per tile: a painting that is wanted meanwhile waits for one tile, not for the wall.
        with place.turn(megapixels, interrupt, patient=True):  # a wall that has begun is not refused half-way
            tile = stylizer.paint(photo, _read(stylizer, source, interrupt), interrupt=interrupt)
            return base64.b64encode(images.encode(tile, TILE_FORMAT, quality=TILE_QUALITY)).decode()

    def lines() -> Iterator[bytes]:
        try:
            for index, (name, source) in enumerate(wanted):
                yield json_line({"index": index, "style": name, "picture": paint(source)})
        except Exception as error:  # the status has been sent with the first tile, so the last line says what happened
            yield json_line({"problem": describe(error)})
        finally:
            place.leave()

    return stream(lines(), place.leave)


def _tiles(stylizer: Stylizer, form: dict[str, Any]) -> list[tuple[str | None, Source]]:
    """(name, style) of every tile: studies, then names, then vectors; the whole gallery if none were sent.

    Studies are checked here and read again when their turn comes: multiplied out, each takes 0.8 MB.
    """
    studies, names, vectors = form["style"], form["style_name"], form["style_vector"]
    count = len(studies) + len(names) + len(vectors)
    if count > WALL_TILES:
        raise ParameterError("style_name", f"{count} styles came; at most {WALL_TILES} are painted")
    for data in studies:
        if not looks_like_study(data):
            raise ParameterError("style", "a wall takes studies as files; send paintings as style_vector")
        stylizer.style(data)
    chosen = [find(stylizer.gallery, name) for name in names] if count else stylizer.gallery.values()
    return [
        *((None, data) for data in studies),
        *((style.name, style) for style in chosen),
        *((None, Blend(vector)) for vector in vectors),
    ]


# Style vectors ------------------------------------------------------------------------------------------------------


def _vectors(services: Services, form: dict[str, Any]) -> Response:
    stylizer, interrupt = services.stylizer, interrupt_of_request()
    with services.turns.enter(READ) as place, place.turn(READ, interrupt):
        vector = stylizer.style_vector(form["style"], interrupt)
    response = jsonify(model=stylizer.model, vector=[float(number) for number in vector])
    response.headers["Cache-Control"] = "no-store"
    return response
