"""The engine: sizes, strength, mixing, colours, memory of photos, and that all runtimes and precisions agree."""

import ctypes
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pictures
import pytest
from PIL import Image

from stylizer import Settings, Stylizer, cgroups, cores, images, memory, tiles, weights
from stylizer.canvas import EDGE, brushed, framed, pad, unframed
from stylizer.errors import OutOfMemory, ParameterError, PictureOutOfBounds, UnknownStyle, WeightsError
from stylizer.feedforward import Stopwatch
from stylizer.images import Picture
from stylizer.photos import Photo
from stylizer.reading import Reader, octaves, read_style, starts
from stylizer.runtimes import make_runtime, on_openvino
from stylizer.styles import style_picture
from stylizer.tiles import TILE

STYLE = "embroidered-garden"  # painted by its vector alone


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Decibels between two pictures in [0, 1]."""
    return float(-10 * np.log10(np.mean((first.astype(np.float64) - second) ** 2) + 1e-12))


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return pictures.photo(160, 120)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (101, 64), (160, 121), (63, 35)])
def test_any_size_comes_back_the_size_that_went_in(stylizer, size):
    painted = stylizer.stylize(pictures.photo(*size), STYLE)
    assert painted.size == size and painted.mode == "RGB"


def test_an_odd_size_is_painted_like_the_even_one_beside_it(stylizer):
    wide = pictures.photo(160, 120)
    even = np.asarray(stylizer.stylize(wide, STYLE), np.int16)
    odd = np.asarray(stylizer.stylize(wide[:117, :157], STYLE), np.int16)
    assert np.abs(odd[:100, :140] - even[:100, :140]).mean() < 8  # statistics and strokes differ, nothing is shifted


def test_padding_mirrors_up_to_a_multiple_of_four():
    padded = pad(np.arange(6, dtype=np.float32).reshape(1, 1, 1, 6).repeat(4, axis=2))
    assert padded.shape == (1, 1, 4, 8) and padded[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3]


def test_strength_zero_is_the_photo_and_one_the_style(stylizer, photo):
    assert np.array_equal(stylizer.stylize(photo, STYLE, strength=0), photo)
    full = stylizer.stylize(photo, STYLE, strength=1)
    assert pictures.near(full, stylizer.stylize(photo, stylizer.style_vector(STYLE)))
    assert not pictures.near(full, photo, levels=5)


@pytest.fixture
def same_strokes(stylizer, monkeypatch):
    """Brushwork is as high as the style wants it at every strength; a vector between style and photo has its own."""
    monkeypatch.setattr(stylizer, "brush_height", lambda vector: 8)


@pytest.mark.usefixtures("same_strokes")
def test_at_low_strengths_the_photo_shows_through(stylizer, photo):
    own, style = stylizer.style_vector(photo), stylizer.style_vector(STYLE)
    painted = np.asarray(stylizer.stylize(photo, 0.1 * style + 0.9 * own), np.float32)
    expected = np.rint(photo + 0.4 * (painted - photo)).astype(np.uint8)
    assert pictures.near(stylizer.stylize(photo, STYLE, strength=0.1), expected)


@pytest.mark.usefixtures("same_strokes")
def test_strength_interpolates_between_the_two_vectors(stylizer, photo):
    own, style = stylizer.style_vector(photo), stylizer.style_vector(STYLE)
    quarter = stylizer.stylize(photo, STYLE, strength=0.25)
    assert pictures.near(quarter, stylizer.stylize(photo, 0.25 * style + 0.75 * own))
    assert not pictures.near(quarter, stylizer.stylize(photo, 0.75 * style + 0.25 * own), levels=3)


def test_a_mix_is_the_weighted_mean_of_vectors(stylizer):
    painting = pictures.painting()
    first, second = stylizer.style_vector(STYLE), stylizer.style_vector(painting)
    mixed = stylizer.mix([STYLE, painting], [3, 1])
    assert np.allclose(mixed.vector, 0.75 * first + 0.25 * second, atol=1e-3)  # the painting is read again
    assert np.allclose(stylizer.mix({STYLE: 2.0}).vector, first, atol=1e-6)
    assert np.allclose(stylizer.mix([STYLE, second]).vector, (first + second) / 2, atol=1e-6)


def test_a_style_is_a_name_a_picture_of_any_kind_or_a_vector(stylizer, tmp_path):
    painting = pictures.painting()
    path = tmp_path / "painting.png"
    path.write_bytes(pictures.png(painting))
    vector = stylizer.style_vector(painting)
    assert vector.shape == (100,) and vector.dtype == np.float32
    for same in (path, str(path), path.read_bytes(), Image.fromarray(painting), vector, vector.tolist()):
        assert np.allclose(stylizer.style_vector(same), vector, atol=1e-3)
    assert not np.allclose(stylizer.style_vector(STYLE), vector, atol=0.1)


def test_size_shrinks_and_enlarges_the_longest_side(stylizer, photo):
    assert stylizer.stylize(photo, STYLE, size=64).size == (64, 48)
    assert stylizer.stylize(photo, STYLE, size=240).size == (240, 180)
    assert stylizer.stylize(photo, STYLE, size="original").size == (160, 120)


def test_alpha_is_kept(stylizer):
    painted = stylizer.stylize(pictures.rgba_png(64, 48), STYLE)
    assert painted.mode == "RGBA"
    original = images.decode(pictures.rgba_png(64, 48), stylizer.settings).alpha
    assert np.array_equal(np.asarray(painted)[..., 3], original)


def test_keep_colors_keeps_the_photos_chroma(stylizer, photo):
    def chroma(rgb):
        return np.asarray(Image.fromarray(rgb).convert("YCbCr"), np.float32)[..., 1:]

    free, kept = (np.asarray(stylizer.stylize(photo, "stained-glass", keep_colors=keep)) for keep in (False, True))
    assert np.abs(chroma(kept) - chroma(photo)).mean() < 0.3 * np.abs(chroma(free) - chroma(photo)).mean()
    assert not pictures.near(kept, photo)


@pytest.mark.slow
def test_keep_light_leaves_a_night_a_night(stylizer):
    night = pictures.lamp(160, 120, (100, 40), 8)
    free, kept = (np.asarray(stylizer.stylize(night, STYLE, keep_light=keep), float) for keep in (False, True))
    assert night.mean() < 25 and free.mean() > 60
    luma = [np.sort((rgb @ images.LUMA).ravel()) for rgb in (kept, night.astype(float))]
    assert np.abs(luma[0] - luma[1]).mean() < 4
    order = np.argsort((free @ images.LUMA).ravel(), kind="stable")[:: 160 * 12]
    assert (np.diff((kept @ images.LUMA).ravel()[order]) > -2).all()  # what was lighter is
    flat = pictures.blank(64, 48, 90)
    assert np.abs(np.asarray(stylizer.stylize(flat, STYLE, keep_light=True)) @ images.LUMA - 90).max() < 3


def test_a_photo_is_decoded_and_encoded_once_while_its_slider_moves(stylizer):
    data, stopwatches = pictures.jpeg(pictures.photo(96, 80, seed=5)), []
    for strength in (0.9, 0.6, 0.3):
        stopwatches.append(Stopwatch())
        photo = stylizer.photo(data, 64, stopwatch=stopwatches[-1])
        stylizer.paint(photo, stylizer.style_vector(STYLE), strength, stopwatch=stopwatches[-1])
    assert {"predict", "encode"} <= set(stopwatches[0])
    assert not {"predict", "encode", "resize"} & (set(stopwatches[1]) | set(stopwatches[2]))


@pytest.mark.slow
def test_the_memory_of_photos_is_bounded_in_number_and_in_bytes(settings):
    from dataclasses import replace

    few = Stylizer(settings=replace(settings, cached_photos=2))
    for seed in range(4):
        few.stylize(pictures.photo(seed=seed), STYLE)
    assert len(few.photos) == 2
    little = Stylizer(settings=replace(settings, cached_megabytes=0))
    little.stylize(pictures.photo(), STYLE)
    assert len(little.photos) == 0


def test_two_threads_paint_what_one_paints(stylizer):
    photos = [pictures.photo(64, 48, seed=seed) for seed in range(4)]
    alone = [stylizer.stylize(photo, STYLE, 0.5) for photo in photos]
    together = [None] * 4

    def work(index):
        together[index] = stylizer.stylize(photos[index].copy(), STYLE, 0.5)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(pictures.near(*pair) for pair in zip(alone, together, strict=True))
    assert not pictures.near(alone[0], alone[1], levels=3)


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan"), "abc", None])
def test_a_strength_out_of_bounds_is_refused_by_name(stylizer, photo, strength):
    with pytest.raises(ParameterError, match="strength") as caught:
        stylizer.stylize(photo, STYLE, strength=strength)
    assert caught.value.field == "strength"


@pytest.mark.parametrize("vector", [np.zeros(99), [float("nan")] * 100, ["a"] * 100, [1.0] * 101, [[1.0] * 50] * 2])
def test_a_vector_that_is_none_is_refused(stylizer, photo, vector):
    with pytest.raises(ParameterError, match="style vector"):
        stylizer.stylize(photo, vector)


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [float("inf"), 1], ["a", 1]])
def test_weights_that_make_no_mean_are_refused(stylizer, weights):
    with pytest.raises(ParameterError, match="weight"):
        stylizer.mix([STYLE, "kintsugi"], weights)


def test_a_mix_of_none_or_of_six_is_refused(stylizer):
    with pytest.raises(ParameterError, match="no style"):
        stylizer.mix([])
    with pytest.raises(ParameterError, match="at most 5"):
        stylizer.mix([STYLE] * 6)


def test_an_unknown_style_lists_what_there_is_and_guesses_what_was_meant(stylizer, photo):
    with pytest.raises(UnknownStyle, match=r"did you mean 'stained-glass'.*kintsugi"):
        stylizer.stylize(photo, "stained-glas")
    with pytest.raises(ParameterError, match=r"no such file: .*missing\.jpg"):
        stylizer.stylize(photo, "missing.jpg")


@pytest.mark.parametrize("size", [31, 20000, "big", 1.5])
def test_a_size_out_of_bounds_is_refused(stylizer, photo, size):
    with pytest.raises(ParameterError, match="size"):
        stylizer.stylize(photo, STYLE, size=size)


def test_a_size_that_makes_a_side_too_short_or_the_picture_too_large_is_refused_before_resizing(stylizer):
    with pytest.raises(PictureOutOfBounds, match="32 pixels"):
        stylizer.stylize(pictures.photo(320, 40), STYLE, size=128)
    with pytest.raises(PictureOutOfBounds, match="megapixels"):
        stylizer.stylize(pictures.photo(64, 64), STYLE, size=16384)


# Runtimes -----------------------------------------------------------------------------------------------------------


def paint_on(runtime, photo) -> tuple[np.ndarray, np.ndarray]:
    content = images.to_tensor(photo)
    vector = runtime.predict(images.to_tensor(pictures.painting(256, 256)))
    return vector, runtime.decode(runtime.encode(content), vector)


PAIRS = [
    {"predictor": predictor, "transformer": transformer}
    for predictor in weights.choices(Settings().models, "predictor")
    for transformer in weights.choices(Settings().models, "transformer")
]


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: " + ".join(pair.values()))
def pair(request) -> dict[str, str]:
    return request.param


@pytest.fixture(scope="module")
def reference(photo, pair):
    """torch on the CPU in float32: the networks as they were trained."""
    return paint_on(make_runtime(Settings(device="torch-cpu", **pair)), photo)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "count"), [((100, 100), 4), ((500, 600), 4), ((700, 400), 6), ((3000, 400), 6)])
def test_a_painting_is_read_in_the_squares_that_cover_it(size, count):
    seen = []

    def predict(square):
        assert square.shape == (1, 3, 256, 256)
        seen.append(square)
        return np.full((1, 100), len(seen), np.float32)

    vector = read_style(predict, Picture(pictures.photo(*size)))
    assert len(seen) == count and np.allclose(vector, (1 + count) / 2) and vector.dtype == np.float32
    whole = images.to_tensor(images.resize_shorter(Picture(pictures.photo(*size)), 384).rgb)
    for square, corner in ((seen[0], whole[..., :256, :256]), (seen[-1], whole[..., -256:, -256:])):
        assert np.array_equal(square, corner)
    for length in range(256, 2000):
        begins = starts(length)
        assert begins[0] == 0 and begins[-1] in (0, length - 256)
        assert all(0 < step <= 256 for step in np.diff(begins))


@pytest.mark.parametrize(
    ("size", "times"),
    [
        ((64, 40), 0),
        ((448, 300), 0),
        ((300, 896), 1),
        ((896, 896), 1),
        ((448 * 2**0.5, 9), 0.5),
        ((6000, 4000), 1.5),
    ],
)
def test_strokes_are_made_broader_as_pictures_grow(size, times):
    assert octaves(*size) == pytest.approx(times)


@pytest.mark.slow
def test_a_large_picture_is_painted_by_a_coarser_vector_and_a_small_one_by_its_own(stylizer):
    vector = stylizer.style_vector(STYLE)
    assert np.linalg.norm(stylizer.coarser) > 0.1
    for size, times in ((448, 0), (640, np.log2(640 / 448))):
        picture = pictures.photo(size, 64)
        painted = stylizer.stylize(picture, vector)
        canvas = framed(brushed(Picture(picture), stylizer.brush_height(vector)).rgb)
        features = stylizer.runtime.encode(images.to_tensor(canvas))
        wanted, other = (
            unframed(
                images.from_tensor(
                    stylizer.runtime.decode(features, (vector + moved * stylizer.coarser)[None].astype(np.float32))
                )
            )
            for moved in (times, times + 1)
        )
        assert pictures.near(painted, wanted) and not pictures.near(painted, other, levels=3)


@pytest.mark.slow
def test_openvino_in_float32_computes_what_torch_computes_but_for_what_its_files_round(photo, pair, reference):
    vector, stylised = paint_on(make_runtime(Settings(device="cpu", precision="f32", **pair)), photo)
    # A vector's numbers have variance 1: whitening stretches some of them thirty times, and what files round with them.
    assert np.abs(vector - reference[0]).max() < 0.03 and np.abs(vector - reference[0]).mean() < 5e-3
    assert np.abs(stylised - reference[1]).max() < 5e-3
    assert np.abs(stylised - reference[1]).mean() < 5e-4


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["auto", "int8"])
def test_fast_precisions_stay_within_the_stated_tolerance(photo, pair, reference, precision):
    """docs/runtimes.md states it: mean difference at most 0.003, at least 45 dB, a thousandth above 12 of 255."""
    _, stylised = paint_on(make_runtime(Settings(device="cpu", precision=precision, **pair)), photo)
    apart = np.abs(stylised - reference[1])
    assert apart.mean() < 0.003 and np.quantile(apart, 0.999) < 12 / 255
    assert psnr(stylised, reference[1]) > 45
    assert variation(stylised) < 1.02 * variation(reference[1])  # no weave that was not there


def variation(stylised: np.ndarray) -> float:
    """How much neighbouring pixels differ on average, (1, 3, H, W)."""
    return float(sum(np.abs(np.diff(stylised, axis=axis)).mean() for axis in (2, 3)))


def test_8_bits_are_chosen_where_the_cpu_has_instructions_for_them_and_no_bf16(monkeypatch):
    settings = Settings(device="cpu")
    capabilities: list[str] = []

    class Core:
        def get_property(self, *_):
            return capabilities

    monkeypatch.setattr(on_openvino, "import_openvino", lambda: SimpleNamespace(Core=Core))
    for flags, capabilities[:], wanted in (
        ({"avx2"}, ["FP32", "INT8"], "f32"),
        ({"avx2", "avx_vnni"}, ["FP32", "INT8"], "int8"),
        ({"avx512f", "avx512_vnni"}, ["FP32", "INT8"], "int8"),
        ({"asimddp"}, ["FP32", "FP16"], "f32"),
        ({"avx512_vnni", "amx_bf16"}, ["FP32", "BF16", "INT8"], "bf16"),
    ):
        monkeypatch.setattr(cores, "processor", lambda flags=flags: ("a processor", flags))
        assert on_openvino.precision_for(settings) == wanted
    assert on_openvino.precision_for(Settings(device="cpu", precision="f32")) == "f32"


def test_8_bits_are_refused_where_nothing_says_what_is_rounded_to_them(tmp_path):
    for file in (*Settings().models.glob("transformer-separable*"), *Settings().models.glob("predictor-mobilenet*")):
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / weights.CHECKSUMS).write_bytes((Settings().models / weights.CHECKSUMS).read_bytes())
    assert make_runtime(Settings(device="cpu", models=tmp_path)).precision != "int8"
    with pytest.raises(ParameterError, match=r"int8 needs calibration-separable\.safetensors"):
        make_runtime(Settings(device="cpu", precision="int8", models=tmp_path))
    with pytest.raises(ParameterError, match="int8 is for OpenVINO"):
        make_runtime(Settings(device="torch-cpu", precision="int8"))


@pytest.mark.skipif("avx2" not in cores.processor()[1], reason="other processors keep features in other orders")
def test_nothing_on_the_way_rewrites_features_in_another_order():
    runtime = make_runtime(Settings(device="cpu", precision="f32"))
    features = runtime.encode(images.to_tensor(pictures.photo(96, 64)))
    assert features.shape == (1, 16, 24, 128)
    rewritten, photo = [], 3 * (64 + 8) * (96 + 8)  # with its padding; weights are smaller
    for part, shape in (("encoder", (1, 3, 64, 96)), ("decoder", (1, 16, 24, 128))):
        compiled = runtime._request(part, shape).get_compiled_model()
        for layer in compiled.get_runtime_model().get_ordered_ops():
            kind, name = layer.get_rt_info()["layerType"].astype(str), layer.get_friendly_name()
            size = np.prod(layer.get_output_shape(0))
            if kind in ("Reorder", "Transpose", "Interpolate") and size > photo and not name.endswith("_fake"):
                rewritten.append((part, name))
    assert len(rewritten) <= 2, rewritten  # none here; some twenty when features came in another order


def test_cuda_in_half_precision_stays_within_the_stated_tolerance(photo, pair, reference):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    runtime = make_runtime(Settings(device="cuda", **pair))
    vector, stylised = paint_on(runtime, photo)
    assert np.abs(stylised - reference[1]).mean() < 0.003
    again = runtime.decode(runtime.encode(images.to_tensor(photo)), vector)  # a graph replayed, not captured
    assert np.abs(stylised - again).mean() < 0.003


def test_a_device_or_precision_that_there_is_not_is_refused_with_the_list():
    with pytest.raises(ParameterError, match="auto, cpu, cuda, torch-cpu"):
        make_runtime(Settings(device="tpu"))
    with pytest.raises(ParameterError, match="auto, int8, f32"):
        make_runtime(Settings(precision="int4"))


def decoder_of(runtime, side: int) -> None:
    runtime._run("decoder", np.zeros((1, side // 4, side // 4, 128), np.float32), np.zeros((1, 100), np.float32))


@pytest.mark.slow
def test_a_size_is_kept_when_it_comes_again_and_the_oldest_makes_room(monkeypatch):
    runtime = make_runtime(Settings(device="cpu", precision="f32"))
    for side in (32, 64, 64, 96, 96):
        decoder_of(runtime, side)
    assert [shape[1] * 4 for _, shape in runtime._requests] == [64, 96]
    monkeypatch.setattr(on_openvino, "KEPT_BYTES", 2 * on_openvino.COMPILED_BYTES + 700 * (96 * 96 + 128 * 128))
    for side in (128, 128):
        decoder_of(runtime, side)
    assert [shape[1] * 4 for _, shape in runtime._requests] == [96, 128]
    monkeypatch.setattr(memory, "free_memory", lambda: 5 * 10**7)  # a small machine: a quarter of it
    for side in (160, 160):
        decoder_of(runtime, side)
    assert [shape[1] * 4 for _, shape in runtime._requests] == [96, 128]


@pytest.mark.slow
def test_random_sizes_leave_nothing_compiled():
    runtime = make_runtime(Settings(device="cpu"))
    for side in range(32, 96, 4):
        decoder_of(runtime, side)
    assert not runtime._requests and len(runtime._seen) == 16 and len(runtime._new) == on_openvino.NEW


def test_a_size_that_comes_again_at_once_is_not_compiled_again(monkeypatch):
    runtime, compiled = make_runtime(Settings(device="cpu", precision="f32")), []
    monkeypatch.setattr(runtime, "_compile", lambda *key: compiled.append(key) or type(runtime)._compile(runtime, *key))
    content, vector = images.to_tensor(pictures.photo(64, 48)), np.zeros((1, 100), np.float32)
    for _ in range(3):
        runtime.decode(runtime.encode(content), vector)
    assert [part for part, _ in compiled] == ["encoder", "decoder"]
    assert len(runtime._requests) == 2 and not runtime._new


@pytest.mark.slow
def test_a_size_that_is_asked_for_no_more_is_let_go_and_one_in_use_stays(monkeypatch):
    monkeypatch.setattr(on_openvino, "SEEN", 4)
    runtime = make_runtime(Settings(device="cpu"))
    for side in (32, 32, 36, 36, 40, 32, 44, 32, 48, 52):
        decoder_of(runtime, side)
    assert [shape[1] * 4 for _, shape in runtime._requests] == [32]


def test_a_tile_and_its_features_are_kept_together():
    for precision in on_openvino.BYTES_PER_PIXEL:
        runtime = make_runtime(Settings(device="cpu"))
        runtime.precision = precision
        kept = runtime._bytes("encoder", (1, 3, TILE, TILE)) + runtime._bytes("tile", (1, TILE // 4, TILE // 4, 128))
        assert kept <= 1.2 * on_openvino.KEPT_BYTES


@pytest.mark.slow
def test_where_memory_is_short_what_is_kept_goes_before_a_picture_is_refused(settings, monkeypatch):
    painter = Stylizer(settings=settings)
    for _ in range(2):
        painter.stylize(pictures.photo(64, 48), STYLE)
    assert painter.runtime._requests and painter.photos._photos
    kept = set(painter.photos._photos)
    monkeypatch.setattr(memory, "free_memory", lambda: 10**6 if kept & set(painter.photos._photos) else 10**9)
    assert painter.stylize(pictures.photo(80, 60), STYLE).size == (80, 60)
    assert not painter.runtime._requests and not kept & set(painter.photos._photos)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "torch-cpu"])
def test_a_size_that_memory_does_not_hold_now_is_refused_with_one_that_it_does(device, monkeypatch):
    painter = Stylizer(settings=Settings(device=device, precision="f32"))
    monkeypatch.setattr(memory, "free_memory", lambda: 100_000_000)
    with pytest.raises(OutOfMemory, match=r"memory.*a size of (\d+) pixels or less, or try again later") as caught:
        painter.stylize(pictures.photo(900, 600), STYLE)
    assert caught.value.status == 503 and caught.value.seconds > 0
    longest = int(str(caught.value).split("a size of ")[1].split()[0])
    assert 300 < longest < 900
    assert painter.stylize(pictures.photo(900, 600), STYLE, size=longest).size[0] == longest


def test_a_size_is_not_compiled_where_memory_is_short(monkeypatch):
    runtime = make_runtime(Settings(device="cpu", precision="f32"))
    content = images.to_tensor(pictures.photo(256, 192))
    monkeypatch.setattr(memory, "free_memory", lambda: 5_000_000)
    with pytest.raises(OutOfMemory, match=r"needs 0\.0 GB of memory"):
        runtime.encode(content)
    assert not runtime._requests


def test_a_strip_too_narrow_for_samples_is_painted_in_one_piece_however_long(monkeypatch):
    monkeypatch.setattr("stylizer.tiles.WHOLE_PIXELS", 64 * 500)
    painter = Stylizer(settings=Settings(device="cpu", precision="f32", max_ratio=20))
    assert painter.stylize(pictures.photo(640, 64), STYLE).size == (640, 64)


@pytest.mark.slow
def test_a_size_that_never_fits_is_out_of_bounds_and_what_fits_in_tiles_is_painted_in_them(monkeypatch):
    painter, painted = Stylizer(settings=Settings(device="cpu", precision="f32")), []
    needed = on_openvino.BYTES_PER_PIXEL["f32"] * 400 * 300
    monkeypatch.setattr(memory, "free_memory", lambda: needed)
    monkeypatch.setattr(tiles, "SMALLER", ((256, 2),))
    picture = painter.stylize(pictures.photo(500, 300), STYLE, progress=lambda done, of: painted.append((done, of)))
    assert picture.size == (500, 300) and painted[-1][0] == painted[-1][1] > 4
    monkeypatch.setattr(memory, "free_memory", lambda: 10**9)
    monkeypatch.setattr(memory, "total_memory", lambda: 2 * 10**9)
    with pytest.raises(PictureOutOfBounds, match=r"8000x6000 pixels needs 43.2 GB .* 1.7 GB is the most available"):
        memory.check_memory(6000, 8000, 900, needs_besides=3 * 10**8)
    memory.check_memory(6000, 8000, 900, piece=1024 * 1024)
    with pytest.raises(OutOfMemory, match=r"needs 1.4 GB .* 1.0 GB is free"):
        memory.check_memory(1200, 1300, 900)


def test_what_was_found_to_fit_is_not_refused_by_the_pixels_that_padding_adds(monkeypatch):
    painter = Stylizer(settings=Settings(device="cpu", precision="f32"))
    monkeypatch.setattr(memory, "free_memory", lambda: (97 + 2 * EDGE) ** 2 * on_openvino.BYTES_PER_PIXEL["f32"])
    assert painter.stylize(pictures.photo(97, 97), STYLE).size == (97, 97)


def write_group(folder, files: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


@pytest.mark.parametrize(
    "files",
    [
        {"memory.max": 2**30, "memory.current": 900 * 2**20, "memory.stat": f"anon 5\ninactive_file {400 * 2**20}"},
        {
            "memory.limit_in_bytes": 2**30,
            "memory.usage_in_bytes": 900 * 2**20,
            "memory.stat": f"inactive_file 5\ntotal_inactive_file {400 * 2**20}",
        },
    ],
    ids=["version 2", "version 1"],
)
def test_a_containers_limit_counts_less_what_it_would_give_up(files, tmp_path, monkeypatch):
    write_group(tmp_path / "memory", files)
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    assert memory.free_memory() == (1024 - 900 + 400) * 2**20
    assert memory.total_memory() == 2**30


def test_a_group_without_a_limit_binds_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    without = memory.total_memory()
    write_group(tmp_path / "memory", {"memory.max": "max", "memory.current": 2**20})
    assert memory.total_memory() == without


@pytest.mark.parametrize(
    "files, allowed, started",
    [
        ({"cpu.max": "200000 100000"}, 2.0, 2),
        ({"cpu.max": "50000 100000"}, 0.5, 1),
        ({"cpu.cfs_quota_us": 150000, "cpu.cfs_period_us": 100000}, 1.5, 2),
        ({"cpu.max": "max 100000"}, None, 0),
        ({"cpu.cfs_quota_us": -1, "cpu.cfs_period_us": 100000}, None, 0),
        ({"cpu.max": "6400000 100000"}, 64.0, 0),
    ],
)
def test_a_containers_share_of_the_cores_decides_how_many_threads_paint(files, allowed, started, tmp_path, monkeypatch):
    write_group(tmp_path / "cpu", files)
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(cores, "usable", lambda: 64)
    assert cores.quota() == allowed
    assert cores.threads() == started  # 0: the library's own number
    assert cores.threads(5) == 5


def test_a_runtime_starts_no_more_threads_than_the_quota_keeps_busy(tmp_path, monkeypatch):
    write_group(tmp_path / "cpu", {"cpu.max": "100000 100000"})
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(cores, "usable", lambda: 64)
    runtime = make_runtime(Settings(device="cpu"))
    runtime.predict(np.zeros((1, 3, 64, 64), np.float32))
    assert runtime._predictor.get_compiled_model().get_property("INFERENCE_NUM_THREADS") == 1


def test_settings_of_the_allocator_are_for_glibc_and_nothing_elsewhere(monkeypatch):
    code = (
        "import ctypes, numpy as np; from stylizer import memory; memory.settle();"
        "big = [np.ones(300_000) for _ in range(100)]; kept = big[-1]; before = memory.resident_memory();"
        "del big; after = memory.resident_memory(); assert not before or before - after > 200e6, (before, after)"
    )
    if os.path.exists("/proc/self/status") and hasattr(ctypes.CDLL(None), "mallopt"):
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

    class Other:
        """Another C library."""

    monkeypatch.setattr(ctypes, "CDLL", lambda _name: Other())
    memory.settle()
    memory.give_back()


class Gone(Exception):
    pass


@pytest.mark.parametrize("calls", range(4))
def test_work_ends_between_stages_when_it_is_interrupted(stylizer, calls):
    seen = []

    def interrupt() -> None:
        seen.append(1)
        if len(seen) > calls:
            raise Gone

    with pytest.raises(Gone):
        stylizer.stylize(pictures.photo(70 + calls, 50), pictures.painting(), 0.5, interrupt=interrupt)
    assert len(seen) == calls + 1


def test_reading_a_style_can_be_ended_between_its_squares(stylizer):
    left = iter(range(3))

    def interrupt() -> None:
        if next(left, None) is None:
            raise Gone

    looks = []
    runtime_predict = stylizer.runtime.predict
    with pytest.raises(Gone):
        read_style(
            lambda square: looks.append(1) or runtime_predict(square),
            Picture(pictures.painting(500, 900)),
            interrupt=interrupt,
        )
    assert len(looks) == 3


def test_a_painting_read_again_is_remembered_by_its_pixels_until_others_take_its_place(monkeypatch):
    monkeypatch.setattr("stylizer.reading.REMEMBERED", 2)
    looks = []

    def predict(square: np.ndarray) -> np.ndarray:
        looks.append(1)
        return np.full((1, 100), square.mean(), np.float32)

    reader, shades = Reader(predict), [Picture(pictures.blank(400, 400, shade)) for shade in (50, 100, 150)]
    first = reader.read(shades[0])
    first += 1  # what a caller does to it stays the caller's
    assert reader.read(Picture(shades[0].rgb.copy()))[0, 0] == pytest.approx(50 / 255, abs=1e-4)
    assert len(looks) == 4
    assert reader.read(shades[1])[0, 0] == pytest.approx(100 / 255, abs=1e-4)
    reader.read(shades[2])
    assert len(looks) == 12
    reader.read(shades[0])
    assert len(looks) == 16 and len(reader._vectors) == 2


def test_a_gallery_name_is_the_gallerys_style_whatever_file_is_called_so(stylizer, settings, tmp_path, monkeypatch):

    monkeypatch.chdir(tmp_path)
    painting = pictures.painting()
    (tmp_path / STYLE).write_bytes(pictures.png(painting))
    assert np.array_equal(stylizer.style_vector(STYLE), stylizer.gallery[STYLE].vector)
    of_gallery = images.as_picture(settings.styles / stylizer.gallery[STYLE].picture, settings)
    assert np.array_equal(style_picture(STYLE, settings).rgb, of_gallery.rgb)
    assert np.array_equal(stylizer.style_vector(f"./{STYLE}"), stylizer.style_vector(painting))
    assert np.array_equal(style_picture(f"./{STYLE}", settings).rgb, painting)


def test_free_memory_is_read_where_the_system_tells():
    free = memory.free_memory()
    assert free is None or 10**7 < free < 10**14


@pytest.mark.slow
def test_painting_on_a_cpu_never_imports_torch(tmp_path):
    code = (
        "import sys; from stylizer import Stylizer; import numpy as np; s = Stylizer('cpu');"
        "s.stylize(np.full((40, 40, 3), 99, np.uint8), 'kintsugi', 0.5); import stylizer.web;"
        "assert 'torch' not in sys.modules and 'onnx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=300)


@pytest.mark.slow
def test_painting_reports_to_no_one(tmp_path):
    """OpenVINO's telemetry is not loaded, no connection is opened, and nothing is written to the home folder."""
    code = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('a connection was about to be opened')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from stylizer import Stylizer; import numpy as np\n"
        "Stylizer('cpu').stylize(np.full((40, 40, 3), 99, np.uint8), 'kintsugi')\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry.')]"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "CI": ""}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment, timeout=300)
    assert not list(tmp_path.iterdir())


