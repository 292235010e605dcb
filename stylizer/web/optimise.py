"""POST /api/v1/optimise: the classic mode as one streamed answer."""

from functools import partial

from flask import Blueprint, Response, jsonify, request

from stylizer import images
from stylizer.contract import LOSS_WEIGHT_BOUND, PATHS
from stylizer.errors import ParameterError, shown
from stylizer.feedforward import READ_SIDE, Stylizer
from stylizer.images import Picture
from stylizer.parameters import check_weights, decimal, whole
from stylizer.settings import Settings
from stylizer.styles import find
from stylizer.web.form import contents, expect_fields, picture_format, upload
from stylizer.web.jobs import Jobs, Work, picture_text
from stylizer.weights import DOWNLOADS

FIELDS = frozenset(
    ("content", "style", "style_name", "weight", "backbone", "content_layer", "style_layers", "steps", "content_weight",
     "style_weight", "tv_weight", "init", "start", "seed", "size", "format")
)  # fmt: skip
TITLES = {"narrow": "Our own narrow VGG", "small": "Our own small network"}
SIZE = 512  # longest side in pixels, where the request names none
MAX_SEED = 2**32 - 1
PREVIEW_SECONDS = 0.5  # between pictures at the least


def add_routes(api: Blueprint, stylizer: Stylizer, jobs: Jobs) -> None:
    settings = stylizer.settings

    @api.get(f"/{PATHS['optimise']}")
    def choices() -> Response:
        jobs.need_torch("the classic mode")
        return jsonify(describe_choices(settings))

    @api.post(f"/{PATHS['optimise']}")
    def optimise() -> Response:
        expect_fields(FIELDS)
        jobs.need_torch("the classic mode")
        backbone = _backbone(settings)
        config = _config(backbone, settings)
        format = picture_format()
        return jobs.answer(lambda: _work(stylizer, backbone, config, format), config.steps, PREVIEW_SECONDS)


def describe_choices(settings: Settings) -> dict:
    """{backbones, defaults, bounds}: what a form needs to offer. The first backbone is the default."""
    from stylizer import gatys

    config = gatys.GatysConfig()
    names = ("steps", "content_weight", "style_weight", "init", "seed")
    found = [
        {
            "name": name,
            "title": DOWNLOADS[name].title if name in DOWNLOADS else TITLES[name],
            "state": _state(name, settings),
            "megabytes": DOWNLOADS[name].megabytes if name in DOWNLOADS else 0,
            "layers": network.LAYERS,
            "content_layers": network.CONTENT_LAYERS,
            "style_layers": network.STYLE_LAYERS,
            "tv_weight": network.TV_WEIGHT,
        }
        for name, network in ((name, gatys.network_of(name)) for name in gatys.available(settings))
    ]
    return {
        "backbones": sorted(found, key=lambda each: STATES.index(each["state"])),
        "defaults": {**{name: getattr(config, name) for name in names}, "size": min(SIZE, settings.optimise_size)},
        "bounds": {
            "steps": settings.optimise_steps,
            "size": settings.optimise_size,
            "seconds": settings.optimise_seconds,
            "download": settings.optimise_download,
        },
    }


# Shipped ones need nothing; downloadable ones are fetched when a request names them, where the server allows that.
STATES = ("shipped", "downloaded", "downloadable")


def _state(backbone: str, settings: Settings) -> str:
    if backbone not in DOWNLOADS:
        return "shipped"
    there = (settings.cache.expanduser() / DOWNLOADS[backbone].file).exists()
    return "downloaded" if there else "downloadable"


# Reading a request --------------------------------------------------------------------------------------------------


def _backbone(settings: Settings) -> str:
    names = [each["name"] for each in describe_choices(settings)["backbones"]]
    backbone = request.form.get("backbone") or names[0]
    if backbone not in names:
        raise ParameterError("backbone", f"there is no backbone {shown(backbone)} here; choose from {', '.join(names)}")
    if _state(backbone, settings) == "downloadable" and not settings.optimise_download:
        raise ParameterError(
            "backbone",
            f"{backbone} is not on this server, which downloads none; whoever runs it can, by "
            f"stylizer gatys --backbone {backbone}",
        )
    return backbone


