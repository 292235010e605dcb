"""Files that mean no good, and odd ones that are fine: each built by code, with the exact answer that it must get.

`files()` yields (name, bytes, answer): the class of the error, or the size that the picture has at 64 pixels.
Run as a program it decodes them all and prints a line of JSON for each: what came out, CPU seconds, growth in bytes.
"""

import json
import struct
import sys
import time
import zlib
from collections.abc import Iterator

import numpy as np
import pictures
from pictures import _chunk as chunk
from PIL import Image

BROKEN, BOUNDS, UNSUPPORTED, EMPTY = "BrokenPicture", "PictureOutOfBounds", "UnsupportedPicture", "EmptyInput"
WHOLE, SQUARE = (64, 48), (64, 64)
Case = tuple[str, bytes, "str | tuple[int, int]"]


def files() -> Iterator[Case]:
    for part in (cut_files, pngs, jpegs, gifs, webps, tiffs, avifs, bmps, other_kinds, sizes):
        yield from part()


def photo(width: int = 128, height: int = 96) -> Image.Image:
    return Image.fromarray(pictures.photo(width, height))


def cut_files() -> Iterator[Case]:
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"):
        whole = pictures.saved(photo(), kind)
        yield f"{kind} whole", whole, WHOLE
        for tenths in (1, 5, 8):
            yield f"{kind} cut at {tenths} tenths", whole[: len(whole) * tenths // 10], BROKEN
        signature = whole[:14] if kind != "GIF" else whole[:6]
        answer = {"BMP": UNSUPPORTED, "TIFF": BOUNDS}.get(kind, BROKEN)
        yield f"{kind} all zeros behind its first bytes", signature + bytes(500), answer
    for options in ({"progressive": True}, {"exif": b"Exif\0\0" + b"\xff" * 3000}, {"comment": b"x" * 60_000}):
        yield f"JPEG with {next(iter(options))}", pictures.jpeg(pictures.photo(128, 96), **options), WHOLE


# PNG ---------------------------------------------------------------------------------------------------------------

HEAD = b"\x89PNG\r\n\x1a\n"
END = chunk(b"IEND", b"")
BLACK = zlib.compress(bytes(64 * (64 * 3 + 1)))


def ihdr(width: int, height: int, depth: int = 8, kind: int = 2, interlaced: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced))


def png(*between: bytes, header: bytes = b"", data: bytes = BLACK) -> bytes:
    return HEAD + (header or ihdr(64, 64)) + b"".join(between) + chunk(b"IDAT", data) + END


def zeros(count: int) -> bytes:
    """Deflated; a block that is all alike repeats."""
    deflate = zlib.compressobj(9, wbits=-15)
    block = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, wbits=-15)
    rest = last.compress(bytes(count % (1 << 20))) + last.flush()
    # Adler-32 of zeros: the first sum stays 1, the second counts them
    return b"\x78\xda" + block * (count >> 20) + rest + struct.pack(">HH", count % 65521, 1)


def flat_png(width: int, height: int, kind: int, depth: int = 8) -> bytes:
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    palette = chunk(b"PLTE", bytes(768)) if kind == 3 else b""
    row = (width * channels * depth + 7) // 8 + 1
    return png(palette, header=ihdr(width, height, depth, kind), data=zeros(row * height))


