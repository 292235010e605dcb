"""What a step costs on the machine at hand, part by part: to know before the hours are spent, not after."""

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from stylizer import losses
from stylizer.errors import ParameterError
from stylizer.networks import Transformer
from stylizer.networks.backbones import VGG16
from stylizer.training.train import Run, TrainConfig, stages

# VGG-16 to relu4_3 does 36.3 GFLOP on 256 x 256 pixels, to relu3_3 24.3; backward to the picture costs as much again.
VGG_GFLOP = (2 * 36.3 + 24.3) / 256**2


def print_costs(config: TrainConfig, loss_network: VGG16 | None, device: torch.device) -> None:
    """Samples a second for a whole step, for its parts, and for the step without merging or compiling."""
    if loss_network is None:
        raise ParameterError("vgg", "a step's cost is mostly the loss network's: give --vgg")
    _, pixels, count = stages(config.stages)[0]
    config = replace(config, bank=2 * count, steps=10**6)
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (64, 3, config.stored, config.stored), generator=generator, dtype=torch.uint8)
    run = Run(config, pictures.to(device), pictures.to(device), loss_network)
    print(f"batches of {count} at {pixels} px on {device}"
          + (f", {torch.cuda.get_device_name()}" if device.type == "cuda" else ""))

    def show(name: str, work: Callable[[], object]) -> None:
        before = time.monotonic()
        work()
        _wait(device)
        first = time.monotonic() - before
        rate = count / _seconds(work, device)
        memory = f"{torch.cuda.max_memory_allocated() / 2**30:6.1f} GiB" if device.type == "cuda" else ""
        print(f"{name:44} {rate:9.1f} samples/s   first {first:6.1f} s   {memory}", flush=True)

    show("step", run.advance)
    teraflops = count / _seconds(run.advance, device) * VGG_GFLOP * pixels**2 / 1000
    print(f"{'':44} {teraflops:9.1f} TFLOP/s in VGG-16 alone")
    show("drawing a batch", run.batch)
    contents, views, *_ = run.batch()
    contents = contents.to(run.dtype)
    everything = {*losses.CONTENT_LAYERS, *losses.STYLE_LAYERS}
    vectors = run._predict(run.pair.predictor, views).to(run.dtype).detach()

    def paint(shell: Transformer | None) -> None:
        run._call(run.pair.transformer, contents, vectors, shell=shell).float().mean().backward()

    show("VGG-16 forward", lambda: _forward(run.loss_network, contents, everything))
    show("VGG-16 forward and backward", lambda: _both(run.loss_network, contents, everything))
    if config.predictor_rate:
        show("predictor forward and backward", lambda: run._predict(run.pair.predictor, views).mean().backward())
    show("transformer forward and backward", lambda: paint(None))
    if run.shell is not None:
        show("transformer forward and backward, merged", lambda: paint(run.shell))
    for name in ("merge", "compile"):
        if getattr(config, name) and (name == "merge" or device.type == "cuda"):
            other = Run(replace(config, **{name: False}), run.contents, run.styles, loss_network)
            show(f"step with --no-{name}", other.advance)


def _forward(network: VGG16, pictures: torch.Tensor, layers: set[str]) -> None:
    with torch.no_grad():
        network(pictures, layers)


def _both(network: VGG16, pictures: torch.Tensor, layers: set[str]) -> None:
    features = network(pictures.detach().requires_grad_(), layers)
    sum(value.float().mean() for value in features.values()).backward()


def _seconds(work: Callable[[], object], device: torch.device, at_least: float = 1.5) -> float:
    """Mean seconds of one call, over as many as fill `at_least`."""
    _wait(device)
    began, calls = time.monotonic(), 0
    while calls < 3 or time.monotonic() - began < at_least:
        work()
        calls += 1
        if calls % 5 == 0:
            _wait(device)
    _wait(device)
    return (time.monotonic() - began) / calls


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
