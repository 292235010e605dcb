"""The structure of picture files, checked before a decoder sees them: segments, chunks, tags or boxes, all bounded.

A decoder trusts its input: it collects every comment, allocates the tile that a tag declares, passes over all pixels
for a scan of eleven bytes. So each file is walked here first, from length to length: that takes milliseconds for 24 MB
and stops at the first bound exceeded. The bounds are many times what cameras and programs write.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from stylizer.errors import BrokenPicture, PictureOutOfBounds

# Cameras write about 20 segments, depth or gain maps a few hundred of 64 kB each; an Exif block is one segment.
MAX_SEGMENTS = 2_000
MAX_EXIF_BYTES = 1 << 20
MAX_JUNK = 1 << 16  # bytes that belong to no segment; Pillow reads them one by one
# Real progressive files have about ten scans. An empty one takes 11 bytes and costs a pass over all coefficients.
MAX_SCANS = 100
MAX_SCANNED = 1_500  # scans times megapixels: 30 scans of 50 megapixels, or 0.3 s for empty ones
# Encoders write pixels in chunks of 8 kB to 1 MB; 4 kB would make 6,000 of the largest upload.
MAX_DATA_CHUNKS = 30_000
MAX_OTHER_CHUNKS = 1_000
MAX_BLOCKS = 100_000  # of 255 bytes, before a GIF's first frame: enough for 24 MB of metadata
MAX_TAGS = 1_000  # in a TIFF or Exif directory; cameras write a hundred
MAX_STRIPS = 65_536  # one for each row of the largest picture in each of four planes
MAX_TILE_BYTES = 1 << 26  # tiles are 128 to 1024 pixels wide; 4096 x 4096 in RGBA is 64 MB
MAX_BOXES = 5_000
MAX_ITEMS = 1_000  # of an AVIF; one composed of tiles has a few hundred

HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
AVIF_BRANDS = {b"avif", b"avis"}
EXIF_TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
ORIENTATION = 0x0112


@dataclass
class Outline:
    """What the walk found, as far as decoding needs it."""

    size: tuple[int, int] | None = None  # (width, height) that a decoder would allocate, if the walk finds it
    extra_bytes: int = 0  # memory that decoding takes besides the picture's pixels
    scans: int = 1  # of a JPEG
    orientation: int = 1  # Exif's, 1 to 8
    cicp: tuple[int, int, int, int] | None = None  # primaries, transfer, matrix, full range: ITU-T H.273
    gamma: float | None = None  # a PNG's, e.g. 0.45455
    chromaticities: tuple[float, ...] | None = None  # a PNG's, x and y of white, red, green and blue
    srgb: bool = False  # a PNG declares it
    tags: dict[int, tuple[int, ...]] = field(default_factory=dict)  # a TIFF's integers
    order: str = "<"  # a TIFF's byte order, as in struct
    still: bytes | None = None  # an animation's first frame, as a file of its own


def walk(data: bytes, kind: str, name: str) -> Outline:
    """Raise BrokenPicture or PictureOutOfBounds if the file would cost a decoder more than any ordinary one."""
    try:
        return WALKS[kind](data, name)
    except (struct.error, IndexError, OverflowError):  # past the end, or 2^63 bytes past it
        raise _broken(name, kind, "it ends before its pixels begin") from None


def brands(data: bytes) -> set[bytes]:
    """Major and compatible brands of an ISO base media file; empty for any other file."""
    if data[4:8] != b"ftyp":
        return set()
    length = min(int.from_bytes(data[:4], "big"), 256)
    return {data[8:12]} | {data[at : at + 4] for at in range(16, length, 4)}


def _broken(name: str, kind: str, why: str) -> BrokenPicture:
    return BrokenPicture(f"{name} is a damaged {kind}: {why}; save it again")


def _too_many(name: str, kind: str, what: str, most: int) -> BrokenPicture:
    return BrokenPicture(f"{name} is a {kind} with more than {most:,} {what}; save it again without them")


# JPEG --------------------------------------------------------------------------------------------------------------

MARKER = re.compile(rb"\xff+([^\xff\0])")
AFTER_SCAN = re.compile(rb"\xff[^\xff\0\xd0-\xd7]")  # stuffed zeros and restart markers belong to the scan
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length


def _walk_jpeg(data: bytes, name: str) -> Outline:
    outline, exif = Outline(), b""
    at, junk, segments, scans, whole = 2, 0, 0, 0, False
    while match := (AFTER_SCAN if scans else MARKER).search(data, at):
        marker, begin = data[match.end() - 1], match.end()
        segments += 1
        if not scans:
            junk += begin - 2 - at
        if segments > MAX_SEGMENTS:
            raise _too_many(name, "JPEG", "segments", MAX_SEGMENTS)
        if junk > MAX_JUNK:
            raise _too_many(name, "JPEG", "bytes between its segments", MAX_JUNK)
        if marker == 0xD9:
            break
        if marker in ALONE:
            at = begin
            continue
        length = max(2, struct.unpack_from(">H", data, begin)[0])
        at = begin + length
        if marker in FRAMES and outline.size is None:
            height, width, components = struct.unpack_from(">HHB", data, begin + 3)
            outline.size = width, height
            # Coefficients, two bytes each, are kept until the last scan.
            shares = [data[begin + 9 + 3 * index] for index in range(components)]
            widest = max([(share >> 4) * (share & 15) for share in shares], default=0) or 1
            coefficients = sum((share >> 4) * (share & 15) for share in shares) / widest * width * height
            outline.extra_bytes = round(2 * coefficients)
            whole = marker in PROGRESSIVE
        elif marker == 0xE1 and data.startswith(b"Exif\0\0", begin + 2):
            exif += data[begin + 8 : at]
            if len(exif) > MAX_EXIF_BYTES:
                raise _too_many(name, "JPEG", "bytes of Exif", MAX_EXIF_BYTES)
        elif marker == 0xDA:
            scans += 1
            if scans == 1 and outline.size:
                whole = whole or data[begin + 2] < components
            if scans > MAX_SCANS:
                raise BrokenPicture(f"{name} is a JPEG with more than {MAX_SCANS} scans; save it again")
    if not whole:
        outline.extra_bytes = 0
    outline.scans = scans
    outline.orientation = exif_orientation(exif, name)
    return outline


def check_scans(outline: Outline, name: str) -> None:
    """Raise BrokenPicture if a JPEG's scans would pass over more pixels than any ordinary file's."""
    width, height = outline.size or (0, 0)
    if outline.scans * width * height > MAX_SCANNED * 1e6:
        raise BrokenPicture(
            f"{name} is a JPEG with {outline.scans} scans, too many for {width}x{height} pixels; save it again"
        )


# PNG ---------------------------------------------------------------------------------------------------------------


def _walk_png(data: bytes, name: str) -> Outline:
    outline, pixels, others, at = Outline(), 0, 0, 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        content, at = at + 8, at + 12 + length
        if kind in (b"IDAT", b"fdAT"):
            pixels += 1
            if pixels > MAX_DATA_CHUNKS:
                raise _too_many(name, "PNG", "pixel chunks", MAX_DATA_CHUNKS)
            continue
        others += 1
        if others > MAX_OTHER_CHUNKS + pixels:  # each frame of an animation has a control chunk
            raise _too_many(name, "PNG", "chunks besides its pixels", MAX_OTHER_CHUNKS)
        if kind == b"IHDR" and outline.size is None:
            outline.size = struct.unpack_from(">II", data, content)
        elif kind == b"eXIf" and length <= MAX_EXIF_BYTES:
            outline.orientation = exif_orientation(data[content : content + length], name)
        elif kind == b"cICP" and length == 4 and not pixels:
            outline.cicp = struct.unpack_from("4B", data, content)
        elif kind == b"gAMA" and length == 4 and not pixels:
            outline.gamma = struct.unpack_from(">I", data, content)[0] / 100_000
        elif kind == b"cHRM" and length == 32 and not pixels:
            outline.chromaticities = tuple(value / 100_000 for value in struct.unpack_from(">8I", data, content))
        elif kind == b"sRGB" and not pixels:
            outline.srgb = True
        elif kind == b"IEND":
            break
    return outline


# WebP --------------------------------------------------------------------------------------------------------------


def _walk_webp(data: bytes, name: str) -> Outline:
    outline, canvas, picture, frame, kept = Outline(), None, None, None, {}
    for count, (kind, begin, end) in enumerate(_riff_chunks(data, 12, len(data))):
        if count >= MAX_OTHER_CHUNKS and frame is None:
            raise _too_many(name, "WEBP", "chunks", MAX_OTHER_CHUNKS)
        if kind == b"VP8X":
            flags, canvas = data[begin], _webp_sizes(data, begin + 4)
        elif kind in (b"VP8 ", b"VP8L") and picture is None:
            picture = _bitstream_size(data, kind, begin)
        elif kind == b"ANMF" and frame is None:
            frame = begin, end
        elif kind == b"EXIF" and end - begin <= MAX_EXIF_BYTES:
            block = data[begin:end]
            outline.orientation = exif_orientation(block.removeprefix(b"Exif\0\0"), name)
        elif kind == b"ICCP":
            kept[kind] = data[begin:end]
        if frame and count >= MAX_OTHER_CHUNKS:
            break
    outline.size = canvas or picture
    if canvas and frame and picture is None:
        outline.still = _first_frame(data, canvas, flags, frame, kept, name)
    return outline


def _riff_chunks(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, begin, end) of each chunk's content."""
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, at + 8, min(at + 8 + length, end)
        at += 8 + length + (length & 1)


