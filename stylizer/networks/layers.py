"""Building blocks of the transformer: padded convolutions, plain or separable, and their norms."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VECTOR_SIZE = 100  # Ghiasi et al. 2017, section 3: the bottleneck that allows arithmetic on styles
BATCH_NORM_EPSILON = 1e-3  # Magenta's
STYLE_NORM_EPSILON = 1e-5  # Magenta's
CALM_SIDE = 9  # side in pixels of the square whose variance tells how calm a place is
CALM_REACH = 3 * (CALM_SIDE // 2)
CALM_DEVIATION = 4 / 255  # at this deviation half of the difference counts as sensor noise


def pad(features: Tensor, kernel_size: int, padding: str, dilation: int = 1) -> Tensor:
    """Pad by half a kernel on every side, so that the convolution keeps H and W; padding is "reflect" or "zeros"."""
    half = kernel_size // 2 * dilation
    return F.pad(features, (half, half, half, half), mode="reflect" if padding == "reflect" else "constant")


class ContractConv(nn.Module):
    """Convolution, batch norm, ReLU, (N, C, H, W) -> (N, O, H/s, W/s): independent of the style, so cacheable.

    With a `rank` the kernels are products: that many vertical ones, of a single column, and horizontal ones that mix
    what those found.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: str, rank: int = 0):
        super().__init__()
        self.kernel_size, self.padding, self.rank = kernel_size, padding, rank
        if rank:
            self.vertical = nn.Conv2d(in_channels, rank, (kernel_size, 1), (stride, 1), bias=False)
            self.conv = nn.Conv2d(rank, out_channels, (1, kernel_size), (1, stride), bias=False)
        else:
            self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPSILON)

    def forward(self, features: Tensor) -> Tensor:
        features = pad(features, self.kernel_size, self.padding)
        if self.rank:
            features = self.vertical(features)
        return F.relu(self.norm(self.conv(features)))


Norm = Callable[[Tensor, Tensor, Tensor], Tensor]  # features (N, C, H, W), gamma and beta (N, C, 1, 1) -> features


