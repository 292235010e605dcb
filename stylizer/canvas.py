"""Preparing a photo for the networks, and undoing that afterwards.

Plain areas get brushwork, and the edges are mirrored outwards, because a network's border shows as a strip of four
pixels in another colour.
"""

import numpy as np

from stylizer import images, tiles
from stylizer.brushwork import with_brushwork
from stylizer.images import Picture
from stylizer.reading import octaves

EDGE = 8  # pixels mirrored around a photo, painted with it and cropped again
FADE = 0.25  # strength below which the photo itself shows through


def brushed(picture: Picture, height: float, look: tiles.Survey | None = None) -> Picture:
    """A photo with brushwork on its plain areas, as the encoder sees it; `height` is its deviation in levels.

    Brushwork grows with the picture by half as many octaves as a style's strokes: broader strokes would let hatching
    appear. A nearly blank page gets less, and a page of one colour none, so that it stays blank.
    """
    look = look or tiles.survey(picture.rgb)
    bare = max(look.floor, look.share / tiles.THINGS_SHARE)
    return with_brushwork(picture, (1 - bare) * height, 2 ** (octaves(*picture.size) / 2))


def framed(rgb: np.ndarray) -> np.ndarray:
    """Add EDGE mirrored pixels around (H, W, 3)."""
    return np.pad(rgb, ((EDGE, EDGE), (EDGE, EDGE), (0, 0)), mode="reflect")


def unframed(rgb: np.ndarray) -> np.ndarray:
    """Crop the mirrored pixels."""
    return rgb[EDGE:-EDGE, EDGE:-EDGE]


def pad(content: np.ndarray) -> np.ndarray:
    """Mirror the last rows and columns until both sides are multiples of the encoder's stride."""
    height, width = content.shape[2:]
    below, beside = -height % tiles.STRIDE, -width % tiles.STRIDE
    if not below and not beside:
        return content
    return np.pad(content, ((0, 0), (0, 0), (0, below), (0, beside)), mode="reflect")


def picture_of(stylised: np.ndarray, height: int, width: int) -> np.ndarray:
    """Painted (1, 3, H, W) in [0, 1] -> (height, width, 3) uint8, cropping what `framed` and `pad` added."""
    return images.from_tensor(stylised[:, :, EDGE : EDGE + height, EDGE : EDGE + width])


def faded(painted: np.ndarray, photo: np.ndarray, strength: float) -> np.ndarray:
    """Fade a picture painted at low strength into the photo, so that strength 0 is the photo; (H, W, 3) uint8.

    Painting a photo with its own style vector reproduces it only approximately.
    """
    return images.lerp(photo, painted, strength / FADE) if strength < FADE else painted
