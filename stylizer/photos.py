"""Photos at their target size, with what has been computed from them so far, and a cache of the last few."""

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from stylizer import images, tiles
from stylizer.canvas import brushed
from stylizer.images import Picture

FEATURE_BYTES = 16 * 2**20  # limit for keeping a photo's features for several heights of brushwork


@dataclass
class Photo:
    """A photo at its target size, and what has been computed from it so far."""

    picture: Picture
    canvas: Picture  # the transformer's input, before brushwork: larger if strokes are to look smaller
    draft: "Photo | None" = None  # smaller, painted first: for strokes that are to look larger
    brushed: bool = False  # whether the canvas already has brushwork
    features: dict[int, object] = field(default_factory=dict)  # of the encoder, by height of the brushwork
    own_vector: np.ndarray | None = None  # (1, 100), the photo's own style vector
    look: tiles.Survey | None = None  # of the canvas
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def draft_share(self) -> float:
        """The draft's share of the canvas, 0 to 1: 1 if strokes are to be twice as large."""
        if self.draft is None:
            return 0.0
        return min(math.log2(max(self.canvas.size) / max(self.draft.canvas.size)), 1.0)

    def ground(self, height: int) -> np.ndarray:
        """The encoder's input, (H, W, 3) uint8: the canvas with brushwork of this height."""
        return self.canvas.rgb if self.brushed else brushed(self.canvas, height, self.look).rgb

    def over_draft(self, draft: np.ndarray, height: int, share: float) -> "Photo":
        """The photo mixed with its painted draft, enlarged. Painting over that gives large strokes that are also sharp;
        the draft alone would look out of focus."""
        enlarged = images.resize_to(Picture(draft), self.canvas.size).rgb
        canvas = Picture(images.lerp(self.ground(height), enlarged, share))
        return Photo(canvas, canvas, brushed=True)

    def keep(self, height: int, features: object, size: Callable[[object], int]) -> None:
        """Keep features: for all heights if the photo is small, as on a wall in all styles; otherwise only the last.
        `size` gives their bytes."""
        if (len(self.features) + 1) * size(features) > FEATURE_BYTES:
            self.features.clear()
        self.features[height] = features


class Photos:
    """A cache of the last few photos, in memory only, limited in number and bytes; the oldest are dropped. Thread-safe.
    `feature_bytes` gives the size of what a runtime's encoder returns."""

    def __init__(self, most: int, most_bytes: int, feature_bytes: Callable[[object], int]):
        self.most, self.most_bytes, self.feature_bytes = most, most_bytes, feature_bytes
        self._photos: OrderedDict[bytes, Photo] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._photos)

    def recall(self, key: bytes) -> Photo | None:
        with self._lock:
            if key in self._photos:
                self._photos.move_to_end(key)
            return self._photos.get(key)

    def remember(self, key: bytes, photo: Photo) -> None:
        with self._lock:
            self._photos[key] = photo
            while len(self._photos) > self.most:
                self._photos.popitem(last=False)
        self.trim()

    def trim(self) -> None:
        """Drop the oldest photos until the rest fits; a photo that is too large is dropped immediately."""
        with self._lock:
            sizes = {key: self._bytes(photo) for key, photo in self._photos.items()}
            while self._photos and sum(sizes.values()) > self.most_bytes:
                sizes.pop(self._photos.popitem(last=False)[0])

    def forget_oldest(self) -> bool:
        """Drop the oldest photo, to free memory; returns whether there was one."""
        with self._lock:
            return bool(self._photos and self._photos.popitem(last=False))

    def _bytes(self, photo: Photo) -> int:
        features = sum(map(self.feature_bytes, list(photo.features.values())))
        alpha = 0 if photo.picture.alpha is None else photo.picture.alpha.nbytes
        canvas = 0 if photo.canvas is photo.picture else photo.canvas.rgb.nbytes
        draft = self._bytes(photo.draft) if photo.draft else 0
        return photo.picture.rgb.nbytes + alpha + canvas + draft + features


def content_key(source: bytes | Picture, *sizes: float | None) -> bytes:
    """The cache key of a photo's pixels at a size."""
    digest = hashlib.blake2b(repr(sizes).encode(), digest_size=16)
    if isinstance(source, (bytes, bytearray, memoryview)):
        digest.update(source)
    elif isinstance(source, Picture):
        digest.update(repr(source.size).encode())
        digest.update(np.ascontiguousarray(source.rgb).data)
        digest.update(b"" if source.alpha is None else np.ascontiguousarray(source.alpha).data)
    else:
        digest.update(repr(source).encode())  # as_picture reports what is wrong with it
    return digest.digest()
