"""The decode gate, the right pixels, and the way back to bytes."""

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import hostile
import numpy as np
import pictures
import pytest
from PIL import Image

from stylizer import images
from stylizer.errors import (
    BrokenPicture,
    EmptyInput,
    OutOfMemory,
    ParameterError,
    PictureOutOfBounds,
    UnsupportedPicture,
)
from stylizer.images import Picture, as_picture, decode, encode, from_tensor, keep_colors, resize, to_tensor
from stylizer.settings import Settings

SETTINGS = Settings()
# images.py silences Pillow's warnings about metadata; pytest sets its own filters over those.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference of two pictures of one shape, in steps of 255."""
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


# The gate ----------------------------------------------------------------------------------------------------------


def test_an_empty_file_is_refused_as_empty():
    with pytest.raises(EmptyInput, match="photo is empty"):
        decode(b"", SETTINGS, "photo")


@pytest.mark.parametrize("make", [pictures.text, pictures.svg, pictures.pdf], ids=lambda make: make.__name__)
def test_what_is_no_picture_is_refused_whatever_it_claims_to_be(make):
    with pytest.raises(UnsupportedPicture, match="JPEG, PNG, WEBP"):
        decode(make(), SETTINGS)


@pytest.mark.parametrize("format", ["PPM", "TGA", "ICO", "PCX", "JPEG2000"])
def test_formats_pillow_knows_but_we_do_not_list_are_refused(format):
    with pytest.raises(UnsupportedPicture):
        decode(pictures.saved(pictures.photo(64, 64), format), SETTINGS)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((20000, 20000), "20000x20000 pixels; each side may be at most 16384"),
        ((31, 64), "31x64 pixels; each side must be at least 32"),
        ((1, 1), "1x1 pixels; each side must be"),
        ((2000, 40), "2000x40 pixels; the longer side may be at most 20 times"),
        ((9000, 6000), "9000x6000 pixels; that is 54.0 megapixels, and at most 50"),
    ],
)
def test_a_header_out_of_bounds_is_refused_without_its_pixels(size, words, monkeypatch):
    monkeypatch.setattr(images, "_open", lambda *_: pytest.fail("decoded before the size was judged"))
    with pytest.raises(PictureOutOfBounds, match=words):
        decode(pictures.png_header(*size), SETTINGS)


def test_a_small_file_of_88_megapixels_is_refused_at_once():
    data = pictures.big_flat_png()
    assert len(data) < 300_000
    start = time.process_time()
    with pytest.raises(PictureOutOfBounds, match=r"9400x9400 pixels; that is 88\.4 megapixels"):
        decode(data, SETTINGS)
    assert time.process_time() - start < 0.5  # of the CPU: others may keep it busy


