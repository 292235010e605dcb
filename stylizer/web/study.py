"""POST /api/v1/study: a minute with one painting as one streamed answer, whose last line holds the study."""

import base64

from flask import Blueprint, Response, request

from stylizer import images, studies
from stylizer.contract import PATHS
from stylizer.errors import ParameterError
from stylizer.feedforward import READ_SIDE, Stylizer
from stylizer.images import Picture
from stylizer.parameters import whole
from stylizer.styles import Blend, find
from stylizer.web.form import contents, expect_fields, upload
from stylizer.web.jobs import Jobs, Work, picture_text
from stylizer.web.samples import SAMPLE

FIELDS = frozenset(("style", "style_name", "content", "steps"))
PREVIEW_SECONDS = 2.0  # between pictures at the least: painting one takes the time of a step
PREVIEW_SIDE = 384  # its longest side in pixels


def add_routes(api: Blueprint, stylizer: Stylizer, jobs: Jobs) -> None:
    settings = stylizer.settings

    @api.post(f"/{PATHS['study']}")
    def study() -> Response:
        expect_fields(FIELDS)
        jobs.need_torch("a study")
        from stylizer.fit import SEPARABLE, StudyConfig

        if not stylizer.takes_studies:
            raise ParameterError("transformer", SEPARABLE)
        default = min(studies.STEPS, settings.optimise_steps)
        steps = whole("steps", request.form.get("steps", default), 1, settings.optimise_steps)
        return jobs.answer(lambda: _work(stylizer, StudyConfig(steps=steps)), steps, PREVIEW_SECONDS)


def _work(stylizer: Stylizer, config) -> Work:
    """`fit.study` with the request's painting and photo, decoded."""
    from stylizer import fit

    settings = stylizer.settings
    painting = _painting(stylizer, round(config.painting_size * config.large / config.size))
    own = None
    if "content" in request.files:
        own = images.decode(upload("content"), settings, "content", images.longest_side(config.large))
        images.check_size(images.scaled(own.size, PREVIEW_SIDE / max(own.size)), settings, "the photo as it is shown")
    shown = stylizer.photo(own if own is not None else settings.assets / SAMPLE, largest=PREVIEW_SIDE)

    def show(step, _last: bool) -> dict:
        painted = stylizer.paint(shown, Blend.of(step.study))
        data = base64.b64encode(studies.dump(step.study)).decode()
        return {"picture": picture_text(painted, "jpeg"), "study": data}

    def work(**told):
        return show, fit.study(painting, config, settings, own=own, stylizer=stylizer, **told)

    return work


def _painting(stylizer: Stylizer, size: int) -> Picture:
    """The one file or the one name; it is looked at `size` pixels large, and at what style vectors are read from."""
    files, names = request.files.getlist("style"), request.form.getlist("style_name")
    if len(files) + len(names) != 1:
        raise ParameterError("style", f"{len(files) + len(names)} paintings came; send one, as style or style_name")

    def fit(own: images.Size) -> images.Size:
        return images.scaled(own, max(size / max(own), READ_SIDE / min(own)))

    if files:
        return images.decode(contents(files[0]), stylizer.settings, "style", fit)
    style = find(stylizer.gallery, names[0])
    if style.picture is None:
        raise ParameterError("style_name", f"of {names[0]!r} no picture is stored: send one as style")
    return images.as_picture(stylizer.settings.styles / style.picture, stylizer.settings, fit)