def _config(backbone: str, settings: Settings):
    """The request's GatysConfig; ParameterError names the field as the form does."""
    from stylizer import gatys

    form = request.form
    default = gatys.GatysConfig()
    config = gatys.GatysConfig(
        steps=_whole("steps", min(default.steps, settings.optimise_steps), 1, settings.optimise_steps),
        content_weight=_number("content_weight", default.content_weight),
        style_weight=_number("style_weight", default.style_weight),
        tv_weight=_number("tv_weight", default.tv_weight),
        content_layers=tuple(form.getlist("content_layer")),
        style_layers=tuple(form.getlist("style_layers")),
        init=form.get("init", default.init),
        seed=_whole("seed", default.seed, 0, MAX_SEED),
        preview_every=1,
    )
    try:
        gatys.check_config(config, gatys.network_of(backbone))
    except ParameterError as error:
        if error.field == "content_layers":
            error.field = "content_layer"
        raise
    if "start" in request.files and config.init != "feedforward":
        raise ParameterError("start", f"a start came, but init is {config.init}; send init=feedforward with it")
    return config


def _work(stylizer: Stylizer, backbone: str, config, format: str) -> Work:
    """`gatys.paint` with the request's pictures, decoded, and the photo at its size."""
    from stylizer import gatys

    settings = stylizer.settings
    content = upload("content")
    default = min(SIZE, settings.optimise_size, max(images.measure(content, settings, "content")))
    longest = _whole("size", default, settings.min_side, settings.optimise_size)
    photo = images.resize(images.decode(content, settings, "content", images.longest_side(longest)), longest)
    images.check_size(photo.size, settings, f"the photo at size {longest}")
    styles = _styles(stylizer, longest)
    shares = check_weights(request.form.getlist("weight"), len(styles)).tolist()
    start = images.decode(upload("start"), settings, "start") if "start" in request.files else None
    paint = partial(
        gatys.paint, photo, styles, config, settings, backbone=backbone, shares=shares, size=None, start=start,
        stylizer=stylizer,
    )  # fmt: skip

    def show(alpha, step, last: bool) -> dict:
        picture = Picture(images.from_tensor(step.picture.numpy()), alpha)
        return {"picture": picture_text(picture, format if last else "jpeg")}

    def work(**told):
        painted, steps = paint(**told)
        return partial(show, painted.alpha), steps

    return work


def _styles(stylizer: Stylizer, longest: int) -> list[Picture | str]:
    """Files first, then names: the order of the weights. Names are looked up here, so none is read as a path later.

    All files are held until the picture is begun, so none is larger than what it is looked at for: as the photo, and at
    the size from which style vectors are read.
    """
    settings, files, names = stylizer.settings, request.files.getlist("style"), request.form.getlist("style_name")
    if not 1 <= len(files) + len(names) <= settings.max_styles:
        raise ParameterError(
            "style", f"{len(files) + len(names)} styles came; send 1 to {settings.max_styles}, as style or style_name"
        )
    found = [find(stylizer.gallery, name) for name in names]
    bare = [style.name for style in found if style.picture is None]
    if bare:
        painted = ", ".join(style.name for style in stylizer.gallery.values() if style.picture)
        raise ParameterError(
            "style_name",
            f"of {bare[0]!r} only the style vector is stored, and optimising needs a picture: send one as style, or "
            f"choose from {painted}",
        )

    def fit(size: images.Size) -> images.Size:
        return images.scaled(size, max(longest / max(size), READ_SIDE / min(size)))

    pictures = [images.decode(contents(file), settings, "style", fit) for file in files]
    return pictures + [style.name for style in found]


def _whole(field: str, default: int, smallest: int, largest: int) -> int:
    return whole(field, request.form.get(field, default), smallest, largest)


def _number(field: str, default: float | None) -> float | None:
    text, words = request.form.get(field), f"a number, 0 or more and at most {LOSS_WEIGHT_BOUND:g}"
    return default if text is None else decimal(field, text, 0, LOSS_WEIGHT_BOUND, words)
