"""The gallery: GET /api/v1/styles, and each style's sample tile and, for originals, its picture."""

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import NotFound

from stylizer import images
from stylizer.errors import UnknownStyle
from stylizer.styles import Blend, Style, find
from stylizer.web.samples import SAMPLE, SAMPLE_SIDE, TILE_QUALITY, SampleTiles
from stylizer.web.services import Services
from stylizer.web.streaming import interrupt_of_request

LISTED = ("name", "title", "artist", "year", "kind")
DAY, FOR_GOOD = "public, max-age=86400", "public, max-age=31536000, immutable"


def make_blueprint(services: Services) -> Blueprint:
    routes, stylizer = Blueprint("styles", __name__), services.stylizer
    tiles, painted = SampleTiles(stylizer), {}  # painted: the samples so far, by name

    @routes.get("/api/v1/styles")
    def styles() -> Response:
        return jsonify([{key: getattr(style, key) for key in LISTED} for style in stylizer.gallery.values()])

    @routes.get("/api/v1/styles/<name>/picture.webp")
    def picture(name: str) -> Response:
        data = _picture(services, _find(services, name))
        return Response(data, mimetype="image/webp", headers={"Cache-Control": DAY})

    @routes.get("/api/v1/styles/<name>/sample.webp")
    def sample(name: str) -> Response:
        style, version = _find(services, name), request.args.get("v")
        if version not in (None, tiles.version(style)):
            raise NotFound(f"there is no tile of {name} in that version; the page has the current addresses")
        if name not in painted:
            painted[name] = _sample(services, style)
        kept = FOR_GOOD if version else "no-cache"
        return Response(painted[name], mimetype="image/webp", headers={"Cache-Control": kept})

    return routes


def _find(services: Services, name: str) -> Style:
    """The style that the path names. If there is none it is a 404, while in a form it would be a 422."""
    try:
        return find(services.stylizer.gallery, name)
    except UnknownStyle as unknown:
        unknown.status = 404
        raise


def _picture(services: Services, style: Style) -> bytes:
    if style.picture is None:
        raise NotFound(f"only the style vector of {style.name} is stored; only originals have a picture")
    settings = services.settings
    small = images.resize(images.as_picture(settings.styles / style.picture, settings), SAMPLE_SIDE)
    return images.encode(small, "webp", quality=TILE_QUALITY)


def _sample(services: Services, style: Style) -> bytes:
    stylizer, megapixels = services.stylizer, SAMPLE_SIDE**2 / 1e6
    with services.turns.enter(megapixels) as place, place.turn(megapixels, interrupt_of_request()):
        photo = stylizer.photo(services.settings.assets / SAMPLE, SAMPLE_SIDE)
        return images.encode(stylizer.paint(photo, Blend.of(style)), "webp", quality=TILE_QUALITY)
