"""Draw the gallery's own style pictures, and the sample photo: `python styles/draw.py [NAME...]`, no name for all.

Every picture is drawn by a small function from a seeded generator, with numpy and Pillow alone, so anyone can redraw
it. A style transfer reads colour, and texture 4 to 40 pixels wide: a picture here has few colours and much texture.

Lengths are in pixels of the finished picture; arrays are SCALE times as fine, (H * SCALE, W * SCALE[, 3]) in [0, 1].
"""

import io
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SCALE = 2  # drawn twice as fine as saved: the reduction antialiases every edge
MAX_BYTES = 115_000  # aimed at by lowering the quality from 88, but never below 65
FOLDER = Path(__file__).resolve().parent
SAMPLE = FOLDER.parent / "assets" / "sample.jpg"


# Shared tools


def canvas(width, height):
    """x and y of every drawn point, in finished pixels."""
    y, x = np.mgrid[0 : height * SCALE, 0 : width * SCALE].astype(np.float32) / SCALE
    return x, y


def colours(text):
    """'ff8800 ...' -> (N, 3) in [0, 1]."""
    return np.array([list(bytes.fromhex(code)) for code in text.split()], np.float32) / 255


def ramp(t, text):
    """Colours along an even gradient, t in [0, 1]."""
    table = colours(text)
    stops = np.linspace(0, 1, len(table))
    return np.stack([np.interp(t, stops, table[:, c]) for c in range(3)], -1).astype(np.float32)


def pick(index, text):
    """One colour of the list for every whole number."""
    table = colours(text)
    return table[np.asarray(index, int) % len(table)]


def mix(a, b, t):
    """a where t is 0, b where t is 1."""
    t = np.clip(t, 0, 1)[..., None]
    return a * (1 - t) + b * t


def edge(value, soft=1.0):
    """0 below zero, 1 above, `soft` wide in between."""
    return np.clip(value / soft + 0.5, 0, 1)


def smooth(value, low, high):
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def fbm(rng, x, cell, octaves=4, gain=0.5, stretch=(1, 1)):
    """Smooth noise in [0, 1], mean near 0.5; the largest features are `cell` pixels times stretch (across, down)."""
    height, width = x.shape
    total = np.zeros_like(x)
    for octave in range(octaves):
        across, down = (max(cell * s * SCALE / 2**octave, 1) for s in stretch)
        columns, rows = width / across, height / down
        points = rng.standard_normal((int(rows) + 4, int(columns) + 4)).astype(np.float32)
        layer = Image.fromarray(points).resize((width, height), Image.BICUBIC, box=(1, 1, 1 + columns, 1 + rows))
        total += gain**octave * np.asarray(layer)
    return np.clip(0.5 + 0.22 * total / total.std(), 0, 1)


def even(value):
    """The same field with its values spread evenly over [0, 1], so that a palette is used in equal parts."""
    counts, bins = np.histogram(value, 1024)
    return np.interp(value, bins[1:], np.cumsum(counts) / value.size).astype(np.float32)


def luck(rng, number):
    """A random share in [0, 1) for every different whole number."""
    return rng.random(4096)[np.asarray(number, int) % 4096]


def blur(field, radius):
    """Gaussian blur of (H, W) or (H, W, 3) by FFT, mirrored at the borders."""
    if field.ndim == 3:
        return np.stack([blur(field[..., c], radius) for c in range(field.shape[2])], -1)
    margin = int(3 * radius * SCALE) + 1
    padded = np.pad(field, margin, mode="reflect")
    fy, fx = np.fft.fftfreq(padded.shape[0])[:, None], np.fft.rfftfreq(padded.shape[1])[None]
    kernel = np.exp(-2 * (np.pi * radius * SCALE) ** 2 * (fx**2 + fy**2))
    blurred = np.fft.irfft2(np.fft.rfft2(padded) * kernel, padded.shape)
    return blurred[margin:-margin, margin:-margin].astype(np.float32)


def light(height, strength=1.0):
    """How a height field catches light from the upper left, around 1; multiply a picture by it."""
    down, across = np.gradient(height)
    return (1 + strength * np.clip(across + down, -0.5, 0.5))[..., None]


def cells(rng, x, y, size, jitter=0.9):
    """The nearest of points strewn `size` apart: its number, its x and y, and the distance to the cell's border."""
    columns, rows = int(x.max() / size) + 7, int(y.max() / size) + 7
    px = ((np.arange(columns)[None] - 2.5 + jitter * rng.uniform(-0.5, 0.5, (rows, columns))) * size).astype(np.float32)
    py = ((np.arange(rows)[:, None] - 2.5 + jitter * rng.uniform(-0.5, 0.5, (rows, columns))) * size).astype(np.float32)
    px, py = px.ravel(), py.ravel()
    column, row = (x / size).astype(int) + 3, (y / size).astype(int) + 3
    first, second = np.full(x.shape, np.inf, np.float32), np.full(x.shape, np.inf, np.float32)
    near, runner_up = np.zeros(x.shape, int), np.zeros(x.shape, int)
    for i in range(-2, 3):
        for j in range(-2, 3):
            number = np.clip(row + i, 0, rows - 1) * columns + np.clip(column + j, 0, columns - 1)
            distance = (px[number] - x) ** 2 + (py[number] - y) ** 2
            closer, middle = distance < first, (distance >= first) & (distance < second)
            runner_up = np.where(closer, near, np.where(middle, number, runner_up))
            second = np.where(closer, first, np.where(middle, distance, second))
            near, first = np.where(closer, number, near), np.minimum(distance, first)
    apart = np.hypot(px[near] - px[runner_up], py[near] - py[runner_up])
    return near, px[near], py[near], (second - first) / (2 * apart + 1e-6)


def scales(x, y, radius, rise):
    """Overlapping discs in rows, the lower in front: distance from the disc's centre, angle from up, disc's number."""
    distance, angle, number = (np.zeros_like(x) for _ in range(3))
    free = np.ones(x.shape, bool)
    for row in range(int(y.max() / rise) + int(radius / rise) + 2, -2, -1):
        shifted = x - (row % 2) * radius
        column = np.round(shifted / (2 * radius))
        dx, dy = shifted - column * 2 * radius, y - row * rise
        here = free & (dx**2 + dy**2 < radius**2)
        distance[here], angle[here] = np.hypot(dx, dy)[here], np.arctan2(dx, -dy)[here]
        number[here] = (row * 57 + column * 131)[here]
        free &= ~here
    return distance, angle, number


def follow(start, angle, length, steps):
    """Lines (N, steps, 2) in drawn points, from each start along an angle field, `length` finished pixels long."""
    path = [start]
    for _ in range(steps - 1):
        column, row = (np.clip(path[-1][:, i].astype(int), 0, angle.shape[1 - i] - 1) for i in (0, 1))
        turn = angle[row, column]
        path.append(path[-1] + length * SCALE / (steps - 1) * np.stack([np.cos(turn), np.sin(turn)], 1))
    return np.stack(path, 1)