def pngs() -> Iterator[Case]:
    yield "PNG of 2^31 pixels a side", png(header=ihdr(2**31 - 1, 2**31 - 1)), BOUNDS
    yield "PNG of no size", png(header=ihdr(0, 0)), BOUNDS
    yield "PNG of 50 megapixels and no row", png(header=ihdr(16384, 3051)), BROKEN
    yield "PNG of 81 megapixels", flat_png(9000, 9000, 2), BOUNDS
    yield "PNG of 50 megapixels, flat", flat_png(8000, 6250, 2), (64, 50)
    yield "PNG of 50 megapixels, transparent", flat_png(8000, 6250, 6), (64, 50)
    yield "PNG of 49 megapixels of 1 bit", flat_png(7000, 7000, 0, 1), SQUARE
    yield "PNG of 49 megapixels, palette", flat_png(7000, 7000, 3), SQUARE
    yield "PNG of 25 megapixels, 16 bit grey", flat_png(5000, 5000, 0, 16), SQUARE
    yield "PNG with 200 MB behind its pixels", png(data=zeros(200 << 20)), SQUARE
    for kind in (b"zTXt", b"iCCP"):
        yield f"PNG with a bomb in {kind.decode()}", png(chunk(kind, b"a\0\0" + zeros(1 << 28))), BROKEN
    yield "PNG with a bomb in iTXt", png(chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(1 << 28))), BROKEN
    yield "PNG of 300,000 empty chunks", png(chunk(b"vpAg", b"") * 300_000), BROKEN
    yield "PNG of 300,000 empty IDAT", png(chunk(b"IDAT", b"") * 300_000), BROKEN
    yield "PNG of 2,000 texts", png(chunk(b"tEXt", b"a\0" + bytes(4000)) * 2_000), BROKEN
    yield "PNG of 300 texts", png(chunk(b"tEXt", b"a\0" + b"b" * 400) * 300), SQUARE
    rows = zlib.compress(bytes(64 * 193))
    many = HEAD + ihdr(64, 64) + b"".join(chunk(b"IDAT", rows[at : at + 1]) for at in range(len(rows))) + END
    yield "PNG of one byte an IDAT", many, SQUARE
    yield "PNG with a wrong checksum", png()[:29] + b"\xff" + png()[30:], BROKEN
    yield "PNG with a zip behind it", png() + b"PK\3\4" + bytes(500), SQUARE
    yield "PNG of a kind of colour that is none", png(header=ihdr(64, 64, 8, 5)), BROKEN
    yield "PNG of 3 bits", png(header=ihdr(64, 64, 3, 0)), BROKEN
    yield "PNG without a palette", png(header=ihdr(64, 64, 8, 3)), BROKEN
    yield "PNG interlaced by a way that is none", png(header=ihdr(64, 64, 8, 2, 7)), BROKEN
    yield "PNG of an animation of 2^31 frames", png(chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))), SQUARE
    yield "PNG with two headers", png(ihdr(64, 64)), SQUARE
    yield "PNG with a header of 16384 x 3000 behind the first", png(ihdr(16384, 3000)), BROKEN
    yield "PNG with a chunk of 4 GB", HEAD + ihdr(64, 64) + b"\xff\xff\xff\xffIDAT" + bytes(99), BROKEN
    yield "PNG whose signature is all", HEAD, BROKEN
    yield "PNG without IDAT", HEAD + ihdr(64, 64) + END, BROKEN
    yield "PNG of garbage in deflate", png(data=b"\x78\xda" + b"\xff" * 99), BROKEN
    yield "PNG of chromaticities 0", png(chunk(b"gAMA", bytes(4)), chunk(b"cHRM", bytes(32))), SQUARE
    yield (
        "PNG of chromaticities in a line",
        png(chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"cHRM", struct.pack(">8I", *[31270, 32900] * 4))),
        SQUARE,
    )
    yield "PNG of gamma 42,949", png(chunk(b"gAMA", b"\xff" * 4)), SQUARE
    for code in ((255, 255, 255, 255), (9, 16, 0, 1), (0, 0, 0, 0)):
        yield f"PNG of code points {code}", png(chunk(b"cICP", bytes(code))), SQUARE
    yield "PNG of Exif 1 MB", png(chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + bytes(1 << 20))), SQUARE


# JPEG --------------------------------------------------------------------------------------------------------------


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg_with(*segments: bytes) -> bytes:
    whole = pictures.jpeg(pictures.photo(128, 96))
    return whole[:2] + b"".join(segments) + whole[2:]


def tables(grey: bool) -> bytes:
    """What a decoder needs before a frame: quantisation and Huffman tables, as Pillow writes them."""
    whole, found, at = pictures.saved(Image.new("L" if grey else "RGB", (16, 16)), "JPEG"), b"", 2
    while whole[at + 1] != 0xDA:
        length = 2 + struct.unpack_from(">H", whole, at + 2)[0]
        found += whole[at : at + length] if whole[at + 1] in (0xC4, 0xDB) else b""
        at += length
    return found


def frame(marker: int, width: int, height: int, components: int = 1, depth: int = 8) -> bytes:
    table = b"".join(bytes([1 + each, 0x11, min(each, 1)]) for each in range(components))
    return segment(marker, struct.pack(">BHHB", depth, height, width, components) + table)


