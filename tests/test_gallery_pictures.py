"""The gallery's own pictures: drawn by styles/draw.py, and committed as it draws them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def drawing():
    spec = importlib.util.spec_from_file_location("draw", ROOT / "styles" / "draw.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ink-mountains", "verdigris"])
def test_a_picture_drawn_again_is_the_committed_one(drawing, name):
    drawn = np.asarray(drawing.draw(name), np.float32)
    with Image.open(ROOT / "styles" / f"{name}.webp") as file:
        committed = np.asarray(file.convert("RGB"), np.float32)
    assert drawn.shape == committed.shape
    lost = np.abs(drawn - committed).mean()
    assert lost < 8  # of 255, what WebP loses
    assert (
        lost < np.abs(drawn[:, ::-1] - committed).mean() / 4
    )  # while another picture, here its mirror image, is far off


def test_drawing_twice_gives_the_same_pixels(drawing):
    assert drawing.draw("tapestry").tobytes() == drawing.draw("tapestry").tobytes()


def test_every_style_has_its_picture_and_every_picture_its_style(drawing):
    assert {path.stem for path in (ROOT / "styles").glob("*.webp")} == set(drawing.STYLES)
    assert len(drawing.STYLES) >= 18


def test_pictures_are_small_files_of_gallery_size(drawing):
    total = 0
    for name in drawing.STYLES:
        path = ROOT / "styles" / f"{name}.webp"
        total += path.stat().st_size
        assert path.stat().st_size < 220_000, name
        with Image.open(path) as picture:
            assert picture.format == "WEBP" and min(picture.size) >= 500 and max(picture.size) <= 720, name
    assert total < 3_000_000


def test_pictures_differ_from_each_other_and_none_is_flat(drawing):
    small = {}
    for name in drawing.STYLES:
        with Image.open(ROOT / "styles" / f"{name}.webp") as picture:
            small[name] = np.asarray(picture.convert("RGB").resize((64, 64)), np.float32)
        assert small[name].std() > 25, name
    names = sorted(small)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert np.abs(small[one] - small[other]).mean() > 20, (one, other)


def test_the_sample_photo_is_a_small_jpeg_of_its_size():
    path = ROOT / "assets" / "sample.jpg"
    assert path.stat().st_size < 120_000
    with Image.open(path) as photo:
        assert photo.format == "JPEG" and photo.size == (768, 512)


def test_an_unknown_name_is_answered_with_the_known_ones(drawing):
    with pytest.raises(SystemExit, match=r"no picture called 'nonsense'.*tapestry"):
        drawing.main(["nonsense"])
