"""The building blocks of the transformer: padded convolutions, plain or separable, and their two kinds of norm."""

import torch.nn.functional as F
from torch import Tensor, nn

VECTOR_SIZE = 100  # Ghiasi et al. 2017, section 3: the bottleneck that makes styles arithmetic
BATCH_NORM_EPSILON = 1e-3  # Magenta's
STYLE_NORM_EPSILON = 1e-5  # Magenta's


def pad(features: Tensor, kernel_size: int, padding: str) -> Tensor:
    """Pad by half a kernel on every side, (N, C, H, W) -> (N, C, H + k - 1, W + k - 1); padding is reflect or zeros."""
    half = kernel_size // 2
    return F.pad(features, (half, half, half, half), mode="reflect" if padding == "reflect" else "constant")


class ContractConv(nn.Module):
    """Convolution, batch norm, ReLU, (N, C, H, W) -> (N, O, H/s, W/s): no style, so its result can be kept."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: str):
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPSILON)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(pad(features, self.kernel_size, self.padding))))


class StyledConv(nn.Module):
    """Convolution, then conditional instance norm, (N, C, H, W) and (N, 100) -> (N, O, H, W); Dumoulin 2017, eq. 5.

    Separable means depthwise then pointwise with nothing between (MobileNet's split without its norm). Gamma and beta
    are linear in the style vector; instance norm uses the biased variance.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, separable: bool, padding: str):
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        if separable:
            self.depthwise = nn.Conv2d(in_channels, in_channels, kernel_size, groups=in_channels, bias=False)
            self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        else:
            self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, bias=False)
        self.separable = separable
        self.gamma = nn.Linear(VECTOR_SIZE, out_channels)
        self.beta = nn.Linear(VECTOR_SIZE, out_channels)
        nn.init.ones_(self.gamma.bias)  # an untrained style norm is a plain instance norm

    def forward(self, features: Tensor, vector: Tensor) -> Tensor:
        padded = pad(features, self.kernel_size, self.padding)
        mixed = self.pointwise(self.depthwise(padded)) if self.separable else self.conv(padded)
        gamma, beta = self.gamma(vector)[..., None, None], self.beta(vector)[..., None, None]  # (N, O, 1, 1)
        return F.instance_norm(mixed, eps=STYLE_NORM_EPSILON) * gamma + beta


def upsample(features: Tensor) -> Tensor:
    """Nearest neighbour x2, (N, C, H, W) -> (N, C, 2H, 2W): no checkerboard, unlike a transposed convolution."""
    return F.interpolate(features, scale_factor=2.0, mode="nearest")


def check_vector(vector: Tensor) -> None:
    """Refuse anything but (N, 100)."""
    if vector.ndim != 2 or vector.shape[1] != VECTOR_SIZE:
        raise ValueError(f"style vector has shape {tuple(vector.shape)}; it must be (N, {VECTOR_SIZE})")