def scan(component: int = 1, table: int = 0, spectrum: bytes = b"\0\x3f\0") -> bytes:
    return segment(0xDA, bytes([1, component, table]) + spectrum) + b"\0"


def grey_jpeg(marker: int, width: int = 64, height: int = 64, scans: bytes = b"", depth: int = 8) -> bytes:
    scans = scans or scan()[:-1] + bytes(50)
    return b"\xff\xd8" + tables(True) + frame(marker, width, height, depth=depth) + scans + b"\xff\xd9"


def sequential(side: int, scans: int) -> bytes:
    """Three components in scans of their own, the last again and again."""
    parts = scan(1, 0) + scan(2, 0x11) + scan(3, 0x11) * (scans - 2)
    return b"\xff\xd8" + tables(False) + frame(0xC0, side, side, 3) + parts + b"\xff\xd9"


def progressive(side: int, scans: int) -> bytes:
    later = scan(spectrum=b"\x01\x3f\0")
    return grey_jpeg(0xC2, side, side, scan(spectrum=b"\0\0\0") + later * (scans - 1))


def exif(entries: bytes, count: int) -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4)


def jpegs() -> Iterator[Case]:
    small = segment(0xE1, b"Exif\0\0" + bytes(6))
    yield "JPEG of 100,000 Exif segments", jpeg_with(small * 100_000), BROKEN
    yield "JPEG of 2 million empty comments", jpeg_with(b"\xff\xfe\0\2" * 2_000_000), BROKEN
    yield "JPEG of 5 MB of FF", jpeg_with(b"\xff" * 5_000_000), BROKEN
    yield "JPEG of 5 MB of zeros between segments", jpeg_with(segment(0xFE, b"x"), bytes(5_000_000)), BROKEN
    yield "JPEG of 1,000 bytes of FF", jpeg_with(b"\xff" * 1_000), WHOLE
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"x" * 60_000)
    yield "JPEG of 200 large segments", jpeg_with(xmp * 200), WHOLE
    yield "JPEG of 6 MB of Exif", jpeg_with(segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 100), BROKEN
    overlap = b"".join(struct.pack("<HHII", 10_000 + each, 7, 50_000, 8) for each in range(5_000))
    yield "JPEG of Exif that says the same 5,000 times", jpeg_with(segment(0xE1, exif(overlap, 5_000))), WHOLE
    loop = struct.pack("<HHIIHHII", 0x0112, 3, 1, 6, 34665, 4, 1, 8)
    yield "JPEG of Exif that points at itself, turned", jpeg_with(segment(0xE1, exif(loop, 2))), (48, 64)
    yield "JPEG of an ICC profile of garbage", jpeg_with(segment(0xE2, b"ICC_PROFILE\0\1\1" + b"\xa5" * 6000)), WHOLE
    part = segment(0xE2, b"ICC_PROFILE\0\xff\xff" + bytes(99))
    yield "JPEG of 255 parts of a profile, one there", jpeg_with(part), WHOLE
    yield "JPEG of an MPF of garbage", jpeg_with(segment(0xE2, b"MPF\0II*\0\x08\0\0\0\x03\0" + b"\xff" * 36)), WHOLE
    yield "JPEG of Photoshop's garbage", jpeg_with(segment(0xED, b"Photoshop 3.0\x008BIM" + b"\xff" * 99)), WHOLE
    yield "JPEG with a script", jpeg_with(segment(0xFE, b"<script>alert(1)</script>")), WHOLE
    yield "JPEG with another behind it", pictures.jpeg(pictures.photo(128, 96)) * 2, WHOLE
    yield "JPEG of 3,000 scans, sequential", sequential(1000, 3_000), BROKEN
    yield "JPEG of 100 scans, sequential, 16 megapixels", sequential(4000, 100), BROKEN
    yield "JPEG of 60 scans, sequential, 1 megapixel", sequential(1000, 60), SQUARE
    yield "JPEG of 3 scans, sequential, 49 megapixels", sequential(7000, 3), SQUARE
    yield "JPEG of 3,000 scans, progressive", progressive(1000, 3_000), BROKEN
    yield "JPEG of 50 scans, progressive, 49 megapixels", progressive(7000, 50), BROKEN
    yield "JPEG of 20 scans, progressive, 49 megapixels", progressive(7000, 20), SQUARE
    yield "JPEG of 4 gigapixels", grey_jpeg(0xC0, 65500, 65500), BOUNDS
    yield "JPEG of no height", grey_jpeg(0xC0, 64, 0), BOUNDS
    yield "JPEG of 12 bits", grey_jpeg(0xC1, depth=12), BROKEN
    yield "JPEG of 5 components", b"\xff\xd8" + tables(False) + frame(0xC0, 64, 64, 5) + scan() + b"\xff\xd9", BROKEN
    yield "JPEG of no component", b"\xff\xd8" + tables(False) + frame(0xC0, 64, 64, 0) + scan() + b"\xff\xd9", BROKEN
    yield "JPEG of a hierarchical frame", grey_jpeg(0xC5), BROKEN
    yield "JPEG without tables", b"\xff\xd8" + frame(0xC0, 64, 64) + scan() + b"\xff\xd9", BROKEN
    yield "JPEG without a frame", b"\xff\xd8" + tables(True) + scan() + b"\xff\xd9", BROKEN
    yield "JPEG that begins twice", b"\xff\xd8" + pictures.jpeg(pictures.photo(128, 96)), BROKEN
    yield "JPEG of three bytes", b"\xff\xd8\xff", BROKEN
    yield "JPEG of a segment shorter than its length", jpeg_with(b"\xff\xe1\0\0"), WHOLE
    yield "JPEG of restarts alone", grey_jpeg(0xC0, scans=scan()[:-1] + b"\xff\xd0" * 100_000), SQUARE


