"""Mutated pictures against the decode gate: python -m benchmarks.fuzz --minutes 30

Sound files of all formats are cut, flipped, repeated and spliced; each must become a picture or one of our own errors,
within SECONDS of CPU. Prints what came of them, and every file that came to something else, as a line of base64.
"""

import argparse
import base64
import collections
import io
import random
import struct
import time

import numpy as np
from PIL import Image

from stylizer import images
from stylizer.errors import StylizerError
from stylizer.settings import Settings

SECONDS = 2.0
TELLING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)  # numbers that break sums


def seeds() -> list[bytes]:
    """Small sound files, each of another make."""
    y, x = np.mgrid[0:40, 0:48]
    rgb = np.stack([x * 5, y * 6, (x * y) % 256], axis=-1).astype(np.uint8)
    image, grey = Image.fromarray(rgb), Image.fromarray(rgb[:, :, 2])
    clear = Image.fromarray(np.dstack([rgb, rgb[:, :, 0]]))
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    frames = {"save_all": True, "append_images": [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)] * 2, "duration": 50}
    makes = [(image, kind, {}) for kind in images.SIGNATURES]
    makes += [(image, kind, frames) for kind in images.SIGNATURES if kind in ("PNG", "GIF", "WEBP", "AVIF")]
    makes += [
        (image, "JPEG", {"progressive": True, "exif": exif}),
        (image.convert("CMYK"), "JPEG", {}),
        (grey, "JPEG", {}),
        (clear, "PNG", {}),
        (image.quantize(16), "PNG", {}),
        (grey.convert("I;16"), "PNG", {}),
        (clear, "WEBP", {"lossless": True}),
        (image, "WEBP", {"exif": exif}),
        (grey.convert("F"), "TIFF", {}),
        (image, "MPO", {"save_all": True, "append_images": [image]}),
    ]
    makes += [(image, "TIFF", {"compression": each}) for each in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")]
    if "AVIF" in images.SIGNATURES:
        makes.append((clear, "AVIF", {}))
    files = []
    for picture, kind, options in makes:
        file = io.BytesIO()
        picture.save(file, kind, **options)
        files.append(file.getvalue())
    return files


def mutate(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """A few blows, half of them to the first 200 bytes, where the headers are."""
    data = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(chance.choice([min(200, len(data)), len(data)]) or 1)
        match chance.randrange(8):
            case 0:
                data[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                data[place : place + 1] = bytes([(data[place] if place < len(data) else 0) ^ 1 << chance.randrange(8)])
            case 2:
                code = chance.choice(["<H", ">H", "<I", ">I"])
                number = chance.choice(TELLING) & (0xFFFF if code[1] == "H" else 0xFFFFFFFF)
                data[place : place + struct.calcsize(code)] = struct.pack(code, number)
            case 3:
                del data[place : place + chance.randint(1, 40)]
            case 4:
                data[place:place] = chance.randbytes(chance.randint(1, 16))
            case 5:
                part = data[place : place + chance.randint(1, 64)]
                data[place:place] = part * chance.randint(1, 50)
            case 6:
                begin = chance.randrange(len(other))
                data[place : place + 64] = other[begin : begin + chance.randint(1, 64)]
            case 7:
                del data[max(20, place) :]
    return bytes(data)


def judge(data: bytes, settings: Settings) -> str:
    """The answer in a word; AssertionError for anything that is no picture, none of our errors, or too slow."""
    start = time.process_time()
    try:
        picture = images.decode(data, settings, fit=lambda size: images.scaled(size, 0.5))
        assert picture.rgb.dtype == np.uint8 and picture.rgb.ndim == 3 and picture.rgb.shape[2] == 3
        assert picture.alpha is None or picture.alpha.shape == picture.rgb.shape[:2]
        answer = "picture"
    except StylizerError as error:
        assert " at 0x" not in str(error), "an object's address got into the message"
        answer = type(error).__name__
    seconds = time.process_time() - start
    assert seconds < SECONDS, f"took {seconds:.1f} s"
    return answer


def run(until, seed: int = 0) -> tuple[collections.Counter, list[tuple[str, bytes]]]:
    """(how often each answer came, what failed). `until`: called with the count so far, says when it is enough."""
    chance, files, settings = random.Random(seed), seeds(), Settings(max_megapixels=4)
    answers, failures = collections.Counter(), []
    while not until(answers.total() + len(failures)):
        data = mutate(chance.choice(files), chance.choice(files), chance)
        try:
            answers[judge(data, settings)] += 1
        except Exception as error:
            failures.append((f"{type(error).__name__}: {error}", data))
    return answers, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    answers, failures = run(lambda _: time.monotonic() > end, options.seed)
    print(f"seed {options.seed}: {answers.total() + len(failures):,} files, {len(failures)} failures")
    for answer, count in answers.most_common():
        print(f"{count:10,}  {answer}")
    for what, data in failures[:20]:
        print(what, base64.b64encode(data).decode())
    return bool(failures)


if __name__ == "__main__":
    raise SystemExit(main())