def strokes(rng, ground, angle, colour, layers, bristles=6, jitter=0.06, dull=0.0, relief=1.0):
    """Brush strokes along an angle field, each in the colour field's colour at its middle, lit as thick paint.

    layers: (count, length, width) from the first painted to the last. dull darkens a stroke's sides, as on a thread.
    """
    height, width = angle.shape
    rgba = np.concatenate([np.broadcast_to(ground, (height, width, 3)), np.full((height, width, 1), 0.4)], 2)
    image = Image.fromarray((np.clip(rgba, 0, 1) * 255).astype(np.uint8), "RGBA")
    draw = ImageDraw.Draw(image)
    offsets = np.linspace(-0.5, 0.5, bristles) if bristles > 1 else np.zeros(1)
    for count, length, thick in layers:
        path = follow(rng.uniform(0, 1, (count, 2)) * (width, height), angle, length, steps=7)
        along = np.gradient(path, axis=1)
        along /= np.linalg.norm(along, axis=2, keepdims=True) + 1e-6
        across = along[..., ::-1] * (-1, 1)
        column, row = (np.clip(path[:, 3, i].astype(int), 0, (width, height)[i] - 1) for i in (0, 1))
        base = colour[row, column] + jitter * rng.standard_normal((count, 3)) * 0.6
        tone = 1 + jitter * rng.standard_normal((count, bristles)) - dull * (2 * np.abs(offsets)) ** 2
        fill = np.clip(base[:, None] * tone[..., None], 0, 1)
        lift = np.clip(0.55 + 0.2 * rng.standard_normal((count, bristles, 1)) - 0.4 * np.abs(offsets)[:, None], 0, 1)
        fill = (np.concatenate([fill, lift], 2) * 255).astype(int).tolist()
        slip = rng.uniform(-0.12, 0.12, (count, bristles)) * length * SCALE
        lines = path[:, None] + across[:, None] * (offsets * thick * SCALE)[:, None, None]
        lines = (lines + along[:, None] * slip[..., None, None]).reshape(count, bristles, -1).tolist()
        line_width = max(2, round(thick * SCALE / bristles * 1.3))
        for one_fill, one_lines in zip(fill, lines, strict=True):
            for bristle_fill, line in zip(one_fill, one_lines, strict=True):
                draw.line(line, tuple(bristle_fill), line_width, "curve" if line_width > 9 else None)
    painted = np.asarray(image, np.float32) / 255
    return painted[..., :3] * light(blur(painted[..., 3], 0.5), relief)


def directions(u, v):
    return np.arctan2(v, u).astype(np.float32)


def finish(picture):
    """The drawn array as a picture of its finished size."""
    image = Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8), "RGB")
    return image.reduce(SCALE)


# The styles, one function each


def whirling_night(rng):
    x, y = canvas(720, 540)
    u, v, glow = np.ones_like(x), 1.6 * (fbm(rng, x, 150, 3) - 0.5), np.zeros_like(x)
    stars = ((215, 185, 120, 1), (480, 130, 75, -1), (630, 265, 62, 1), (70, 60, 50, -1), (365, 300, 55, -1))
    for cx, cy, size, spin in stars:
        dx, dy = x - cx, y - cy
        distance = np.hypot(dx, dy) + 1e-3
        pull = 5 * np.exp(-((distance / size) ** 2)) * spin
        u, v = u - pull * dy / distance, v + pull * dx / distance
        glow += np.exp(-((distance / size / 0.42) ** 2)) + 0.3 * np.cos(distance / size * 11) * np.abs(pull) / 5
    angle = directions(u, v)
    tone = 0.1 + 0.42 * fbm(rng, x, 70) ** 1.3 + 0.62 * glow
    colour = ramp(tone, "0a1238 15307a 2a62b0 5ea4c4 b9d8b4 f7df7a f4a72f")
    for base, size, shades in ((405, 38, "0c2140 1d5a6e 4f9a86"), (462, 26, "07142e 173d4d 6d8a3f")):
        ridge = base + size * np.sin(x / 95 + base) + 40 * (fbm(rng, x, 200, 2) - 0.5)
        below = edge(y - ridge)
        colour = mix(colour, ramp(fbm(rng, x, 30) * 1.2 - 0.1, shades), below)
        angle = np.where(below > 0.5, np.arctan(size / 95 * np.cos(x / 95 + base)), angle)
    layers = ((2600, 60, 13), (4200, 42, 8), (5200, 30, 5.5))
    return finish(strokes(rng, ramp(tone, "0a1238 2a62b0"), angle, colour, layers, jitter=0.11, relief=1.5))


def sunflower_field(rng):
    x, y = canvas(720, 540)
    depth = np.clip((y - 120) / 420, 0, 1)
    fx, fy = (x - 360) / (0.45 + 0.8 * depth) + 800, 420 * depth**0.62 * 1.5
    _, cx, cy, _ = cells(rng, fx, fy, 92, 0.6)
    dx, dy = fx - cx, (fy - cy) * 1.15
    radius = np.hypot(dx, dy) / 46 + 0.2 * (fbm(rng, x, 16, 2) - 0.5)
    colour = ramp(radius / 1.35, "2b1608 5a2c0e 8a4310 f08a12 f9b517 fbd23c f3b020 5e7a24 2f5a2c 24451f")
    angle = directions(dx, dy)
    sky = edge(125 + 14 * np.sin(x / 60) - y)
    colour = mix(colour, ramp(fbm(rng, x, 90) * 0.7 + y / 400, "1f7f96 3fa7ac 8cc9b4 f1e3a6"), sky)
    angle = np.where(sky > 0.5, 0.25 * np.sin(x / 50 + y / 30), angle)
    layers = ((2500, 34, 11), (5200, 24, 7), (6500, 17, 4.5))
    return finish(strokes(rng, colours("3c3a12"), angle, colour, layers, jitter=0.12, relief=1.5))


def stained_glass(rng):
    x, y = canvas(640, 640)
    wx, wy = x + 22 * (fbm(rng, x, 110, 2) - 0.5), y + 22 * (fbm(rng, x, 110, 2) - 0.5)
    number, cx, cy, border = cells(rng, wx, wy, 50)
    out = np.hypot(cx - 320, cy - 300)
    band = out / 78 + 0.5 * np.sin(np.arctan2(cy - 300, cx - 320) * 6) + 1.5 * luck(rng, number)
    glass = pick(band, "ffd23f f58f1d d7263d 8a1f5c 1b3f92 1686b8 17916c 8cc152")
    streaks = fbm(rng, x, 40, 4, stretch=(0.35, 1.5))
    glow = 0.5 + 0.55 * smooth(border, 0, 26) + 0.75 * (streaks - 0.5) + 0.25 * (luck(rng, number) - 0.5)
    picture = glass * glow[..., None] + 0.22 * smooth(glow, 0.75, 1.3)[..., None]
    lead = np.clip(1 - border / 3.4, 0, 1)
    metal = colours("17151a") * (1 + 3 * (light(np.sqrt(lead) * 2.2, 0.9) - 1) + 0.3 * fbm(rng, x, 6, 2)[..., None])
    return finish(mix(picture, metal, edge(3.4 - border, 0.8)))


def woodcut_valley(rng):
    x, y = canvas(720, 540)
    wobble = 5 * (fbm(rng, x, 24, 3) - 0.5)
    distance = np.hypot(x - 470, y - 170) + wobble
    phase, tone = distance / 7.5, 0.35 + 0.45 * smooth(distance, 60, 380) + 0.3 * (fbm(rng, x, 60) - 0.5)
    block = np.broadcast_to(colours("e9b44c"), (*x.shape, 3))
    sun = edge(62 - distance)
    block, tone = mix(block, colours("d1402a"), sun), np.where(sun > 0.5, 0.06, tone)
    for base, size, pitch, shade in ((265, 110, 6.5, "5f8f86"), (345, 90, 7.5, "2f6b6a")):
        profile = fbm(rng, x, 120, 5)[:1] - 0.5
        ridge = base - size * profile * 2.2
        below = y > ridge
        face = np.gradient(ridge[0])[None] * SCALE
        depth = y - ridge + 0.9 * x * np.sign(base - 300) + wobble * 2
        tone = np.where(below, 0.4 + 0.4 * np.tanh(face * 2) + 0.5 * (fbm(rng, x, 40) - 0.5), tone)
        phase = np.where(below, depth / pitch, phase)
        block = np.where(below[..., None], colours(shade), block)
        tone = np.where(np.abs(y - ridge) < 1.6, 1.2, tone)
    field = y > 400 + 12 * np.sin(x / 90)
    row = (x - 300) / np.maximum(y - 330, 1) * 9 + 1.4 * np.sin((y - 400) / 30)
    tone = np.where(field, 0.42 + 0.3 * np.sin(row * 0.7 + y / 60) + 0.4 * (fbm(rng, x, 30) - 0.5), tone)
    phase = np.where(field, row + wobble / 12, phase)
    block = np.where(field[..., None], pick(np.floor(row / 6), "e9b44c c98a2b f3dfb0"), block)
    wave = np.abs((phase % 1) * 2 - 1)
    ink = edge(tone - wave + 0.25 * (fbm(rng, x, 5, 2) - 0.5), 0.18)
    cut = smooth(fbm(rng, x, 14, 2, stretch=(2.5, 0.5)), 0.69, 0.72)
    inked = mix(mix(block, colours("f6ead0"), cut * 0.9), colours("1b1714"), ink * (0.93 + 0.07 * fbm(rng, x, 3, 1)))
    return finish(inked * (0.95 + 0.1 * fbm(rng, x, 3, 2))[..., None])


