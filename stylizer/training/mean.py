"""Average the weights from before and after a run: the mean is often better than either (Wortsman et al. 2022)."""

import argparse
from pathlib import Path

import torch

from stylizer.errors import ParameterError, WeightsError
from stylizer.networks.merged import with_rank
from stylizer.training.pairs import Pair, averaged_pair, in_words, pair_at, save_pair


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", help="a run's folder, a folder of two weight files, or FILE,FILE")
    parser.add_argument("after", help="likewise")
    parser.add_argument("--share", type=float, default=0.5, help="of the later weights, 0 to 1; 0.5 by default")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the two weight files")


def run(arguments: argparse.Namespace) -> None:
    if not 0 <= arguments.share <= 1:
        raise ParameterError("share", f"share is {arguments.share}; it must be 0 to 1")
    pair = mean_pair(pair_at(arguments.before), pair_at(arguments.after), arguments.share)
    print(*save_pair(pair, arguments.out), sep="\n")


@torch.no_grad()
def mean_pair(before: Pair, after: Pair, share: float) -> Pair:
    """`share` of the later weights and the rest of the earlier ones, number by number.

    If only the later transformer has style-dependent kernels, the earlier one is given such that add nothing.
    WeightsError if the two are of different architectures.
    """
    first, last = before.transformer, after.transformer
    if last.config.rank and not first.config.rank:
        first = with_rank(first, last.config.rank)
        for ours, theirs in zip(first.styled(), last.styled(), strict=True):
            ours.down.copy_(theirs.down)
            ours.mix.load_state_dict(theirs.mix.state_dict())
    before = Pair(before.predictor, first)
    if before.architecture() != after.architecture():
        names = [in_words(pair.architecture()) for pair in (before, after)]
        raise WeightsError(f"{' and '.join(names)} have no mean: their architectures differ")
    theirs = after.state_dict()
    mean = {
        key: torch.lerp(value, theirs[key], share) if value.is_floating_point() else theirs[key]
        for key, value in before.state_dict().items()
    }
    return averaged_pair(after.architecture(), mean)
