"""Classic: GET /api/v1/optimise says what its form may choose from, POST optimises a picture and streams it."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from flask import Blueprint, Response, jsonify

from stylizer import images
from stylizer.contract import PATHS
from stylizer.errors import ParameterError, shown
from stylizer.feedforward import Stylizer
from stylizer.images import Picture
from stylizer.parameters import check_weights
from stylizer.reading import READ_SIDE
from stylizer.settings import Settings
from stylizer.styles import find
from stylizer.web.api.fields import OPTIMISE_SIZE
from stylizer.web.api.form import read_form
from stylizer.web.jobs import Show, Work, picture_text
from stylizer.web.services import Services
from stylizer.weights import WEIGHTS

if TYPE_CHECKING:
    from stylizer.gatys import GatysConfig, Step

# Shipped networks need nothing; downloadable ones are fetched when a request names them, if the server allows that.
STATES = ("shipped", "downloaded", "downloadable")
PREVIEW_SECONDS = 0.5  # between pictures, at least


def make_blueprint(services: Services) -> Blueprint:
    routes, settings = Blueprint("optimise", __name__), services.settings

    @routes.get(f"/{PATHS['optimise']}")
    def choices() -> Response:
        services.jobs.need_torch("Classic")
        return jsonify(describe_choices(settings))

    @routes.post(f"/{PATHS['optimise']}")
    def optimise() -> Response:
        form = read_form()
        services.jobs.need_torch("Classic")
        backbone = _backbone(form["backbone"], settings)
        config = _config(form, backbone, settings)
        names = _names(services.stylizer, form)
        return services.jobs.answer(
            lambda: _work(services.stylizer, backbone, config, form, names), config.steps, PREVIEW_SECONDS
        )

    return routes


def describe_choices(settings: Settings) -> dict:
    """{backbones, defaults, bounds} for the form on the page. The first backbone is the default."""
    from stylizer import gatys, loss_networks

    config = gatys.GatysConfig()
    names = ("steps", "content_weight", "style_weight", "init", "seed")
    found = [
        {
            "name": name,
            "title": WEIGHTS[name].title,
            "state": _state(name, settings),
            "megabytes": WEIGHTS[name].megabytes,
            "layers": network.LAYERS,
            "content_layers": network.CONTENT_LAYERS,
            "style_layers": network.STYLE_LAYERS,
            "tv_weight": network.TV_WEIGHT,
        }
        for name, network in ((name, loss_networks.class_of(name)) for name in loss_networks.available(settings))
    ]
    size = min(OPTIMISE_SIZE, settings.optimise_size)
    return {
        "backbones": sorted(found, key=lambda each: STATES.index(each["state"])),
        "defaults": {**{name: getattr(config, name) for name in names}, "size": size},
        "bounds": {
            "steps": settings.optimise_steps,
            "size": settings.optimise_size,
            "seconds": settings.optimise_seconds,
            "download": settings.optimise_download,
        },
    }


def _state(backbone: str, settings: Settings) -> str:
    if not WEIGHTS[backbone].url:
        return "shipped"
    there = (settings.cache.expanduser() / WEIGHTS[backbone].file).exists()
    return "downloaded" if there else "downloadable"


# Reading a request --------------------------------------------------------------------------------------------------


def _backbone(wanted: str | None, settings: Settings) -> str:
    names = [each["name"] for each in describe_choices(settings)["backbones"]]
    backbone = wanted or names[0]
    if backbone not in names:
        raise ParameterError("backbone", f"there is no backbone {shown(backbone)} here; choose from {', '.join(names)}")
    if _state(backbone, settings) == "downloadable" and not settings.optimise_download:
        raise ParameterError(
            "backbone",
            f"{backbone} is not on this server, which does not download networks; whoever runs it can fetch it with "
            f"stylizer gatys --backbone {backbone}",
        )
    return backbone


def _config(form: dict[str, Any], backbone: str, settings: Settings) -> "GatysConfig":
    """The request's GatysConfig; ParameterError names the field as the form does."""
    from stylizer import gatys, loss_networks

    names = ("steps", "content_weight", "style_weight", "tv_weight", "init", "seed")
    sent = {name: form[name] for name in names if form[name] is not None}
    config = gatys.GatysConfig(
        **{"steps": min(gatys.GatysConfig.steps, settings.optimise_steps), **sent},
        content_layers=tuple(form["content_layer"]),
        style_layers=tuple(form["style_layers"]),
        preview_every=1,
    )
    try:
        gatys.check_config(config, loss_networks.class_of(backbone))
    except ParameterError as error:
        if error.field == "content_layers":
            error.field = "content_layer"
        raise
    if form["start"] and config.init != "feedforward":
        raise ParameterError("start", f"a start came, but init is {config.init}; send init=feedforward with it")
    return config


def _names(stylizer: Stylizer, form: dict[str, Any]) -> list[str]:
    """The gallery's styles that the form names, once the number of styles and their weights are right.

    They are looked up here, so none is read as a path later.
    """
    most, count = stylizer.settings.max_styles, len(form["style"]) + len(form["style_name"])
    if not 1 <= count <= most:
        raise ParameterError("style", f"{count} styles came; send 1 to {most}, as style or style_name")
    check_weights(form["weight"], count)
    found = [find(stylizer.gallery, name) for name in form["style_name"]]
    bare = [style.name for style in found if style.picture is None]
    if bare:
        pictured = ", ".join(style.name for style in stylizer.gallery.values() if style.picture)
        raise ParameterError(
            "style_name",
            f"only the style vector of {bare[0]!r} is stored, and optimising needs a picture: send one as style, or "
            f"choose from {pictured}",
        )
    return [style.name for style in found]


# The work -----------------------------------------------------------------------------------------------------------


def _work(stylizer: Stylizer, backbone: str, config: "GatysConfig", form: dict[str, Any], names: list[str]) -> Work:
    """`gatys.paint` with the request's pictures, decoded, and the photo at its size."""
    from stylizer import gatys

    settings, content, format = stylizer.settings, form["content"], form["format"]
    size = form["size"]
    if size is None:
        size = min(OPTIMISE_SIZE, settings.optimise_size, max(images.measure(content, settings, "content")))
    photo = images.resize(images.decode(content, settings, "content", images.longest_side(size)), size)
    images.check_bounds(photo.size, settings, f"the photo at size {size}")
    styles: list[Picture | str] = [*_paintings(form["style"], settings, size), *names]  # the order of the weights
    shares = check_weights(form["weight"], len(styles)).tolist()
    start = images.decode(form["start"], settings, "start") if form["start"] else None
    paint = partial(
        gatys.paint,
        photo,
        styles,
        config,
        settings,
        backbone=backbone,
        shares=shares,
        size=None,
        start=start,
        stylizer=stylizer,
    )

    def show(alpha: np.ndarray | None, step: "Step", last: bool) -> dict:
        assert step.picture is not None  # preview_every is 1
        picture = Picture(images.from_tensor(step.picture.numpy()), alpha)
        return {"picture": picture_text(picture, format if last else "jpeg")}

    def work(**hooks: Any) -> tuple[Show, Iterator]:
        painted, steps = paint(**hooks)
        return partial(show, painted.alpha), steps

    return work


def _paintings(files: list[bytes], settings: Settings, longest: int) -> list[Picture]:
    """All are held until the work begins, so none is decoded larger than it is used: at the photo's size, and at the
    size at which style vectors are read."""

    def fit(size: images.Size) -> images.Size:
        return images.scaled(size, max(longest / max(size), READ_SIDE / min(size)))

    return [images.decode(file, settings, "style", fit) for file in files]