@pytest.mark.parametrize("make", [pictures.gif_header, pictures.webp_header, pictures.png_header])
def test_a_header_that_claims_gigabytes_costs_no_memory(make):
    """In a process of its own, whose peak is then the decoder's."""
    code = """if True:
        import sys
        from hostile import peak
        from stylizer.errors import PictureOutOfBounds
        from stylizer.images import decode
        from stylizer.settings import Settings
        data = sys.stdin.buffer.read()
        before = peak()
        try:
            decode(data, Settings())
        except PictureOutOfBounds:
            print(peak() - before)
    """
    root = Path(images.__file__).parent.parent
    paths = os.pathsep.join((str(root), str(root / "tests")))
    result = subprocess.run(
        [sys.executable, "-c", code],
        input=make(),
        capture_output=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert int(result.stdout) < 20e6


def test_bounds_are_inclusive():
    assert decode(pictures.png(pictures.photo(32, 640)), SETTINGS).size == (32, 640)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_half_a_file_of_any_format_is_broken(format):
    if format not in images.SIGNATURES:
        pytest.skip(f"this Pillow reads no {format}")
    whole = pictures.saved(pictures.photo(160, 120), format)
    assert decode(whole, SETTINGS).size == (160, 120)
    with pytest.raises(BrokenPicture, match="damaged"):
        decode(whole[: len(whole) // 2], SETTINGS)


def test_half_a_progressive_jpeg_is_broken_too():
    whole = pictures.jpeg(pictures.photo(160, 120), progressive=True)
    assert decode(whole, SETTINGS).size == (160, 120)
    with pytest.raises(BrokenPicture):
        decode(whole[: len(whole) // 2], SETTINGS)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"zTXt", b"note\0\0" + zlib.compress(bytes(40_000_000))),
        (b"iTXt", b"note\0\1\0\0\0" + zlib.compress(bytes(40_000_000))),
        (b"iCCP", b"big\0\0" + zlib.compress(bytes(40_000_000))),
        (b"IHDR", b""),
        (b"tRNS", b""),
    ],
)
def test_a_png_with_a_bomb_or_a_broken_chunk_is_broken(kind, content):
    with pytest.raises(BrokenPicture, match="PNG"):
        decode(pictures.png_with(kind, content), SETTINGS)


def test_a_jpeg_of_a_thousand_scans_is_refused():
    whole = pictures.jpeg(pictures.photo(64, 48), progressive=True)
    last = whole[whole.rfind(b"\xff\xda") : -2]
    with pytest.raises(BrokenPicture, match="scans"):
        decode(whole[:-2] + last * 1000 + whole[-2:], SETTINGS)


def test_decoding_that_takes_too_long_is_ended(monkeypatch):
    """Runs of one pixel, which Pillow unpacks in Python: without a clock these take a second a megapixel."""
    monkeypatch.setattr(images, "PATIENCE", 0.05)
    width = height = 4000
    header = struct.pack("<IiiHHIIIIII", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0) + bytes(1024)
    data = b"BM" + struct.pack("<III", 0, 0, 14 + len(header)) + header + b"\1\7" * (width * height // 8)
    start = time.process_time()
    with pytest.raises(BrokenPicture, match=r"takes over 0\.05 seconds"):
        decode(data, SETTINGS)
    assert time.process_time() - start < 4


def test_memory_is_asked_for_before_a_pixel_is_decoded(monkeypatch):
    asked = []

    def no_room(needed, what, *_):
        asked.append(needed)
        raise OutOfMemory(f"{what} needs more than there is")

    monkeypatch.setattr(images, "check_room", no_room)
    for format in images.SIGNATURES:
        with pytest.raises(OutOfMemory, match="decoding photo"):
            decode(pictures.saved(pictures.photo(), format), SETTINGS, "photo")
    assert len(asked) == len(images.SIGNATURES) and min(asked) >= 96 * 64


def test_a_heic_is_named_and_not_called_damaged():
    for brand in (b"heic", b"mif1"):
        with pytest.raises(UnsupportedPicture, match="is a HEIC file, which is not supported; export it as JPEG"):
            decode(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(300), SETTINGS)


# As large as it is wanted -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_a_picture_decoded_smaller_is_the_whole_one_made_smaller(format):
    if format not in images.SIGNATURES:
        pytest.skip(f"this Pillow reads no {format}")
    data = pictures.saved(pictures.photo(1200, 800), format)
    small = decode(data, SETTINGS, fit=images.longest_side(90))
    assert small.size == (90, 60)
    assert difference(small.rgb, resize(decode(data, SETTINGS), 90).rgb) < 1.5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_fitted_as_it_stands_upright(orientation):
    asked = []

    def fit(size):
        asked.append(size)
        return 48, 32

    picture = decode(pictures.oriented_jpeg(orientation, 960, 640), SETTINGS, fit=fit)
    assert asked == [(960, 640)] and picture.size == (48, 32)
    assert difference(picture.rgb, pictures.corners(48, 32)) < 5


def test_a_picture_is_not_enlarged_by_its_decoder():
    assert decode(pictures.png(pictures.photo()), SETTINGS, fit=images.longest_side(500)).size == (96, 64)


def test_bounds_are_judged_on_the_files_own_size():
    with pytest.raises(PictureOutOfBounds, match="2000x40"):
        decode(pictures.png(np.zeros((40, 2000, 3), np.uint8)), SETTINGS, fit=lambda size: (64, 64))


def test_arrays_and_pil_images_are_fitted_as_well():
    photo = pictures.photo(480, 320)
    for source in (photo, Image.fromarray(photo), Picture(photo)):
        small = as_picture(source, SETTINGS, images.longest_side(48))
        assert small.size == (48, 32) and difference(small.rgb, resize(Picture(photo), 48).rgb) < 1


# The right pixels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG", "AVIF"])
def test_every_format_we_take_gives_the_pixels_that_went_in(format):
    if format not in images.SIGNATURES:
        pytest.skip(f"this Pillow reads no {format}")
    photo = pictures.photo(97, 65)
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 97, "subsampling": 0}}.get(format, {})
    picture = decode(pictures.saved(photo, format, **options), SETTINGS)
    assert picture.size == (97, 65)
    assert picture.rgb.dtype == np.uint8 and picture.rgb.flags.c_contiguous
    assert picture.alpha is None
    assert difference(picture.rgb, photo) <= {"GIF": 8, "JPEG": 2, "AVIF": 4}.get(format, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_stands_upright_whatever_way_the_camera_was_held(orientation):
    picture = decode(pictures.oriented_jpeg(orientation), SETTINGS)
    assert picture.size == (96, 64)
    assert difference(picture.rgb, pictures.corners()) < 3


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"\xff" * 60000])
def test_broken_exif_does_not_matter(exif):
    assert difference(decode(pictures.jpeg(pictures.corners(), exif=exif), SETTINGS).rgb, pictures.corners()) < 3


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_does_not_matter(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decode(pictures.jpeg(pictures.corners(), exif=exif), SETTINGS).size == (96, 64)


def test_a_garbage_colour_profile_does_not_matter():
    assert difference(decode(pictures.garbage_icc_jpeg(), SETTINGS).rgb, pictures.photo()) < 3


def test_a_colour_profile_is_applied():
    """Red and green are exchanged in the profile, so they come out exchanged."""
    picture = decode(pictures.png(pictures.corners(), icc_profile=pictures.swapped_icc()), SETTINGS)
    expected = pictures.corners()[:, :, [1, 0, 2]]
    assert np.abs(picture.rgb.astype(int) - expected).max() < 12  # gamma 2.2 is not quite sRGB's curve


def test_srgbs_own_profile_changes_nothing():
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = pictures.photo()
    assert np.abs(decode(pictures.png(photo, icc_profile=profile), SETTINGS).rgb.astype(int) - photo).max() <= 1


def test_a_profile_is_applied_to_greys_and_keeps_alpha():
    grey = np.full((40, 40), 128, np.uint8)
    profile = pictures.linear_grey_icc()
    assert np.abs(decode(pictures.png(grey, icc_profile=profile), SETTINGS).rgb.astype(int) - 188).max() <= 1
    both = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(grey // 2)])
    picture = decode(pictures.saved(both, "PNG", icc_profile=profile), SETTINGS)
    assert np.abs(picture.rgb.astype(int) - 188).max() <= 1 and (picture.alpha == 64).all()


def test_a_profile_for_another_kind_of_colour_is_ignored():
    picture = decode(pictures.png(pictures.photo(), icc_profile=pictures.linear_grey_icc()), SETTINGS)
    assert (picture.rgb == pictures.photo()).all()


@pytest.mark.parametrize("profile", [None, b"garbage" * 50])
def test_cmyk_has_the_right_colours(profile):
    picture = decode(pictures.cmyk_jpeg(icc_profile=profile), SETTINGS)
    assert np.abs(picture.rgb[16, 16::32].astype(int) - pictures.CMYK_PATCHES).max() < 6


def test_cmyks_own_profile_is_used():
    """The profile exchanges cyan and magenta, so what would print red prints green."""
    picture = decode(pictures.cmyk_jpeg(icc_profile=pictures.swapped_inks_icc()), SETTINGS)
    green, red, blue, white, black, _grey = picture.rgb[16, 16::32].astype(int)
    for colour, expected in ((red, (255, 0, 0)), (green, (0, 255, 0)), (blue, (0, 0, 255))):
        assert np.abs(colour - expected).max() < 40
    assert white.min() > 245 and black.max() < 10


def test_16_bit_grey_keeps_its_tones():
    picture = decode(pictures.grey16_png(64, 40), SETTINGS)
    expected = np.round(np.linspace(0, 65535, 64) / 257)
    assert np.abs(picture.rgb - expected[None, :, None]).max() <= 1
    assert picture.rgb[0, 0, 0] == 0 and picture.rgb[0, -1, 0] == 255


def test_32_bit_grey_that_counts_to_65535_keeps_its_tones():
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.int32), (40, 1))
    picture = decode(pictures.saved(Image.fromarray(ramp), "TIFF"), SETTINGS)
    assert np.abs(picture.rgb[..., 0] - ramp / 257).max() <= 0.51


def test_16_bit_grey_with_a_transparent_tone_has_alpha():
    values = np.full((40, 40), 40000, np.uint16)
    values[:, :20] = 1234
    whole = pictures.png(values)
    data = whole[:33] + pictures._chunk(b"tRNS", struct.pack(">H", 1234)) + whole[33:]
    picture = decode(data, SETTINGS)
    assert (picture.alpha[:, :20] == 0).all() and (picture.alpha[:, 20:] == 255).all()
    assert (picture.rgb[:, 20:] == 156).all()


def test_16_bits_a_channel_keep_their_tones():
    rgb = decode(pictures.rgb16_png(64, 40), SETTINGS).rgb.astype(int)
    rise = np.linspace(0, 255, 64)
    assert np.abs(rgb[0, :, 0] - rise).max() <= 1 and np.abs(rgb[0, :, 1] - rise[::-1]).max() <= 1
    assert (rgb[..., 2] == 128).all()


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_a_float_tiff_keeps_its_tones(top):
    ramp = np.tile(np.linspace(0, top, 64, dtype=np.float32), (40, 1))
    rgb = decode(pictures.saved(Image.fromarray(ramp), "TIFF"), SETTINGS).rgb
    assert np.abs(rgb[0, :, 0] - np.linspace(0, 255, 64)).max() <= 0.51


def test_measurements_in_a_float_tiff_are_shown_from_least_to_greatest():
    ramp = np.tile(np.linspace(-40, 1e6, 64, dtype=np.float32), (40, 1))
    rgb = decode(pictures.saved(Image.fromarray(ramp), "TIFF"), SETTINGS).rgb
    assert np.abs(rgb[0, :, 0] - np.linspace(0, 255, 64)).max() <= 0.51


def test_a_float_tiff_with_nan_is_refused():
    values = np.full((40, 40), np.nan, np.float32)
    with pytest.raises(BrokenPicture, match="NaN or infinity"):
        decode(pictures.saved(Image.fromarray(values), "TIFF"), SETTINGS)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"]
)
def test_every_mode_of_a_pil_image_gives_the_same_picture(mode):
    grey = Image.fromarray(np.where(np.indices((48, 48)).sum(0) % 16 < 8, 255, 0).astype(np.uint8))
    between = {
        "La": ["LA"],
        "PA": ["RGBA"],
        "RGBa": ["RGBA"],
        "HSV": ["RGB"],
        "YCbCr": ["RGB"],
        "CMYK": ["RGB"],
        "LAB": ["RGB"],
    }  # the steps by which Pillow gets there from grey
    source = grey
    for step in [*between.get(mode, []), mode]:
        source = source.convert(step)
    assert source.mode == mode
    picture = as_picture(source, SETTINGS)
    assert np.abs(picture.rgb.astype(int) - np.asarray(grey)[..., None]).max() <= 2
    assert picture.alpha is None


