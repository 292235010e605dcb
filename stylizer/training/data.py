"""Pictures to train on: a tar or a folder becomes one uint8 tensor on the device, and is augmented there.

Seven thousand pictures of 288 x 288 are 1.7 GB. They fit beside the networks on any GPU, so no step waits for loaders,
workers or copies.
"""

import itertools
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from stylizer import brushwork, images
from stylizer.errors import EmptyInput, ParameterError, StylizerError
from stylizer.images import LUMA
from stylizer.settings import Settings

SOFTEST, SHARPEST, FAINT = 2, 24, 0.2  # of plain pictures: pixels across, and the most detail that is left
HIGHER, BROADER = (0.65, 1.6), (0.8, 1.6)  # ranges of the factors on brushwork's height and scale when painting
AT_ONCE = 256  # files decoded at a time: limits the memory, keeps every core busy


@dataclass(frozen=True)
class PictureSet:
    pixels: Tensor  # (N, 3, side, side) uint8
    skipped: Counter  # {why: how many}

    def __str__(self) -> str:
        skipped = ", ".join(f"{count} skipped: {why.lower()}" for why, count in sorted(self.skipped.items()))
        return f"{len(self.pixels)} pictures" + (f" ({skipped})" if skipped else "")


def load_pictures(sources: Sequence[Path], side: int, device: torch.device, name: str = "pictures") -> PictureSet:
    """Every picture in these tars and folders, its centre square resized to `side`.

    Grey, CMYK, rotated and transparent ones become upright RGB (on white), an animation gives its first frame. Broken
    files, other files, pictures of one colour and those with a side under a third of `side` are skipped and counted.
    ParameterError for a source that does not exist; EmptyInput if nothing is left.
    """
    settings = Settings(min_side=max(8, side // 3), max_megapixels=200)
    skipped, kept = Counter(), []

    def read(item: tuple[str, bytes]) -> np.ndarray | str:
        try:
            pixels = square(images.decode(item[1], settings, item[0]), side)
        except StylizerError as error:
            return error.title
        return pixels if np.ptp(pixels, axis=(0, 1)).any() else "only one colour"  # its gradient would be infinite

    found = itertools.chain.from_iterable(files(source) for source in sources)
    with ThreadPoolExecutor() as pool, tqdm(desc=f"reading {name}", unit=" files", leave=False) as progress:
        while some := list(itertools.islice(found, AT_ONCE)):
            for answer in pool.map(read, some):
                if isinstance(answer, str):
                    skipped[answer] += 1
                else:
                    kept.append(answer)
            progress.update(len(some))
    if not kept:
        reasons = ", ".join(f"{count} x {why.lower()}" for why, count in skipped.items()) or "no files at all"
        raise EmptyInput(
            f"no picture to train on in {', '.join(map(str, sources))}: {reasons}; name another tar or folder"
        )
    pixels = torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2).contiguous()
    return PictureSet(pixels.to(device), skipped)


def square(picture: images.Picture, side: int) -> np.ndarray:
    """The centre square, resized, transparency on white, (side, side, 3) uint8."""
    rgb = picture.rgb
    if picture.alpha is not None:
        opacity = picture.alpha[:, :, None] / np.float32(255)
        rgb = (rgb * opacity + 255 * (1 - opacity)).astype(np.uint8)
    height, width = rgb.shape[:2]
    shorter = min(height, width)
    left, top = (width - shorter) // 2, (height - shorter) // 2
    image = Image.fromarray(rgb).crop((left, top, left + shorter, top + shorter))
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0))


def files(source: Path) -> Iterator[tuple[str, bytes]]:
    """(path within, bytes) of every file of a tar or a folder, in a fixed order, without hidden files."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(source).as_posix(), path.read_bytes()
    elif source.is_file():
        try:
            with tarfile.open(source) as tar:
                for member in tar:
                    if member.isfile() and not Path(member.name).name.startswith("."):
                        yield member.name, tar.extractfile(member).read()
        except tarfile.TarError as error:
            raise ParameterError("data", f"{source} is not a tar, or it is damaged: {error}") from error
    else:
        raise ParameterError("data", f"{source} does not exist; name a tar or a folder of pictures")


# Augmentation, on the device ------------------------------------------------------------------------------------------


def generator_for(device: torch.device, *numbers: int) -> torch.Generator:
    """A generator that depends only on these numbers: (seed, step) gives a step its batch, whatever ran before."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state) >> 1)


def random_rows(rows: int, count: int, generator: torch.Generator) -> Tensor:
    """Random indices (count,) into `rows` rows."""
    return torch.randint(rows, (count,), generator=generator, device=generator.device)