# Weights and settings -----------------------------------------------------------------------------------------------


@pytest.fixture
def models(settings, tmp_path):
    """A copy of the weights to damage."""
    import shutil

    return shutil.copytree(settings.models, tmp_path / "models")


@pytest.mark.parametrize("damage", ["missing", "cut", "altered", "unlisted", "no list"])
def test_damaged_weights_are_refused_at_start_in_one_line(models, damage):
    file, sums = models / "transformer-separable-decoder.onnx", models / "SHA256SUMS"
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "altered":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "unlisted":
        sums.write_text("\n".join(line for line in sums.read_text().splitlines() if file.name not in line))
    else:
        sums.unlink()
    with pytest.raises(WeightsError, match=r"transformer-separable-decoder\.onnx|SHA256SUMS") as caught:
        Stylizer(settings=Settings(device="cpu", models=models))
    assert "\n" not in str(caught.value)


def test_replacing_a_file_and_its_checksum_is_all_that_new_weights_need(models):
    import hashlib

    file, sums = models / "transformer-separable-encoder.onnx", models / "SHA256SUMS"
    import onnx

    model = onnx.load_from_string(file.read_bytes())
    model.doc_string = "retrained"
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    file.write_bytes(model.SerializeToString())
    sums.write_text(sums.read_text().replace(before, hashlib.sha256(file.read_bytes()).hexdigest()))
    assert Stylizer(settings=Settings(device="cpu", models=models)).stylize(pictures.photo(), STYLE).size == (96, 64)


def test_settings_come_from_the_environment_and_a_wrong_one_is_named():
    settings = Settings.from_env({"STYLIZER_MAX_MEGAPIXELS": "80", "STYLIZER_PORT": "9000", "HOME": "/"})
    assert settings.max_megapixels == 80.0 and settings.port == 9000 and settings.device == "auto"
    with pytest.raises(ParameterError, match="STYLIZER_PORT is 'http'"):
        Settings.from_env({"STYLIZER_PORT": "http"})
    with pytest.raises(ParameterError, match="unknown setting STYLIZER_PROT"):
        Settings.from_env({"STYLIZER_PROT": "1"})


def test_a_photo_record_holds_nothing_before_it_is_painted(stylizer, photo):
    record = stylizer.photo(photo.copy()[:64, :64])
    assert isinstance(record, Photo) and record.picture.size == (64, 64)
