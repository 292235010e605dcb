"""Pictures for the README, the docs and the model card: `python docs/figures.py [RUN]`, after weights change.

`grid.jpg`: our sample photo in styles that we drew, and along the slider. `studies.jpg`: by style vectors alone, and by
the gallery's studies below. With a training run's folder also `curve.svg`: its two distances over its time, running
medians.
"""

import csv
import json
import statistics
import sys
from pathlib import Path

from PIL import Image

from stylizer import Stylizer
from stylizer.styles import Blend

ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "assets/sample.jpg"
STYLES = ("whirling-night", "stained-glass", "coral-reef", "woodcut-valley",
          "sunflower-field", "ink-mountains", "peacock", "batik")  # fmt: skip
STUDIED = ("starry-night", "great-wave", "ink-mountains", "kintsugi")
STRENGTHS = (0.0, 0.3, 0.6, 1.0)
CELL, GAP, INSET = (384, 256), 6, (96, 64)
WIDTH, HEIGHT, MARGIN = 720, 220, 44  # of the curve, in SVG units
COLOURS = {"content": "#2563eb", "style": "#c2410c"}
WINDOW = 25  # reports a running median spans


def grid(engine: Stylizer) -> Image.Image:
    """Eight styles with the style in the corner, then one of them at four strengths."""
    cells = [(name, 1.0) for name in STYLES] + [(STYLES[0], strength) for strength in STRENGTHS]
    width, height = CELL[0] + GAP, CELL[1] + GAP
    sheet = Image.new("RGB", (4 * width - GAP, len(cells) // 4 * height - GAP), "white")
    for index, (name, strength) in enumerate(cells):
        style = ROOT / f"styles/{name}.webp"
        painted = engine.stylize(PHOTO, style, strength=strength, size=CELL[0]).resize(CELL)
        if index < len(STYLES):
            painted.paste(Image.open(style).convert("RGB").resize(INSET), (0, CELL[1] - INSET[1]))
        sheet.paste(painted, (index % 4 * width, index // 4 * height))
    return sheet


def studies(engine: Stylizer) -> Image.Image:
    """Four styles, each by the style vector and, below, by the study."""
    photo = engine.photo(PHOTO, CELL[0])
    width, height = CELL[0] + GAP, CELL[1] + GAP
    sheet = Image.new("RGB", (len(STUDIED) * width - GAP, 2 * height - GAP), "white")
    for column, name in enumerate(STUDIED):
        style = engine.gallery[name]
        for row, blend in enumerate((Blend(style.vector), Blend.of(style))):
            sheet.paste(Image.fromarray(engine.paint(photo, blend).rgb).resize(CELL), (column * width, row * height))
    return sheet


def curve(run: Path) -> str:
    """SVG of `curve.csv`, with a line where crops and batches change."""
    with (run / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    minutes = [float(row["seconds"]) / 60 for row in rows]
    smooth = {name: running_median([float(row[name]) for row in rows]) for name in COLOURS}
    top = 1.1 * max(max(values) for values in smooth.values())

    def place(minute: float, value: float) -> str:
        across = MARGIN + minute / minutes[-1] * (WIDTH - 2 * MARGIN)
        return f"{across:.1f},{HEIGHT - MARGIN - value / top * (HEIGHT - 2 * MARGIN):.1f}"

    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    for tick in (tenth / 10 for tenth in range(0, int(10 * top) + 1, 2)):
        x, y = place(0, tick).split(",")
        parts.append(f'<path d="M{x} {y}H{WIDTH - MARGIN}" stroke="#ddd"/><text x="8" y="{float(y) + 4}">{tick}</text>')
    stages = json.loads((run / "settings.json").read_text())["stages"].split(",")
    for start, pixels, batch in (stage.split(":") for stage in stages):
        x = place(float(start) * minutes[-1], 0).split(",")[0]
        parts.append(f'<path d="M{x} {MARGIN / 2}V{HEIGHT - MARGIN}" stroke="#999" stroke-dasharray="3"/>'
                     f'<text x="{float(x) + 4}" y="{MARGIN / 2 + 6}">{batch} of {pixels} px</text>')
    for name, values in smooth.items():
        points = " ".join(map(place, minutes, values))
        end = points.rsplit(",")[-1]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="1.5"/>'
                     f'<text x="{WIDTH - MARGIN + 3}" y="{end}" fill="{COLOURS[name]}">{name}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">minutes, to {minutes[-1]:.0f}</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
            f'font-size="12" fill="#444">{"".join(parts)}</svg>\n')


def running_median(values: list[float]) -> list[float]:
    half = WINDOW // 2
    return [statistics.median(values[max(0, index - half):index + half + 1]) for index in range(len(values))]


if __name__ == "__main__":
    painter = Stylizer()
    for draw in (grid, studies):
        draw(painter).save(Path(__file__).parent / f"{draw.__name__}.jpg", quality=86, optimize=True)
    for folder in map(Path, sys.argv[1:2]):
        (Path(__file__).parent / "curve.svg").write_text(curve(folder))
