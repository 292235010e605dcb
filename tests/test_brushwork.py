"""Strokes that are laid on a photo's plain places before it is painted."""

import numpy as np
import pictures
import pytest
import torch

from stylizer import brushwork, images, photos
from stylizer.brushwork import HEIGHTS, blurred, directions, height_for, noise, roughness, strokes, with_brushwork
from stylizer.canvas import brushed
from stylizer.feedforward import Stylizer
from stylizer.images import LUMA, Picture
from stylizer.training import data

HEIGHT = 10


def laid_on(rgb: np.ndarray) -> np.ndarray:
    """What brushwork adds to a picture, in levels, (H, W)."""
    return (with_brushwork(Picture(rgb), HEIGHT).rgb.astype(int) - rgb).mean(axis=2)


def painting(detail: float) -> np.ndarray:
    """Half of it flat, half of it busy, all of it with strokes of such a deviation; luminance in levels, (384, 400)."""
    busy = np.random.default_rng(0).normal(0, 40, (384, 400)) * (np.arange(400) > 200)
    fine = blurred(np.random.default_rng(1).normal(0, 1, (384, 400)).astype(np.float32), 5)
    return (120 + busy + detail * fine / fine.std()).astype(np.float32)


def test_a_painting_is_as_rough_as_its_calmest_places():
    assert roughness(painting(0)) < 0.1
    for detail in (2, 8):
        assert roughness(painting(detail)) == pytest.approx(detail, rel=0.3)


def test_strokes_are_as_high_as_the_painting_is_rough_within_bounds():
    assert height_for(0) == HEIGHTS[0] and height_for(1000) == HEIGHTS[1]
    assert HEIGHTS[0] < height_for(3) < height_for(6) < HEIGHTS[1]


def test_of_paintings_in_the_gallery_van_goghs_get_higher_strokes_than_vermeers(stylizer):
    heights = {name: stylizer.brush_height(style.vector) for name, style in stylizer.gallery.items()}
    assert heights["girl-with-a-pearl-earring"] < heights["sunflowers"] < heights["starry-night"]
    assert heights["red-blue-and-yellow"] == HEIGHTS[0] and len(set(heights.values())) > 5
    for wild in (1e30, -1e30):
        assert HEIGHTS[0] <= stylizer.brush_height(np.full(100, wild, np.float32)) <= HEIGHTS[1]


def test_a_photo_keeps_what_is_encoded_as_long_as_strokes_stay_as_high(stylizer, monkeypatch):
    low, high = (stylizer.gallery[name].vector for name in ("red-blue-and-yellow", "starry-night"))
    record = stylizer.photo(pictures.photo(96, 64))
    stylizer.paint(record, low)
    ((height, kept),) = record.features.items()
    assert height == stylizer.brush_height(low)
    stylizer.paint(record, low, 0.5)
    assert list(record.features) == [height] and record.features[height] is kept
    after = stylizer.paint(record, high).rgb
    assert list(record.features) == [height, stylizer.brush_height(high)]
    assert pictures.near(after, Stylizer(settings=stylizer.settings).stylize(pictures.photo(96, 64), high), 0.5)
    monkeypatch.setattr(photos, "FEATURE_BYTES", 0)
    record.features.clear()
    for vector in (low, high, low):
        stylizer.paint(record, vector)
        assert list(record.features) == [stylizer.brush_height(vector)]  # of a large one the last


def test_strokes_lie_on_plain_places_and_leave_busy_ones_alone():
    rgb = np.full((128, 192, 3), 120, np.uint8)
    rgb[:, 96:] = np.random.default_rng(0).integers(0, 2, (64, 48, 1)).repeat(2, 0).repeat(2, 1) * 255
    added = laid_on(rgb)
    assert 0.7 * HEIGHT < added[:, :80].std() < 1.3 * HEIGHT
    assert np.abs(added[:, 112:]).max() < 2
    assert np.abs(added[:, :80].mean()) < 3  # neither lighter nor darker


@pytest.mark.parametrize("degrees", [0, 30, 90, 135])
def test_strokes_follow_the_contours(degrees):
    along = np.deg2rad(degrees)
    y, x = np.mgrid[:128, :128]
    slope = (y * np.cos(along) - x * np.sin(along)) / 2 + 100  # contours go (cos, sin) across and down
    down, across = directions(slope.astype(np.float32))
    assert np.abs(down * np.sin(along) + across * np.cos(along)).min() > 0.95
    relief = strokes(slope.astype(np.float32))[24:-24, 24:-24]

    def likeness(angle: float, far: int = 5) -> float:
        step = [round(far * part) for part in (np.sin(angle), np.cos(angle))]
        moved = np.roll(strokes(slope.astype(np.float32)), step, (0, 1))[24:-24, 24:-24]
        return np.corrcoef(relief.ravel(), moved.ravel())[0, 1]

    assert likeness(along) > 0.4 > 0.2 > abs(likeness(along + np.pi / 2))