# GIF ---------------------------------------------------------------------------------------------------------------


def gif(
    screen: tuple[int, int], place: tuple[int, int, int, int], before: bytes = b"", frames: int = 1, disposal: int = 0
) -> bytes:
    control = b"!\xf9\x04" + bytes([disposal << 2, 5, 0, 0, 0])
    picture = control + b"," + struct.pack("<HHHHB", *place, 0) + b"\x02\x02\x4c\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes(6) + before + picture * frames + b";"


def gifs() -> Iterator[Case]:
    for disposal in (0, 2, 3):
        data = gif((65535, 65535), (0, 0, 64, 64), disposal=disposal)
        yield f"GIF of a screen of 4 gigapixels, disposal {disposal}", data, BOUNDS
    yield "GIF of a frame beyond its screen", gif((64, 64), (60000, 60000, 64, 64)), BOUNDS
    yield "GIF of a frame of 49 megapixels and no pixel", gif((7000, 7000), (0, 0, 7000, 7000)), BROKEN
    yield "GIF of no size", gif((0, 0), (0, 0, 0, 0)), BOUNDS
    yield "GIF without a frame", b"GIF89a" + struct.pack("<HHBBB", 64, 64, 0, 0, 0) + b";", BROKEN
    blocks = b"!\xfe" + b"\x01x" * 2_000_000 + b"\0"
    yield "GIF of a comment in blocks of one byte", gif((64, 64), (0, 0, 64, 64), blocks), BROKEN
    loops = b"!\xff\x0bNETSCAPE2.0\x03\1\0\0\0" * 100_000
    yield "GIF of 100,000 extensions", gif((64, 64), (0, 0, 64, 64), loops), BROKEN
    animation = pictures.animated_gif(64, 48)
    yield "GIF of three frames", animation, WHOLE
    yield "GIF of 1,000 frames", animation[:-1] + animation[animation.rindex(b"!\xf9") : -1] * 1_000 + b";", WHOLE
    yield "GIF with an extension that never ends", animation[: animation.index(b"!")] + b"!\xfe" + b"\xff" * 999, BROKEN


# WebP --------------------------------------------------------------------------------------------------------------


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(each)) + each + bytes(len(each) & 1) for kind, each in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def three(*values: int) -> bytes:
    return b"".join(value.to_bytes(3, "little") for value in values)


def vp8x(width: int, height: int, flags: int) -> tuple[bytes, bytes]:
    return b"VP8X", bytes([flags, 0, 0, 0]) + three(width - 1, height - 1)