def test_a_palette_with_transparency_gives_colours_and_alpha():
    picture = decode(pictures.palette_png(), SETTINGS)
    assert (picture.rgb[:, :24] == (200, 0, 0)).all()
    assert (picture.rgb[:, 24:] == (200, 0, 0)).all(), "the green was transparent: nobody has seen it"
    assert (picture.alpha[:, :24] == 255).all() and (picture.alpha[:, 24:] == 0).all()


def test_alpha_comes_apart_and_colours_that_show_stay_to_the_bit():
    picture = decode(pictures.rgba_png(), SETTINGS)
    shows = picture.alpha >= 128
    assert (picture.rgb[shows] == pictures.photo(64, 48)[shows]).all() and not shows.all()
    assert (picture.alpha == np.linspace(0, 255, 64).astype(np.uint8)).all()


def test_alpha_that_is_opaque_everywhere_is_none():
    opaque = np.dstack([pictures.photo(64, 48), np.full((48, 64), 255, np.uint8)])
    assert decode(pictures.png(opaque), SETTINGS).alpha is None


@pytest.mark.parametrize("make", [pictures.animated_gif, pictures.animated_webp, pictures.animated_png])
def test_an_animation_gives_its_first_frame(make):
    picture = decode(make(), SETTINGS)
    assert (picture.rgb == (255, 0, 0)).all()


