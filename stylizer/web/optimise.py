"""POST /api/v1/optimise: the classic mode as one streamed answer. A job lives and dies with its request.

There is no queue, no file and no state beside the slots. torch is imported by the requests that need it alone: a server
without it runs as ever, and says here what to install.
"""

import base64
import importlib.util
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from flask import Blueprint, Response, jsonify, request, stream_with_context

from stylizer import images
from stylizer.errors import Busy, Gone, NotInstalled, ParameterError, shown
from stylizer.feedforward import READ_SIDE, Interrupt, Stylizer
from stylizer.images import Picture
from stylizer.parameters import check_weights, decimal, whole
from stylizer.settings import Settings
from stylizer.styles import find
from stylizer.web.api import interrupt_of, json_line
from stylizer.web.form import contents, expect_fields, picture_format, upload
from stylizer.web.openapi import LOSS_WEIGHT_BOUND
from stylizer.web.problems import describe
from stylizer.weights import DOWNLOADS

FIELDS = frozenset(
    ("content", "style", "style_name", "weight", "backbone", "content_layer", "style_layers", "steps", "content_weight",
     "style_weight", "tv_weight", "init", "start", "seed", "size", "format")
)  # fmt: skip
SIZE = 512  # longest side in pixels, where the request names none
MAX_SEED = 2**32 - 1
BEAT_SECONDS = 0.25  # between lines at the longest: a server notices at its second line that the client has gone
PREVIEW_SECONDS = 0.5  # between pictures at the least
PREVIEW_QUALITY = 90  # of JPEG
COME_AGAIN_SECONDS = 5
LET_GO_SECONDS = 2  # whoever pauses and goes on at once finds the place still taken by the request that was broken off


def add_routes(api: Blueprint, stylizer: Stylizer) -> None:
    settings = stylizer.settings
    slots = threading.BoundedSemaphore(settings.optimise_slots)
    patience = threading.BoundedSemaphore(settings.optimise_slots)  # requests that wait a moment, a thread each

    @api.get("/api/v1/optimise")
    def choices() -> Response:
        _need_torch()
        return jsonify(describe_choices(settings))

    @api.post("/api/v1/optimise")
    def optimise() -> Response:
        expect_fields(FIELDS)
        _need_torch()
        backbone = _backbone(settings)
        config = _config(backbone, settings)
        format = picture_format()
        if not (slots.acquire(blocking=False) or _wait_for(slots, patience)):
            raise Busy(
                "this server is optimising as many pictures as it takes at a time; try again when one is done, "
                "in a minute or so", COME_AGAIN_SECONDS,
            )  # fmt: skip
        try:
            work = _work(stylizer, backbone, config)
            job = Job(work, config.steps, settings.optimise_seconds, slots.release, interrupt_of(request.environ))
            job.start()
        except BaseException:
            slots.release()
            raise
        response = Response(stream_with_context(job.lines(format)), mimetype="application/x-ndjson", headers={
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # a proxy that gathered the lines would hide that they come one by one
        })  # fmt: skip
        response.call_on_close(job.leave)
        return response


def _wait_for(slots: threading.BoundedSemaphore, patience: threading.BoundedSemaphore) -> bool:
    if not patience.acquire(blocking=False):
        return False
    try:
        return slots.acquire(timeout=LET_GO_SECONDS)
    finally:
        patience.release()