def pointillist_river(rng):
    x, y = canvas(720, 540)
    warm = np.exp(-(((x - 480) / 190) ** 2 + ((y - 225) / 120) ** 2))
    sky = 1 - y / 240 + 0.4 * (fbm(rng, x, 90) - 0.5) - 0.6 * warm
    sky = ramp(sky, "ffd98a f7a072 c77fa8 6f7fc0 3f62b0")
    water = (y - 240) / 330 + 0.5 * (fbm(rng, x, 40, 3, stretch=(3, 0.5)) - 0.5) - 0.6 * warm
    water = ramp(water, "ffcf7d e58a78 7f7fbe 2f6fb0 1d4a86")
    scene = mix(sky, water, edge(y - 240))
    trees = 205 + 40 * np.cos(x / 130 + 1) - 75 * (fbm(rng, x, 60, 4)[:1] - 0.4)
    scene = mix(scene, ramp(fbm(rng, x, 26), "1f3d5c 2e6b4f 5f9a3c c9b23a"), edge(y - trees) * edge(262 - y))
    bank = 430 - 90 * smooth(x, 420, -60) + 20 * (fbm(rng, x, 60)[:1] - 0.5)
    scene = mix(scene, ramp(fbm(rng, x, 34), "27543f 3f8a3f 9cbf3a f2d14b e8743b"), edge(y - bank))
    image = Image.fromarray((scene * 200).astype(np.uint8), "RGB")
    draw = ImageDraw.Draw(image)
    contrast = colours("f6c445 e4572e 3a5fcd 7fb7be c86fc9 fff1c9")
    for count, radius in ((9000, 4.4), (15000, 3.4), (13000, 2.6)):
        px, py = rng.integers(0, x.shape[1], count), rng.integers(0, x.shape[0], count)
        dots = scene[py, px] * (1 + 0.16 * rng.standard_normal((count, 1))) + 0.09 * rng.standard_normal((count, 3))
        odd = rng.random(count) < 0.17
        dots[odd] = 0.45 * dots[odd] + 0.55 * contrast[rng.integers(0, len(contrast), odd.sum())]
        size = radius * SCALE * rng.uniform(0.75, 1.2, count)
        for left, top, r, fill in zip(px, py, size, (np.clip(dots, 0, 1) * 255).astype(int).tolist(), strict=True):
            draw.ellipse((left - r, top - r, left + r, top + r), tuple(fill))
    return finish(np.asarray(image, np.float32) / 255)