# Colours that a file says it has ------------------------------------------------------------------------------------

PATCHES = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40), (30, 160, 90), (128, 128, 128)], np.uint8)
DISPLAY_P3 = ((234, 51, 35), (117, 251, 76), (0, 0, 245), (191, 123, 58), (77, 158, 96), (128, 128, 128))  # of these
LINEAR = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (147, 48, 5), (3, 90, 26), (55, 55, 55))


def tagged(colours, *chunks: tuple[bytes, bytes]) -> bytes:
    whole = pictures.png(np.repeat(np.repeat(np.array([colours], np.uint8), 16, 1), 64, 0))
    return whole[:33] + b"".join(pictures._chunk(*each) for each in chunks) + whole[33:]


def patches(picture: Picture) -> np.ndarray:
    return picture.rgb[32, 8::16].astype(int)


GAMMA = {value: (b"gAMA", struct.pack(">I", value)) for value in (45455, 100000)}
P3 = b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


@pytest.mark.parametrize(
    ("colours", "chunks"),
    [
        (DISPLAY_P3, [(b"cICP", bytes([12, 13, 0, 1]))]),
        (LINEAR, [(b"cICP", bytes([1, 8, 0, 1]))]),
        (LINEAR, [GAMMA[100000]]),
        (PATCHES, [GAMMA[45455]]),
        (PATCHES, [(b"sRGB", b"\0"), GAMMA[100000], P3]),
        (PATCHES, [P3]),
        (PATCHES, [(b"cICP", bytes([1, 13, 0, 1])), GAMMA[100000]]),
        (PATCHES, [(b"cICP", bytes([99, 99, 0, 1]))]),
    ],
    ids=[
        "Display P3",
        "linear by cICP",
        "linear by gAMA",
        "gAMA of sRGB",
        "sRGB before gAMA",
        "cHRM alone",
        "cICP before gAMA",
        "code points that are none",
    ],
)
def test_a_pngs_colour_chunks_are_heeded(colours, chunks):
    assert np.abs(patches(decode(tagged(colours, *chunks), SETTINGS)) - PATCHES).max() <= 6


