"""POST /api/v1/study: about a minute of learning one painting, streamed; the last line holds the study."""

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response

from stylizer import images, studies
from stylizer.contract import PATHS
from stylizer.errors import ParameterError
from stylizer.feedforward import Stylizer
from stylizer.images import Picture
from stylizer.reading import READ_SIDE
from stylizer.styles import Blend, find
from stylizer.web.api.form import read_form
from stylizer.web.jobs import Show, Work, picture_text
from stylizer.web.samples import SAMPLE
from stylizer.web.services import Services

if TYPE_CHECKING:
    from stylizer.fit import Step, StudyConfig

PREVIEW_SECONDS = 2.0  # between pictures, at least: painting one takes as long as a step
PREVIEW_SIDE = 384  # its longest side in pixels


def make_blueprint(services: Services) -> Blueprint:
    routes, stylizer = Blueprint("study", __name__), services.stylizer

    @routes.post(f"/{PATHS['study']}")
    def study() -> Response:
        form = read_form()
        services.jobs.need_torch("a study")
        from stylizer.fit import SEPARABLE, StudyConfig

        if not stylizer.takes_studies:
            raise ParameterError("transformer", SEPARABLE)
        config = StudyConfig(steps=form["steps"])
        return services.jobs.answer(lambda: _work(stylizer, config, form), config.steps, PREVIEW_SECONDS)

    return routes


def _work(stylizer: Stylizer, config: "StudyConfig", form: dict[str, Any]) -> Work:
    """`fit.study` with the request's painting and photo, decoded."""
    from stylizer import fit

    settings = stylizer.settings
    painting = _painting(stylizer, form, round(config.painting_size * config.large / config.size))
    own = None
    if form["content"]:
        own = images.decode(form["content"], settings, "content", images.longest_side(config.large))
        images.check_bounds(images.scaled(own.size, PREVIEW_SIDE / max(own.size)), settings, "the photo as it is shown")
    shown = stylizer.photo(own if own is not None else settings.assets / SAMPLE, largest=PREVIEW_SIDE)

    def show(step: "Step", _last: bool) -> dict:
        painted = stylizer.paint(shown, Blend.of(step.study))
        data = base64.b64encode(studies.dump(step.study)).decode()
        return {"picture": picture_text(painted, "jpeg"), "study": data}

    def work(**hooks: Any) -> tuple[Show, Iterator]:
        return show, fit.study(painting, config, settings, own=own, stylizer=stylizer, **hooks)

    return work


def _painting(stylizer: Stylizer, form: dict[str, Any], size: int) -> Picture:
    """The one file or the one name, decoded at `size` pixels, or larger if style vectors are read at more."""
    file, name = form["style"], form["style_name"]
    if (file is None) == (name is None):
        count = "no painting" if file is None else "2 paintings"
        raise ParameterError("style", f"{count} came; send one, as style or style_name")

    def fit(own: images.Size) -> images.Size:
        return images.scaled(own, max(size / max(own), READ_SIDE / min(own)))

    if file:
        return images.decode(file, stylizer.settings, "style", fit)
    style = find(stylizer.gallery, name)
    if style.picture is None:
        raise ParameterError("style_name", f"the picture of {name!r} is not stored: send one as style")
    return images.as_picture(stylizer.settings.styles / style.picture, stylizer.settings, fit)