def marbled_paper(rng):
    x, y = canvas(540, 720)
    px, py = x + 10 * (fbm(rng, x, 120, 2) - 0.5), y + 10 * (fbm(rng, x, 120, 2) - 0.5)
    py = py - 26 * np.exp(-np.abs(px % 18 - 9) / 4.5)  # undo the combs, last first: each only shifts along itself
    px = px - 62 * np.cos(np.pi * np.floor(py / 58)) * np.exp(-np.abs(py % 58 - 29) / 15)
    py = py - 88 * np.cos(np.pi * np.floor(px / 90)) * np.exp(-np.abs(px % 90 - 45) / 24)
    sites = np.stack([rng.uniform(-60, 600, 42), rng.uniform(-60, 780, 42)], 1)
    number = np.full(x.shape, -1)
    for drop in range(168):  # then the drops, last first: each pushed all before it outwards
        (cx, cy), radius = sites[drop % 42], rng.uniform(20, 31)
        dx, dy = px - cx, py - cy
        square = dx * dx + dy * dy
        number = np.where((number < 0) & (square < radius**2), drop, number)
        shrink = np.sqrt(np.maximum(1 - radius**2 / np.maximum(square, radius**2 + 1e-3), 0))
        px, py = cx + dx * shrink, cy + dy * shrink
    kind = np.where(number < 0, np.floor(py / 21), number // 42 + 1 + (number % 42) % 5 * 2)
    picture = pick(kind, "16265c f6ecd8 2b6fae 16265c 6fb7d0 f6ecd8 1d3f86 e8604c 16265c 2b6fae f6ecd8 e8604c")
    grain = 0.88 + 0.2 * fbm(rng, x, 10, 3) + 0.06 * fbm(rng, x, 90)
    return finish(picture * grain[..., None])


def tide_mosaic(rng):
    x, y = canvas(640, 640)
    wx, wy = x + 30 * (fbm(rng, x, 160, 2) - 0.5), y + 30 * (fbm(rng, x, 160, 2) - 0.5)
    number, cx, cy, _ = cells(rng, wx, wy, 150, 0.7)
    distance, turn = np.hypot(wx - cx, wy - cy), np.arctan2(wy - cy, wx - cx) / (2 * np.pi)
    pitch = 11.5
    ring = np.floor(distance / pitch)
    pieces = np.maximum(np.round((ring + 0.5) * 6.1), 1)
    tile = turn * pieces + ring * 0.37 + number
    chance = luck(rng, np.floor(tile) * 31 + ring * 977 + number * 131)
    across, down = np.abs(tile % 1 - 0.5), np.abs(distance / pitch % 1 - 0.5)
    gap = np.minimum((0.5 - across) * 2 * np.pi * (ring + 0.5) * pitch / pieces, (0.5 - down) * pitch)
    shade = pick(ring + number * 2 + (chance > 0.86), "14424f 1c7c86 4fb3a5 f1e4c3 e9a23b c4502e f1e4c3 2a5f78")
    picture = shade * (0.78 + 0.4 * chance + 0.25 * (fbm(rng, x, 9, 3) - 0.5))[..., None]
    body = smooth(gap, 0.4, 2.6)
    grout = colours("b9ab93") * (0.6 + 0.4 * fbm(rng, x, 4, 2))[..., None]
    return finish(mix(grout, picture * light(body * 1.2, 0.7), edge(gap - 0.9, 0.8)))


def halftone_pop(rng):
    x, y = canvas(640, 640)
    dx, dy = x - 300, y - 300
    turn, distance = np.arctan2(dy, dx), np.hypot(dx, dy)
    rays = np.sin(turn * 12 + 0.5 * np.sin(distance / 70))
    spikes = np.abs((turn * 15 / (2 * np.pi)) % 1 - 0.5) * 2
    burst, heart = distance - 150 - 66 * spikes, distance - 84 - 34 * spikes
    wave = y - 520 - 26 * np.sin(x / 47)
    region = np.where(heart < 0, 0, np.where(burst < 0, 1, np.where(wave > 0, 4, np.where(rays > 0, 2, 3))))
    tone = np.stack([0.1 + distance / 150, 1.2 - distance / 210, distance / 420, distance / 420, (y - 490) / 130])
    tone = np.take_along_axis(tone, region[None], 0)[0]
    across, down = (x + y) * 0.7071, (y - x) * 0.7071
    spot = np.hypot(across % 9.5 - 4.75, down % 9.5 - 4.75)
    dots = edge(np.sqrt(np.clip(tone, 0.03, 1)) * 6.1 - spot, 0.7)
    paper, ink = "ff2e74 ffe14a fff4dc ffcf1a 35c4e8", "ffd60a ff7a2a 19a9e5 ff3d6e 1d2a8a"
    picture = mix(pick(region, paper), pick(region, ink), dots)
    lines = np.minimum(np.abs(burst) - 4, np.abs(heart) - 3)
    lines = np.minimum(lines, np.where(burst > 0, np.abs(wave) - 3.5, 9))
    lines = np.minimum(lines, np.where(region > 1, np.abs(rays) * distance / 12 - 2.4 + 9 * (wave > 0), 9))
    swirl = distance / 15 + turn / np.pi
    lines = np.minimum(lines, np.where(heart < 0, np.abs(swirl % 2 - 1) * 15 - 1.5 - 2.5 * smooth(dx + dy, -60, 90), 9))
    foam = np.abs((wave + 6 * np.sin(x / 19)) % 34 - 17) - 1.8 * smooth(np.sin(x / 31 + y / 13), -0.3, 0.8) - 0.2
    lines = np.minimum(lines, np.where(region == 4, foam, 9))
    return finish(mix(picture, colours("15112b"), edge(-lines)) * (0.96 + 0.06 * fbm(rng, x, 4, 2))[..., None])


def ink_mountains(rng):
    x, y = canvas(540, 720)
    density = 0.05 + 0.12 * fbm(rng, x, 200)
    for base, size, depth in ((215, 150, 0.35), (330, 190, 0.6), (455, 170, 0.95), (600, 150, 1.5)):
        ridge = base - size * (fbm(rng, x, 150, 6, 0.52)[:1] - 0.5) * 1.9
        down = y - ridge
        mass = fbm(rng, x, 46, 5, 0.6, stretch=(0.45, 1.9))
        wash = np.exp(-np.maximum(down, 0) / 85) * (0.3 + 0.9 * smooth(mass, 0.38, 0.7))
        dry = smooth(fbm(rng, x, 9, 3, 0.7, stretch=(0.6, 2.2)), 0.55, 0.72) * smooth(mass, 0.42, 0.6)
        dry *= np.exp(-np.maximum(down, 0) / 150)
        rim = np.exp(-np.abs(down - 1.5) / 1.8) * (0.3 + fbm(rng, x, 20, 3))
        inside = edge(down, 2)
        density = density * (1 - 0.72 * inside) + depth * inside * (wash + 0.9 * dry) + 0.55 * depth * rim
    grain = fbm(rng, x, 3.5, 3, 0.8)
    density *= 0.72 + 0.56 * grain
    paper = colours("f3ead6") * (0.95 + 0.08 * fbm(rng, x, 5, 2, stretch=(3, 0.6)))[..., None]
    sun = edge(44 - np.hypot(x - 385, y - 118) + 3 * fbm(rng, x, 20), 2.5) * (0.75 + 0.4 * fbm(rng, x, 30))
    paper = mix(paper, colours("c8321f"), sun * np.exp(-density) * 0.95)
    return finish(paper * np.exp(-np.clip(density, 0, 4)[..., None] * (1.55, 1.45, 1.25)))


def tapestry(rng):
    x, y = canvas(640, 640)
    thick, pitch, repeat = 5, 6.4, 210
    row = np.floor(y / thick)
    column = np.floor(x / pitch + 0.5 * (row % 2))
    cx = np.abs((column * pitch + 5) % repeat - repeat / 2)
    cy = np.abs((row * thick + 5) % repeat - repeat / 2)
    diamond, square = np.floor((cx + cy) / 14), np.floor(np.maximum(cx, cy) / 11.7)
    teeth = (np.floor(cx / 13) + np.floor(cy / 13)) % 2
    motif = np.where(diamond < 7, diamond, np.where(square < 7, 7 + teeth, square + 2))
    shade = pick(motif, "f0dfba b5332a 1d2f57 e0a03a 7d1d2b f0dfba 3f7f77 1d2f57 b5332a e0a03a 7d1d2b f0dfba")
    over = 0.45 + 0.55 * np.sin(np.pi * ((x / pitch + 0.5 * (row % 2)) % 1)) ** 0.5
    thread = np.sin(np.pi * (y / thick % 1)) ** 0.6 * over
    tone = (0.3 + 0.9 * thread) * (0.82 + 0.34 * luck(rng, row * 57 + column))
    tone *= 0.85 + 0.3 * fbm(rng, x, 3, 2, stretch=(3.5, 0.6))
    return finish(shade * (tone * (0.85 + 0.3 * fbm(rng, x, 120, 2)))[..., None])


def cubist_table(rng):
    x, y = canvas(540, 720)
    tone, code = np.full_like(x, 0.5), np.zeros(x.shape, int)
    rim = np.zeros_like(x)
    for number in range(17):
        turn = rng.choice([0.3, 0.9, 1.25, 1.57, 2.0, 2.6, 3.0]) + 0.12 * rng.standard_normal()
        side = np.cos(turn) * (x - rng.uniform(60, 480)) + np.sin(turn) * (y - rng.uniform(80, 640))
        if number % 4 == 3:  # an arc among the straight cuts
            radius = rng.uniform(60, 150)
            side = np.hypot(x - rng.uniform(100, 440), y - rng.uniform(150, 570)) - radius
        reach = smooth(fbm(rng, x, 260, 1), 0.36, 0.42)  # a cut does not cross the whole picture
        tone += 0.2 * rng.choice([-1, 1]) * np.sign(side) * np.exp(-np.abs(side) / 46) * reach
        code = code * 3 + ((side > 0) & (reach > 0.5))
        rim = np.maximum(rim, edge(1.3 - np.abs(side), 1.2) * reach)
    chance = luck(rng, code)
    tone = tone + 0.5 * (chance - 0.5)
    warm = ramp(tone, "1c1712 4a3321 8d5f2e c99a4f ecd9a8 f7efd9")
    cool = ramp(tone, "12181f 2f4450 5f7f86 9db5ac dcdcc4 f4eedb")
    red = ramp(tone, "1c1010 6a2018 a83a22 d5734a f0c79a f7e6cf")
    family = luck(rng, code)[..., None]
    colour = np.where(family < 0.55, warm, np.where(family < 0.83, cool, red))
    angle = (chance * 3.1).astype(np.float32)
    along = x * np.cos(angle) + y * np.sin(angle)
    printed = luck(rng, code)
    ruled = edge(1.1 - np.abs((along + 3 * fbm(rng, x, 40)) % 8 - 4), 0.9) * (printed > 0.88)
    grain = smooth(np.sin((along + 26 * fbm(rng, x, 60, 2, stretch=(0.5, 2))) / 2.2), 0, 1) * (printed < 0.14)
    colour = mix(colour, colours("241a12"), 0.75 * ruled + 0.5 * grain)
    grey = np.full_like(colour, 0.5)
    texture = strokes(rng, grey, angle + 1.57, grey, ((5200, 26, 9), (6500, 18, 6)), 6, 0.1, relief=1.3)
    colour = colour * 2 * texture.mean(-1, keepdims=True)
    return finish(mix(colour, colours("17110c"), rim * (0.35 + 0.65 * fbm(rng, x, 30, 3))))


def watercolour_blooms(rng):
    x, y = canvas(640, 640)
    density = np.zeros((*x.shape, 3), np.float32)
    ragged, fine = fbm(rng, x, 70, 5, 0.55), fbm(rng, x, 2.5, 2, 0.8)
    pigments = 1 - colours("f7a13e ee5a4f e0336f f48fb5 c04fb8 8a4fc8 5560d8 3f8fdc e8508a")
    for bloom, place in enumerate(rng.permutation(64)):
        cx, cy = (np.array(divmod(place, 8)) + rng.uniform(0, 1, 2)) * 80
        size = rng.uniform(42, 100)
        left, top = max(int((cx - 1.9 * size) * SCALE), 0), max(int((cy - 1.9 * size) * SCALE), 0)
        area = np.s_[top : int((cy + 1.9 * size) * SCALE), left : int((cx + 1.9 * size) * SCALE)]
        dx, dy = x[area] - cx, y[area] - cy
        turn, petals = np.arctan2(dy, dx) + rng.uniform(0, 6), rng.integers(3, 7)
        reach = size * (1 + 0.24 * np.cos(turn * petals) + 1.5 * (np.roll(ragged, bloom * 97, 0)[area] - 0.5))
        depth = (reach - np.hypot(dx, dy)) / size
        inside = smooth(depth, -0.012, 0.02)
        wash = 0.25 + 0.9 * np.exp(-np.maximum(depth, 0) / 0.035) + 0.5 * (np.roll(ragged, bloom * 53, 1)[area] - 0.3)
        veins = 0.35 * smooth(np.sin(turn * petals * 5 + 6 * ragged[area]), 0.3, 1) * smooth(depth, 0.1, 0.6)
        hue = int((cx * 0.6 + cy * 0.8) / 120 + rng.uniform(0, 2.6)) % len(pigments)
        amount = inside * np.maximum(wash + veins, 0.05) * rng.uniform(0.55, 1.1)
        density[area] = density[area] * (1 - 0.62 * inside[..., None]) + amount[..., None] * pigments[hue]
    density *= (0.65 + 0.7 * fine)[..., None]
    tooth = light(fbm(rng, x, 4, 2) * 1.0, 0.35)
    return finish(colours("fdf8ee") * tooth * np.exp(-2.1 * density))


def linocut_waves(rng):
    x, y = canvas(720, 540)
    distance = np.hypot(x - 250, y - 150)
    picture = pick(np.floor(distance / 13 + 0.8 * fbm(rng, x, 40)), "f2b08a f6e7c8")
    picture = mix(picture, colours("dd4b39"), edge(70 - distance))
    for row in range(9):
        base, span = 150 + row * 45, 120 + row * 16
        phase = (x + row * 83 + 18 * (fbm(rng, x, 120, 2)[:1] - 0.5)) / span * 2 * np.pi
        lean = phase + 0.75 * np.cos(phase)
        crest = base - (20 + row * 3.5) * (1 - np.abs(np.sin(lean / 2)) * 1.7) + 4 * fbm(rng, x, 30, 2)[:1]
        down = y - crest
        wobble = 9 * (fbm(rng, x, 34, 3) - 0.5)
        band = (down + wobble) / (6.2 + row * 0.35)
        width = 0.75 - 0.011 * down + 0.6 * (fbm(rng, x, 26, 2) - 0.5)
        carved = edge(width - np.abs(band % 2 - 1), 0.16)
        gouge = smooth(fbm(rng, x, 10, 2, stretch=(2.2, 0.5)), 0.62, 0.66)
        deep = pick([row], "2b8ea3 1d6f93 17507f 123a68")[0]
        sea = mix(np.broadcast_to(deep, picture.shape), pick([row + 1], "9fd3cf f6efdc 7cc0c8")[0], carved)
        sea = mix(sea, colours("f6efdc"), np.maximum(edge(5.5 + wobble * 0.5 - down), 0.8 * gouge * (down > 12)))
        sea = mix(sea, colours("0b2345"), edge(1.7 - np.abs(down - 7), 0.9))
        picture = mix(picture, sea, edge(down))
        picture = mix(picture, colours("0b2345"), edge(1.5 - np.abs(down), 0.9))
    return finish(picture * (0.93 + 0.13 * fbm(rng, x, 3, 2))[..., None])


def batik(rng):
    x, y = canvas(640, 640)
    wx, wy = x + 7 * (fbm(rng, x, 60, 2) - 0.5), y + 7 * (fbm(rng, x, 60, 2) - 0.5)
    size = 107
    ax, ay = wx % size - size / 2, wy % size - size / 2
    turn, distance = np.arctan2(ay, ax), np.hypot(ax, ay)
    petal = distance - 50 * np.abs(np.cos(2 * turn + np.pi / 2)) ** 0.55 * 0.98
    star = distance - 11 - 4 * np.cos(8 * turn)
    bx, by = (wx + size / 2) % size - size / 2, (wy + size / 2) % size - size / 2
    ring = np.hypot(bx, by)
    picture = np.broadcast_to(colours("182a5c"), (*x.shape, 3))
    picture = mix(picture, colours("8a4a21"), edge(-petal))
    picture = mix(picture, colours("c98b3c"), edge(-petal - 8))
    cream = np.minimum(np.abs(petal) - 1.9, np.abs(petal + 9) - 1.0)
    spokes = np.hypot((turn / (np.pi / 16) % 1 - 0.5) * np.pi / 16 * distance, distance % 9 - 4.5) - 1.7
    cream = np.minimum(cream, np.where(petal > 6, spokes, 9))
    cream = np.minimum(cream, np.where(petal < -13, np.abs((distance + 3 * np.cos(turn * 4)) % 7 - 3.5) - 0.9, 9))
    cream = np.minimum(cream, np.minimum(star, np.abs(ring - 13) - 1.6))
    beads = np.hypot((np.arctan2(by, bx) / (np.pi / 6) % 1 - 0.5) * np.pi / 6 * ring, ring - 20) - 2.3
    cream = np.minimum(cream, beads)
    picture = mix(picture, colours("f3e3c0"), edge(-cream + 1.2 * (fbm(rng, x, 5, 2) - 0.5), 1.4))
    picture = mix(picture, colours("b23a2a"), edge(4.5 - distance))
    for scale, strength in ((46, 0.85), (17, 0.55)):
        *_, border = cells(rng, x + 18 * fbm(rng, x, 30, 3), y + 18 * fbm(rng, x, 30, 3), scale)
        vein = edge(0.9 * fbm(rng, x, 60, 2) + 0.1 - border, 1.0) * smooth(fbm(rng, x, 70, 3), 0.3, 0.6)
        picture = mix(picture, colours("101a3d"), strength * vein)
    return finish(picture * (0.8 + 0.4 * fbm(rng, x, 12, 4, 0.7))[..., None])


def rainy_boulevard(rng):
    x, y = canvas(540, 720)
    wet = y > 400
    mirrored = np.where(wet, 800 - y, y)
    glow = np.exp(-(((x - 285) / 105) ** 2 + ((mirrored - 290) / 150) ** 2))
    roofs = 70 + 1.1 * np.abs(x - 285) + 70 * (np.round(6 * even(fbm(rng, x, 40, 1))[:1]) / 6 - 0.5)
    wall = mirrored > 345 - roofs
    tone = glow * 1.05 + 0.22 * fbm(rng, x, 60) + np.where(wall, -0.06, 0.24)
    tone += 0.1 * wet * fbm(rng, x, 30, 2, stretch=(0.4, 3))
    colour = ramp(tone, "1a1a44 2d3d7c 2a7590 8a437c dd4640 f4843a fcc65c fff0c2")
    lamps = smooth(fbm(rng, x, 15, 2, stretch=(0.7, 1.9)), 0.6, 0.7) * wall * np.exp(-((np.abs(y - 400) / 230) ** 2))
    signs = pick(np.floor(x / 23 + 2 * fbm(rng, x, 60, 1)), "ffd25e ff7a3c fff1c9 35c3c1 f0456a ffb03c")
    colour = mix(colour, signs, lamps)
    angle = np.where(wet, np.where(fbm(rng, x, 50, 1) > 0.5, 1.57, 0.05), 1.5) + 0.4 * (fbm(rng, x, 60, 2) - 0.5)
    angle = np.where(~wet & ~wall, 0.5 + 1.2 * fbm(rng, x, 120, 1), angle).astype(np.float32)
    layers = ((1300, 46, 30), (2200, 30, 19), (2600, 20, 11), (1700, 12, 6))
    return finish(strokes(rng, colours("1b1838"), angle, colour, layers, 12, 0.075, relief=1.7))


def neon_currents(rng):
    x, _y = canvas(720, 540)
    hill = fbm(rng, x, 210, 3, 0.42)
    down, across = np.gradient(blur(hill, 3))
    angle = directions(down, -across)
    tint = even(fbm(rng, x, 260, 2))
    image = Image.new("RGB", (x.shape[1], x.shape[0]))
    draw = ImageDraw.Draw(image)
    start = rng.uniform(0, 1, (620, 2)) * (x.shape[1], x.shape[0])
    lines = follow(start, angle, 190, 60)
    for (px, py), line, luck in zip(start.astype(int), lines, rng.random(len(start)), strict=True):
        hue = (tint[py, px] + 0.2 * (luck - 0.5)) % 1
        fill = ramp(np.array(hue), "00e5ff 2b6bff 8a2be2 ff2bd6 ff4f5e ffb13d") * (0.35 + 0.65 * luck)
        draw.line(line.ravel().tolist(), tuple((fill * 255).astype(int).tolist()), int(2 + 5 * luck**3), "curve")
    lit = np.asarray(image, np.float32) / 255
    core = blur(lit, 0.4)
    picture = ramp(0.6 * hill + 0.3 * fbm(rng, x, 8, 2), "07051a 120a35 1b1150")
    picture += core + 0.9 * blur(lit, 3) + 0.8 * blur(lit, 11)
    picture += 0.6 * (core.max(-1, keepdims=True) > 0.75) * core
    return finish(1 - np.exp(-1.35 * picture))


def kintsugi(rng):
    x, y = canvas(640, 640)
    wx, wy = x + 50 * (fbm(rng, x, 90, 4) - 0.5), y + 50 * (fbm(rng, x, 90, 4) - 0.5)
    number, _cx, _cy, border = cells(rng, wx, wy, 88)
    kind = (luck(rng, number) * 8).astype(int)
    glaze = fbm(rng, x, 60, 5, 0.55) + 0.3 * (luck(rng, number) - 0.5)
    picture = ramp(glaze, "1f5d5a 4f9386 8fc0ab cfe2cb eef2df")
    glazes = (1, "0a1a3c 14356e 2b62a8 86b3d6"), (3, "b9a88a e6dcc3 f7f1e0 fffaf0"), (5, "2a1418 5d2228 94403a c98a6e")
    for which, shades in glazes:
        picture = np.where((kind == which)[..., None], ramp(glaze, shades), picture)
    waves = np.abs((np.hypot((x % 54) - 27, (y % 27) - 27) / 6.5) % 1 - 0.5) - 0.17
    painted = edge(-waves, 0.2) * ((kind == 3) | (kind == 6)) * fbm(rng, x, 14, 2)
    picture = mix(picture, colours("2b5fa5"), 1.1 * painted)
    for size, ink in ((15, 0.5), (31, 0.6)):
        *_, craze = cells(rng, x + 8 * fbm(rng, x, 16, 2), y + 8 * fbm(rng, x, 16, 2), size)
        picture = mix(picture, colours("3a2f27"), ink * edge(0.45 - craze, 1.0))
    bump = 1 + 0.25 * smooth(border, 14, 2)
    picture *= bump[..., None] * (0.9 + 0.2 * fbm(rng, x, 6, 2))[..., None]
    seam = border - 2.4 - 3.2 * (fbm(rng, x, 22, 2) - 0.5)
    ridge = smooth(-seam, -0.6, 2.4)
    gold = ramp(fbm(rng, x, 12, 3), "7a4c10 c8922c f0cd6a fff2b8") * light(ridge * 2.5, 0.9)
    picture = mix(picture, colours("241a14"), 0.6 * edge(1.4 - seam, 2))
    return finish(mix(picture, gold, edge(-seam)))


def paper_leaves(rng):
    width, height = 540 * SCALE, 720 * SCALE
    image = Image.new("RGB", (width, height), (92, 34, 30))
    t = np.linspace(0, 1, 40)
    half = np.sin(np.pi * t**0.8) ** 0.9 * 0.26
    shades = colours("c8451f e07a1f f0b13a 8e2a2b 5c6b2e 2f4f3a f3dfb4 b5651d d99a2b 6d1f2e")
    for leaf in range(760):
        size = rng.uniform(58, 112) * SCALE * (1 - 0.35 * leaf / 760)
        turn, cx, cy = rng.uniform(0, 2 * np.pi), rng.uniform(0, width), rng.uniform(0, height)
        lobes = 1 + 0.28 * np.abs(np.sin(t * np.pi * rng.integers(0, 6)))
        spine = np.stack([(t - 0.5) * size, 0.09 * size * np.sin(t * np.pi) * rng.choice([-1, 1])], 1)
        side = np.stack([0 * t, half * lobes * size], 1)
        rotate = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        box = int(size * 1.2) + 8 * SCALE
        left, right = (spine + side) @ rotate + box / 2, (spine - side) @ rotate + box / 2
        middle = (left + right) / 2
        mask = Image.new("L", (box, box))
        ImageDraw.Draw(mask).polygon(np.concatenate([left, right[::-1]]).ravel().tolist(), 255)
        corner = (int(cx - box / 2), int(cy - box / 2))
        shadow = mask.filter(ImageFilter.GaussianBlur(3.5 * SCALE)).point(lambda value: value * 0.75)
        image.paste((24, 10, 14), (corner[0] + 3 * SCALE, corner[1] + 4 * SCALE), shadow)
        base = shades[rng.integers(len(shades))] * rng.uniform(0.85, 1.12)
        sheet = Image.new("RGB", (box, box), tuple((np.clip(base, 0, 1) * 255).astype(int).tolist()))
        veins = ImageDraw.Draw(sheet)
        ink = tuple((np.clip(base * rng.choice([0.62, 1.35]) + 0.03, 0, 1) * 255).astype(int).tolist())
        veins.line(middle.ravel().tolist(), ink, int(1.6 * SCALE))
        for i in range(4, 35, 4):
            for rim in (left, right):
                tip = 0.85 * rim[i + 5] + 0.15 * middle[i + 5]
                veins.line((*middle[i], *tip), ink, SCALE)
        image.paste(sheet, corner, mask)
    x, _ = canvas(540, 720)
    picture = np.asarray(image, np.float32) / 255
    return finish(picture * light(fbm(rng, x, 3, 2) * 0.9, 0.4) * (0.88 + 0.24 * fbm(rng, x, 30, 3))[..., None])


def peacock(rng):
    x, y = canvas(640, 640)
    wx, wy = x + 26 * (fbm(rng, x, 110, 2) - 0.5), y + 26 * (fbm(rng, x, 110, 2) - 0.5)
    radius = 53
    distance, turn, number = scales(wx, wy, radius, 41)
    chance = luck(rng, number)
    up, side = distance * np.cos(turn), distance * np.sin(turn)
    eye = np.hypot(side * 1.12, up - 21 + 0.006 * side**2) * (0.9 + 0.25 * chance)
    barbs = np.abs(np.sin(turn * 21 + 0.06 * distance * np.sign(turn) + 3 * fbm(rng, x, 12, 2)))
    plume = 0.5 * distance / radius + 0.75 * (barbs - 0.5) + 0.35 * chance + 0.3 * (fbm(rng, x, 18, 2) - 0.5)
    plume = ramp(plume, "021420 042a3c 065a66 0b8a7c 2fa87a a9cf5f")
    ring = ramp(eye / 25, "0d0630 1a1280 1c45c8 0d8fd0 14c7c8 0f6f6a 0a4f55 b9b04a e8d67a 0f5a50")
    picture = mix(plume, ring * (0.7 + 0.45 * barbs)[..., None], edge(24.5 - eye, 3))
    picture = mix(picture, colours("d9c88a"), 0.8 * edge(1.3 - np.abs(side), 1) * (up < 2))
    shade = 0.35 + 0.65 * smooth(radius - distance, 0, 9) + 0.2 * smooth(distance, 20, 53)
    return finish(picture * (shade * (0.8 + 0.4 * fbm(rng, x, 8, 2)))[..., None] * 1.1)


def embroidered_garden(rng):
    x, y = canvas(640, 640)
    weave = 0.75 + 0.25 * np.sin(x * np.pi / 1.6) * np.sin(y * np.pi / 1.6)
    cloth = colours("12182f") * (weave * (0.8 + 0.5 * fbm(rng, x, 6, 3)))[..., None]
    number, cx, cy, border = cells(rng, x, y, 104, 0.6)
    dx, dy = x - cx, y - cy
    chance = (luck(rng, number) * 12).astype(int)
    turn, distance = np.arctan2(dy, dx) + chance, np.hypot(dx, dy)
    petals = 5 + chance % 3
    reach = 34 + 13 * np.abs(np.cos(turn * petals / 2)) + 4 * (chance % 3)
    ring = distance / reach
    threads = (
        "ffe9b0 f6b21b e63a2e c01f4a ff8fae fff1d6 ff9ec1 e0468c 8d2bb0 f7c6e0 "
        "ffd23f 2fa7d8 1f5fc0 8fdcf0 f5f0dc 7a2d16 f28a1c ffc83d fff0a8 f26a2e"
    )
    bloom = pick(np.clip(np.floor(ring * 4.6), 0, 4) + chance % 4 * 5, threads)
    leaf = ((border - 3) % 13 / 13 + 0.4 * np.sin(turn * petals * 1.5)) > 0.35
    leaves = np.where(leaf[..., None], ramp(fbm(rng, x, 30), "1d6b4a 3f9e4d a8cf5a"), cloth)
    colour = np.where((ring < 1)[..., None], bloom, leaves)
    angle = np.where(ring < 0.25, turn * 2, np.arctan2(dy, dx) + np.where(ring < 1, 0.0, 0.9)).astype(np.float32)
    stitched = strokes(rng, cloth, angle, colour, ((9000, 14, 4.2), (15000, 11, 3.2)), 3, 0.07, dull=0.5, relief=0.8)
    return finish(stitched)


def coral_reef(rng):
    x, _y = canvas(640, 640)
    coarse = x[::SCALE, ::SCALE]
    field = rng.standard_normal(coarse.shape).astype(np.float32)
    for _ in range(40):
        field = np.tanh(9 * (blur(field, 1.25) - blur(field, 2.6)) + 0.06 * field)
    height = np.asarray(Image.fromarray(blur(field, 0.45)).resize(x.shape[::-1], Image.BICUBIC))
    zone = even(fbm(rng, x, 150, 3))
    ridge = ramp(zone, "ff5a3c ff8052 ffb66b ffe3ae ff9a86 f2455f")
    water = ramp(zone + 0.2 * (fbm(rng, x, 40) - 0.5), "2a0a3f 4a0f55 751a62 a8285f 5a1468 2b1152")
    picture = mix(water, ridge, smooth(height, -0.25, 0.3)) * light(height * 3.2, 0.55)
    return finish(picture * (0.82 + 0.36 * fbm(rng, x, 5, 3))[..., None])


def verdigris(rng):
    x, y = canvas(640, 640)
    wx, wy = 60 * (fbm(rng, x, 90, 4) - 0.5), 60 * (fbm(rng, x, 90, 4) - 0.5)
    metal = fbm(rng, x, 14, 4, 0.6, stretch=(3, 0.7))
    patina = even(fbm(rng, x, 110, 7, 0.62))
    picture = ramp(metal, "2a120c 6b2c16 b1571f e39a4b ffd79a")
    bloom = ramp(fbm(rng, x, 30, 5, 0.65), "0d4a4c 1b8078 45b8a0 9fe0c6 e9f5dd")
    crust = smooth(patina, 0.46, 0.54)
    picture = mix(picture, bloom, crust)
    picture = mix(picture, colours("1a0f14"), 0.8 * np.exp(-(((patina - 0.46) / 0.018) ** 2)))
    *_, crack = cells(rng, x + wx, y + wy, 26)
    picture = mix(picture, colours("0c2b30"), 0.75 * edge(0.8 - crack, 1) * smooth(patina, 0.6, 0.8))
    return finish(picture * light(crust * 1.3 + fbm(rng, x, 7, 3) * 2.2 * crust + metal, 0.55))


# The sample photo, until a user brings one


def conifer(rng, draw, cx, foot, height, dark, lit):
    """A fir of many small branches, its right side in the sun."""
    draw.line((cx, foot, cx, foot - height), dark, max(2, int(height / 40)))
    dark, lit = np.array(dark), np.array(lit)
    for t in np.linspace(0, 1, int(height / 1.6)):
        reach = height * 0.2 * (1 - t) ** 0.85 * rng.uniform(0.6, 1.15) + 1
        for way in (-1, 1):
            shade = dark + (lit - dark) * rng.uniform(0, 1) * (0.25 if way < 0 else 1)
            top = foot - height * (0.06 + 0.94 * t)
            end = (cx + way * reach, top + reach * rng.uniform(0.25, 0.6))
            draw.line((cx, top, *end), tuple(shade.astype(int)), max(1, int(height / 110)))


def house(draw, cx, foot, size):
    """A red wooden house with a lit window side and a slate roof, `size` wide, standing on (cx, foot)."""
    at = lambda *points: [(cx + u * size, foot - v * size) for u, v in points]  # noqa: E731
    draw.polygon(at((-0.5, 0), (-0.5, 0.42), (0.12, 0.42), (0.12, 0)), (112, 38, 30))
    draw.polygon(at((0.12, 0), (0.12, 0.42), (0.32, 0.74), (0.52, 0.42), (0.52, 0)), (186, 72, 46))
    for board in np.arange(-0.48, 0.12, 0.03):
        draw.line(at((board, 0), (board, 0.42)), (92, 30, 26))
    for board in np.arange(0.15, 0.52, 0.03):
        draw.line(at((board, 0), (board, 0.42)), (160, 58, 40))
    draw.polygon(at((-0.56, 0.38), (-0.36, 0.78), (0.33, 0.78), (0.12, 0.38)), (62, 58, 68))
    draw.line(at((0.12, 0.38), (0.33, 0.78), (0.56, 0.38)), (240, 222, 196), int(size / 28), "curve")
    draw.polygon(at((-0.2, 0.7), (-0.2, 0.94), (-0.1, 0.94), (-0.1, 0.7)), (122, 82, 70))
    windows = (-0.42, 0.14, -0.3, 0.29), (-0.2, 0.14, -0.08, 0.29), (0.2, 0.14, 0.3, 0.3)
    for left, low, right, top in (*windows, (0.37, 0, 0.47, 0.27)):
        pane = (255, 214, 128) if left < 0.3 else (84, 52, 44)
        corners = at((left, low), (left, top), (right, top), (right, low), (left, low))
        draw.polygon(corners, pane)
        draw.line(corners, (240, 226, 204), int(size / 40), "curve")


def sample_photo(rng):
    x, y = canvas(768, 512)
    shore = 318
    sun = np.hypot((x - 610) / 1.5, y - 236)
    picture = ramp(np.clip(y / 300, 0, 1), "2f5f9f 5f8fc0 a3bfd3 f0d9b4 fbc07a")
    picture = picture + np.exp(-sun / 95)[..., None] * (0.34, 0.12, -0.04)
    cloud = fbm(rng, x, 150, 6, 0.55, stretch=(1.9, 0.75))
    lit = np.clip(0.55 + 9 * (cloud - np.roll(cloud, (-9, -14), (0, 1))), 0, 1)
    cover = 0.92 * smooth(cloud, 0.5, 0.66) * smooth(y, 300, 120)
    picture = mix(picture, ramp(lit, "7f7f9f b59fae f0bf9f ffe6c4 fff6e8"), cover)
    far, close = "4a5878 6f7690 a08f96 dcb79f", "2f4050 4f5a58 7a7358 b8976a"
    for base, size, cell, haze, shades in ((238, 240, 210, 0.45, far), (285, 150, 150, 0.2, close)):
        ridge = base - size * (fbm(rng, x, cell, 6, 0.5)[:1] - 0.42)
        rock = fbm(rng, x, 60, 6, 0.62) + 0.004 * (y - ridge)
        slope = np.clip(0.5 + 10 * (np.roll(rock, (6, -8), (0, 1)) - rock), 0, 1)
        face = ramp(slope, shades)
        snow = smooth(ridge + 52 + 70 * (rock - 0.5) - y, -4, 8) * smooth(base - 20 - ridge, 0, 30) * (haze > 0.3)
        face = mix(face, ramp(slope, "7f8fb5 b9bccf ffe3c8 fff3e2"), snow)
        face = mix(face, colours("e9c39c"), haze * smooth(y, base - 60, shore))
        picture = mix(picture, face, edge(y - ridge))
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8), "RGB")
    draw = ImageDraw.Draw(image)
    foot = shore * SCALE
    for cx in np.sort(rng.uniform(0, x.shape[1], 260)):
        height = rng.uniform(30, 66) * (1 + 0.6 * np.sin(cx / 170) ** 2)
        conifer(rng, draw, cx, foot + 2, height, (26, 44, 44), (104, 98, 52))
    bank = (foot - 14 * np.exp(-(((x[0] - 250) / 165) ** 2))).tolist()
    draw.polygon([(0, foot + 3), *enumerate(bank), (x.shape[1], foot + 3)], (112, 104, 52))
    for _ in range(5000):
        gx = rng.integers(0, x.shape[1])
        gy = rng.uniform(bank[gx], foot + 3)
        shade = np.array([128, 112, 48]) * rng.uniform(0.5, 1.5)
        draw.line((gx, gy, gx + rng.normal() * 2, gy - 5), tuple(shade.astype(int)))
    for cx, height in ((250, 210), (310, 270), (372, 190), (640, 180), (700, 250), (745, 170)):
        conifer(rng, draw, cx, foot - 8, height, (18, 34, 28), (128, 122, 48))
    house(draw, 500, foot - 10, 170)
    for cx, height in ((408, 120), (618, 96)):
        conifer(rng, draw, cx, foot - 4, height, (24, 42, 30), (140, 132, 56))
    picture = np.asarray(image, np.float32) / 255
    near = np.clip((y - shore) / 200, 0, 1)
    ripple = (fbm(rng, x, 26, 4, 0.6, stretch=(3.4, 0.5)) - 0.5) * (4 + 60 * near)
    row = np.clip((2 * shore - y + ripple) * SCALE, 0, foot - 1).astype(int)
    column = np.clip(x * SCALE + ripple * 0.5, 0, x.shape[1] - 1).astype(int)
    water = picture[row, column] * (0.86, 0.88, 0.92)
    water = mix(water, colours("2f4a63"), 0.15 + 0.3 * near)
    water = water + (smooth(ripple, 2, 12) * np.exp(-np.abs(x - 610) / 130) * 0.22)[..., None] * (1.0, 0.75, 0.45)
    picture = mix(picture, water, edge(y - shore - 0.5))
    image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8), "RGB")
    draw = ImageDraw.Draw(image)
    near_bank = (SCALE * (478 - 62 * smooth(x[0], 470, 40) + 10 * fbm(rng, x, 80)[0])).tolist()
    draw.polygon([(0, x.shape[0]), *enumerate(near_bank), (x.shape[1], x.shape[0])], (44, 52, 26))
    for gx, share in zip(rng.integers(0, x.shape[1], 15000), np.sort(rng.random(15000)), strict=True):
        gy = near_bank[gx] + share * (x.shape[0] + 20 - near_bank[gx])
        shade = np.array([96, 98, 36]) * rng.uniform(0.35, 1.25) + np.array([90, 62, 10]) * rng.random() ** 3
        tall = rng.uniform(12, 34) * (0.6 + share)
        draw.line((gx, gy, gx + rng.normal() * 6, gy - tall), tuple(np.minimum(shade, 255).astype(int)), 2)
        if rng.random() < 0.03:
            bloom = [(236, 226, 214), (240, 190, 70), (196, 84, 110)][rng.integers(3)]
            draw.ellipse((gx - 4, gy - tall - 4, gx + 4, gy - tall + 3), bloom)
    picture = np.asarray(image, np.float32) / 255
    picture = 0.75 * picture + 0.25 * blur(picture, 0.8) + 0.12 * blur(np.maximum(picture - 0.6, 0), 14)
    picture *= (1.04 - 0.3 * (((x - 384) / 384) ** 2 + ((y - 256) / 256) ** 2) / 2)[..., None]
    picture = np.clip(picture, 0, 1) ** 0.94 * (1.03, 1.0, 0.96)
    return finish(picture + 0.026 * rng.standard_normal((*x.shape, 1)))


