"""What studies gain over style vectors: `python benchmarks/studies.py --vgg FILE --masters FOLDER --photos FILE ...`

Of every gallery style that has a study, on photos that no study has seen, judged by VGG-16:

    style     the mean over relu1_2, relu2_2, relu3_3, relu4_3 of the relative Gram distance, at the nearest of five
              scales of the painting: its longer side at 0.42, 0.58, 0.83, 1.17 and 1.67 of the photo's
    content   the relative distance at relu3_3
    weave     on plain pictures: the deviation of luminance and of R - G after a blur of 6 pixels is taken off

A line a style with medians over the photos, by its vector and by its study; then medians over the styles.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from stylizer import Settings, Stylizer, images, losses
from stylizer.networks.backbones import VGG16, load_vgg16
from stylizer.styles import Blend, Style, read_list
from stylizer.training.pairs import read_safetensors
from stylizer.training.vectors import picture_of

SCALES = (0.42, 0.58, 0.83, 1.17, 1.67)
LUMINANCE = (0.299, 0.587, 0.114)


def tensor(rgb: np.ndarray) -> Tensor:
    return torch.from_numpy(images.to_tensor(rgb)).contiguous(memory_format=torch.channels_last)


def plain_pictures() -> list[np.ndarray]:
    """A sky, a night and a wall: gentle slopes of colour, (256, 384, 3) uint8 each."""
    down, across = np.mgrid[0:256, 0:384] / np.array([256, 384]).reshape(2, 1, 1)
    sky = 90 + 110 * down, 130 + 70 * down, 200 - 30 * down
    night = 40 + 30 * across, 45 + 25 * down, 60 + 20 * across
    wall = 215 + 25 * across, 210 + 25 * down, 205 + 20 * across
    return [np.stack(each, axis=2).astype(np.uint8) for each in (sky, night, wall)]


def weave(rgb: np.ndarray) -> float:
    found = 0.0
    picture = rgb.astype(np.float32)
    for channel in (picture @ LUMINANCE, picture[..., 0] - picture[..., 1]):
        low = Image.fromarray((channel / 2 + 64).clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(6))
        high = channel - (2 * np.asarray(low, np.float32) - 128)
        found += float(high[16:-16, 16:-16].std())  # the border is another matter
    return found


class Judge:
    def __init__(self, network: VGG16, stylizer: Stylizer, photos: list[Path], size: int):
        self.network, self.stylizer, self.size = network, stylizer, size
        self.photos = [stylizer.photo(path, size) for path in photos]
        self.contents = [network(tensor(photo.picture.rgb), losses.CONTENT_LAYERS) for photo in self.photos]

    def __call__(self, painting: images.Picture, style: Blend) -> tuple[float, float, float]:
        """(style, content, weave), medians over the pictures."""
        targets = [losses.gram_matrices(self.network(
            tensor(images.resize(painting, round(scale * self.size)).rgb), losses.STYLE_LAYERS
        )) for scale in SCALES]  # fmt: skip
        styles, contents = [], []
        for photo, content in zip(self.photos, self.contents, strict=True):
            found = self.network(tensor(self.stylizer.paint(photo, style).rgb), losses.STYLE_LAYERS)
            styles.append(min(float(losses.style_distance(found, grams)) for grams in targets))
            contents.append(float(losses.content_distance(found, content)))
        plain = [weave(self.stylizer.paint(self.stylizer.photo(rgb), style).rgb) for rgb in plain_pictures()]
        return statistics.median(styles), statistics.median(contents), statistics.median(plain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vgg", type=Path, required=True, help="VGG-16's features, safetensors")
    parser.add_argument("--masters", type=Path, help="folder with the masters' pictures")
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[384, 512])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    options = parser.parse_args()
    settings = Settings.from_env()
    stylizer = Stylizer(settings=settings)
    network = load_vgg16(read_safetensors(options.vgg)[0]).to(memory_format=torch.channels_last)
    entries = {entry["name"]: entry for entry in read_list(settings.styles)}
    wanted = set(options.only or entries)
    styles = [style for style in stylizer.gallery.values() if style.study and style.name in wanted & entries.keys()]
    with torch.inference_mode():
        for size in options.sizes:
            judge = Judge(network, stylizer, options.photos, size)
            print_table(judge, styles, {name: picture_of(entry, settings.styles, options.masters)
                                        for name, entry in entries.items()})  # fmt: skip


def print_table(judge: Judge, styles: list[Style], paintings: dict[str, Path]) -> None:
    print(f"{judge.size} px{'':30} style: vector  study  ratio   content: vector  study   weave: vector  study")
    rows = []
    for style in styles:
        painting = images.as_picture(paintings[style.name], judge.stylizer.settings)
        before, after = judge(painting, Blend(style.vector)), judge(painting, Blend.of(style))
        rows.append((after[0] / before[0], after[1], after[2] < before[2]))
        print(f"{style.name:36} {before[0]:12.3f} {after[0]:6.3f} {rows[-1][0]:6.2f} {before[1]:17.3f} {after[1]:6.3f} "
              f"{before[2]:15.2f} {after[2]:6.2f}", flush=True)  # fmt: skip
    ratio, content = (statistics.median(row[part] for row in rows) for part in (0, 1))
    print(f"{len(rows)} styles: style {ratio:.2f} of the vector's, content {content:.3f}, "
          f"less weave on {sum(row[2] for row in rows) / len(rows):.0%}\n")  # fmt: skip


if __name__ == "__main__":
    main()
