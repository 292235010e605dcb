"""Every stored style vector anew: `python -m stylizer.training.vectors --masters FOLDER`, after the predictor changed.

Originals are read from styles/. The masters' pictures are not part of this repository: FOLDER holds them under the
names that styles.toml gives as `source`; any good reproduction will do, the shorter side at 384 pixels or more.

The predictor that is set makes the vectors. The other ones in models/ are asked too, and those that agree with it,
being distilled from it, are listed as of the same space: with them the gallery and every transformer work as well.
Beside the vectors there is what makes strokes broader: the mean way from a picture's vector to that of the same picture
seen twice as large, which is nearly the same way for all; and the way from a vector to the roughness of its painting,
fitted to the many of `--paintings`, without which what is stored stays (docs/design.md).

Vectors are compared in the gammas and betas that the transformer makes of them: of their numbers most change next to
nothing in a picture.
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
from stylizer.feedforward import READ_SIDE, read_style
from stylizer.images import LUMA, Picture, as_picture, resize_shorter
from stylizer.runtimes import make_runtime
from stylizer.settings import Settings
from stylizer.studies import SUFFIX
from stylizer.styles import COARSER, ROUGHNESS, STUDIES, UNKNOWN, VECTORS, read_list, read_vectors
from stylizer.training.data import files

OCTAVE = 320, 640  # shorter sides at which pictures are seen small and large; ours are 540 to 640
RIDGE = 10.0  # of the regression on vectors, whose numbers have deviation 1 in it
SAME_SPACE = 0.5  # of the variance that another predictor has to explain; one of another space explains none


def picture_of(entry: dict, styles: Path, masters: Path | None) -> Path:
    """Where a style's picture lies; ParameterError says where it should."""
    folder, file = (styles, entry["picture"]) if entry["kind"] == "original" else (masters, entry["source"])
    if folder is None or not (folder / file).is_file():
        raise ParameterError("masters", f"{entry['name']} needs {file}; name the folder that holds it with --masters")
    return folder / file


def rebuild(settings: Settings, masters: Path | None) -> dict:
    """{name: (100,) float32} of every style in the list, computed in float32 so that every machine agrees."""
    runtime = make_runtime(settings)
    pictures = {entry["name"]: picture_of(entry, settings.styles, masters) for entry in read_list(settings.styles)}
    vectors = {}
    for name, path in tqdm(pictures.items(), desc="styles", unit="style"):
        vectors[name] = read_style(runtime.predict, as_picture(path, settings))[0]
    return vectors


def originals(settings: Settings) -> list[Picture]:
    """The pictures that this project drew."""
    return [as_picture(settings.styles / entry["picture"], settings)
            for entry in read_list(settings.styles) if entry["kind"] == "original"]  # fmt: skip


def coarser(predict: Callable[[np.ndarray], np.ndarray], pictures: Iterable[Picture]) -> np.ndarray:
    """What is added to a vector for strokes twice as large, float32 (100,)."""
    ways = [read_style(predict, picture, OCTAVE[1]) - read_style(predict, picture, OCTAVE[0]) for picture in pictures]
    return np.mean(ways, axis=0, dtype=np.float64)[0].astype(np.float32)


def way_to_roughness(predict: Callable[[np.ndarray], np.ndarray], pictures: Iterable[Picture]) -> np.ndarray:
    """What makes log2(1 + roughness) of a vector, float32 (101,), the last one added: ridge regression."""
    vectors, wanted = [], []
    for picture in pictures:
        vectors.append(read_style(predict, picture)[0])
        wanted.append(np.log2(1 + roughness(resize_shorter(picture, READ_SIDE).rgb @ LUMA)))
    vectors, wanted = np.asarray(vectors, np.float64), np.asarray(wanted)
    mean, deviation = vectors.mean(0), vectors.std(0).clip(1e-6)
    rows = (vectors - mean) / deviation
    way = np.linalg.solve(rows.T @ rows + RIDGE * np.eye(rows.shape[1]), rows.T @ (wanted - wanted.mean())) / deviation
    left = wanted - vectors @ way
    print(f"roughness of {len(wanted)} paintings: {1 - left.var() / wanted.var():.0%} of its variance explained, "
          f"{left.std():.2f} octaves off")
    return np.append(way, left.mean()).astype(np.float32)