def test_chromaticities_of_display_p3_with_a_gamma_are_heeded():
    found = patches(decode(tagged(DISPLAY_P3, GAMMA[45455], P3), SETTINGS))
    assert np.abs(found - PATCHES).max() <= 12  # gamma 2.2 is not quite sRGB's curve


def test_cicp_comes_before_an_icc_profile_and_that_before_gamma():
    profile = b"iCCP", b"swapped\0\0" + zlib.compress(pictures.swapped_icc())
    swapped = PATCHES[:, [1, 0, 2]].astype(int)
    by_profile = patches(decode(tagged(PATCHES, profile, GAMMA[100000]), SETTINGS))
    assert np.abs(by_profile - swapped).max() <= 12
    by_code = patches(decode(tagged(LINEAR, (b"cICP", bytes([1, 8, 0, 1])), profile), SETTINGS))
    assert np.abs(by_code - PATCHES).max() <= 6


@pytest.mark.parametrize(("transfer", "shown"), [(16, [0, 34, 153, 229, 255]), (18, [0, 46, 107, 150, 255])])
def test_high_dynamic_range_is_shown_as_browsers_show_it(transfer, shown):
    greys = np.repeat(np.array([[0], [68], [136], [170], [255]]), 3, axis=1)
    rgb = patches(decode(tagged(greys, (b"cICP", bytes([9, transfer, 0, 1]))), SETTINGS))
    assert np.abs(rgb - np.array(shown)[:, None]).max() <= 2


@pytest.mark.skipif("AVIF" not in images.SIGNATURES, reason="this Pillow reads no AVIF")
@pytest.mark.parametrize(("codes", "colours"), [((12, 13), DISPLAY_P3), ((1, 8), LINEAR), ((1, 1), PATCHES)])
def test_an_avifs_code_points_are_heeded(codes, colours):
    image = np.repeat(np.repeat(np.array([colours], np.uint8), 16, 1), 64, 0)
    data = pictures.saved(image, "AVIF", quality=100, subsampling="4:4:4")
    place = data.index(b"colrnclx") + 8
    data = data[:place] + struct.pack(">HH", *codes) + data[place + 4 :]
    # light that is written as it is has few steps in the dark, and AVIF is off by one or two of them
    assert np.abs(patches(decode(data, SETTINGS)) - PATCHES).max() <= (16 if codes[1] == 8 else 8)


# Tones of more than 8 bits -----------------------------------------------------------------------------------------

RAMP = np.tile(np.linspace(0, 255, 64), (40, 1))


def tiff_of(values: np.ndarray, tags: dict[int, tuple[int, int | bytes]]) -> bytes:
    height, width = values.shape[:2]
    tags = {
        256: (4, width),
        257: (4, height),
        259: (3, 1),
        273: (4, 0xFFFFFFFF),
        278: (4, height),
        279: (4, values.nbytes),
    } | tags
    return hostile.tiff(tags, values.tobytes())


def test_white_may_be_zero_in_16_bits():
    values = ((255 - RAMP) * 257).astype("<u2")
    rgb = decode(tiff_of(values, {258: (3, 16), 262: (3, 0), 277: (3, 1)}), SETTINGS).rgb
    assert np.abs(rgb[:, :, 0] - RAMP).max() <= 1


def test_32_bits_that_count_to_255_are_not_black():
    assert (
        np.abs(
            decode(pictures.saved(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), SETTINGS).rgb[0, :, 0] - RAMP[0]
        ).max()
        <= 1
    )


def test_a_few_lights_above_white_do_not_make_a_float_picture_black():
    values = (RAMP / 255).astype(np.float32)
    values[3, 5] = 1.02
    values[4, 5] = 40.0
    rgb = decode(pictures.saved(Image.fromarray(values), "TIFF"), SETTINGS).rgb
    assert np.abs(rgb[0, :, 0] - RAMP[0]).max() <= 1 and rgb[4, 5, 0] == 255


