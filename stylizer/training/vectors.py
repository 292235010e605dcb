"""Compute every stored style vector of the gallery, after the predictor has changed.

Originals are read from styles/. The masters' pictures are not part of this repository: --masters names the folder that
holds them under the names that styles.toml gives as `source`. Any good reproduction will do, with a shorter side of 384
pixels or more.

The predictor that is set makes the vectors. The others in models/ are compared with it, and those that agree, being
distilled from it, are listed as sharing its space: the gallery and every transformer work with them, too.

Two more things are stored beside the vectors (docs/design.md). One makes strokes broader: the mean change of a
picture's vector when the picture is read at twice the size, which is nearly the same for all. The other predicts a
painting's roughness from its vector; it is fitted to the many paintings of --paintings, and kept if there are none.

Vectors are compared in the gammas and betas that the transformer makes of them: most of their numbers hardly change a
picture.
"""

import argparse
import hashlib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from tqdm import tqdm

from stylizer import images, weights
from stylizer.brushwork import roughness
from stylizer.errors import ParameterError, StylizerError
from stylizer.images import LUMA, Picture, as_picture, resize_shorter
from stylizer.reading import READ_SIDE, read_style
from stylizer.runtimes import make_runtime
from stylizer.settings import Settings
from stylizer.studies import SUFFIX
from stylizer.styles import COARSER, ROUGHNESS, STUDIES, UNKNOWN, VECTORS, read_list, read_vectors
from stylizer.training.data import files

OCTAVE = 320, 640  # shorter sides at which pictures are read small and large; ours are 540 to 640
RIDGE = 10.0  # of the regression on vectors, whose numbers it scales to deviation 1
SAME_SPACE = 0.5  # share of the variance that a predictor of the same space explains; one of another explains none


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_masters(parser)
    parser.add_argument(
        "--paintings",
        type=Path,
        nargs="*",
        default=[],
        help="tars or folders of a few thousand paintings, to fit the prediction of roughness to",
    )


def add_masters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--masters", type=Path, metavar="FOLDER", help="the masters' pictures, named as in styles.toml")


def run(arguments: argparse.Namespace) -> None:
    settings = replace(Settings.from_env(), device="cpu", precision="f32")
    vectors = rebuild(settings, arguments.masters)
    predictors = predictors_of_the_space(settings, arguments.masters, vectors)
    predict = make_runtime(settings).predict
    broader, way = coarser(predict, originals(settings)), UNKNOWN
    if arguments.paintings:
        way = way_to_roughness(predict, decoded(settings, arguments.paintings))
    elif (settings.styles / VECTORS).exists():
        way = read_vectors(settings.styles).roughness
    data = save({**vectors, COARSER: broader, ROUGHNESS: way}, {"predictor": " ".join(predictors)})
    (settings.styles / VECTORS).write_bytes(data)
    write_gallery_checksums(settings.styles)
    print(f"{settings.styles / VECTORS}: {len(vectors)} vectors by {settings.predictor_stem}@{predictors[0]}")


def picture_of(entry: dict, styles: Path, masters: Path | None) -> Path:
    """The file of a style's picture; ParameterError if it is not there."""
    folder, file = (styles, entry["picture"]) if entry["kind"] == "original" else (masters, entry["source"])
    if folder is None or not (folder / file).is_file():
        raise ParameterError("masters", f"{entry['name']} needs {file}; give its folder with --masters")
    return folder / file


def rebuild(settings: Settings, masters: Path | None) -> dict:
    """{name: (100,) float32} for every style in the list, computed in float32 so that all machines agree."""
    runtime = make_runtime(settings)
    pictures = {entry["name"]: picture_of(entry, settings.styles, masters) for entry in read_list(settings.styles)}
    vectors = {}
    for name, path in tqdm(pictures.items(), desc="styles", unit="style"):
        vectors[name] = read_style(runtime.predict, as_picture(path, settings))[0]
    return vectors


def originals(settings: Settings) -> list[Picture]:
    """The pictures that this project drew."""
    return [
        as_picture(settings.styles / entry["picture"], settings)
        for entry in read_list(settings.styles)
        if entry["kind"] == "original"
    ]


