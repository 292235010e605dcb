"""The wall before there is a photo: a sample photo in every style, at addresses that browsers may cache for good."""

import hashlib
from urllib.parse import quote

from stylizer import __version__, weights
from stylizer.feedforward import Stylizer
from stylizer.styles import Style

SAMPLE = "sample.jpg"  # in assets/
SAMPLE_SIDE = 240  # longest side in pixels; a gallery tile on a high-density display
TILE_QUALITY = 80  # of WebP


class SampleTiles:
    """The tiles' addresses. Each holds a version: a hash of everything that the tile depends on."""

    def __init__(self, stylizer: Stylizer):
        settings = stylizer.settings
        listed = sorted(weights.checksums(settings.models).items())
        transformer = [line for line in listed if line[0].startswith(settings.transformer_stem)]
        self._basis = hashlib.sha256(repr((__version__, SAMPLE_SIDE, TILE_QUALITY, transformer)).encode())
        self._basis.update((settings.assets / SAMPLE).read_bytes())
        self._basis.update(stylizer.coarser.tobytes() + stylizer.roughness.tobytes())

    def version(self, style: Style) -> str:
        digest = self._basis.copy()
        digest.update(style.vector.tobytes())
        if style.study:
            digest.update(style.study.numbers.tobytes())
        return digest.hexdigest()[:12]

    def address(self, style: Style) -> str:
        return f"api/v1/styles/{quote(style.name, safe='')}/sample.webp?v={self.version(style)}"
