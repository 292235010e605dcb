"""Teach a transformer's encoder to do with a cheaper first convolution what it does now.

The first convolution sees each pixel's surroundings as 9 x 9 x 3 numbers: a fifth of all that painting computes.
Kernels that are products of a column and a row cost a third (Jaderberg et al. 2014). The encoder learns them from its
own features, on photos with brushwork; the decoder stays as it is, and with it vectors, style codes and studies.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from stylizer.brushwork import HEIGHTS
from stylizer.errors import ParameterError
from stylizer.networks import Transformer, build_transformer
from stylizer.networks.layers import ContractConv
from stylizer.training import data
from stylizer.training.arguments import add_device, device_of
from stylizer.training.pairs import read_safetensors, save_network

STORED, SIDE, BATCH = 256, 160, 8  # pixels of a photo, of a crop, and crops in a step
BRUSHWORK = 0.85  # share of the crops that have some
RATE = 3e-3
LEAST_DEVIATION = 0.02  # channels that hardly vary count no more than this
HELD_BACK = 64  # photos that the result is tried on
TRIALS = 6  # batches of these


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("transformer", type=Path, help="safetensors file of a transformer with whole first kernels")
    parser.add_argument("--content", type=Path, nargs="+", required=True, help="tars or folders of photos")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="safetensors file for the result")
    parser.add_argument("--rank", type=int, default=8, help="of the first kernels, 1 to 27; 8 by default")
    parser.add_argument("--steps", type=int, default=2400, help=f"of {BATCH} crops; 2400 by default")
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    device = device_of(arguments)
    teacher = build_transformer(*read_safetensors(arguments.transformer), str(arguments.transformer)).to(device)
    if teacher.config.first_rank:
        raise ParameterError("transformer", f"the first kernels of {arguments.transformer} are already products")
    if not 1 <= arguments.rank <= 27:
        raise ParameterError("rank", f"rank is {arguments.rank}; it must be 1 to 27")
    photos = data.load_pictures(arguments.content, STORED, device, "photos").pixels
    if len(photos) <= HELD_BACK:
        raise ParameterError("content", f"there are {len(photos)} photos; more than {HELD_BACK} are needed")
    student = factored(teacher, arguments.rank)
    learn(student.contract, teacher, photos[HELD_BACK:], arguments.steps)
    error = difference(student.contract, teacher, photos[:HELD_BACK])
    print(f"features differ by {error:.4f} of their variance, on {HELD_BACK} photos that were held back")
    save_network(student, arguments.out)


def factored(transformer: Transformer, rank: int) -> Transformer:
    """The same network with a first convolution of this rank, still random."""
    student = Transformer(replace(transformer.config, first_rank=rank)).to(next(transformer.parameters()).device)
    kept = {key: value for key, value in transformer.state_dict().items() if key != "contract.0.conv.weight"}
    student.load_state_dict(kept, strict=False)
    return student.eval()


def learn(contract: nn.Sequential, teacher: Transformer, photos: Tensor, steps: int) -> None:
    """Train an encoder's layers to give the teacher's features; photos (N, 3, S, S) uint8."""
    generator = data.generator_for(photos.device, 7)
    deviation = _deviation(teacher, photos, generator)
    optimiser = torch.optim.Adam(contract.parameters(), RATE, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    with tqdm(total=steps, desc="learning", unit=" steps") as progress:
        for _ in range(steps):
            seen, wanted = _batch(teacher, photos, generator)
            loss = ((contract(seen) - wanted) / deviation).square().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            progress.set_postfix_str(f"difference {loss.item():.4f}", refresh=False)
            progress.update()
    for layer in contract:
        restate(layer, teacher, contract, photos, generator)


@torch.no_grad()
def restate(
    layer: ContractConv, teacher: Transformer, contract: nn.Sequential, photos: Tensor, generator: torch.Generator
) -> None:
    """Give a layer's batch norm the statistics of what it sees now, and the affine with which it does the same.

    Training on, in batches' own statistics, would otherwise begin with another network.
    """
    norm, found = layer.norm, []
    handle = norm.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].transpose(0, 1).flatten(1)))
    for _ in range(TRIALS):
        contract(_batch(teacher, photos, generator)[0])
    handle.remove()
    mean, variance = torch.cat(found, 1).mean(1), torch.cat(found, 1).var(1)
    slope = norm.weight / (norm.running_var + norm.eps).sqrt()
    norm.bias += slope * (mean - norm.running_mean)
    norm.weight.copy_(slope * (variance + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


@torch.no_grad()
def difference(contract: nn.Sequential, teacher: Transformer, photos: Tensor) -> float:
    """Mean squared difference from the teacher's features, relative to their variance in each channel."""
    generator = data.generator_for(photos.device, 9)
    deviation = _deviation(teacher, photos, generator)
    batches = [_batch(teacher, photos, generator) for _ in range(TRIALS)]
    apart = [((contract(seen) - wanted) / deviation).square().mean() for seen, wanted in batches]
    return float(torch.stack(apart).mean())


@torch.no_grad()
def _batch(teacher: Transformer, photos: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(what the encoder's layers see, the teacher's features)."""
    chosen = photos[data.random_rows(len(photos), BATCH, generator)]
    crops = data.random_crops(chosen, SIDE, generator)
    drawn = torch.rand(BATCH, generator=generator, device=photos.device)
    heights = HEIGHTS[0] + (HEIGHTS[1] - HEIGHTS[0]) * drawn
    seen = teacher.seen(data.random_brushwork(crops, heights, BRUSHWORK, generator))
    seen = seen.contiguous(memory_format=torch.channels_last)
    return seen, teacher.contract(seen)


def _deviation(teacher: Transformer, photos: Tensor, generator: torch.Generator) -> Tensor:
    """Of each channel of the features, (1, C, 1, 1)."""
    wanted = [_batch(teacher, photos, generator)[1].transpose(0, 1).flatten(1) for _ in range(TRIALS)]
    return torch.cat(wanted, 1).std(1).clamp(min=LEAST_DEVIATION)[None, :, None, None]
