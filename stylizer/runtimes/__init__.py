"""predict / encode / decode on this machine: OpenVINO on a CPU, torch on CUDA, torch on a CPU as the fallback.

All take and return float32 numpy arrays; `features` and `affine` are opaque, kept between calls and passed back to the
runtime that made them. A runtime paints one picture at a time, on all cores: two at once would only share them.
"""

import importlib.util
import os

from stylizer import weights
from stylizer.errors import ParameterError, StylizerError
from stylizer.runtimes.on_openvino import OpenVinoRuntime
from stylizer.runtimes.on_torch import TorchRuntime
from stylizer.runtimes.runtime import Runtime
from stylizer.settings import Settings

PRECISIONS = ("auto", "int8", "f32")


def _cuda_is_likely() -> bool:
    """Whether importing torch, which takes seconds, is worthwhile: both an NVIDIA driver and torch are present."""
    driver = os.path.exists("/dev/nvidiactl") or os.path.exists(r"C:\Windows\System32\nvcuda.dll")
    return driver and importlib.util.find_spec("torch") is not None


def _openvino(settings: Settings) -> Runtime:
    return OpenVinoRuntime(settings)


def _cuda(settings: Settings) -> Runtime:
    _need_torch()
    import torch

    if not torch.cuda.is_available():
        raise ParameterError("device", "device is 'cuda', but torch sees no CUDA device; use 'auto' or 'cpu'")
    return TorchRuntime(settings, "cuda")


def _torch_cpu(settings: Settings) -> Runtime:
    _need_torch()
    return TorchRuntime(settings, "cpu")


def _auto(settings: Settings) -> Runtime:
    """CUDA if there is a device, else OpenVINO, or torch if OpenVINO does not run on this CPU."""
    if _cuda_is_likely():
        import torch

        if torch.cuda.is_available():
            return TorchRuntime(settings, "cuda")
    try:
        return OpenVinoRuntime(settings)
    except StylizerError:
        raise
    except (ImportError, RuntimeError):
        return _torch_cpu(settings)


def _need_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise ParameterError("device", "this device needs torch: pip install 'stylizer[torch]'")


DEVICES = {"auto": _auto, "cpu": _openvino, "cuda": _cuda, "torch-cpu": _torch_cpu}


def make_runtime(settings: Settings) -> Runtime:
    """The runtime named by `settings.device`, with the weights named by `settings` loaded and verified."""
    if settings.device not in DEVICES:
        raise ParameterError("device", f"unknown device {settings.device!r}; choose from {', '.join(DEVICES)}")
    if settings.precision not in PRECISIONS:
        raise ParameterError(
            "precision", f"unknown precision {settings.precision!r}; choose from {', '.join(PRECISIONS)}"
        )
    check_networks(settings)
    return DEVICES[settings.device](settings)


def check_networks(settings: Settings) -> None:
    """Raise ParameterError if the predictor or transformer named by `settings` is not in `models/`."""
    for network in ("predictor", "transformer"):
        wanted, known = getattr(settings, network), weights.choices(settings.models, network)
        if wanted not in known:
            raise ParameterError(
                network, f"there is no {network} {wanted!r} in {settings.models}; choose from {', '.join(known)}"
            )
