"""What every runtime does: predict, encode and decode, and measure and decode_tile for large pictures."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

Opaque = Any  # features and affine, whose type only the runtime that made them knows


class Runtime(ABC):
    """The three networks on one device. `device`, `precision` and `library` describe what runs."""

    device: str
    precision: str
    library: str
    takes_studies: bool  # True for the separable transformer
    forget: Callable[[], bool] = staticmethod(lambda: False)  # frees something cached elsewhere, if memory is short

    @abstractmethod
    def check_memory(self, height: int, width: int, piece: int | None = None) -> None:
        """Refuse a painting for which there is no memory, as `memory.check_memory`, after freeing caches."""

    @abstractmethod
    def predict(self, style: np.ndarray) -> np.ndarray:
        """Style picture (1, 3, H, W) in [0, 1] -> style vector (1, 100)."""

    @abstractmethod
    def encode(self, content: np.ndarray, exact: bool = False) -> Opaque:
        """Photo (1, 3, H, W) in [0, 1], sides multiples of 4 -> its features, 128 for each 4 x 4 pixels.

        `exact`: in float32 where the runtime can, for nearly blank pictures, whose faint differences all count.
        """

    @abstractmethod
    def decode(self, features: Opaque, vector: np.ndarray, added: np.ndarray | None = None) -> np.ndarray:
        """Features, style vector (1, 100) and studies' additions (P,) -> stylised (1, 3, H, W) in [0, 1]."""

    @abstractmethod
    def measure(
        self,
        samples: list[Opaque],
        vector: np.ndarray,
        weights: np.ndarray,
        floor: float = 0.0,
        added: np.ndarray | None = None,
    ) -> Opaque:
        """Measure statistics for `decode_tile` -> affine.

        From features of one photo's samples, of equal size, a style vector (1, 100), the weight of each place
        (N, 1, h, w), the share of the least variances to apply, 0 to 1, and studies' additions.
        """

    @abstractmethod
    def decode_tile(
        self, features: Opaque, affine: Opaque, vector: np.ndarray, added: np.ndarray | None = None
    ) -> np.ndarray:
        """A tile's features, its photo's affine, style vector (1, 100) and studies' additions -> (1, 3, H, W)."""

    @abstractmethod
    def feature_bytes(self, features: Opaque) -> int:
        """Memory that these features occupy."""