def describe_choices(settings: Settings) -> dict:
    """{backbones, defaults, bounds}: what a form needs to offer. The first backbone is the default."""
    from stylizer import gatys

    config = gatys.GatysConfig()
    names = ("steps", "content_weight", "style_weight", "init", "seed")
    found = [
        {
            "name": name,
            "title": DOWNLOADS[name].title if name in DOWNLOADS else "Our own small network",
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


def _need_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise NotInstalled("the classic mode needs torch, and this server runs without: pip install 'stylizer[torch]'")
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        raise NotInstalled(
            "the classic mode needs a folder for temporary files, which torch looks for: give this server a /tmp that "
            "can be written"
        ) from None


# A job --------------------------------------------------------------------------------------------------------------


class Job(threading.Thread):
    """A picture being optimised, in a thread of its own, so that lines go out while a step is under way.

    work(progress=, interrupt=) is `gatys.paint` with its arguments. The thread gives its slot back by `release` when it
    ends, be the picture done, its seconds over, something wrong, or `leave` called: then in the middle of a step. So it
    does when `interrupted` raises, the request's own way to end; that is told in the last line.
    """

    def __init__(
        self, work: Callable[..., tuple[Picture, Iterator]], steps: int, seconds: float, release: Callable[[], None],
        interrupted: Interrupt = lambda: None,
    ):  # fmt: skip
        super().__init__(name="optimise", daemon=True)
        self._work, self._steps, self._seconds, self._release = work, steps, seconds, release
        self._told: deque[dict] = deque([{"event": "progress", "step": 0, "steps": steps, "losses": {}}])
        self._newest = None  # the Step done last: pictures that no one took are forgotten
        self._photo: Picture | None = None
        self._error: Exception | None = None
        self._late = self._over = False
        self._download_told = 0.0
        self._interrupted = interrupted
        self._gone, self._news = threading.Event(), threading.Event()

    def leave(self) -> None:
        self._gone.set()

    def run(self) -> None:
        try:
            work, self._work = self._work, None  # with the pictures as they came, which are needed no longer
            self._photo, steps = work(progress=self._on_download, interrupt=self._interrupt)
            del work
            end = time.monotonic() + self._seconds
            for step in steps:
                self._newest = step
                self._tell(step.index, step.losses)
                self._interrupt()
                if time.monotonic() > end:
                    self._late = step.index < self._steps
                    break
        except Gone:
            self._newest = None
        except Exception as error:
            self._error = error
        finally:
            self._release()
            self._over = True
            self._news.set()

    def _interrupt(self) -> None:
        if self._gone.is_set():
            raise Gone("the client has left")
        self._interrupted()

    def _on_download(self, done: int, total: int) -> None:
        self._interrupt()
        if time.monotonic() - self._download_told > BEAT_SECONDS:  # blocks come by the hundred a second
            self._download_told = time.monotonic()
            self._tell(0, {}, download={"megabytes": done / 1e6, "of": total / 1e6})

    def _tell(self, index: int, losses: dict, **more) -> None:
        self._told.append({"event": "progress", "step": index, "steps": self._steps, "losses": losses, **more})
        self._news.set()

    def lines(self, format: str) -> Iterator[bytes]:
        """NDJSON: progress, told anew while a step takes long, and previews; then the result, or what went wrong."""
        line, shown, shown_at, over = None, None, 0.0, False
        while not over:
            self._news.wait(BEAT_SECONDS)
            self._news.clear()
            over = self._over  # before the lines are taken: what is told until then is among them
            fresh = [self._told.popleft() for _ in range(len(self._told))]
            line = fresh[-1] if fresh else line
            yield from map(json_line, fresh or [line])
            step = self._newest
            if not over and step is not shown and time.monotonic() - shown_at > PREVIEW_SECONDS:
                yield self._picture_line("preview", step, "jpeg", PREVIEW_QUALITY)
                shown, shown_at = step, time.monotonic()
        if self._error:
            yield json_line({"event": "error", "problem": describe(self._error)})
        elif self._newest:
            yield self._picture_line("result", self._newest, format, losses=self._newest.losses, late=self._late)

    def _picture_line(self, event: str, step, format: str, *quality: int, **more) -> bytes:
        picture = Picture(images.from_tensor(step.picture.numpy()), self._photo.alpha)
        data = base64.b64encode(images.encode(picture, format, *quality)).decode()
        return json_line({"event": event, "step": step.index, "steps": self._steps, "picture": data, **more})


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


def _work(stylizer: Stylizer, backbone: str, config) -> Callable[..., tuple[Picture, Iterator]]:
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
    return partial(
        gatys.paint, photo, styles, config, settings, backbone=backbone, shares=shares, size=None, start=start,
        stylizer=stylizer,
    )  # fmt: skip


def _styles(stylizer: Stylizer, longest: int) -> list[Picture]:
    """Files first, then names: the order of the weights. Names are looked up, never read as paths.

    All are held until the picture is begun, so none is larger than what it is looked at for: as the photo, and at the
    size from which style vectors are read.
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

    pictures = [images.as_picture(settings.styles / style.picture, settings, fit) for style in found]
    return [images.decode(contents(file), settings, "style", fit) for file in files] + pictures


def _whole(field: str, default: int, smallest: int, largest: int) -> int:
    return whole(field, request.form.get(field, default), smallest, largest)


def _number(field: str, default: float | None) -> float | None:
    text, words = request.form.get(field), f"a number, 0 or more and at most {LOSS_WEIGHT_BOUND:g}"
    return default if text is None else decimal(field, text, 0, LOSS_WEIGHT_BOUND, words)