@pytest.mark.parametrize("deflated", [False, True])
def test_float_colours_are_read(deflated):
    values = np.dstack([RAMP, RAMP[:, ::-1], RAMP * 0 + 51]).astype("<f4") / 255
    tags = {
        256: (4, 64),
        257: (4, 40),
        258: (3, struct.pack("<3H", 32, 32, 32)),
        259: (3, 8 if deflated else 1),
        262: (3, 2),
        273: (4, 0xFFFFFFFF),
        277: (3, 3),
        278: (4, 40),
        339: (3, struct.pack("<3H", 3, 3, 3)),
    }
    data = zlib.compress(values.tobytes()) if deflated else values.tobytes()
    rgb = decode(hostile.tiff(tags | {279: (4, len(data))}, data), SETTINGS).rgb
    assert np.abs(rgb - values * 255).max() <= 0.51


# Colours that nobody sees ------------------------------------------------------------------------------------------


def cut_out(hidden: tuple[int, int, int], side: int = 200) -> np.ndarray:
    """(side, side, 4): a disc of photo() with a soft rim; what is outside, and a ring of the rim, has this colour."""
    y, x = np.mgrid[:side, :side]
    radius = np.hypot(y - side / 2, x - side / 2)
    rgba = np.dstack([pictures.photo(side, side), np.clip((side / 3 - radius) * 64 + 128, 0, 255).astype(np.uint8)])
    rgba[radius > side / 3 + 1, :3] = hidden
    return rgba


COLOURS = ((0, 0, 0), (255, 255, 255), (0, 255, 0))


@pytest.mark.parametrize("size", [200, 90, 33])
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "array", "PIL"])
def test_the_colour_of_what_is_transparent_changes_nothing(format, size):
    fit = images.longest_side(size)

    def taken(rgba: np.ndarray) -> Picture:
        if format == "array":
            return as_picture(rgba, SETTINGS, fit)
        if format == "PIL":
            return as_picture(Image.fromarray(rgba), SETTINGS, fit)
        options = {"WEBP": {"lossless": True, "exact": True}}.get(format, {})
        return decode(pictures.saved(rgba, format, **options), SETTINGS, fit=fit)

    first, *others = (taken(cut_out(colour)) for colour in COLOURS)
    for other in others:
        assert np.abs(first.rgb.astype(int) - other.rgb).max() <= 12 and (first.alpha == other.alpha).all()
        assert difference(first.rgb, other.rgb) < 1


def test_hidden_colours_are_filled_from_around_and_half_visible_ones_stay():
    rgba = cut_out((0, 255, 0))
    picture = as_picture(rgba, SETTINGS)
    stays = rgba[:, :, 3] >= 128
    assert (picture.rgb[stays] == rgba[stays, :3]).all()
    near = picture.rgb[100, 170].astype(int)  # a pixel outside, beside the rim at 100 + 66
    assert np.abs(near - rgba[92:108, 150:164, :3].mean((0, 1))).max() < 25


def test_a_soft_shadow_keeps_its_colour():
    shadow = np.zeros((64, 64, 4), np.uint8)
    shadow[:, 20:, 3] = 40
    shadow[:, :20] = 200, 180, 60, 255
    assert as_picture(shadow, SETTINGS).rgb[:, 40:].max() <= 2


def test_what_is_transparent_all_over_is_mid_grey():
    picture = as_picture(np.dstack([pictures.photo(), np.zeros((64, 96), np.uint8)]), SETTINGS)
    assert (picture.rgb == 128).all() and (picture.alpha == 0).all()


def test_a_cut_out_made_smaller_has_its_own_colour_at_the_rim():
    y, x = np.mgrid[:300, :300]
    radius = np.hypot(y - 150, x - 150)
    rgb = np.where((radius < 101)[..., None], (220, 210, 200), (0, 255, 0)).astype(np.uint8)
    alpha = np.clip((100 - radius) * 255 + 128, 0, 255).astype(np.uint8)
    small = resize(as_picture(np.dstack([rgb, alpha]), SETTINGS), 75)
    shows = small.alpha > 20
    assert np.abs(small.rgb[shows].astype(int) - (220, 210, 200)).max() <= 3


# Other sources -----------------------------------------------------------------------------------------------------


def test_a_path_bytes_an_image_and_an_array_are_the_same_picture(tmp_path):
    photo = pictures.photo()
    path = tmp_path / "photo.png"
    path.write_bytes(pictures.png(photo))
    for source in (str(path), path, path.read_bytes(), bytearray(path.read_bytes()), Image.fromarray(photo), photo):
        picture = as_picture(source, SETTINGS)
        assert (picture.rgb == photo).all() and picture.alpha is None
    assert as_picture(picture, SETTINGS) is picture


def test_grey_and_rgba_arrays_are_taken():
    grey = pictures.photo()[..., 0]
    assert (as_picture(grey, SETTINGS).rgb == grey[..., None]).all()
    rgba = np.dstack([pictures.photo(), grey])
    assert (as_picture(rgba, SETTINGS).alpha == grey).all()