def random_crops(pixels: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """A random square of each of (N, 3, S, S) uint8 pictures, half of them mirrored, (N, 3, side, side) in [0, 1].

    Pixels are copied, never interpolated: that would blur, and a network would learn to paint blurred styles.
    """
    count, _, height, width = pixels.shape
    draw = torch.rand((3, count, 1), generator=generator, device=generator.device)
    steps = torch.arange(side, device=pixels.device)
    rows = (draw[0] * (height - side + 1)).long() + steps  # (N, side)
    columns = (draw[1] * (width - side + 1)).long() + torch.where(draw[2] < 0.5, steps, steps.flip(0))
    every = torch.arange(count, device=pixels.device)[:, None, None]
    return pixels[every, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2) / 255


def resize(pictures: Tensor, side: int) -> Tensor:
    """(N, 3, H, H) in [0, 1] -> (N, 3, side, side), averaged if it shrinks."""
    if pictures.shape[-1] == side:
        return pictures
    return F.interpolate(pictures, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def plain(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Photos made to look like skies, walls, fog and blurred backgrounds, (N, 3, S, S) in [0, 1] -> the same.

    Each is shrunk to SOFTEST to SHARPEST pixels across and enlarged smoothly; up to FAINT of its detail stays.
    """
    draw = torch.rand((len(pictures), 2), generator=generator, device=generator.device)
    found = []
    for picture, (coarse, detail) in zip(pictures[:, None], draw.tolist(), strict=True):
        across = round(SOFTEST * (SHARPEST / SOFTEST) ** coarse)
        soft = F.interpolate(resize(picture, across), size=picture.shape[2:], mode="bicubic", align_corners=False)
        found.append(torch.lerp(soft.clamp(0, 1), picture, FAINT * detail**2))
    return torch.cat(found)


def brush_heights(paintings: Tensor) -> Tensor:
    """Heights of the brushwork for paintings (N, 3, S, S) in [0, 1] at the size they are read at: (N,), in levels."""
    luma = torch.from_numpy(LUMA).to(paintings.device)
    luminance = torch.einsum("nchw,c->nhw", paintings, luma)[:, None] * 255
    detail = _blurred(luminance, brushwork.DETAIL[0]) - _blurred(luminance, brushwork.DETAIL[1])
    places = _blurred(detail.square(), brushwork.PLACE).flatten(1)
    rough = places.quantile(brushwork.CALMEST / 100, dim=1).sqrt()
    return (brushwork.BOLDNESS * rough).clamp(*brushwork.HEIGHTS)


def random_brushwork(pictures: Tensor, heights: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Brushwork on about this share of the pictures, (N, 3, S, S) in [0, 1] -> the same; heights (N,) are in levels.

    It is somewhat higher or lower, broader or finer than `stylizer.brushwork` makes it.
    """
    if not share:
        return pictures
    some, higher, broader = torch.rand((3, len(pictures)), generator=generator, device=generator.device)
    heights = (some < share) * heights * _between(HIGHER, higher)
    return with_brushwork(pictures, float(_between(BROADER, broader[0])), heights, generator)


def _between(ends: tuple[float, float], share: Tensor) -> Tensor:
    """A share, 0 to 1 -> a number between the two ends, by equal ratios."""
    return ends[0] * (ends[1] / ends[0]) ** share


def with_brushwork(pictures: Tensor, scale: float, heights: Tensor, generator: torch.Generator) -> Tensor:
    """`stylizer.brushwork` for a batch on any device, (N, 3, S, S) in [0, 1], with noise from the generator.

    heights (N,) are in levels; `scale` is how much larger the strokes are than usual.
    """
    side = round(pictures.shape[-1] / (brushwork.CELL * scale))
    luma = torch.from_numpy(LUMA).to(pictures.device)
    grid = torch.einsum("nchw,c->nhw", resize(pictures, side), luma)[:, None] * 255
    noise = 2 * torch.rand((3, *grid.shape), generator=generator, device=generator.device) - 1
    relief = heights[:, None, None, None] * _strokes(grid, noise) / 255
    return (pictures + F.interpolate(relief, size=pictures.shape[2:], mode="bicubic", align_corners=False)).clamp(0, 1)


def _strokes(luminance: Tensor, noise: Tensor) -> Tensor:
    """`brushwork.strokes` for luminance (N, 1, H, W) in levels, with the three kinds of noise, (3, N, 1, H, W)."""
    height, width = luminance.shape[2:]
    down, across = (part.squeeze(0) for part in torch.gradient(luminance, dim=(2, 3)))
    first, second = (
        sum(weight * _blurred(part, side) for side, weight in brushwork.SIDES)
        + brushwork.DRIFT * _blurred(_blurred(drift, 17), 17)
        for part, drift in zip((across**2 - down**2, 2 * across * down), noise[1:], strict=True)
    )
    angle = torch.atan2(second, first) / 2
    upright = F.affine_grid(torch.eye(2, 3).to(angle).expand(len(angle), 2, 3), luminance.shape, align_corners=True)
    ways = torch.stack((-angle.sin() * 2 / (width - 1), angle.cos() * 2 / (height - 1)), -1).squeeze(1)
    smeared = _blurred(noise[0], 3)
    for step in brushwork.STEPS:
        smeared = smeared + sum(
            F.grid_sample(smeared, upright + way * ways, padding_mode="border", align_corners=True)
            for way in (step, -step)
        )
    variance = _blurred(luminance.square(), brushwork.AROUND) - _blurred(luminance, brushwork.AROUND).square()
    plain = _blurred(brushwork.PLAIN**2 / (variance.clamp(min=0) + brushwork.PLAIN**2), 3)
    return plain * smeared / smeared.std((1, 2, 3), correction=0, keepdim=True)


def _blurred(values: Tensor, side: int) -> Tensor:
    for shape in ((side, 1), (1, side)):
        values = F.avg_pool2d(values, shape, 1, [length // 2 for length in shape], count_include_pad=False)
    return values


def jitter_colors(pictures: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Hue rotated by up to `amount` of a full turn, contrast and brightness changed by up to `amount`; stays in [0, 1].

    A rotation about the grey axis leaves greys grey: one 3 x 3 matrix per picture (Rodrigues).
    """
    if not amount:
        return pictures
    turn, contrast, brightness = amount * (
        2 * torch.rand((3, len(pictures), 1, 1), generator=generator, device=generator.device) - 1
    )
    cosine, sine = torch.cos(2 * torch.pi * turn), torch.sin(2 * torch.pi * turn)
    eye = torch.eye(3, device=pictures.device)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=pictures.device) / 3**0.5
    matrices = cosine * eye + sine * cross + (1 - cosine) / 3  # (N, 3, 3)
    turned = ((1 + contrast) * matrices) @ (pictures.flatten(2) - 0.5) + 0.5 + brightness / 2
    return turned.reshape(pictures.shape).clamp(0, 1)
