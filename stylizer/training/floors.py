"""How much a transformer's features vary at least: `python -m stylizer.training.floors`, then export.

A style's norms divide by what each channel varies. On a picture of one colour that is rounding, on a nearly blank one
next to nothing, and all of it would be painted as strongly as a photo. So a nearly blank picture is painted with a
floor to the variances: twice the least that our own pictures have in a channel, in any of the gallery's styles, which
is what they have at the median. With less a layer still made more of a little than it was given, and 13 layers made it
much: noise of one level became 55 of 255 with half the least, and 2 to 25 with twice. Photos are painted without.
"""

import argparse
import sys
from dataclasses import replace

import numpy as np
import torch
from safetensors.numpy import save

from stylizer import images, weights
from stylizer.brushwork import height_for
from stylizer.errors import StylizerError
from stylizer.feedforward import brushed
from stylizer.fit import default_photos, load_transformer
from stylizer.networks import Transformer
from stylizer.networks.layers import JointNorm
from stylizer.settings import Settings
from stylizer.styles import TYPICAL, read_gallery
from stylizer.tiles import STRIDE
from stylizer.training.export import write_checksums

SHARE = 2.0  # of the least variance
SIDE = 160  # pixels, the longer one
EVERY = 16  # a style of so many: between styles a channel's least variance differs by a half, between photos by more


class Variances(JointNorm):
    """Keeps what each layer varies by."""

    def __init__(self):
        super().__init__()
        self.found: list[torch.Tensor] = []

    def _mean(self, features: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        mean = super()._mean(features, weights)
        self.found.append(mean.flatten())
        return mean


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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m stylizer.training.floors", description=__doc__.splitlines()[0])
    parser.parse_args(arguments)
    settings = Settings.from_env()
    try:
        vectors = [style.vector for style in read_gallery(settings.styles).values()][::EVERY]
        photos = [_tensor(images.as_picture(photo, settings)) for photo in default_photos(settings)]
        for name in weights.choices(settings.models, "transformer"):
            chosen = replace(settings, transformer=name)
            floors = SHARE * least(load_transformer(chosen), photos, vectors)
            file = weights.floors_file(chosen.transformer_stem)
            (settings.models / file).write_bytes(save({"variance": floors.astype(np.float32)}))
            print(f"{file}: {len(floors)} channels, of {len(photos)} pictures in {len(vectors)} styles", flush=True)
    except StylizerError as error:
        print(f"floors: {error}", file=sys.stderr)
        return 2
    write_checksums(settings.models)
    return 0


def _tensor(picture: images.Picture) -> np.ndarray:
    rgb = brushed(images.resize(picture, SIDE), height_for(TYPICAL)).rgb
    height, width = (side // STRIDE * STRIDE for side in rgb.shape[:2])
    return images.to_tensor(rgb[:height, :width])


if __name__ == "__main__":
    sys.exit(main())
