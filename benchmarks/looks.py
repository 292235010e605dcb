"""What our own loss networks are worth beside VGG-16: `python benchmarks/looks.py --vgg FILE --photos ... --styles ...`

The same pictures are optimised through each network for as many steps, and all results are judged by VGG-16: style and
content distance, medians over the pairs. Times are of a step, the networks taking turns; quote the ratios.
"""

import argparse
import itertools
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from stylizer import Settings, gatys, images, loss_networks, losses
from stylizer.gatys import GatysConfig
from stylizer.networks.backbones import Backbone
from stylizer.training.pairs import read_safetensors


def tensor(path: Path, longest: int) -> Tensor:
    return torch.from_numpy(images.to_tensor(images.resize(images.as_picture(path, Settings()), longest).rgb))


def judged(judge: Backbone, picture: Tensor, photo: Tensor, painting: Tensor) -> tuple[float, float]:
    """(style, content) as VGG-16 sees them."""
    with torch.inference_mode():
        look = [judge(each, losses.STYLE_LAYERS) for each in (picture, photo, painting)]
        return (
            float(losses.style_distance(look[0], losses.gram_matrices(look[2]))),
            float(losses.content_distance(look[0], look[1])),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vgg", type=Path, required=True, help="VGG-16's features, safetensors")
    parser.add_argument("--narrow", type=Path, help="a narrow VGG's weights; by default the shipped ones")
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--styles", type=Path, nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--save", type=Path, help="folder for the pictures")
    options = parser.parse_args()
    settings = Settings.from_env()
    judge = loss_networks.load_vgg16(read_safetensors(options.vgg)[0])
    narrow = (
        loss_networks.build("narrow", read_safetensors(options.narrow)[0])
        if options.narrow
        else loss_networks.load("narrow", settings)
    )
    networks = {"vgg16": judge, "narrow": narrow, "small": loss_networks.load("small", settings)}
    found: dict[str, list] = {name: [] for name in networks}
    for photo_path, style_path in itertools.product(options.photos, options.styles):
        photo, painting = tensor(photo_path, options.size), tensor(style_path, options.size)
        before = judged(judge, photo, photo, painting)
        line = f"{photo_path.stem} {style_path.stem[:28]:28} {before[0]:.3f}"
        for name, network in networks.items():
            layers = losses.CONTENT_LAYERS if name != "small" else network.CONTENT_LAYERS
            config = GatysConfig(steps=options.steps, content_layers=layers)
            began = time.perf_counter()
            *_, last = gatys.optimise(photo, [painting], network, config)
            seconds = (time.perf_counter() - began) / options.steps
            found[name].append((*judged(judge, last.picture, photo, painting), seconds))
            line += f"   {name} {found[name][-1][0]:.3f} {found[name][-1][1]:.2f}"
            if options.save:
                options.save.mkdir(parents=True, exist_ok=True)
                picture = images.to_pil(images.Picture(images.from_tensor(last.picture.numpy())))
                picture.save(options.save / f"{photo_path.stem}-{style_path.stem[:20]}-{name}.png")
        print(line, flush=True)
    for name, values in found.items():
        style, content, seconds = (statistics.median(each) for each in zip(*values, strict=True))
        shares = [
            statistics.median(a[part] / b[part] for a, b in zip(values, found["vgg16"], strict=True)) for part in (0, 2)
        ]
        print(
            f"{name:8} style {style:.4f} ({shares[0]:.2f} of VGG-16's), content {content:.3f}, "
            f"{1000 * seconds:.0f} ms a step ({shares[1]:.2f})"
        )


if __name__ == "__main__":
    main()
