"""Command-line arguments that several training commands take, and what they stand for."""

import argparse
import math
from pathlib import Path

import torch

from stylizer import cores, loss_networks
from stylizer.errors import ParameterError
from stylizer.loss_networks import load_vgg16
from stylizer.networks.backbones import VGG, VGG16
from stylizer.training.pairs import read_safetensors


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto (the default), cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; by default torch decides")


def add_vgg(parser: argparse.ArgumentParser, purpose: str) -> None:
    parser.add_argument("--vgg", type=Path, metavar="FILE", help=purpose)


def add_run(parser: argparse.ArgumentParser, holds: str, save_minutes: float) -> None:
    parser.add_argument("--run", type=Path, required=True, metavar="FOLDER", help=f"folder for {holds}")
    parser.add_argument(
        "--call-minutes",
        type=float,
        default=math.inf,
        metavar="MINUTES",
        help="stop this call after so many; the same command resumes the run",
    )
    parser.add_argument(
        "--save-minutes",
        type=float,
        default=save_minutes,
        metavar="MINUTES",
        help=f"between checkpoints; {save_minutes:g} by default",
    )


def add_pictures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--content", type=Path, nargs="+", required=True, help="tars or folders of photos")
    parser.add_argument("--style", type=Path, nargs="+", required=True, help="tars or folders of paintings, textures")


def device_of(arguments: argparse.Namespace) -> torch.device:
    """The device that --device names; torch is set up for it and for --threads. ParameterError if it is not there."""
    cores.limit_torch(arguments.threads)
    name = arguments.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ParameterError("device", f"device is {name!r}, but torch finds no CUDA device; leave it out or give cpu")
    torch.backends.cudnn.benchmark = True  # shapes stay the same for hundreds of steps: worth a search for the fastest
    return torch.device(name)


def loss_network_of(arguments: argparse.Namespace) -> VGG | None:
    """The network that --vgg names: VGG-16, or our narrow VGG, whose file says that it is one."""
    if not arguments.vgg:
        return None
    state, metadata = read_safetensors(arguments.vgg)
    return loss_networks.build("narrow", state) if metadata.get("network") == "narrow" else load_vgg16(state)


def vgg16_of(arguments: argparse.Namespace) -> VGG16 | None:
    """VGG-16 from --vgg, for commands where no other loss network will do."""
    return load_vgg16(read_safetensors(arguments.vgg)[0]) if arguments.vgg else None


def required_vgg16(arguments: argparse.Namespace, purpose: str) -> VGG16:
    """VGG-16 from --vgg; ParameterError if it is not given, saying that `purpose` needs it."""
    network = vgg16_of(arguments)
    if network is None:
        raise ParameterError("vgg", f"{purpose} needs VGG-16: give --vgg")
    return network