@pytest.mark.parametrize(("size", "scale"), [((448, 300), 1), ((896, 600), 2**0.5), ((96, 64), 1)])
def test_a_photo_gets_the_same_strokes_again_and_broader_ones_on_a_larger_one(size, scale):
    photo = Picture(pictures.photo(*size))
    laid = brushed(photo, HEIGHT).rgb
    assert np.array_equal(laid, brushed(photo, HEIGHT).rgb)
    assert np.array_equal(laid, with_brushwork(photo, HEIGHT, scale).rgb)
    assert (laid.astype(float) - photo.rgb).std() > 1


def test_a_huge_picture_has_no_larger_grid_than_memory_holds(monkeypatch):
    photo = Picture(pictures.photo(400, 300))
    monkeypatch.setattr(brushwork, "MOST_CELLS", 400 * 300 / 10**2)
    wanted = with_brushwork(photo, HEIGHT, 10 / brushwork.CELL)
    assert np.array_equal(with_brushwork(photo, HEIGHT).rgb, wanted.rgb)


def test_a_nearly_blank_page_has_fewer_strokes_and_one_of_a_single_colour_none():
    page = Picture(np.full((300, 400, 3), 240, np.uint8))
    assert brushed(page, HEIGHT) is page
    drawn = page.rgb.copy()
    drawn[20:60, 20:80] = 120
    few, all_of_them = (
        np.abs(laid.rgb.astype(float) - drawn).mean()
        for laid in (brushed(Picture(drawn), HEIGHT), with_brushwork(Picture(drawn), HEIGHT))
    )
    assert 0 < few < 0.9 * all_of_them


def test_strokes_change_no_colour_no_alpha_and_no_picture_of_a_few_pixels():
    rgb, alpha = pictures.photo(96, 64), np.full((64, 96), 200, np.uint8)
    found = with_brushwork(Picture(rgb, alpha), HEIGHT)
    assert found.alpha is alpha
    added = found.rgb.astype(int) - rgb
    inside = ((found.rgb > 0) & (found.rgb < 255)).all(axis=2)
    assert (added[inside] == added[inside][:, :1]).all() and added.std() > 1
    speck = Picture(np.full((2, 9, 3), 7, np.uint8))
    assert with_brushwork(speck, HEIGHT) is speck


def test_noise_is_white_and_the_same_on_every_machine():
    assert np.allclose(noise((2, 2), 0), [[-1, -0.33813724], [0.745931, 0.84875906]], atol=1e-6)
    values = noise((200, 300), 1)
    assert abs(values.mean()) < 0.01 and values.std() == pytest.approx(3**-0.5, abs=0.01)
    assert abs(np.corrcoef(values[:, 1:].ravel(), values[:, :-1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(values.ravel(), noise((200, 300), 2).ravel())[0, 1]) < 0.02


def test_a_blur_takes_the_mean_of_what_of_its_square_lies_within():
    values = np.arange(20, dtype=np.float32).reshape(4, 5)
    assert blurred(values, 3)[0, 0] == values[:2, :2].mean()
    assert blurred(values, 3)[2, 2] == values[1:4, 1:4].mean()
    assert np.allclose(blurred(values, 65), values.mean())


def test_training_lays_on_what_painting_does():
    luminance = images.resize(Picture(pictures.photo(120, 90)), 60).rgb.astype(np.float32).mean(axis=2)
    drawn = np.stack([noise(luminance.shape, kind) for kind in range(3)])
    theirs = data._strokes(torch.from_numpy(luminance)[None, None], torch.from_numpy(drawn)[:, None, None])[0, 0]
    ours = strokes(luminance)
    assert ours.std() > 0.2 and np.abs(theirs.numpy() - ours).max() < 0.005
    photos = torch.full((8, 3, 64, 64), 0.5)
    generator = torch.Generator().manual_seed(0)
    heights = torch.full((8,), float(HEIGHT))
    changed = (data.random_brushwork(photos, heights, 0.5, generator) - photos).std((1, 2, 3)) * 255
    assert 0 < (changed == 0).sum() < 8 and changed.max() > 0.4 * HEIGHT
    assert torch.equal(data.random_brushwork(photos, heights, 0, generator), photos)


def test_training_finds_paintings_as_rough_as_painting_does():
    shown = [pictures.photo(384, 384), pictures.painting(384, 384)]
    tensors = torch.stack([torch.from_numpy(each).permute(2, 0, 1) / 255 for each in shown])
    wanted = [brushwork.BOLDNESS * roughness(each @ LUMA) for each in shown]
    assert data.brush_heights(tensors).tolist() == pytest.approx(np.clip(wanted, *HEIGHTS).tolist(), rel=0.01)
