"""Reading a painting: the predictor turns squares cut from it into style vectors, and their mean is its style.

A vector determines how large strokes are in pixels, so the size of the painted picture matters too (`octaves`).
"""

import hashlib
import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from stylizer import images
from stylizer.images import Picture
from stylizer.progress import Interrupt, go_on

STYLE_SIDE = 256  # side in pixels of the squares, as in the predictor's training,
READ_SIDE = 384  # and shorter side of the painting that they cover
READ_FOR = 448  # longest side of a picture in which strokes have the same relative size as in the painting
MOST_OCTAVES = 1.5  # limit of their growth: at two octaves colours paled
REMEMBERED = 512  # style vectors of pictures read last, 100 numbers each


class Reader:
    """Reads style vectors from pictures, and remembers those it read last by their pixels. Thread-safe.

    A visitor's painting is sent again with every photo, size and strength, and reading it takes half as long as
    painting by it.
    """

    def __init__(self, predict: Callable[[np.ndarray], np.ndarray]):
        self.predict = predict
        self._vectors: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, picture: Picture, interrupt: Interrupt = go_on) -> np.ndarray:
        """Style vector (1, 100) of a painting or photo, as `read_style`."""
        picture = images.resize_shorter(picture, READ_SIDE)
        pixels = np.ascontiguousarray(picture.rgb)
        key = hashlib.blake2b(pixels.data, key=repr(pixels.shape).encode(), digest_size=16).digest()
        with self._lock:
            if key in self._vectors:
                self._vectors.move_to_end(key)
                return self._vectors[key].copy()
        vector = read_style(self.predict, picture, interrupt=interrupt)
        with self._lock:
            self._vectors[key] = vector.copy()
            while len(self._vectors) > REMEMBERED:
                self._vectors.popitem(last=False)
        return vector


def read_style(
    predict: Callable[[np.ndarray], np.ndarray], picture: Picture, side: int = READ_SIDE, interrupt: Interrupt = go_on
) -> np.ndarray:
    """Style vector (1, 100) of a painting or photo: the mean over the squares that cover it, four to six at 384 px.

    Predicting once from the whole, scaled down, gives results further from the style (docs/lab/design.md).
    `predict` takes a square, (1, 3, 256, 256) in [0, 1].
    """
    tensor = images.to_tensor(images.resize_shorter(picture, side).rgb)
    rows, columns = (starts(length) for length in tensor.shape[-2:])
    vectors = []
    for top, left in itertools.product(rows, columns):
        interrupt()
        vectors.append(predict(np.ascontiguousarray(tensor[..., top : top + STYLE_SIDE, left : left + STYLE_SIDE])))
    return np.mean(vectors, axis=0)


def starts(length: int) -> list[int]:
    """Start positions of the fewest evenly spread squares that cover a length: 768 -> [0, 256, 512]."""
    last = -(-length // STYLE_SIDE) - 1
    return [index * (length - STYLE_SIDE) // max(1, last) for index in range(last + 1)]


def octaves(width: int, height: int) -> float:
    """Factor of `coarser` added to a vector for a picture of this size, 0 to 1.5: 1 at 896 px.

    A vector determines how large strokes are in pixels, so relative to a picture of twice the size they would be half
    as large.
    """
    return min(max(math.log2(max(width, height) / READ_FOR), 0.0), MOST_OCTAVES)
