"""What all routes of one application share."""

from dataclasses import dataclass

from stylizer.feedforward import Stylizer
from stylizer.settings import Settings
from stylizer.web.api.fields import Form, make_forms
from stylizer.web.jobs import Jobs
from stylizer.web.turns import Turns


@dataclass(frozen=True)
class Services:
    """Made once per application. Routes get it from `make_blueprint`; it is also `server.extensions["stylizer"]`."""

    stylizer: Stylizer
    turns: Turns  # to paint
    jobs: Jobs  # slots for optimisations and studies
    forms: dict[str, Form]  # by path

    @classmethod
    def of(cls, stylizer: Stylizer) -> "Services":
        settings = stylizer.settings
        turns = Turns(settings.slots, settings.queue_length, settings.queue_seconds)
        return cls(stylizer, turns, Jobs(settings), make_forms(settings))

    @property
    def settings(self) -> Settings:
        return self.stylizer.settings