def test_a_picture_does_not_change_with_the_array_it_came_from():
    array = pictures.photo()
    picture = as_picture(array, SETTINGS)
    array[:] = 0
    assert (picture.rgb == pictures.photo()).all()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere/photo.jpg", "no such file: nowhere/photo.jpg"),
        (".", "is a folder"),
        ("nul\0byte", "cannot read"),
        (np.zeros((40, 40, 3), np.float32), "40x40x3 of float32"),
        (np.zeros((40, 40, 2), np.uint8), "40x40x2 of uint8"),
        (np.zeros(40, np.uint8), "got 40 of uint8"),
        (17, "got int"),
        (None, "got NoneType"),
    ],
)
def test_what_cannot_be_a_picture_is_named(source, words):
    with pytest.raises(ParameterError, match=words) as caught:
        as_picture(source, SETTINGS)
    assert caught.value.field == "picture"


@pytest.mark.parametrize("source", [np.zeros((16, 64, 3), np.uint8), Image.new("RGB", (64, 16))], ids=type)
def test_arrays_and_images_are_held_to_the_bounds(source):
    with pytest.raises(PictureOutOfBounds):
        as_picture(source, SETTINGS)


def test_a_pil_image_of_a_cut_file_is_broken():
    with pytest.raises(BrokenPicture):
        as_picture(Image.open(io.BytesIO(pictures.half_jpeg())), SETTINGS)


# Sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [((96, 64), 48, (48, 32)), ((64, 96), 192, (128, 192)), ((97, 33), 50, (50, 17)), ((640, 32), 10, (10, 1))],
)
def test_resize_sets_the_longer_side_and_keeps_the_shape(size, longest, expected):
    alpha = np.full(size[::-1], 7, np.uint8)
    resized = resize(Picture(pictures.photo(*size), alpha), longest)
    assert resized.size == expected
    assert resized.alpha.shape == resized.rgb.shape[:2] and (resized.alpha == 7).all()


def test_resize_to_the_same_size_is_the_same_object():
    picture = Picture(pictures.photo())
    assert resize(picture, 96) is picture


def test_resize_averages_instead_of_dropping_pixels():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(resize(Picture(stripes), 64).rgb[:, 4:-4].astype(int) - 128).max() <= 2


@pytest.mark.parametrize(
    ("size", "expected"),
    [((512, 384), (341, 256)), ((64, 96), (256, 384)), ((900, 100), (512, 256)), ((101, 2000), (256, 512))],
)
def test_a_style_picture_gets_its_shorter_side_and_no_more_than_two_to_one(size, expected):
    assert images.resize_shorter(Picture(pictures.photo(*size)), 256).size == expected


def test_the_cut_of_a_long_style_picture_is_its_middle():
    long = np.zeros((40, 400, 3), np.uint8)
    long[:, 160:240] = 200
    assert (images.resize_shorter(Picture(long), 40).rgb == 200).all()


# Tensors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(32, 32), (33, 70), (61, 47)])
def test_a_picture_survives_the_way_to_a_tensor_and_back(width, height):
    photo = pictures.photo(width, height)
    tensor = to_tensor(photo)
    assert tensor.shape == (1, 3, height, width) and tensor.dtype == np.float32 and tensor.flags.c_contiguous
    assert (from_tensor(tensor) == photo).all()


def test_a_tensor_holds_red_green_blue_from_0_to_1():
    rgb = np.zeros((2, 3, 3), np.uint8)
    rgb[0, 1] = (255, 51, 0)
    tensor = to_tensor(rgb)
    assert tensor[0, :, 0, 1].tolist() == pytest.approx([1, 0.2, 0]) and tensor.sum() == pytest.approx(1.2)
    assert to_tensor(np.full((1, 1, 3), 255, np.uint8)).max() == 1.0


def test_a_tensor_is_rounded_and_clipped():
    values = np.array([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1.0, 7.0, np.inf], np.float32)
    assert from_tensor(np.tile(values, (1, 3, 1, 1)))[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255, 255, 255]


def test_a_tensor_of_half_precision_is_taken_and_not_changed():
    tensor = to_tensor(pictures.photo()).astype(np.float16)
    before = tensor.copy()
    assert np.abs(from_tensor(tensor).astype(int) - pictures.photo()).max() <= 1
    assert (tensor == before).all()


def test_nan_never_becomes_a_picture():
    tensor = to_tensor(pictures.photo())
    tensor[0, 1, 20, 30] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        from_tensor(tensor)


# Kept colours ------------------------------------------------------------------------------------------------------


