"""Strokes that are laid on a photo's plain places before it is painted."""

import numpy as np
import pictures
import pytest
import torch

from stylizer import brushwork, images
from stylizer.brushwork import HEIGHT, blurred, directions, noise, strokes, with_brushwork
from stylizer.feedforward import brushed
from stylizer.images import Picture
from stylizer.training import data


def laid_on(rgb: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """What brushwork adds to a picture, in levels, (H, W)."""
    return (with_brushwork(Picture(rgb), scale).rgb.astype(int) - rgb).mean(axis=2)


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
    assert np.array_equal(brushed(photo).rgb, brushed(photo).rgb)
    assert np.array_equal(brushed(photo).rgb, with_brushwork(photo, scale).rgb)
    assert (brushed(photo).rgb.astype(float) - photo.rgb).std() > 1


def test_a_huge_picture_has_no_larger_grid_than_memory_holds(monkeypatch):
    photo = Picture(pictures.photo(400, 300))
    monkeypatch.setattr(brushwork, "MOST_CELLS", 400 * 300 / 10**2)
    assert np.array_equal(with_brushwork(photo).rgb, with_brushwork(photo, 10 / brushwork.CELL).rgb)


def test_a_nearly_blank_page_has_fewer_strokes_and_one_of_a_single_colour_none():
    page = Picture(np.full((300, 400, 3), 240, np.uint8))
    assert brushed(page) is page
    drawn = page.rgb.copy()
    drawn[20:60, 20:80] = 120
    few, all_of_them = (np.abs(laid.rgb.astype(float) - drawn).mean()
                        for laid in (brushed(Picture(drawn)), with_brushwork(Picture(drawn))))  # fmt: skip
    assert 0 < few < 0.9 * all_of_them


def test_strokes_change_no_colour_no_alpha_and_no_picture_of_a_few_pixels():
    rgb, alpha = pictures.photo(96, 64), np.full((64, 96), 200, np.uint8)
    found = with_brushwork(Picture(rgb, alpha))
    assert found.alpha is alpha
    added = found.rgb.astype(int) - rgb
    inside = ((found.rgb > 0) & (found.rgb < 255)).all(axis=2)
    assert (added[inside] == added[inside][:, :1]).all() and added.std() > 1
    speck = Picture(np.full((2, 9, 3), 7, np.uint8))
    assert with_brushwork(speck) is speck


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
    assert ours.std() > 2 and np.abs(theirs.numpy() - ours).max() < 0.05
    photos = torch.full((8, 3, 64, 64), 0.5)
    generator = torch.Generator().manual_seed(0)
    changed = (data.random_brushwork(photos, 0.5, generator) - photos).std((1, 2, 3)) * 255
    assert 0 < (changed == 0).sum() < 8 and changed.max() > 0.4 * HEIGHT
    assert torch.equal(data.random_brushwork(photos, 0, generator), photos)