def coarser(predict: Callable[[np.ndarray], np.ndarray], pictures: Iterable[Picture]) -> np.ndarray:
    """What to add to a vector for strokes twice as large, float32 (100,)."""
    ways = [read_style(predict, picture, OCTAVE[1]) - read_style(predict, picture, OCTAVE[0]) for picture in pictures]
    return np.mean(ways, axis=0, dtype=np.float64)[0].astype(np.float32)


def way_to_roughness(predict: Callable[[np.ndarray], np.ndarray], pictures: Iterable[Picture]) -> np.ndarray:
    """Weights (100) and a bias, float32 (101,), that give log2(1 + roughness) of a vector: ridge regression."""
    vectors, wanted = [], []
    for picture in pictures:
        vectors.append(read_style(predict, picture)[0])
        wanted.append(np.log2(1 + roughness(resize_shorter(picture, READ_SIDE).rgb @ LUMA)))
    vectors, wanted = np.asarray(vectors, np.float64), np.asarray(wanted)
    mean, deviation = vectors.mean(0), vectors.std(0).clip(1e-6)
    rows = (vectors - mean) / deviation
    way = np.linalg.solve(rows.T @ rows + RIDGE * np.eye(rows.shape[1]), rows.T @ (wanted - wanted.mean())) / deviation
    left = wanted - vectors @ way
    print(
        f"roughness of {len(wanted)} paintings: {1 - left.var() / wanted.var():.0%} of its variance explained, "
        f"{left.std():.2f} octaves off"
    )
    return np.append(way, left.mean()).astype(np.float32)


def decoded(settings: Settings, sources: Iterable[Path]) -> Iterator[Picture]:
    """Every readable picture of these tars and folders."""
    for name, content in tqdm(itertools.chain.from_iterable(map(files, sources)), desc="paintings", unit="picture"):
        try:
            yield images.decode(content, settings, name)
        except StylizerError as error:
            print(f"{name} is skipped: {error}", file=sys.stderr)


def heads_of(settings: Settings) -> np.ndarray:
    """The matrix (100, F) from style vectors to all that the transformer makes of them, without the biases."""
    file = f"{settings.transformer_stem}.safetensors"
    arrays, _ = weights.parse(weights.read(settings.models, file), file)
    heads = (".gamma.weight", ".beta.weight", ".mix.weight")
    return np.concatenate([array for key, array in arrays.items() if key.endswith(heads)]).T


def explained(given: dict, wanted: dict, heads: np.ndarray) -> float:
    """Share of the wanted vectors' variance, after `heads`, that the given ones explain: 1 at most, 0 if unrelated."""
    given, wanted = (np.stack([vectors[name] for name in wanted]) @ heads for vectors in (given, wanted))
    return float(1 - np.square(given - wanted).sum() / np.square(wanted - wanted.mean(0)).sum())


def predictors_of_the_space(settings: Settings, masters: Path | None, vectors: dict) -> list[str]:
    """Fingerprints: of the predictor that is set, then of those in models/ whose vectors are nearly the same."""
    found = [weights.fingerprint(settings.models, f"{settings.predictor_stem}.safetensors")]
    heads = heads_of(settings)
    for name in weights.choices(settings.models, "predictor"):
        if name != settings.predictor:
            other = replace(settings, predictor=name)
            share = explained(rebuild(other, masters), vectors, heads)
            print(
                f"{other.predictor_stem} explains {share:.0%} of the vectors' variance: "
                + ("the same space" if share > SAME_SPACE else "another space; it cannot be used with this gallery")
            )
            if share > SAME_SPACE:
                found.append(weights.fingerprint(settings.models, f"{other.predictor_stem}.safetensors"))
    return found


def write_gallery_checksums(folder: Path) -> None:
    """List the vectors and every study of styles/ with their sha256."""
    files = [folder / VECTORS, *sorted((folder / STUDIES).glob(f"*{SUFFIX}"))]
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder).as_posix()}\n" for file in files
    ]
    (folder / weights.CHECKSUMS).write_text("".join(lines))
