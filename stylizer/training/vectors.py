"""Every stored style vector anew: `python -m stylizer.training.vectors --masters FOLDER`, after the predictor changed.

Originals are read from styles/. The masters' pictures are not part of this repository: FOLDER holds them under the
names that styles.toml gives as `source`; any good reproduction will do, the shorter side at 256 pixels or more.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from safetensors.numpy import save
from tqdm import tqdm

from stylizer import weights
from stylizer.errors import ParameterError, StylizerError
from stylizer.feedforward import STYLE_SIDE
from stylizer.images import as_picture, resize_shorter, to_tensor
from stylizer.runtimes import make_runtime
from stylizer.settings import Settings
from stylizer.styles import VECTORS, read_list


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
        picture = resize_shorter(as_picture(path, settings), STYLE_SIDE)
        vectors[name] = runtime.predict(to_tensor(picture.rgb))[0]
    return vectors


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m stylizer.training.vectors", description=__doc__.splitlines()[0])
    parser.add_argument("--masters", type=Path, help="folder with the masters' pictures")
    options = parser.parse_args(arguments)
    settings = replace(Settings.from_env(), device="cpu", precision="f32")
    try:
        vectors = rebuild(settings, options.masters)
        predictor = weights.fingerprint(settings.models, f"{settings.predictor_stem}.safetensors")
    except StylizerError as error:
        print(f"vectors: {error}", file=sys.stderr)
        return 2
    (settings.styles / VECTORS).write_bytes(save(vectors, {"predictor": predictor}))
    print(f"{settings.styles / VECTORS}: {len(vectors)} vectors by {settings.predictor_stem}@{predictor}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