def test_kept_colours_are_the_photos_chroma_under_the_paintings_luma():
    """Worked by hand: luma of (100, 150, 200) is 140.75, of (90, 80, 70) 81.85, so 58.9 is added to each channel."""
    stylised, photo = np.full((1, 1, 3), (100, 150, 200), np.uint8), np.full((1, 1, 3), (90, 80, 70), np.uint8)
    assert keep_colors(stylised, photo).tolist() == [[[149, 139, 129]]]


def test_keeping_the_colours_of_itself_changes_nothing():
    photo = pictures.photo()
    assert (keep_colors(photo, photo) == photo).all()


def test_kept_colours_of_a_grey_photo_are_grey():
    grey = np.repeat(pictures.photo()[..., :1], 3, axis=2)
    kept = keep_colors(pictures.painting(96, 64), grey)
    assert (kept[..., 0] == kept[..., 1]).all() and (kept[..., 1] == kept[..., 2]).all()


def test_kept_colours_agree_with_the_way_through_ycbcr():
    """JFIF's matrices, there and back in floating point."""
    to_ycbcr = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    to_rgb = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]])
    stylised, photo = pictures.painting(96, 64), pictures.photo(96, 64)
    ycbcr = photo @ to_ycbcr.T
    ycbcr[..., 0] = (stylised @ to_ycbcr.T)[..., 0]
    expected = (ycbcr @ to_rgb.T).clip(0, 255)
    assert np.abs(keep_colors(stylised, photo) - expected).max() < 0.51


def test_kept_colours_need_one_size():
    with pytest.raises(ValueError, match="one size"):
        keep_colors(pictures.photo(64, 64), pictures.photo(64, 65))


# Out ---------------------------------------------------------------------------------------------------------------


def test_every_size_from_32_to_70_comes_back_as_it_went_out():
    random = np.random.default_rng(3)
    for width in range(32, 71):
        height = int(random.integers(32, 71))
        rgb = random.integers(0, 256, (height, width, 3), np.uint8)
        alpha = random.integers(0, 256, (height, width), np.uint8) if width % 2 else None
        back = decode(encode(Picture(rgb, alpha), "png"), SETTINGS)
        shows = np.ones((height, width), bool) if alpha is None else alpha >= 128
        assert back.size == (width, height) and (back.rgb[shows] == rgb[shows]).all()
        assert back.alpha is None if alpha is None else (back.alpha == alpha).all()


@pytest.mark.parametrize(("format", "media"), images.FORMATS.items())
def test_an_encoded_picture_is_of_its_format_and_near_the_original(format, media):
    data = encode(Picture(pictures.photo(161, 97)), format)
    assert Image.MIME[Image.open(io.BytesIO(data)).format] == media
    assert difference(decode(data, SETTINGS).rgb, pictures.photo(161, 97)) < 3.5


def test_alpha_is_kept_by_webp_and_laid_on_white_by_jpeg():
    picture = decode(pictures.rgba_png(), SETTINGS)
    assert (decode(encode(picture, "webp"), SETTINGS).alpha == picture.alpha).all()
    jpeg = decode(encode(picture, "jpeg"), SETTINGS)
    assert jpeg.alpha is None
    assert (jpeg.rgb[:, 0] > 245).all()  # transparent: white
    assert difference(jpeg.rgb[:, -8:], picture.rgb[:, -8:]) < 12  # nearly opaque: the photo


def test_quality_makes_a_smaller_jpeg():
    picture = Picture(pictures.photo(161, 97))
    assert len(encode(picture, "jpeg", quality=30)) < len(encode(picture, "jpeg")) / 2


@pytest.mark.parametrize("format", images.FORMATS)
def test_no_metadata_leaves(format):
    exif = Image.Exif()
    exif[0x010E] = "where the photo was taken"
    data = pictures.jpeg(pictures.photo(), exif=exif, icc_profile=pictures.swapped_icc(), comment=b"a secret")
    sent = Image.open(io.BytesIO(encode(decode(data, SETTINGS), format)))
    sent.load()
    assert not sent.getexif() and not {"exif", "icc_profile", "comment", "xmp"} & set(sent.info)


def test_an_unknown_format_or_quality_is_refused_naming_what_there_is():
    with pytest.raises(ParameterError, match="'tiff'; choose from png, jpeg, webp") as caught:
        encode(Picture(pictures.photo()), "tiff")
    assert caught.value.field == "format"
    with pytest.raises(ParameterError, match="quality is 101; it must be from 1 to 100"):
        encode(Picture(pictures.photo()), "jpeg", quality=101)


def test_to_pil_gives_rgb_or_rgba():
    assert images.to_pil(Picture(pictures.photo())).mode == "RGB"
    image = images.to_pil(decode(pictures.rgba_png(), SETTINGS))
    assert image.mode == "RGBA" and image.getpixel((0, 0))[3] == 0
