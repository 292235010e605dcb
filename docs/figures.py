"""Pictures for the README, the docs and the model card: `python docs/figures.py`, after weights or studies change.

`grid.jpg`: our sample photo in styles that we drew, and along the slider. `studies.jpg`: by style vectors alone, and by
the gallery's studies below. With `--vgg FILE`, VGG-16's weights, also `classic.jpg`: the single pass, then classic
through our narrow VGG and through VGG-16, minutes on a CPU. With `--run FOLDER`, of a training, also `curve.svg`: its
two distances over its time, running medians.
"""

import argparse
import csv
import json
import statistics
from collections import deque
from pathlib import Path

from PIL import Image

from stylizer import Stylizer, gatys, images
from stylizer.styles import Blend

ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "assets/sample.jpg"
STYLES = (
    "whirling-night",
    "stained-glass",
    "coral-reef",
    "woodcut-valley",
    "sunflower-field",
    "ink-mountains",
    "peacock",
    "batik",
)
STUDIED = ("starry-night", "great-wave", "ink-mountains", "kintsugi")
CLASSIC = ("stained-glass", "whirling-night")
STRENGTHS = (0.0, 0.3, 0.6, 1.0)
CELL, GAP, INSET = (384, 256), 6, (96, 64)
WIDTH, HEIGHT, MARGIN = 720, 220, 54  # of the curve, in SVG units
COLOURS = {"content": "#2563eb", "style": "#c2410c"}
WINDOW = 25  # reports a running median spans


def grid(engine: Stylizer) -> Image.Image:
    """Eight styles with the style in the corner, then one of them at four strengths."""
    cells = [(name, 1.0) for name in STYLES] + [(STYLES[0], strength) for strength in STRENGTHS]
    width, height = CELL[0] + GAP, CELL[1] + GAP
    sheet = Image.new("RGB", (4 * width - GAP, len(cells) // 4 * height - GAP), "white")
    for index, (name, strength) in enumerate(cells):
        painted = engine.stylize(PHOTO, name, strength=strength, size=CELL[0]).resize(CELL)
        if index < len(STYLES):
            painted.paste(picture_of(name).resize(INSET), (0, CELL[1] - INSET[1]))
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


def classic(engine: Stylizer, vgg: Path) -> Image.Image:
    """A row a style: photo, style, the single pass, classic through the narrow VGG and through VGG-16."""
    width, height = CELL[0] + GAP, CELL[1] + GAP
    sheet = Image.new("RGB", (5 * width - GAP, len(CLASSIC) * height - GAP), "white")
    for row, name in enumerate(CLASSIC):
        cells = [Image.open(PHOTO), picture_of(name), engine.stylize(PHOTO, name, size=CELL[0])]
        for backbone, weights in (("narrow", None), ("vgg16", vgg)):
            _, steps = gatys.paint(
                PHOTO,
                [name],
                gatys.GatysConfig(),
                engine.settings,
                backbone=backbone,
                backbone_weights=weights,
                size=CELL[0],
            )
            last = deque(steps, maxlen=1).pop()
            cells.append(Image.fromarray(images.from_tensor(last.picture.numpy())))
        for column, cell in enumerate(cells):
            sheet.paste(cell.convert("RGB").resize(CELL), (column * width, row * height))
    return sheet


def picture_of(name: str) -> Image.Image:
    return Image.open(ROOT / f"styles/{name}.webp").convert("RGB")


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
        parts.append(
            f'<path d="M{x} {MARGIN / 2}V{HEIGHT - MARGIN}" stroke="#999" stroke-dasharray="3"/>'
            f'<text x="{float(x) + 4}" y="{MARGIN / 2 + 6}">{batch} of {pixels} px</text>'
        )
    for name, values in smooth.items():
        points = " ".join(map(place, minutes, values))
        end = points.rsplit(",")[-1]
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="1.5"/>'
            f'<text x="{WIDTH - MARGIN + 3}" y="{end}" fill="{COLOURS[name]}">{name}</text>'
        )
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">minutes, to {minutes[-1]:.0f}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="#444">{"".join(parts)}</svg>\n'
    )


def running_median(values: list[float]) -> list[float]:
    half = WINDOW // 2
    return [statistics.median(values[max(0, index - half) : index + half + 1]) for index in range(len(values))]


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the pictures of the README, the docs and the model card.")
    parser.add_argument("--vgg", type=Path, metavar="FILE", help="weights of VGG-16, for classic.jpg")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="of a training, for curve.svg")
    options = parser.parse_args()
    engine, docs = Stylizer(), Path(__file__).parent
    sheets = {"grid": grid(engine), "studies": studies(engine)}
    if options.vgg:
        sheets["classic"] = classic(engine, options.vgg)
    for name, sheet in sheets.items():
        sheet.save(docs / f"{name}.jpg", quality=86, optimize=True)
    if options.run:
        (docs / "curve.svg").write_text(curve(options.run))


if __name__ == "__main__":
    main()