DRAWN = (
    whirling_night,
    sunflower_field,
    stained_glass,
    woodcut_valley,
    pointillist_river,
    marbled_paper,
    tide_mosaic,
    halftone_pop,
    ink_mountains,
    tapestry,
    cubist_table,
    watercolour_blooms,
    linocut_waves,
    batik,
    rainy_boulevard,
    neon_currents,
    kintsugi,
    paper_leaves,
    peacock,
    embroidered_garden,
    coral_reef,
    verdigris,
)
STYLES = {function.__name__.replace("_", "-"): function for function in DRAWN}


def draw(name):
    """The picture of that name, always the same."""
    function = sample_photo if name == "sample" else STYLES[name]
    return function(np.random.default_rng(zlib.crc32(name.encode())))


def encode(image, kind, limit):
    """The picture's bytes in the best quality from 88 down to 65 that stays within `limit`, or in the lowest."""
    for quality in (88, 84, 80, 75, 70, 65):
        buffer = io.BytesIO()
        image.save(buffer, kind, quality=quality, **({"method": 6} if kind == "WEBP" else {"optimize": True}))
        if buffer.tell() <= limit:
            break
    return buffer.getvalue()


def main(names):
    for name in names or (*STYLES, "sample"):
        if name != "sample" and name not in STYLES:
            sys.exit(f"no picture called {name!r}; choose from {', '.join(STYLES)}, sample")
        path, kind = (SAMPLE, "JPEG") if name == "sample" else (FOLDER / f"{name}.webp", "WEBP")
        data = encode(draw(name), kind, MAX_BYTES)
        path.write_bytes(data)
        print(f"{path.name}  {len(data) / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