def instance_norm(features: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Normalise each picture by its own mean and biased variance."""
    if torch.is_grad_enabled() and (features.requires_grad or gamma.requires_grad):
        return TrainedNorm.apply(features, gamma, beta)
    if not features.is_contiguous():
        return _instance_norm_channels_last(features, gamma, beta)[0]
    # Beta first: were the normalised features the first operand, OpenVINO would copy them.
    return beta + gamma * F.instance_norm(features, eps=STYLE_NORM_EPSILON)


def _instance_norm_channels_last(features: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(normalised features, their mean, their deviation), the latter (N, C, 1, 1) in float32.

    torch's own instance norm converts its features to channels first, and each convolution then converts them back.
    """
    pixels = features.shape[2] * features.shape[3]
    mean = features.sum((2, 3), keepdim=True, dtype=torch.float32) / pixels
    norm = torch.linalg.vector_norm(features, dim=(2, 3), keepdim=True, dtype=torch.float32)
    variance = (norm.square() / pixels - mean.square()).clamp(min=0)
    deviation = (variance + STYLE_NORM_EPSILON).sqrt()
    scale = gamma / deviation
    shift = beta - mean * scale
    return torch.addcmul(shift.to(features.dtype), features, scale.to(features.dtype)), mean, deviation


class TrainedNorm(torch.autograd.Function):
    """Instance norm with a gradient; forward and backward up to twice as fast on a CPU as torch's.

    For a single picture in channels-last layout the gradient of torch's is wrong (torch 2.15, CPU). Sums are in
    float32, whatever the features' dtype.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        normalised, mean, deviation = _instance_norm_channels_last(features, gamma, beta)
        ctx.save_for_backward(features, gamma, mean, deviation)
        return normalised

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, gamma, mean, deviation = ctx.saved_tensors
        pixels = features.shape[2] * features.shape[3]
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_beta = gradient.sum((2, 3), keepdim=True, dtype=torch.float32)
        along = (gradient * features).sum((2, 3), keepdim=True, dtype=torch.float32)
        of_gamma = (along - mean * of_beta) / deviation
        # gamma / deviation * (gradient - its mean - normalised features * of_gamma / pixels), as one affine map of both
        scale = gamma / deviation
        slope = -scale * of_gamma / (deviation * pixels)
        offset = -scale * of_beta / pixels - slope * mean
        of_features = torch.addcmul(offset.to(features.dtype), features, slope.to(features.dtype))
        of_features.addcmul_(gradient, scale.to(features.dtype))
        return of_features, of_gamma.to(gamma.dtype), of_beta.to(gamma.dtype)


class JointNorm:
    """Normalise a batch by its joint mean and variance; `affines` keeps the resulting scales and shifts.

    So samples of a picture determine how every tile is painted, without processing the picture in one piece.
    `weights`: (N, 1, H, W) per layer, the weight of each place; `floors`: (C,) per layer, the least variance, so that
    nearly uniform areas, and rounding errors in uniform ones, are not amplified. The variance is computed from centred
    features: on a flat picture the difference of two large numbers would be nothing but rounding.
    """

    def __init__(self, weights: Iterable[Tensor] | None = None, floors: Iterable[Tensor] | None = None):
        self.affines: list[Tensor] = []  # (2, C) per layer: scale and shift
        self.weights, self.floors = (None if given is None else iter(given) for given in (weights, floors))

    def _mean(self, features: Tensor, weights: Tensor | None) -> Tensor:
        if weights is None:
            return features.mean((0, 2, 3), keepdim=True)
        return (features * weights).sum((0, 2, 3), keepdim=True)

    def __call__(self, features: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        exact = features.float()  # a square overflows in half precision
        weights = None
        if self.weights is not None:
            weights = next(self.weights).float().view(len(features), 1, *features.shape[2:])
            weights = weights / weights.sum()
        mean = self._mean(exact, weights)  # (1, C, 1, 1)
        variance = self._mean((exact - mean).square(), weights)
        if self.floors is not None:
            variance = torch.maximum(variance, next(self.floors).float().view(1, -1, 1, 1))
        scale = gamma * (variance + STYLE_NORM_EPSILON).rsqrt()
        shift = beta - mean * scale
        self.affines.append(torch.cat((scale, shift)).flatten(1))
        return (exact * scale + shift).to(features.dtype)


class GivenNorm:
    """Normalise by the affines of a JointNorm, one per layer, so that a tile is independent of its neighbours."""

    def __init__(self, affines: Iterable[Tensor]):
        self.affines = iter(affines)

    def __call__(self, features: Tensor, _gamma: Tensor, _beta: Tensor) -> Tensor:
        scale, shift = next(self.affines)[..., None, None].split(1)  # (1, C, 1, 1) each
        return features * scale + shift


class StyledConv(nn.Module):
    """Convolution, then conditional instance norm, (N, C, H, W) and (N, 100) -> (N, O, H, W); Dumoulin 2017, eq. 5.

    Separable means depthwise then pointwise with nothing between (MobileNet's split without its norm). Gamma and beta
    are linear in the style vector. `norm` determines over what mean and variance are taken: each picture, by default.

    If `rank` is above 0, kernels also depend on the style: `up @ diag(mix(vector)) @ down`, of that rank, is added to
    the pointwise kernel, or to the plain kernel of a plain layer.

    With `upsamples`, features are first enlarged to twice their size, by nearest neighbour: no checkerboard, unlike a
    transposed convolution. Each output pixel then sees only 2 x 2 different ones, so the four pixels that take the
    place of one are convolved by kernels folded to 2 x 2 instead, and nothing is enlarged.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        separable: bool,
        padding: str,
        dilation: int = 1,
        rank: int = 0,
        upsamples: bool = False,
    ):
        super().__init__()
        self.kernel_size, self.padding, self.dilation, self.rank = kernel_size, padding, dilation, rank
        self.upsamples = upsamples
        if separable:
            self.depthwise = nn.Conv2d(
                in_channels, in_channels, kernel_size, groups=in_channels, dilation=dilation, bias=False
            )
            self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        else:
            self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, dilation=dilation, bias=False)
        self.separable = separable
        self.gamma = nn.Linear(VECTOR_SIZE, out_channels)
        self.beta = nn.Linear(VECTOR_SIZE, out_channels)
        nn.init.ones_(self.gamma.bias)  # an untrained style norm is a plain instance norm
        if rank:
            side = 1 if separable else kernel_size
            self.down = nn.Parameter(torch.randn(rank, in_channels, side, side) / (in_channels * side**2) ** 0.5)
            self.mix = nn.Linear(VECTOR_SIZE, rank)
            self.up = nn.Parameter(torch.zeros(out_channels, rank, 1, 1))  # adds nothing before training

    def heads(self) -> list[nn.Linear]:
        """The layers that take a style vector."""
        return [*([self.mix] if self.rank else []), self.gamma, self.beta]

    def added_shapes(self) -> list[torch.Size]:
        """Shapes of what a study adds to this layer: to its depthwise and pointwise kernels, to gamma and to beta."""
        return [self.depthwise.weight.shape, self.pointwise.weight.shape, self.gamma.bias.shape, self.beta.bias.shape]

    def forward(
        self, features: Tensor, vector: Tensor, added: Sequence[Tensor] | None = None, norm: Norm = instance_norm
    ) -> Tensor:
        """`added`: what a study adds, in the order of `added_shapes`."""
        gamma, beta = self.gamma(vector), self.beta(vector)
        if self.separable:
            depthwise, kernels = self.depthwise.weight, self.pointwise.weight
            if added is not None:
                to_depthwise, to_pointwise, to_gamma, to_beta = added
                depthwise, kernels = depthwise + to_depthwise, kernels + to_pointwise
                gamma, beta = gamma + to_gamma, beta + to_beta
        else:
            depthwise, kernels = None, self.conv.weight
        shares = self.mix(vector) if self.rank else None  # (N, rank)
        if shares is not None and len(vector) == 1:  # one style: what it adds is merged into the kernels
            kernels = kernels + ((self.up.flatten(1) * shares) @ self.down.flatten(1)).view_as(kernels)
            shares = None
        if self.upsamples:
            quarters = [
                self._convolve(_pad_quarter(features, self.padding, *place), depthwise, kernels, shares, place)
                for place in QUARTERS
            ]
            features = interleave(quarters)
        else:
            features = pad(features, self.kernel_size, self.padding, self.dilation)
            features = self._convolve(features, depthwise, kernels, shares)
        return norm(features, gamma[..., None, None], beta[..., None, None])

    def _convolve(
        self,
        features: Tensor,
        depthwise: Tensor | None,
        kernels: Tensor,
        shares: Tensor | None,
        place: tuple[int, int] | None = None,
    ) -> Tensor:
        """Convolve padded features: with depthwise kernels if there are any, then with `kernels`, and with what several
        styles add to these, by their shares. `place`: of the quarter that kernels are folded for."""
        dilation = self.dilation
        if depthwise is not None:
            features = F.conv2d(features, fold(depthwise, place), groups=len(depthwise), dilation=dilation)
            dilation, place = 1, None  # of the pointwise kernels
        convolved = F.conv2d(features, fold(kernels, place), dilation=dilation)
        if shares is None:
            return convolved
        mixed = F.conv2d(features, fold(self.down, place), dilation=dilation) * shares[..., None, None]
        return convolved + F.conv2d(mixed, self.up)


QUARTERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # (below, right): the four pixels that take the place of one


def _pad_quarter(features: Tensor, padding: str, below: int, right: int) -> Tensor:
    """Pad features for the 2 x 2 kernels of one of the QUARTERS. Reflecting enlarged features repeats the border."""
    sides = (1 - right, right, 1 - below, below)
    return F.pad(features, sides, mode="replicate" if padding == "reflect" else "constant")


def fold(kernels: Tensor, place: tuple[int, int] | None) -> Tensor:
    """Fold kernels of upsampled features for one of the QUARTERS: (O, I, 3, 3) -> (O, I, 2, 2). None: as they are."""
    if place is None:
        return kernels
    below, right = place
    for axis, second in ((2, below), (3, right)):
        first, middle, last = kernels.unbind(axis)
        kernels = torch.stack((first + middle, last) if second else (first, middle + last), axis)
    return kernels


def interleave(quarters: Sequence[Tensor]) -> Tensor:
    """The four pixels that take the place of each, side by side: four (N, C, H, W) -> (N, C, 2H, 2W)."""
    count, channels, height, width = quarters[0].shape
    together = torch.cat(tuple(quarters), 1).view(count, 2, 2, channels, height, width)
    if quarters[0].is_contiguous(memory_format=torch.channels_last):
        rows = together.permute(0, 4, 1, 5, 2, 3).reshape(count, 2 * height, 2 * width, channels)
        return rows.permute(0, 3, 1, 2)
    return together.permute(0, 3, 4, 1, 5, 2).reshape(count, channels, 2 * height, 2 * width)


def calmed(photo: Tensor) -> Tensor:
    """Remove noise from a photo's calm places, (N, 3, H, W) in [0, 1]: the guided filter (He et al. 2013) on itself.

    The transformer mistakes the faintest noise in a sky for texture and turns it into a weave. Squares with little
    variation become their mean; edges and textures stay. The result is finer than bf16, whose steps would show.
    """
    apart = photo - _mean_around(photo)
    variance = _mean_around(apart.square())
    return photo - apart * _mean_around(CALM_DEVIATION**2 / (variance + CALM_DEVIATION**2))


def _mean_around(values: Tensor) -> Tensor:
    """Means over squares of CALM_SIDE pixels, cropped at the border: of columns, then of rows."""
    for axis in (2, 3):
        ones = values.new_ones([side if at == axis else 1 for at, side in enumerate(values.shape)])
        values = _sum_along(values, axis) / _sum_along(ones, axis)
    return values


def _sum_along(values: Tensor, axis: int) -> Tensor:
    """Sums over CALM_SIDE neighbours, a power of two and one, by doubling: four additions of planes. A pooling layer
    would work on three channels where a CPU's vectors hold eight or sixteen."""
    half, length = CALM_SIDE // 2, values.shape[axis]
    padded = F.pad(values, (0, 0, half, half) if axis == 2 else (half, half, 0, 0))
    sums, side = padded, 1
    while 2 * side < CALM_SIDE:
        count = sums.shape[axis] - side
        sums, side = sums.narrow(axis, 0, count) + sums.narrow(axis, side, count), 2 * side
    return sums.narrow(axis, 0, length) + padded.narrow(axis, side, length)


def upsample(features: Tensor) -> Tensor:
    """Nearest neighbour x2, (N, C, H, W) -> (N, C, 2H, 2W)."""
    return F.interpolate(features, scale_factor=2.0, mode="nearest")


def check_vector(vector: Tensor) -> None:
    """Refuse anything but (N, 100)."""
    if vector.ndim != 2 or vector.shape[1] != VECTOR_SIZE:
        raise ValueError(f"style vector has shape {tuple(vector.shape)}; it must be (N, {VECTOR_SIZE})")
