"""Measure a transformer's features on our own pictures: least variances for nearly blank photos, ranges for 8 bits.

Export again afterwards: the floors are part of the ONNX files.

Floors. A style's norms divide by the deviation of each channel. In a picture of one colour that is rounding error, in a
nearly blank one next to nothing, and all of it would be painted as strongly as a photo. So nearly blank pictures are
painted with a floor under the variances: twice the least that our own pictures have in a channel, in any of the
gallery's styles, which is about the median. With a lower one each layer still amplified a little, and 13 layers made it
a lot: noise of one level became 55 of 255 with half the least, and 2 to 25 with twice. Photos are painted without.

Peaks. Where the encoder computes in 8 bits (runtimes/on_openvino.py), what enters a convolution is rounded to 256 steps
from 0 to the most that was seen, and a little more.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from safetensors.numpy import save

from stylizer import images, weights
from stylizer.brushwork import height_for
from stylizer.canvas import brushed
from stylizer.fit import default_photos, load_transformer, tensor_of
from stylizer.networks import Transformer
from stylizer.networks.layers import JointNorm
from stylizer.settings import Settings
from stylizer.styles import TYPICAL, read_gallery
from stylizer.training.export import write_checksums

SHARE = 2.0  # of the least variance
ROOM = 1.1  # of the largest number
SIDE = 160  # pixels, the longer one
EVERY = 16  # one style of so many: a channel's least variance differs by half between styles, by more between photos


class Variances(JointNorm):
    """A norm that keeps the variances of every layer."""

    def __init__(self):
        super().__init__()
        self.found: list[torch.Tensor] = []

    def _mean(self, features: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        mean = super()._mean(features, weights)
        self.found.append(mean.flatten())
        return mean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: it works on models/, or STYLIZER_MODELS."""


def run(arguments: argparse.Namespace) -> None:
    settings = Settings.from_env()
    vectors = [style.vector for style in read_gallery(settings.styles).values()][::EVERY]
    pictures = [images.resize(images.as_picture(path, settings), SIDE) for path in default_photos(settings)]
    photos = [tensor_of(brushed(picture, height_for(TYPICAL)), SIDE).numpy() for picture in pictures]
    for name in weights.choices(settings.models, "transformer"):
        chosen = replace(settings, transformer=name)
        transformer = load_transformer(chosen)
        floors = SHARE * least(transformer, photos, vectors)
        found = {"floors": floors.astype(np.float32), "peaks": ROOM * peaks(transformer, photos)}
        file = weights.calibration_file(chosen.transformer_stem)
        (settings.models / file).write_bytes(save(found))
        print(f"{file}: {len(floors)} channels, of {len(photos)} pictures in {len(vectors)} styles", flush=True)
    write_checksums(settings.models)


@torch.inference_mode()
def least(transformer: Transformer, photos: list[np.ndarray], vectors: list[np.ndarray]) -> np.ndarray:
    """The least variance of each styled channel, (S,); photos are float32 (1, 3, H, W) in [0, 1]."""
    lowest = torch.full((sum(transformer.styled_channels),), torch.inf)
    for photo in photos:
        features = transformer.encode(torch.from_numpy(photo))
        for vector in vectors:
            norm = Variances()
            transformer.decode(features, torch.from_numpy(vector)[None], norm=norm)
            lowest = torch.minimum(lowest, torch.cat(norm.found[1::2]))  # after each mean comes a variance
    return lowest.numpy()


@torch.inference_mode()
def peaks(transformer: Transformer, photos: list[np.ndarray]) -> np.ndarray:
    """The largest number that enters each of the encoder's convolutions after the first, float32 (2,)."""
    highest = torch.zeros(len(transformer.contract) - 1)
    for photo in photos:
        features = transformer.seen(torch.from_numpy(photo))
        for index, layer in enumerate(transformer.contract[:-1]):
            features = layer(features)
            highest[index] = torch.maximum(highest[index], features.max())
    return highest.numpy()