def webps() -> Iterator[Case]:
    still = pictures.webp(pictures.photo(64, 48))
    kind, bits = still[12:16], still[20:]
    anmf = b"ANMF", three(0, 0, 63, 47, 100) + b"\0" + still[12:]
    start = b"ANIM", bytes(6)
    yield "WebP of three frames", pictures.animated_webp(64, 48), WHOLE
    yield "WebP of 5,000 frames", riff(vp8x(64, 48, 2), start, *[anmf] * 5_000), WHOLE
    yield "WebP of a canvas of 49 megapixels", riff(vp8x(7071, 7071, 2), start, anmf), BOUNDS
    yield "WebP of a canvas of 268 megapixels", riff(vp8x(16384, 16384, 2), start, anmf), BOUNDS
    yield "WebP of a canvas of 2^48 pixels", riff(vp8x(2**24, 2**24, 2), start, anmf), BOUNDS
    yield "WebP of a frame somewhat smaller than its canvas", riff(vp8x(128, 96, 2), start, anmf), WHOLE
    yield "WebP of a frame beyond its canvas", riff(vp8x(32, 32, 2), start, anmf), BROKEN
    yield "WebP of a header that claims 268 megapixels", pictures.webp_header(16383, 16383), BOUNDS
    yield "WebP of a header that claims 16 megapixels", pictures.webp_header(4000, 4000), BROKEN
    yield "WebP of a canvas larger than its picture", riff(vp8x(4000, 4000, 0), (kind, bits)), BROKEN
    yield "WebP of 300,000 chunks", riff(vp8x(64, 48, 2), *[(b"JUNK", b"")] * 300_000, start, anmf), BROKEN
    yield "WebP of Exif 5 MB", riff(vp8x(64, 48, 8), (kind, bits), (b"EXIF", bytes(5_000_000))), WHOLE
    yield "WebP of no length", b"RIFF\0\0\0\0WEBPVP8 ", BROKEN
    yield "WebP of a chunk of 4 GB", b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff" + bits, BROKEN


# TIFF --------------------------------------------------------------------------------------------------------------


