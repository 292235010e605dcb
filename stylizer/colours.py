"""Colour management: what a picture's numbers mean, and their conversion to sRGB.

A file declares its colours by an ICC profile, by code points (PNG's cICP, AVIF's nclx: ITU-T H.273) or, in a PNG, by
gAMA and cHRM. HDR is tone-mapped to sRGB as browsers do it, so that the page and the API paint the same picture.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from stylizer.containers import Outline

D65 = 0.3127, 0.3290
# Chromaticities, x and y of white, red, green and blue, by H.273's code.
PRIMARIES: dict[int, tuple[float, ...]] = {
    1: (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06),  # BT.709 and sRGB
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),  # BT.470 M
    5: (*D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),  # BT.470 BG, BT.601 with 625 lines
    6: (*D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),  # BT.601 with 525 lines
    7: (*D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),  # SMPTE 240
    8: (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),  # film
    9: (*D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),  # BT.2020 and BT.2100
    10: (1 / 3, 1 / 3, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0),  # XYZ
    11: (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),  # DCI-P3
    12: (*D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),  # Display P3
    22: (*D65, 0.63, 0.34, 0.295, 0.605, 0.155, 0.077),  # EBU 3213
}
# Power-law transfer characteristics; BT.709 and its relatives as displayed according to BT.1886.
GAMMAS = {1: 2.4, 4: 2.2, 5: 2.8, 6: 2.4, 8: 1.0, 14: 2.4, 15: 2.4, 17: 2.6}
SRGB, PQ, HLG = 13, 16, 18
UNSAID = 2
SDR_WHITE = 203  # nits, BT.2408
HDR_PEAK = 1000  # nits, for which HDR pictures are usually graded
# Up to the knee light is halved; above it, a quadratic Bezier curve leads to the peak. In units of SDR white.
KNEE, BEND, PEAK = (1.0, 0.5), (1.65, 0.825), (HDR_PEAK / SDR_WHITE, 1.0)
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
SMALL = 0.002  # chromaticities this close to sRGB's are sRGB's, rounded
PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}  # ICC colour space -> Pillow mode
MAX_PROFILE = 1 << 24  # bytes; the largest printer profiles have about ten million


@dataclass(frozen=True)
class Coding:
    """Primaries and transfer function of RGB. `gamma`, the exponent to linear light, applies if `transfer` is None."""

    primaries: tuple[float, ...]
    transfer: int | None = None
    gamma: float = 1.0


def coding(outline: Outline) -> Coding | None:
    """What a file declares apart from an ICC profile; None for sRGB or nothing."""
    if outline.cicp:
        code, transfer = outline.cicp[:2]
        if code not in PRIMARIES and code != UNSAID:
            return None
        found = Coding(PRIMARIES.get(code, PRIMARIES[1]), transfer)
        known = transfer in GAMMAS or transfer in (PQ, HLG)
        if not known and _near(found.primaries):
            return None  # sRGB, or a curve that is never used
        return found if known else Coding(found.primaries, SRGB)
    if outline.srgb or not outline.gamma:  # chromaticities alone say too little
        return None
    primaries = outline.chromaticities or PRIMARIES[1]
    primaries = PRIMARIES[1] if _near(primaries) or not _sane(primaries) else primaries
    gamma = outline.gamma if 0.05 < outline.gamma < 20 else 0.45455
    if abs(gamma - 0.45455) < 0.01 and primaries == PRIMARIES[1]:
        return None  # how programs declare sRGB without its chunk
    return Coding(primaries, None, 1 / gamma)


def _near(primaries: tuple[float, ...]) -> bool:
    return max(abs(one - other) for one, other in zip(primaries, PRIMARIES[1], strict=True)) < SMALL


def _sane(primaries: tuple[float, ...]) -> bool:
    """Whether the primaries are a triangle with the white point inside; otherwise later divisions fail."""
    try:
        shares = np.linalg.solve(_columns(primaries), _xyz(primaries[:2]))
    except (np.linalg.LinAlgError, ZeroDivisionError):
        return False
    return bool(np.isfinite(shares).all() and (shares > 0).all())


def _xyz(place: tuple[float, ...]) -> np.ndarray:
    """Chromaticity -> XYZ at Y = 1."""
    x, y = place
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _columns(primaries: tuple[float, ...]) -> np.ndarray:
    x, y = np.array(primaries[2::2]), np.array(primaries[3::2])
    return np.stack([x, y, 1 - x - y])


def to_xyz(primaries: tuple[float, ...]) -> np.ndarray:
    """(3, 3) matrix, linear RGB -> XYZ, adapted to D65 (Bradford)."""
    white, columns = _xyz(primaries[:2]), _columns(primaries)
    matrix = columns * np.linalg.solve(columns, white)
    scale = (BRADFORD @ _xyz(D65)) / (BRADFORD @ white)
    return np.linalg.inv(BRADFORD) @ np.diag(scale) @ BRADFORD @ matrix


@cache
def _srgb_bytes() -> np.ndarray:
    """(65536,) uint8 table: 16-bit linear light -> sRGB."""
    light = np.arange(65536) / 65535
    written = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * written).astype(np.uint8)


def _linear(code: Coding) -> np.ndarray:
    """(256,) float32 table: encoded value -> light, 0 to 1, or for PQ and HLG in units of SDR white."""
    value = np.arange(256) / 255
    if code.transfer == PQ:  # SMPTE ST 2084
        root = value ** (1 / 78.84375)
        light = (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        light *= 10_000 / SDR_WHITE
    elif code.transfer == HLG:  # BT.2100, scene light
        light = np.where(value <= 0.5, value**2 / 3, (np.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    elif code.transfer == SRGB:
        light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    else:
        light = value ** (code.gamma if code.transfer is None else GAMMAS[code.transfer])
    return light.astype(np.float32)


@cache
def _tone_curve() -> tuple[np.ndarray, np.ndarray]:
    """Points from the knee to the peak: scene light -> light on an SDR display."""
    along = np.linspace(0, 1, 256)
    weights = (1 - along) ** 2, 2 * along * (1 - along), along**2
    points = sum(weight[:, None] * np.array(point) for weight, point in zip(weights, (KNEE, BEND, PEAK), strict=True))
    return points[:, 0], points[:, 1]


ToSrgb = Callable[[Image.Image], Image.Image]  # any mode -> mode RGB, in sRGB


class FromCoding:
    """RGB or grey -> RGB in sRGB."""

    def __init__(self, code: Coding):
        self.code, self.light = code, _linear(code)
        self.matrix = np.linalg.solve(to_xyz(PRIMARIES[1]), to_xyz(code.primaries)).astype(np.float32)
        # for HDR the brightest channel is taken in BT.2020, whatever the primaries
        self.wide = np.linalg.solve(to_xyz(PRIMARIES[9]), to_xyz(code.primaries)).astype(np.float32)
        alike = np.abs(self.matrix - np.eye(3)).max() < 0.002 and code.transfer not in (PQ, HLG)
        # with the same primaries each channel is independent
        self.table = _srgb_bytes()[np.rint(self.light * 65535).astype(np.uint16)].tolist() if alike else None

    def __call__(self, image: Image.Image) -> Image.Image:
        image = image.convert("RGB")
        if self.table:
            return image.point(self.table * 3)
        light = self.light[np.asarray(image)]  # (H, W, 3)
        if self.code.transfer == HLG:  # the system gamma of a 1000-nit display
            luma = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
            light *= (HDR_PEAK / SDR_WHITE) * np.maximum(luma, 1e-6)[..., None] ** np.float32(0.2)
        if self.code.transfer in (PQ, HLG):
            brightest = (light @ self.wide.T).max(axis=2, keepdims=True).clip(1e-6, None)
            shown = np.where(brightest < KNEE[0], brightest * KNEE[1], np.interp(brightest, *_tone_curve()))
            light *= (shown / brightest).astype(np.float32)
        light = light @ self.matrix.T
        light = np.rint(light.clip(0, 1, out=light) * 65535).astype(np.uint16)
        return Image.fromarray(_srgb_bytes()[light])


class FromProfile:
    """A picture with an ICC profile -> RGB in sRGB; ValueError if the profile is garbage or for another mode."""

    def __init__(self, profile: bytes, mode: str):
        from PIL import ImageCms  # imported here because few pictures need it

        if len(profile) > MAX_PROFILE:
            raise ValueError("the profile is too large")
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            self.mode = PROFILE_MODES.get(source.profile.xcolor_space.strip())
            if self.mode != mode and not (self.mode == "RGB" and mode != "CMYK"):
                raise ValueError("the profile is for another colour space")
            self.transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), self.mode, "RGB")
        except (OSError, TypeError, ImageCms.PyCMSError) as error:
            raise ValueError("the profile cannot be read") from error

    def __call__(self, image: Image.Image) -> Image.Image:
        return self.transform.apply(image if image.mode == self.mode else image.convert(self.mode))


def as_it_is(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def to_srgb(outline: Outline, profile: bytes | None, mode: str, png: bool) -> ToSrgb:
    """The conversion of images of `mode` to sRGB. PNG 3, 4.3: cICP, then iCCP, then sRGB, then gAMA and cHRM.

    An AVIF's profile takes precedence over its code points. A garbage profile does not make a broken picture.
    """
    code = None if mode in ("CMYK", "LAB") else coding(outline)
    if code and png and outline.cicp:
        return FromCoding(code)
    if profile:
        try:
            return FromProfile(profile, mode)
        except ValueError:
            pass
    return FromCoding(code) if code else as_it_is
