"""`python -m stylizer.training COMMAND`: everything that makes, measures or converts weights. See docs/training.md.

Exit status 0: done; 2: a usage error, reported in one line; 3: training stopped because a loss became NaN or infinite.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from importlib import import_module

from stylizer.errors import NotFinite, StylizerError

# Each is a module here with `add_arguments(parser)` and `run(arguments)`, imported when it is asked for.
COMMANDS = {
    "train": "train a predictor and a transformer, or resume the run in a folder",
    "evaluate": "measure weights, checkpoints, folders of results and rivals, all in one table",
    "cost": "time each part of a training step on this machine",
    "mean": "average the weights from before and after a run",
    "whiten": "put the style vectors into coordinates in which training is quick",
    "colors": "make the predictors in models/ follow a painting's palette",
    "calibrate": "measure a transformer's features: least variances for nearly blank photos, ranges for 8 bits",
    "export": "write the ONNX files, checksums and facts of models/",
    "vectors": "compute every stored style vector of the gallery",
    "studies": "learn the gallery's missing studies",
    "factor": "teach an encoder to do with a cheaper first convolution what it does now",
    "narrow": "teach the narrow VGG to see what VGG-16 sees, or resume",
    "classify": "train the small network to classify Tiny ImageNet, or resume",
    "convert": "convert Magenta's published weights",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = parse(arguments)
    try:
        parsed.command(parsed)
    except StylizerError as error:
        print(error, file=sys.stderr)
        return 3 if isinstance(error, NotFinite) else 2
    return 0


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The chosen command's arguments, with `command`, the function to call, and `began`, the time before imports."""
    arguments = sys.argv[1:] if arguments is None else arguments
    began = time.monotonic()
    root = argparse.ArgumentParser(
        prog="python -m stylizer.training",
        description="Make, measure and convert weights. docs/training.md says what to run when, and why.",
    )
    commands = root.add_subparsers(required=True, metavar="COMMAND", title="commands")
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        if name != chosen:
            commands.add_parser(name, help=summary)
            continue
        module = import_module(f"stylizer.training.{name}")
        command = commands.add_parser(name, help=summary, description=module.__doc__.split("\n\n")[0])
        module.add_arguments(command)
        command.set_defaults(command=module.run, began=began)
    return root.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