def _webp_sizes(data: bytes, at: int) -> tuple[int, int]:
    """Width and height, stored in 24 bits each as one less."""
    width, height = data[at : at + 3], data[at + 3 : at + 6]
    return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1


def _bitstream_size(data: bytes, kind: bytes, begin: int) -> tuple[int, int]:
    if kind == b"VP8 ":
        return tuple(side & 0x3FFF for side in struct.unpack_from("<HH", data, begin + 6))
    bits = struct.unpack_from("<I", data, begin + 1)[0]
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _first_frame(
    data: bytes, canvas: tuple[int, int], flags: int, frame: tuple[int, int], kept: dict[bytes, bytes], name: str
) -> bytes | None:
    """The first frame as a WebP of its own, if it covers the canvas, as encoders write it.

    PictureOutOfBounds if it covers less than a sixteenth of a large canvas: memory would be filled for nothing.
    """
    begin, end = frame
    size = _webp_sizes(data, begin + 6)
    if canvas[0] * canvas[1] > max(16 * size[0] * size[1], 1 << 20):
        raise PictureOutOfBounds(
            f"{name} is an animation on a canvas of {canvas[0]}x{canvas[1]} pixels, but its first frame fills only "
            f"{size[0]}x{size[1]}; send that frame as a picture of its own"
        )
    if size != canvas:
        return None
    parts = {kind: data[start:stop] for kind, start, stop in _riff_chunks(data, begin + 16, end)}
    picture = {kind: parts[kind] for kind in (b"ALPH", b"VP8 ", b"VP8L") if kind in parts}
    header = {b"VP8X": bytes([flags & 0b110000, 0, 0, 0]) + data[begin + 6 : begin + 12]}  # an ICC profile, alpha
    body = b"".join(
        kind + struct.pack("<I", len(each)) + each + bytes(len(each) & 1)
        for kind, each in (header | kept | picture).items()
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


# GIF ---------------------------------------------------------------------------------------------------------------


def _walk_gif(data: bytes, name: str) -> Outline:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, blocks = 13 + _palette_bytes(flags), 0
    while data[at] == 0x21:  # extensions before the first frame
        at += 2
        while data[at]:
            at += 1 + data[at]
            blocks += 1
            if blocks > MAX_BLOCKS:
                raise _too_many(name, "GIF", "blocks before its first frame", MAX_BLOCKS)
        at += 1
        blocks += 100  # to Pillow each extension is an object, not just some bytes
    if data[at] != 0x2C:
        raise _broken(name, "GIF", "no frame follows its header")
    left, top, across, down = struct.unpack_from("<HHHH", data, at + 1)
    return Outline(size=(max(width, left + across), max(height, top + down)))


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


# TIFF --------------------------------------------------------------------------------------------------------------

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIPS, SAMPLES, ROWS = 256, 257, 258, 259, 262, 273, 277, 278
STRIP_BYTES, PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILES = 279, 284, 317, 322, 323, 324
SAMPLE_FORMAT = 339
POINTERS = {34665, 34853, 40965, 330}  # to further directories, which Pillow also reads


def _walk_tiff(data: bytes, name: str) -> Outline:
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    first = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    budget = [MAX_TAGS, 2 * len(data) + MAX_EXIF_BYTES]
    tags = _directory(data, first, order, big, budget, name)
    for pointer in POINTERS & tags.keys():
        for place in tags[pointer][:4]:
            if 0 < place < len(data):
                _directory(data, place, order, big, budget, name)
    width, height = tags.get(WIDTH, (0,))[0], tags.get(HEIGHT, (0,))[0]
    outline = Outline((width, height), tags=tags, order=order)
    samples = tags.get(SAMPLES, (1,))[0]
    depth = max(tags.get(BITS, (1,))) * (1 if tags.get(PLANAR, (1,))[0] == 2 else samples)  # bits per pixel in a piece
    if TILES in tags or TILE_WIDTH in tags:
        across, down = tags.get(TILE_WIDTH, (0,))[0], tags.get(TILE_HEIGHT, (0,))[0]
        pieces = len(tags.get(TILES, tags.get(STRIPS, ())))
        piece = across * down * depth // 8
        if piece > MAX_TILE_BYTES:
            raise PictureOutOfBounds(
                f"{name} has tiles of {across}x{down} pixels, {piece / 1e6:,.0f} MB each; at most "
                f"{MAX_TILE_BYTES / 1e6:.0f} MB are allowed"
            )
    else:
        piece = width * min(tags.get(ROWS, (height,))[0], height) * depth // 8
        pieces = len(tags.get(STRIPS, ()))
    if pieces > MAX_STRIPS:
        raise _too_many(name, "TIFF", "strips or tiles", MAX_STRIPS)
    outline.extra_bytes = piece if tags.get(COMPRESSION, (1,))[0] != 1 else 0
    return outline


def _directory(data: bytes, at: int, order: str, big: bool, budget: list[int], name: str) -> dict[int, tuple[int, ...]]:
    """{tag: its integers} of one directory. `budget`: how many more tags, and bytes of their values, are allowed."""
    count_code, entry_code, inline = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    count = struct.unpack_from(order + count_code, data, at)[0]
    budget[0] -= count
    if budget[0] < 0:
        raise _too_many(name, "TIFF", "tags", MAX_TAGS)
    at += struct.calcsize(order + count_code)
    tags, step = {}, struct.calcsize(order + entry_code)
    for entry in range(at, min(at + count * (step + inline), len(data) - step - inline + 1), step + inline):
        tag, kind, number = struct.unpack_from(order + entry_code, data, entry)
        size = EXIF_TYPES.get(kind, 0) * number
        place = entry + step if size <= inline else struct.unpack_from(order + "IQ"[big], data, entry + step)[0]
        if not size or place + size > len(data):
            continue
        budget[1] -= size
        if budget[1] < 0:
            raise BrokenPicture(f"{name} is a damaged TIFF: its tags claim more data than it holds; save it again")
        if kind in (1, 3, 4, 13, 16, 18):
            letter = {1: "B", 3: "H", 4: "I", 13: "I"}.get(kind, "Q")
            tags[tag] = struct.unpack_from(f"{order}{min(number, MAX_STRIPS + 1)}{letter}", data, place)
    return tags


def exif_orientation(block: bytes, name: str) -> int:
    """Orientation 1 to 8 from an Exif block, or 1 if it is garbage: broken Exif does not make a broken picture.

    Parsed here, because a hostile 64 kB block can make Pillow copy 300 MB.
    """
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    try:
        first = struct.unpack_from(f"{order}I", block, 4)[0] if order else 0
        found = _directory(block, first, order, False, [1 << 16, 1 << 40], name)[ORIENTATION][0] if order else 1
    except (struct.error, KeyError, IndexError, OverflowError):
        return 1
    return found if 1 <= found <= 8 else 1


# AVIF --------------------------------------------------------------------------------------------------------------


@dataclass
class _Item:
    kind: bytes = b""
    places: list[tuple[int, int]] = field(default_factory=list)  # (offset, length) in the file
    properties: list[int] = field(default_factory=list)  # indices into the list of all properties


def _walk_avif(data: bytes, name: str) -> Outline:
    """Compare the declared sizes with those in the coded pictures, which decide what a decoder allocates."""
    budget, outline = [MAX_BOXES], Outline()
    top: dict[bytes, tuple[int, int]] = {}
    for kind, begin, end in _boxes(data, 0, len(data), budget, name):
        top.setdefault(kind, (begin, end))
    if b"meta" in top:
        _walk_items(data, *top[b"meta"], budget, outline, name)
    if b"moov" in top:
        _check_track(data, *top[b"moov"], budget, outline, name)
    if outline.size is None:
        raise _broken(name, "AVIF", "it contains no picture")
    return outline


def _boxes(data: bytes, at: int, end: int, budget: list[int], name: str) -> Iterator[tuple[bytes, int, int]]:
    """(kind, begin, end) of each box's content."""
    while at + 8 <= end:
        budget[0] -= 1
        if budget[0] < 0:
            raise _too_many(name, "AVIF", "boxes", MAX_BOXES)
        length, kind = struct.unpack_from(">I4s", data, at)
        begin = at + 8
        if length == 1:
            length, begin = struct.unpack_from(">Q", data, at + 8)[0], at + 16
        stop = end if length == 0 else min(at + length, end)
        if stop < begin:
            raise _broken(name, "AVIF", "a box is shorter than its own header")
        yield kind, begin, stop
        at = stop


def _walk_items(data: bytes, begin: int, end: int, budget: list[int], outline: Outline, name: str) -> None:
    boxes = {kind: (start, stop) for kind, start, stop in _boxes(data, begin + 4, end, budget, name)}
    items: dict[int, _Item] = {}
    if b"iinf" in boxes:
        start, stop = boxes[b"iinf"]
        for kind, place, _ in _boxes(data, start + (6 if data[start] == 0 else 8), stop, budget, name):
            if kind == b"infe" and data[place] >= 2:
                wide = data[place] == 3
                number = struct.unpack_from(">I" if wide else ">H", data, place + 4)[0]
                at = place + (10 if wide else 8)
                items[number] = _Item(data[at : at + 4])
                if len(items) > MAX_ITEMS:
                    raise _too_many(name, "AVIF", "items", MAX_ITEMS)
    if b"iloc" in boxes:
        _locate(data, *boxes[b"iloc"], boxes.get(b"idat", (0, 0))[0], items)
    properties = []
    if b"iprp" in boxes:
        for kind, start, stop in _boxes(data, *boxes[b"iprp"], budget, name):
            if kind == b"ipco":
                properties = list(_boxes(data, start, stop, budget, name))
            elif kind == b"ipma":
                _associate(data, start, items)
    primary = None
    if b"pitm" in boxes:
        start = boxes[b"pitm"][0]
        primary = struct.unpack_from(">H" if data[start] == 0 else ">I", data, start + 4)[0]
    for number, item in items.items():
        named = [properties[index - 1] for index in item.properties if 0 < index <= len(properties)]
        claim = next((struct.unpack_from(">II", data, place + 4) for kind, place, _ in named if kind == b"ispe"), None)
        if number == primary:
            outline.size = claim
            for kind, place, _ in named:
                if kind == b"colr" and data[place : place + 4] == b"nclx":
                    primaries, transfer, matrix = struct.unpack_from(">HHH", data, place + 4)
                    # Encoders label sRGB pictures with BT.709's curve, and viewers show them as sRGB.
                    transfer = 13 if transfer in (1, 6, 14, 15) else transfer
                    outline.cicp = primaries, transfer, matrix, data[place + 10] >> 7
        if claim is None or item.kind != b"av01":
            continue
        for place, _ in item.places[:1]:
            _check_coded(coded_size(data[place : place + 512]), claim, name)


def _locate(data: bytes, at: int, end: int, idat: int, items: dict[int, _Item]) -> None:
    version, sizes = data[at], struct.unpack_from(">H", data, at + 4)[0]
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    at += 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(data[at - size : at], "big")

    for _ in range(min(number(2 if version < 2 else 4), MAX_ITEMS)):
        item = number(2 if version < 2 else 4)
        inside = version in (1, 2) and number(2) & 15 == 1  # within idat
        number(2)
        base = number(base_size) + (idat if inside else 0)
        for _ in range(min(number(2), MAX_ITEMS)):
            if version in (1, 2):
                number(index_size)
            offset, length = number(offset_size), number(length_size)
            if item in items and at <= end:
                items[item].places.append((base + offset, length))


def _associate(data: bytes, at: int, items: dict[int, _Item]) -> None:
    version, wide = data[at], data[at + 3] & 1
    count = struct.unpack_from(">I", data, at + 4)[0]
    at += 8
    for _ in range(min(count, MAX_ITEMS)):
        item = int.from_bytes(data[at : at + (4 if version else 2)], "big")
        at += 4 if version else 2
        entries, at = data[at], at + 1
        for _ in range(entries):
            index = (data[at] & 0x7F) << 8 | data[at + 1] if wide else data[at] & 0x7F
            at += 2 if wide else 1
            if item in items:
                items[item].properties.append(index)


def _check_track(data: bytes, begin: int, end: int, budget: list[int], outline: Outline, name: str) -> None:
    """Check an image sequence, whose samples are in a track; the decoder uses the first."""

    def inner(begin: int, end: int, *path: bytes) -> Iterator[tuple[int, int]]:
        for kind, start, stop in _boxes(data, begin, end, budget, name):
            if kind == path[0]:
                yield from inner(start, stop, *path[1:]) if path[1:] else [(start, stop)]

    for start, stop in inner(begin, end, b"trak", b"mdia", b"minf", b"stbl"):
        table = {kind: place for kind, place, _ in _boxes(data, start, stop, budget, name)}
        if b"stsd" not in table:
            continue
        entry = table[b"stsd"] + 8  # version, flags and count; then the first entry's length and kind
        if data[entry + 4 : entry + 8] != b"av01":
            continue
        claim = struct.unpack_from(">HH", data, entry + 8 + 24)
        outline.size = outline.size or claim
        for kind, code in ((b"stco", ">I"), (b"co64", ">Q")):
            if kind in table:
                place = struct.unpack_from(code, data, table[kind] + 8)[0]
                _check_coded(coded_size(data[place : place + 512]), claim, name)
        if claim[0] * claim[1] > outline.size[0] * outline.size[1]:
            outline.size = claim


def _check_coded(coded: tuple[int, int] | None, claimed: tuple[int, int], name: str) -> None:
    if coded is None:
        raise _broken(name, "AVIF", "its coded picture does not begin like AV1")
    if coded != tuple(claimed):
        raise BrokenPicture(
            f"{name} is a damaged AVIF: it claims {claimed[0]}x{claimed[1]} pixels but codes {coded[0]}x{coded[1]}; "
            "save it again"
        )


class _Bits:
    def __init__(self, data: bytes):
        self.value, self.left = int.from_bytes(data, "big"), 8 * len(data)

    def __call__(self, count: int) -> int:
        self.left -= count
        if self.left < 0:
            raise IndexError("out of bits")
        return self.value >> self.left & (1 << count) - 1


def coded_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) that an AV1 decoder allocates: from the sequence header, or larger if a frame may override it.

    Parses AV1 5.5 and 5.9 only as far as needed; None if the data does not begin with a sequence header.
    """
    at, sequence = 0, None
    while at < len(data):
        header, at = data[at], at + 1
        at += header >> 2 & 1  # extension
        length = len(data) - at
        if header & 2:
            length = shift = 0
            while True:  # LEB128
                byte, at = data[at], at + 1
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80 or shift > 56:
                    break
        content = data[at : at + min(length, 64)]
        kind = header >> 3 & 15
        if kind == 1:
            sequence = _Sequence(_Bits(content))
        elif kind in (3, 6) and sequence:  # a frame header, alone or followed by its tiles
            return sequence.frame_size(_Bits(content))
        at += length
    return sequence.size if sequence else None


class _Sequence:
    """The fields of a sequence header that determine a frame's size, in the specification's order."""

    def __init__(self, bits: _Bits):
        bits(4)  # profile, still picture
        self.reduced = bits(1)
        self.model = self.delay_bits = self.interval = 0
        if self.reduced:
            bits(5)
        else:
            self._operating_points(bits)
        self.width_bits, self.height_bits = bits(4) + 1, bits(4) + 1
        self.size = bits(self.width_bits) + 1, bits(self.height_bits) + 1
        self.id_bits = 0
        if not self.reduced and bits(1):
            self.id_bits = bits(4) + 2 + bits(3) + 1
        bits(3)
        self.screen = self.motion = 2  # 2: set by each frame
        if not self.reduced:
            bits(4)
            if bits(1):  # order hints
                bits(2)
            if not bits(1):
                self.screen = bits(1)
            if self.screen and not bits(1):
                self.motion = bits(1)

    def _operating_points(self, bits: _Bits) -> None:
        if bits(1):  # timing
            bits(64)
            self.interval = bits(1)
            if self.interval:  # its length, an Exp-Golomb number
                zeros = 0
                while not bits(1):
                    zeros += 1
                bits(zeros)
            self.model = bits(1)
            if self.model:
                self.delay_bits = bits(5) + 1
                bits(37)
                self.presentation_bits = bits(5) + 1
        initial_display = bits(1)
        for _ in range(bits(5) + 1):
            bits(12)
            if bits(5) > 7:
                bits(1)
            if self.model and bits(1):
                bits(2 * self.delay_bits + 1)
            if initial_display and bits(1):
                bits(4)

    def frame_size(self, bits: _Bits) -> tuple[int, int]:
        if self.reduced or bits(1):  # show_existing_frame
            return self.size
        kind, shown = bits(2), bits(1)
        if shown and self.model and not self.interval:
            bits(self.presentation_bits)
        if not shown:
            bits(1)
        if not (kind == 3 or (kind == 0 and shown)):
            bits(1)
        bits(1)
        screen = bits(1) if self.screen == 2 else self.screen
        if screen and self.motion == 2:
            bits(1)
        bits(self.id_bits)
        overrides = kind == 3 or bits(1)
        largest = 1 << self.width_bits, 1 << self.height_bits
        # A frame may override its size with anything that fits the bits; encoders use only as many as they need.
        if overrides and largest[0] * largest[1] > 4 * self.size[0] * self.size[1]:
            return largest
        return self.size


def _walk_bmp(data: bytes, name: str) -> Outline:
    return Outline()  # the header has a fixed size, and Pillow's reader stops there


WALKS = {
    "JPEG": _walk_jpeg,
    "PNG": _walk_png,
    "WEBP": _walk_webp,
    "GIF": _walk_gif,
    "TIFF": _walk_tiff,
    "BMP": _walk_bmp,
    "AVIF": _walk_avif,
}
