"""What studies gain over style vectors: `python benchmarks/studies.py --vgg FILE --masters FOLDER --photos FILE ...`

Of every gallery style that has a study, on photos that no study has seen, by the meter of `training evaluate`: style at
the nearest scale, content, and the deviation of luminance on plain pictures. A line a style with medians over the
photos, by its vector and by its study; then medians over the styles.
"""

import argparse
import statistics
from pathlib import Path

import torch

from stylizer import Settings, Stylizer, images, losses
from stylizer.loss_networks import load_vgg16
from stylizer.networks.backbones import VGG16
from stylizer.styles import Blend, Style, read_list
from stylizer.training import meter
from stylizer.training.pairs import read_safetensors
from stylizer.training.vectors import picture_of


class Judge:
    def __init__(self, network: VGG16, stylizer: Stylizer, photos: list[Path], size: int):
        self.look, self.stylizer, self.size = meter.look_through(network, torch.device("cpu")), stylizer, size
        self.photos = [stylizer.photo(path, size) for path in photos]
        self.contents = [self.look(photo.picture.rgb) for photo in self.photos]
        self.plain = [stylizer.photo(rgb) for _, rgb in meter.plain_pictures(size)]

    def __call__(self, painting: images.Picture, style: Blend) -> tuple[float, float, float]:
        """(style, content, weave), medians over the pictures."""
        readings = meter.readings(painting, self.size, self.look)
        styles, contents = [], []
        for photo, content in zip(self.photos, self.contents, strict=True):
            found = self.look(self.stylizer.paint(photo, style).rgb)
            styles.append(meter.style_distance(found, readings).mean)
            contents.append(float(losses.content_distance(found, content)))
        weaves = [meter.weave(self.stylizer.paint(photo, style).rgb).luminance for photo in self.plain]
        return statistics.median(styles), statistics.median(contents), statistics.median(weaves)


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
            print_table(
                judge,
                styles,
                {name: picture_of(entry, settings.styles, options.masters) for name, entry in entries.items()},
            )


def print_table(judge: Judge, styles: list[Style], paintings: dict[str, Path]) -> None:
    print(f"{judge.size} px{'':30} style: vector  study  ratio   content: vector  study   weave: vector  study")
    rows = []
    for style in styles:
        painting = images.as_picture(paintings[style.name], judge.stylizer.settings)
        before, after = judge(painting, Blend(style.vector)), judge(painting, Blend.of(style))
        rows.append((after[0] / before[0], after[1], after[2] < before[2]))
        print(
            f"{style.name:36} {before[0]:12.3f} {after[0]:6.3f} {rows[-1][0]:6.2f} {before[1]:17.3f} {after[1]:6.3f} "
            f"{before[2]:15.2f} {after[2]:6.2f}",
            flush=True,
        )
    ratio, content = (statistics.median(row[part] for row in rows) for part in (0, 1))
    print(
        f"{len(rows)} styles: style {ratio:.2f} of the vector's, content {content:.3f}, "
        f"less weave on {sum(row[2] for row in rows) / len(rows):.0%}\n"
    )


if __name__ == "__main__":
    main()
