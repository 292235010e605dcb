"""Arbitrary style transfer that runs on your own machine.

from stylizer import Stylizer
stylizer = Stylizer()
picture = stylizer.stylize("photo.jpg", {"stained-glass": 0.7, "painting.jpg": 0.3}, strength=0.8)
"""

from typing import TYPE_CHECKING

from stylizer.errors import StylizerError
from stylizer.settings import Settings

__all__ = ["Settings", "Stylizer", "StylizerError"]
__version__ = "0.1.0"


if TYPE_CHECKING:
    from stylizer.feedforward import Stylizer
else:

    def __getattr__(name: str) -> object:
        # Stylizer pulls in numpy and Pillow; `stylizer --help` should not wait for them.
        if name == "Stylizer":
            from stylizer.feedforward import Stylizer

            return Stylizer
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
