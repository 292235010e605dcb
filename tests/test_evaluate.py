"""The meter on pictures whose value is known, and the table that it fills."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from stylizer import images  # noqa: E402
from stylizer.images import Picture  # noqa: E402
from stylizer.networks.backbones import VGG16  # noqa: E402
from stylizer.training import __main__ as command  # noqa: E402
from stylizer.training import evaluate, meter, painters  # noqa: E402
from stylizer.training.config import TrainConfig  # noqa: E402
from stylizer.training.pairs import save_pair  # noqa: E402
from stylizer.training.start import starting_pair  # noqa: E402

CPU = torch.device("cpu")


def loss_network():
    torch.manual_seed(0)
    return VGG16(width=0.0625)


def random_pixels(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.slow
def test_evaluate_prints_a_row_for_each_candidate(tmp_path, capsys, monkeypatch):
    for kind, count in (("photos", 2), ("styles", 3)):
        (tmp_path / kind).mkdir()
        for index in range(count):
            Image.fromarray(random_pixels(64, 48, index)).save(tmp_path / kind / f"{kind[0]}{index}.png")
    (tmp_path / "answers").mkdir()
    for photo in ("p0", "p1"):
        (tmp_path / "answers" / f"{photo}__s1.png").write_bytes((tmp_path / "photos" / f"{photo}.png").read_bytes())
    save_pair(starting_pair(TrainConfig(width=0.25)), tmp_path / "pair")
    options = command.parse(
        [
            "evaluate",
            "--photos",
            str(tmp_path / "photos"),
            "--styles",
            str(tmp_path / "styles"),
            "--sizes",
            "64",
            "--weights",
            str(tmp_path / "pair"),
            "--results",
            str(tmp_path / "answers"),
            "--strengths",
            "--border",
            "--weave",
            "--noise",
            "--preview",
            "--bound",
            "3",
            "--polish",
            "2",
        ]
    )
    monkeypatch.setattr(evaluate, "PREVIEW", 48)
    monkeypatch.setattr(evaluate, "RESULT", 96)
    evaluate.print_table(options, loss_network(), CPU)
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.startswith((str(tmp_path / "pair")[-28:], "the photo"))]
    assert [row[:4] for row in rows[:1]] == [["the", "photo", "itself", "64"]] and rows[1][1:3] == ["64", "6"]
    answers = [line.split() for line in lines if line.startswith(str(tmp_path / "answers")[-28:])]
    assert answers[0][1:4] == ["64", "2", "0.000"]  # the photos are their own answers
    assert any(line.startswith("3 steps from the photo") for line in lines)
    assert any(line.split(" + ")[-1].startswith("2 steps ") for line in lines)
    for measure in ("monotone", "border error", "weave, luminance", "noise in plain pictures", "96 px shrunk to 48"):
        assert any(measure in line for line in lines), measure


def test_the_bound_is_nearer_to_the_style_than_where_it_begins():
    judge = evaluate.Judge(loss_network(), CPU, torch.float32)
    dark = random_pixels(64, 48, 1) // 3
    photo, style = (painters.Sample.of("", rgb) for rgb in (random_pixels(64, 48), dark))
    optimised = painters.optimiser(painters.untouched, 5, judge.network)(photo, style, 1.0)
    assert judge.marks(optimised, photo, style).style < 0.5 * judge.marks(photo.rgb, photo, style).style


def test_border_error_counts_the_frame_alone():
    whole = np.zeros((100, 80, 3), np.uint8)
    inside, frame = whole.copy(), whole.copy()
    inside[16:-16, 16:-16] = 255
    frame[:16] = 51
    assert evaluate.border_error(whole, inside) == 0
    assert evaluate.border_error(whole, frame) == pytest.approx(0.2 * 16 * 80 / (100 * 80 - 68 * 48))


def test_pairs_are_spread_over_photos_and_styles():
    pairs = [(photo, style) for photo in range(20) for style in range(30)]
    some = evaluate.spread(pairs, 40)
    assert len(set(some)) == 40
    assert len({photo for photo, _ in some}) >= 18 and len({style for _, style in some}) >= 20


# The meter ----------------------------------------------------------------------------------------------------------


def test_a_lattice_is_what_answers_share_and_photos_and_paintings_do_not():
    pictures = [random_pixels(160, 128, seed) // 4 + 96 for seed in range(16)]
    photos, paintings = pictures[:8], pictures[8:]
    down, across = np.mgrid[:128, :160]
    threads = (6 * np.cos(2 * np.pi * (8 * down + 6 * across) / 64))[..., None]
    woven = [(photo + threads).round().astype(np.uint8) for photo in photos]

    def lattice(answers, photos):
        return meter.lattice([meter.waves(*three) for three in zip(answers, photos, paintings, strict=True)])

    assert lattice(photos, photos) < 2
    assert lattice(woven, photos) > 4
    assert lattice(woven, woven) < 0.6 * lattice(woven, photos)
    assert lattice([*woven[:1], *photos[1:]], photos) < 2  # one has it
    assert meter.waves(photos[0][:60], photos[0], paintings[0]) is None


def striped(period: float, contrast: float = 40.0) -> np.ndarray:
    """A plain picture (120, 160, 3) under diagonal stripes."""
    down, across = np.mgrid[:120, :160]
    level = 128 + contrast * np.sin(2 * np.pi * (down + across) / period)
    return np.repeat(level[:, :, None], 3, axis=2).round().astype(np.uint8)


def test_a_weave_is_told_from_noise_and_from_plain_colour():
    noise = np.random.default_rng(0).normal(128, 20, (120, 160, 1)).repeat(3, 2).clip(0, 255).astype(np.uint8)
    stripes, grain, plain = (meter.weave(rgb) for rgb in (striped(8), noise, np.full_like(noise, 90)))
    assert stripes.peak > 0.85 and stripes.luminance == pytest.approx(40 / 2**0.5, rel=0.1)
    assert grain.peak < 0.1 and grain.luminance == pytest.approx(20, rel=0.1)
    assert plain == (0, 0, 0) and stripes.red_green == pytest.approx(0, abs=0.1)


def test_a_weave_in_red_and_green_shows_where_luminance_is_even():
    picture = striped(8, 0).astype(np.float32)
    stripes = striped(8, 30)[..., 0].astype(np.float32) - 128
    picture[..., 0] += stripes
    picture[..., 1] -= stripes * images.LUMA[0] / images.LUMA[1]
    found = meter.weave(picture.round().astype(np.uint8))
    assert found.red_green > 25 and found.luminance < 1


def test_a_weave_is_seen_where_a_photo_is_calm_alone():
    photo = np.full((120, 160, 3), 128, np.uint8)
    photo[:, 80:] = random_pixels(80, 120)
    stripes = striped(6, 20).astype(int) - 128
    woven = (photo + stripes).clip(0, 255).astype(np.uint8)
    left, right = (np.where((np.arange(160) < 80)[:, None] == side, woven, photo) for side in (True, False))
    assert meter.weave_where_calm(left, photo) == pytest.approx(20 / 2**0.5, rel=0.1)
    assert meter.weave_where_calm(right, photo) < 0.5
    assert meter.weave_where_calm(photo, random_pixels(160, 120)) is None


def test_broad_light_is_no_weave():
    down, across = np.mgrid[:120, :160]
    light = (100 + 0.5 * down + 0.3 * across)[:, :, None].repeat(3, 2).round().astype(np.uint8)
    assert meter.weave(light).luminance < 0.5


def test_plain_pictures_are_plain_and_of_the_size_that_is_wanted():
    found = dict(meter.plain_pictures(192))
    assert len(found) == 6 and all(rgb.shape == (128, 192, 3) for rgb in found.values())
    assert all(meter.weave(rgb).luminance < 4 for rgb in found.values())
    assert len({rgb.tobytes() for rgb in found.values()}) == 6


def test_noise_that_is_doubled_is_amplified_twice():
    photo = np.full((64, 96, 3), 128, np.uint8)
    assert meter.noise_amplification(photo, lambda rgb: rgb) == pytest.approx(1)
    doubled = meter.noise_amplification(photo, lambda rgb: (128 + 2 * (rgb.astype(int) - 128)).astype(np.uint8))
    assert doubled == pytest.approx(2)
    assert meter.noise_amplification(photo, lambda rgb: photo) == 0


def test_ssim_is_one_of_the_same_and_falls_with_noise():
    picture = striped(16)
    noisy = (picture + np.random.default_rng(0).normal(0, 20, picture.shape)).clip(0, 255).astype(np.uint8)
    assert meter.ssim(picture, picture) == pytest.approx(1)
    assert 0.2 < meter.ssim(picture, noisy) < 0.9
    assert meter.ssim(picture, 255 - picture) < 0


def test_accents_are_reached_by_the_share_that_is_there():
    def flag(*colours: tuple[int, int, int]) -> np.ndarray:
        return np.repeat(np.array(colours, np.uint8)[:, None], 40, 1).repeat(40 // len(colours), 0)

    red, blue, grey = (220, 30, 30), (30, 30, 220), (128, 128, 128)
    assert meter.accents_reached(flag(red, blue), flag(red, blue)) == pytest.approx(1)
    assert meter.accents_reached(flag(red, red), flag(red, blue)) == pytest.approx(0.5)
    assert meter.accents_reached(flag(grey, grey), flag(red, blue)) == 0
    assert meter.accents_reached(flag(red, blue), flag(grey, grey)) == 1


def test_style_is_read_at_the_nearest_scale():
    look = meter.look_through(loss_network(), CPU)
    generator = np.random.default_rng(0)
    painting = Picture(generator.integers(0, 256, (300, 400, 3), np.uint8))
    readings = meter.readings(painting, 192, look)
    assert len(readings) == len(meter.SCALES)
    for scale in meter.SCALES:
        shown = images.resize(painting, round(scale * 192)).rgb
        assert meter.style_distance(look(shown), readings).mean == pytest.approx(0, abs=1e-6)
    fewer = meter.readings(painting, 512, look)  # never enlarged: 215 and 297 of 400 pixels
    assert len(fewer) == 2 and len(meter.readings(painting, 4096, look)) == 1