def decoded(settings: Settings, sources: Iterable[Path]) -> Iterator[Picture]:
    """Every picture of these tars and folders that can be read."""
    for name, content in tqdm(itertools.chain.from_iterable(map(files, sources)), desc="paintings", unit="picture"):
        try:
            yield images.decode(content, settings, name)
        except StylizerError as error:
            print(f"vectors: {name} is skipped: {error}", file=sys.stderr)


def heads_of(settings: Settings) -> np.ndarray:
    """What turns style vectors into all that the transformer feels of them, but for what this is at 0: (100, F)."""
    file = f"{settings.transformer_stem}.safetensors"
    arrays, _ = weights.parse(weights.read(settings.models, file), file)
    heads = (".gamma.weight", ".beta.weight", ".mix.weight")
    return np.concatenate([array for key, array in arrays.items() if key.endswith(heads)]).T


def explained(given: dict, wanted: dict, heads: np.ndarray) -> float:
    """Share of the variance of the wanted vectors' norms that the given ones explain: at most 1, 0 if unrelated."""
    given, wanted = (np.stack([vectors[name] for name in wanted]) @ heads for vectors in (given, wanted))
    return float(1 - np.square(given - wanted).sum() / np.square(wanted - wanted.mean(0)).sum())


def predictors_of_the_space(settings: Settings, masters: Path | None, vectors: dict) -> list[str]:
    """Fingerprints: of the predictor that is set, then of the others in models/ that answer nearly as it does."""
    found = [weights.fingerprint(settings.models, f"{settings.predictor_stem}.safetensors")]
    heads = heads_of(settings)
    for name in weights.choices(settings.models, "predictor"):
        if name != settings.predictor:
            other = replace(settings, predictor=name)
            share = explained(rebuild(other, masters), vectors, heads)
            print(f"{other.predictor_stem} explains {share:.0%} of the vectors' variance: "
                  + ("the same space" if share > SAME_SPACE else "another space, it cannot show this gallery"))
            if share > SAME_SPACE:
                found.append(weights.fingerprint(settings.models, f"{other.predictor_stem}.safetensors"))
    return found


def write_checksums(folder: Path) -> None:
    """List the vectors and every study with its sha256."""
    files = [folder / VECTORS, *sorted((folder / STUDIES).glob(f"*{SUFFIX}"))]
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder).as_posix()}\n"
             for file in files]  # fmt: skip
    (folder / weights.CHECKSUMS).write_text("".join(lines))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m stylizer.training.vectors", description=__doc__.splitlines()[0])
    parser.add_argument("--masters", type=Path, help="folder with the masters' pictures")
    parser.add_argument("--paintings", type=Path, nargs="*", default=[],
                        help="tars or folders of some thousand paintings, to fit the way to a painting's roughness to")
    options = parser.parse_args(arguments)
    settings = replace(Settings.from_env(), device="cpu", precision="f32")
    try:
        vectors = rebuild(settings, options.masters)
        predictors = predictors_of_the_space(settings, options.masters, vectors)
    except StylizerError as error:
        print(f"vectors: {error}", file=sys.stderr)
        return 2
    predict = make_runtime(settings).predict
    broader, way = coarser(predict, originals(settings)), UNKNOWN
    if options.paintings:
        way = way_to_roughness(predict, decoded(settings, options.paintings))
    elif (settings.styles / VECTORS).exists():
        way = read_vectors(settings.styles).roughness
    data = save({**vectors, COARSER: broader, ROUGHNESS: way}, {"predictor": " ".join(predictors)})
    (settings.styles / VECTORS).write_bytes(data)
    write_checksums(settings.styles)
    print(f"{settings.styles / VECTORS}: {len(vectors)} vectors by {settings.predictor_stem}@{predictors[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
