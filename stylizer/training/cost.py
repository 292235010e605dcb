"""Time a training step and each of its parts on this machine, on random pictures, before hours are spent on a run."""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from stylizer import losses
from stylizer.networks.backbones import VGG16
from stylizer.options import add_options
from stylizer.training.arguments import add_device, add_vgg, device_of, required_vgg16
from stylizer.training.config import TrainConfig, stages
from stylizer.training.run import Run
from stylizer.training.train import config_of

# VGG-16 to relu4_3 does 36.3 GFLOP on 256 x 256 pixels: forward and back for the picture, and forward for the photo,
# which the structure loss sees that deep.
VGG_GFLOP = 3 * 36.3 / 256**2
PICTURES = 64  # random ones, of each kind
LEAST_SECONDS = 1.5  # that a part is repeated for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_device(parser)
    add_vgg(parser, "VGG-16's features as safetensors with torchvision's keys; required")
    add_options(parser.add_argument_group("settings"), TrainConfig)


def run(arguments: argparse.Namespace) -> None:
    device = device_of(arguments)
    print_costs(config_of(arguments, device), required_vgg16(arguments, "timing a step"), device)


def print_costs(config: TrainConfig, loss_network: VGG16, device: torch.device) -> None:
    """Samples per second for a whole step, for its parts, and for a step without merging or compiling."""
    _, pixels, count = stages(config.stages)[0]
    config = replace(config, bank=2 * count, steps=10**6)
    generator = torch.Generator().manual_seed(0)
    shape = (PICTURES, 3, config.stored, config.stored)
    pictures = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).to(device)
    run = Run(config, pictures, pictures, loss_network)
    print(
        f"batches of {count} at {pixels} px on {device}"
        + (f", {torch.cuda.get_device_name()}" if device.type == "cuda" else "")
    )

    def show(name: str, work: Callable[[], object]) -> float:
        """Seconds of one call, the first one aside."""
        before = time.monotonic()
        work()
        _wait(device)
        first = time.monotonic() - before
        seconds = _seconds(work, device)
        memory = f"{torch.cuda.max_memory_allocated() / 2**30:6.1f} GiB" if device.type == "cuda" else ""
        print(f"{name:44} {count / seconds:9.1f} samples/s   first {first:6.1f} s   {memory}", flush=True)
        return seconds

    teraflops = count / show("step", run.advance) * VGG_GFLOP * pixels**2 / 1000
    print(f"{'':44} {teraflops:9.1f} TFLOP/s in VGG-16 alone")
    show("drawing a batch", run.batch)
    batch, objectives = run.batch(), run.objectives
    contents = batch.contents.to(objectives.dtype)
    vectors = objectives.predict(run.pair.predictor, batch.views).to(objectives.dtype).detach()
    everything = {*losses.CONTENT_LAYERS, *losses.STYLE_LAYERS}

    def paint(merged: bool) -> None:
        objectives.paint(contents, vectors, merged).float().mean().backward()

    show("VGG-16 forward", lambda: _forward(objectives.loss_network, contents, everything))
    show("VGG-16 forward and backward", lambda: _both(objectives.loss_network, contents, everything))
    if config.predictor_rate:
        show(
            "predictor forward and backward",
            lambda: objectives.predict(run.pair.predictor, batch.views).mean().backward(),
        )
    show("transformer forward and backward", lambda: paint(merged=False))
    if objectives.shell is not None:
        show("transformer forward and backward, merged", lambda: paint(merged=True))
    for name in ("merge", "compile"):
        if getattr(config, name) and (name == "merge" or device.type == "cuda"):
            other = Run(replace(config, **{name: False}), pictures, pictures, loss_network)
            show(f"step with --no-{name}", other.advance)


def _forward(network: VGG16, pictures: Tensor, layers: set[str]) -> None:
    with torch.no_grad():
        network(pictures, layers)


def _both(network: VGG16, pictures: Tensor, layers: set[str]) -> None:
    features = network(pictures.detach().requires_grad_(), layers)
    sum(value.float().mean() for value in features.values()).backward()


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Mean seconds of one call, over as many as take LEAST_SECONDS, three at least."""
    _wait(device)
    began, calls = time.monotonic(), 0
    while calls < 3 or time.monotonic() - began < LEAST_SECONDS:
        work()
        calls += 1
        if calls % 5 == 0:
            _wait(device)
    _wait(device)
    return (time.monotonic() - began) / calls


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