def tiff(tags: dict[int, tuple[int, "int | bytes"]], data: bytes = b"", following: int = 0, count: int = 0) -> bytes:
    """Little-endian; {tag: (type, value)}. 0xFFFFFFFF as a value stands for where `data` begins."""
    sizes = {1: 1, 3: 2, 4: 4, 7: 1}
    place = 8 + 2 + 12 * len(tags) + 4
    begin = place + sum(len(value) for _, value in tags.values() if isinstance(value, bytes) and len(value) > 4)
    entries, more = b"", b""
    for tag, (kind, value) in sorted(tags.items()):
        if isinstance(value, int):
            entries += struct.pack("<HHII", tag, kind, 1, begin if value == 0xFFFFFFFF else value)
            continue
        where = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", place + len(more))
        more += value if len(value) > 4 else b""
        entries += struct.pack("<HHI", tag, kind, len(value) // sizes[kind]) + where
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", count or len(tags))
    return head + entries + struct.pack("<I", following) + more + data


def rgb_tags(width: int = 64, height: int = 64, bits: int = 8) -> dict:
    return {
        256: (4, width),
        257: (4, height),
        258: (3, struct.pack("<3H", bits, bits, bits)),
        259: (3, 1),
        262: (3, 2),
        273: (4, 0xFFFFFFFF),
        277: (3, 3),
        278: (4, height),
        279: (4, width * height * 3 * bits // 8),
    }


def tiled(width: int, height: int, compression: int = 8) -> bytes:
    tags = rgb_tags() | {259: (3, compression), 322: (4, width), 323: (4, height), 324: (4, 0xFFFFFFFF), 325: (4, 1000)}
    return tiff({tag: each for tag, each in tags.items() if tag not in (273, 278, 279)}, zeros(1 << 20))


def tiffs() -> Iterator[Case]:
    pixels = bytes(64 * 64 * 3)
    yield "TIFF by hand", tiff(rgb_tags(), pixels), SQUARE
    yield "TIFF of 2^31 pixels a side", tiff(rgb_tags(2**31 - 1, 2**31 - 1) | {279: (4, 9)}, pixels), BOUNDS
    yield "TIFF of 49 megapixels and no row", tiff(rgb_tags(16384, 3000), pixels), BROKEN
    yield "TIFF of a tile of 2.1 GB", tiled(16384, 43680), BOUNDS
    yield "TIFF of a tile of 200 MB", tiled(8192, 8192), BOUNDS
    yield "TIFF of a tile of 2.1 GB, as it is", tiled(16384, 43680, 1), BOUNDS
    yield "TIFF of tiles without size", tiled(0, 0), BROKEN
    yield "TIFF of a strip of 2^32 rows", tiff(rgb_tags() | {278: (4, 2**32 - 1)}, pixels), SQUARE
    yield "TIFF of no rows in a strip", tiff(rgb_tags() | {278: (4, 0)}, pixels), BROKEN
    offsets = struct.pack("<I", 8) * 100_000
    yield "TIFF of 100,000 strips", tiff(rgb_tags() | {273: (4, offsets), 279: (4, offsets)}), BROKEN
    many = {10_000 + each: (4, bytes(8)) for each in range(2_000)}
    yield "TIFF of 2,000 tags", tiff(rgb_tags() | many, pixels), BROKEN
    yield "TIFF of 65,535 tags that are not there", tiff(rgb_tags(), pixels, count=65535), BROKEN
    yield "TIFF that points at itself", tiff(rgb_tags(), pixels, following=8), SQUARE
    loop = {330: (4, 8), 34665: (4, 8), 34853: (4, 8)}
    yield "TIFF whose directories are itself", tiff(rgb_tags() | loop, pixels), SQUARE
    yield "TIFF without a size", tiff({259: (3, 1)}, pixels), BOUNDS
    yield "TIFF of a directory behind its end", b"II*\0\xff\xff\xff\xff" + bytes(99), BROKEN
    yield "TIFF of 1,000 samples", tiff(rgb_tags() | {277: (3, 1000)}, pixels), BROKEN
    yield "TIFF of a compression that is none", tiff(rgb_tags() | {259: (3, 999)}, pixels), BROKEN
    yield "BigTIFF of a directory behind its end", b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(99), BROKEN
    yield "BigTIFF of 2^63 tags", b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63), BROKEN
    ramp = np.tile(np.linspace(0, 1, 64, dtype="<f4"), (64, 1))
    for word, values in (("nothing but NaN", ramp * np.nan), ("an infinity", np.where(ramp > 0.9, np.inf, ramp))):
        yield f"TIFF of floats, {word}", pictures.saved(values.astype(np.float32), "TIFF"), BROKEN
    floats = rgb_tags(bits=32) | {339: (3, struct.pack("<3H", 3, 3, 3))}
    yield "TIFF of float colours", tiff(floats, np.dstack([ramp] * 3).tobytes()), SQUARE
    yield "TIFF of float colours, cut", tiff(floats, bytes(99)), BROKEN
    yield "TIFF of float colours, NaN", tiff(floats, b"\xff" * 64 * 64 * 12), BROKEN
    yield "TIFF of float colours in a bomb", tiff(floats | {259: (3, 8), 279: (4, 10**6)}, zeros(1 << 28)), SQUARE
    yield "TIFF of float colours in LZW", tiff(floats | {259: (3, 5)}, bytes(99)), UNSUPPORTED
    for word in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits"):
        yield f"TIFF in {word}", pictures.saved(photo(64, 64), "TIFF", compression=word), SQUARE


# AVIF --------------------------------------------------------------------------------------------------------------


def avifs() -> Iterator[Case]:
    whole = pictures.saved(photo(), "AVIF")
    claim = whole.index(b"ispe") + 8

    def claiming(width: int, height: int) -> bytes:
        return whole[:claim] + struct.pack(">II", width, height) + whole[claim + 8 :]

    yield "AVIF that claims 2^31 pixels a side", claiming(2**31 - 1, 2**31 - 1), BROKEN
    yield "AVIF that claims 49 megapixels", claiming(16384, 3000), BROKEN
    yield "AVIF that claims less than is coded", claiming(64, 64), BROKEN
    yield (
        "AVIF of three frames",
        pictures.saved(photo(), "AVIF", save_all=True, append_images=[photo()] * 2, duration=50),
        WHOLE,
    )
    yield "AVIF of alpha", pictures.saved(photo().convert("RGBA"), "AVIF"), WHOLE
    yield "AVIF of its kind alone", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", BROKEN
    place = whole.index(b"meta") - 4
    yield "AVIF of a box of 2 GB", whole[:place] + b"\x7f\xff\xff\xff" + whole[place + 4 :], BROKEN
    yield "AVIF of a box of 3 bytes", whole[:place] + b"\0\0\0\3" + whole[place + 4 :], BROKEN
    yield "AVIF of 300,000 boxes", whole[:32] + b"\0\0\0\x08free" * 300_000 + whole[32:], BROKEN
    yield "AVIF whose coded picture is garbage", whole[: whole.index(b"mdat") + 4] + b"\xa5" * 900, BROKEN
    yield "HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300), UNSUPPORTED
    yield "HEIC by a brand that AVIF has as well", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(300), UNSUPPORTED


# BMP and what is none ----------------------------------------------------------------------------------------------


def bmps() -> Iterator[Case]:
    whole = pictures.saved(photo(), "BMP")

    def sized(width: int, height: int) -> bytes:
        return whole[:18] + struct.pack("<ii", width, height) + whole[26:]

    yield "BMP of 2^31 pixels a side", sized(2**31 - 1, 2**31 - 1), BOUNDS
    yield "BMP from top to bottom", sized(128, -96), WHOLE
    yield "BMP of -2^31 rows", sized(128, -(2**31)), BOUNDS
    yield "BMP of no size", sized(0, 0), BROKEN
    yield "BMP of 2^31 colours", whole[:46] + b"\xff\xff\xff\x7f" + whole[50:], WHOLE
    rle = struct.pack("<iiHHI", 7000, 7000, 1, 8, 1) + struct.pack("<5I", 0, 0, 0, 256, 0) + bytes(1024)
    header = whole[:10] + struct.pack("<II", 14 + 40 + 1024, 40)
    yield "BMP of 49 megapixels in runs, of which none comes", header + rle + b"\0\1", BROKEN
    yield "BMP of 49 megapixels that skip to the end", header + rle + b"\0\2\xff\xff" * 30_000 + b"\0\1", SQUARE
    yield "BMP of 9 bits", b"BM" + bytes(12) + b"\x0c\0\0\0\x40\0\x40\0\1\0\x09\0", BROKEN


def other_kinds() -> Iterator[Case]:
    for kind in ("ICO", "ICNS", "JPEG2000", "PPM", "TGA", "PCX", "DDS", "PDF", "EPS"):
        yield kind, pictures.saved(photo(64, 64), kind), UNSUPPORTED
    yield "SVG", pictures.svg(), UNSUPPORTED
    yield "text that begins with BM", pictures.text(), UNSUPPORTED
    yield "HTML", b"<html><script>alert(1)</script></html>", UNSUPPORTED
    yield "zip", b"PK\3\4" + bytes(100), UNSUPPORTED
    yield "Photoshop", b"8BPS\0\1" + bytes(100), UNSUPPORTED
    yield "film", b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(300), UNSUPPORTED
    yield "nothing", b"", EMPTY
    yield "one byte", b"\x89", UNSUPPORTED


def sizes() -> Iterator[Case]:
    for width, height, answer in (
        (31, 31, BOUNDS),
        (32, 32, (32, 32)),
        (33, 660, (3, 64)),
        (33, 661, BOUNDS),
        (1, 1, BOUNDS),
        (16384, 820, (64, 3)),
        (16385, 900, BOUNDS),
    ):
        yield f"{width} x {height}", flat_png(width, height, 2), answer


def peak() -> int:
    """Bytes that this process has had at the most. getrusage alone would begin at its parent's peak, on Linux."""
    try:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def judge() -> None:
    """Every file decoded as the API does a photo at 64 pixels."""
    from stylizer import images
    from stylizer.errors import StylizerError
    from stylizer.settings import Settings

    def fit(size: tuple[int, int]) -> tuple[int, int]:
        return images.longest_side(64)(size) if max(size) > 64 else size

    for name, data, wanted in files():
        before, start = peak(), time.process_time()
        try:
            answer = images.decode(data, Settings(), fit=fit).size
        except StylizerError as error:
            answer = type(error).__name__
        except Exception as error:
            answer = f"not ours: {error!r}"
        seconds = time.process_time() - start
        came = {"name": name, "answer": answer, "wanted": wanted, "seconds": seconds, "growth": peak() - before}
        print(json.dumps(came), flush=True)


if __name__ == "__main__":
    judge()
