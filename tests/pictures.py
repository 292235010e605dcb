"""Pictures for the tests, good and bad, drawn on the spot: photo() and painting() are arrays, all others file bytes."""

import functools
import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageDraw

# What oriented_jpeg() shows when it is upright: top left, top right, bottom left, bottom right.
CORNERS = ((220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 220, 30))
CMYK_PATCHES = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128))


def photo(width: int = 96, height: int = 64, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: a sky fading to the horizon, hills, a sun and a little grain."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    picture = (1 - y)[..., None] * (70, 120, 220) + y[..., None] * (250, 190, 150)
    for depth, colour in ((0.45, (90, 140, 120)), (0.62, (60, 110, 60)), (0.8, (120, 90, 40))):
        phase, waves = random.uniform(0, 6, 2)
        ridge = depth + 0.08 * np.sin(phase + (3 + waves) * x) + 0.02 * np.sin(17 * x + phase)
        picture = np.where((y > ridge)[..., None], np.array(colour) * (1.3 - 0.5 * y[..., None]), picture)
    sun = np.clip(0.12 - np.hypot((x - 0.7) * width / height, y - 0.25), 0, None)[..., None] * 20
    picture = picture + np.clip(sun, 0, 1) * (255, 240, 120) + random.normal(0, 3, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


def painting(width: int = 96, height: int = 96, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: a few hundred curved strokes of a small palette."""
    random = np.random.default_rng(seed)
    palette = random.integers(20, 240, (6, 3))
    image = Image.new("RGB", (width, height), tuple(palette[0].tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(400):
        x, y = random.uniform(0, width), random.uniform(0, height)
        angle = 3 * np.sin(x / width * 4) + 2 * np.cos(y / height * 5) + np.arange(4) * 0.25
        steps = np.stack([np.cos(angle), np.sin(angle)], 1) * max(width, height) / 24
        points = [tuple(point) for point in (np.array((x, y)) + steps.cumsum(axis=0)).tolist()]
        shade = palette[random.integers(6)] + random.integers(-20, 20, 3)
        draw.line(points, tuple(shade.clip(0, 255).tolist()), width=max(2, width // 40), joint="curve")
    return np.asarray(image).copy()


def near(one: np.ndarray | Image.Image, other: np.ndarray | Image.Image, levels: float = 0.003 * 255) -> bool:
    """Whether two computations made the same picture, uint8: mean difference at most `levels` of 255.

    Sums are rounded as a CPU's instructions, its precision and its threads have it; docs/design.md states the
    tolerance. Another strength or style is several levels away. Only what is computed once, or in integers, has to
    come back byte for byte.
    """
    one, other = np.asarray(one), np.asarray(other)
    assert one.dtype == other.dtype == np.uint8, "near() is for pictures"
    return one.shape == other.shape and float(np.abs(one.astype(np.int16) - other).mean()) <= levels


def blank(width: int, height: int, level: int = 255) -> np.ndarray:
    """A page of one grey."""
    return np.full((height, width, 3), level, np.uint8)


def disc(width: int, height: int, centre: tuple[int, int], radius: int) -> np.ndarray:
    """A red disc on a white page; `centre` is (x, y)."""
    page, (y, x) = blank(width, height), np.mgrid[:height, :width]
    page[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2] = 220, 20, 30
    return page


def words(width: int, height: int, at: tuple[int, int]) -> np.ndarray:
    """Two words on a white page, about 100 pixels wide."""
    image = Image.fromarray(blank(width, height))
    ImageDraw.Draw(image).text(at, "Two words", fill=(20, 20, 90), font_size=24)
    return np.asarray(image)


def lamp(width: int, height: int, centre: tuple[int, int], radius: int = 14) -> np.ndarray:
    """A night with a little noise and one lamp in it."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(x - centre[0], y - centre[1])[..., None]
    night = np.random.default_rng(0).normal(8, 2, (height, width, 3))
    night += np.clip(1.6 - distance / radius, 0, 1) * (250, 240, 180) + 30 * np.exp(-distance / (4 * radius))
    return night.clip(0, 255).astype(np.uint8)


# Good files --------------------------------------------------------------------------------------------------------


def saved(image: Image.Image | np.ndarray, format: str, **options) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(file, format, **options)
    return file.getvalue()


def png(picture: np.ndarray, **options) -> bytes:
    return saved(picture, "PNG", **options)


def jpeg(picture: np.ndarray, **options) -> bytes:
    return saved(picture, "JPEG", **{"quality": 95, "subsampling": 0} | options)


def webp(picture: np.ndarray, **options) -> bytes:
    return saved(picture, "WEBP", **options)


def corners(width: int = 96, height: int = 64) -> np.ndarray:
    """Four quarters of four colours: no two of the eight orientations look the same."""
    picture = np.empty((height, width, 3), np.uint8)
    half_height, half_width = height // 2, width // 2
    picture[:half_height, :half_width], picture[:half_height, half_width:] = CORNERS[0], CORNERS[1]
    picture[half_height:, :half_width], picture[half_height:, half_width:] = CORNERS[2], CORNERS[3]
    return picture


def oriented_jpeg(orientation: int, width: int = 96, height: int = 64) -> bytes:
    """corners() stored as EXIF `orientation` 1 to 8 says: a viewer shows width x height, red at the top left."""
    upright = corners(width, height)
    turned = upright.transpose(1, 0, 2)
    stored = {  # EXIF names the sides that row 0 and column 0 show
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: turned,  # left, top
        6: turned[::-1],  # right, top
        7: turned[::-1, ::-1],  # right, bottom
        8: turned[:, ::-1],  # left, bottom
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(np.ascontiguousarray(stored), exif=exif)


def cmyk_patches() -> Image.Image:
    """CMYK: 32-pixel squares that print as CMYK_PATCHES, from left to right."""
    inks = [[*(255 - tone for tone in patch), 0] for patch in CMYK_PATCHES]
    row = np.repeat(np.array(inks, np.uint8), 32, axis=0)[None]
    return Image.frombytes("CMYK", (row.shape[1], 32), np.repeat(row, 32, axis=0).tobytes())


def cmyk_jpeg(**options) -> bytes:
    """cmyk_patches() as Photoshop writes them: all four inks inverted, and marked as Adobe's."""
    return saved(cmyk_patches(), "JPEG", quality=95, subsampling=0, **options)


def grey16_png(width: int = 64, height: int = 40) -> bytes:
    """16 bits of grey: 0 at the left to 65535 at the right."""
    return saved(np.tile(np.linspace(0, 65535, width).astype(np.uint16), (height, 1)), "PNG")


def rgb16_png(width: int = 64, height: int = 40) -> bytes:
    """16 bits a channel: red rises, green falls, blue stands at 0x8080."""
    rise = np.linspace(0, 65535, width)
    row = np.stack([rise, rise[::-1], np.full(width, 0x8080)], axis=1).astype(">u2").tobytes()
    return _png_file(width, height, zlib.compress((b"\0" + row) * height), depth=16)


def palette_png(width: int = 48, height: int = 48) -> bytes:
    """A palette picture: left half red and opaque, right half green and, by its palette entry, transparent."""
    image = Image.new("P", (width, height), 0)
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.paste(1, (width // 2, 0, width, height))
    return saved(image, "PNG", transparency=1)


def rgba_png(width: int = 64, height: int = 48) -> bytes:
    """photo() with an alpha that rises from 0 at the left to 255 at the right."""
    alpha = np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))
    return saved(np.dstack([photo(width, height), alpha]), "PNG")


def cut_out(hidden: int, width: int = 331, height: int = 240) -> bytes:
    """A PNG of a colourful disc with a soft rim; where its alpha is 0 all is this grey."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2)
    alpha = np.clip((0.42 * height - distance) * 40 + 128, 0, 255)[:, :, None]
    rgb = np.stack([x * 255 // width, y * 255 // height, 128 + 100 * np.sin(x / 9)], -1)
    return png(np.dstack([np.where(alpha > 0, rgb, hidden), alpha]).astype(np.uint8))


def _frames(width: int, height: int) -> list[Image.Image]:
    return [Image.new("RGB", (width, height), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]


def animated_gif(width: int = 48, height: int = 40) -> bytes:
    """Three frames: red, green, blue."""
    first, *others = _frames(width, height)
    return saved(first, "GIF", save_all=True, append_images=others, duration=50, loop=0)


def animated_webp(width: int = 48, height: int = 40) -> bytes:
    first, *others = _frames(width, height)
    return saved(first, "WEBP", save_all=True, append_images=others, duration=50, lossless=True)


def animated_png(width: int = 48, height: int = 40) -> bytes:
    first, *others = _frames(width, height)
    return saved(first, "PNG", save_all=True, append_images=others, duration=50)


def garbage_icc_jpeg(width: int = 96, height: int = 64) -> bytes:
    """photo() with a colour profile that is none: it still shows."""
    return jpeg(photo(width, height), icc_profile=np.random.default_rng(1).bytes(3000))


# Colour profiles ---------------------------------------------------------------------------------------------------


def _icc(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC version 2 profile of these tags; s15Fixed16 numbers throughout."""
    white = _xyz(0.9642, 1.0, 0.8249)  # D50
    text = b"made for a test\0"
    desc = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {b"desc": desc, b"cprt": b"text" + bytes(4) + text, b"wtpt": white} | tags
    table, data = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    header = (
        struct.pack(
            ">I4xI4s4s4s12x4s28x", 132 + 12 * len(tags) + len(data), 0x02400000, kind, space, connection, b"acsp"
        )
        + white[8:]
    )
    return header.ljust(128, b"\0") + table + data


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(value * 256))


def swapped_icc() -> bytes:
    """sRGB's own primaries with red and green exchanged: a right conversion exchanges the two channels."""
    red, green, blue = _xyz(0.4361, 0.2225, 0.0139), _xyz(0.3851, 0.7169, 0.0971), _xyz(0.1431, 0.0606, 0.7141)
    curves = {name: _gamma(2.2) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return _icc(b"mntr", b"RGB ", b"XYZ ", {b"rXYZ": green, b"gXYZ": red, b"bXYZ": blue} | curves)


def linear_grey_icc() -> bytes:
    """Grey in which 128 is half the light, which sRGB writes as 188."""
    return _icc(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _gamma(1.0)})


def swapped_inks_icc() -> bytes:
    """A CMYK printer with cyan and magenta exchanged: what should print red prints green, and blue stays blue."""
    white, black = (100, 0, 0), (0, 0, 0)
    magenta, cyan, yellow = (60, 94, -60), (91, -51, -15), (98, -16, 93)
    red, green, blue = (54, 81, 70), (88, -79, 81), (30, 68, -112)
    # The 16 corners of ink as Lab: cyan changes slowest, then magenta, yellow and black.
    without_black = (white, yellow, cyan, green, magenta, red, blue, black)
    corners = [lab for each in without_black for lab in (each, black)]
    lut = b"".join(bytes([round(light * 2.55), a + 128, b + 128]) for light, a, b in corners)
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    identity = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + lut + identity * 3
    return _icc(b"prtr", b"CMYK", b"Lab ", {b"A2B0": lut})


# Bad files ---------------------------------------------------------------------------------------------------------


def half_jpeg(width: int = 256, height: int = 192) -> bytes:
    whole = jpeg(photo(width, height))
    return whole[: len(whole) // 2]


def png_header(width: int = 20000, height: int = 20000) -> bytes:
    """A sound PNG header that claims this size, and not one pixel behind it."""
    return _png_file(width, height, b"")


@functools.cache
def big_flat_png(side: int = 9400) -> bytes:
    """A sound PNG of one colour: at 9400 x 9400 some 258 kB that unpack to 265 MB.

    The rows are all alike, so a hundred of them are deflated once and the result repeated.
    """
    rows = (b"\0" + bytes((200, 120, 40)) * side) * 100
    deflate = zlib.compressobj(9, wbits=-15)
    block = deflate.compress(rows) + deflate.flush(zlib.Z_FULL_FLUSH)
    check = 1
    for _ in range(side // 100):
        check = zlib.adler32(rows, check)
    return _png_file(side, side, b"\x78\xda" + block * (side // 100) + b"\x03\0" + struct.pack(">I", check))


def gif_header(width: int = 60000, height: int = 60000) -> bytes:
    """Forty bytes of a GIF that claims this size, its first frame to be cleared for the second."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    control = b"!\xf9\x04" + struct.pack("<BHB", 2 << 2, 10, 0) + b"\0"
    return screen + control + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\0;"


def webp_header(width: int = 16384, height: int = 16384) -> bytes:
    """A small lossless WebP whose header claims this size."""
    whole = bytearray(webp(np.zeros((64, 64, 3), np.uint8), lossless=True))
    place = whole.index(b"VP8L") + 9
    bits = struct.unpack_from("<I", whole, place)[0] & ~0x0FFFFFFF
    struct.pack_into("<I", whole, place, bits | (width - 1) | (height - 1) << 14)
    return bytes(whole)


def png_with(kind: bytes, content: bytes, width: int = 64, height: int = 48) -> bytes:
    """A sound PNG with one more chunk after its header."""
    whole = png(photo(width, height))
    return whole[:33] + _chunk(kind, content) + whole[33:]


def text() -> bytes:
    return b"BMW is a car, and this is a text that claims to be image/png.\n" * 5


def svg() -> bytes:
    return b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><rect width="64" height="64"/></svg>'


def pdf() -> bytes:
    return b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n"


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_file(width: int, height: int, pixels: bytes, depth: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
