"""The building blocks of the transformer: padded convolutions, plain or separable, and their kinds of norm."""

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VECTOR_SIZE = 100  # Ghiasi et al. 2017, section 3: the bottleneck that makes styles arithmetic
BATCH_NORM_EPSILON = 1e-3  # Magenta's
STYLE_NORM_EPSILON = 1e-5  # Magenta's
CALM_SIDE = 9  # pixels: of the square by whose variance a place is calm or not
CALM_REACH = 3 * (CALM_SIDE // 2)
CALM_DEVIATION = 4 / 255  # half of what differs by this is taken for a sensor's noise


def pad(features: Tensor, kernel_size: int, padding: str, dilation: int = 1) -> Tensor:
    """Pad by half a kernel on every side, so that its convolution keeps H and W; padding is reflect or zeros."""
    half = kernel_size // 2 * dilation
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


Norm = Callable[[Tensor, Tensor, Tensor], Tensor]  # features (N, C, H, W), gamma and beta (N, C, 1, 1) -> features


def instance_norm(features: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Each picture by its own mean and biased variance."""
    if torch.is_grad_enabled() and (features.requires_grad or gamma.requires_grad):
        return TrainedNorm.apply(features, gamma, beta)
    return F.instance_norm(features, eps=STYLE_NORM_EPSILON) * gamma + beta


class TrainedNorm(torch.autograd.Function):
    """Instance norm where a gradient is wanted, up to twice as fast on a CPU, there and back.

    torch's own lays out its features anew, channels first, and each convolution then lays them out back. Of a single
    picture in channels last its gradient is wrong (2.15, on a CPU). Sums are in float32, whatever the features are in.
    """

    @staticmethod
    def forward(ctx, features: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        pixels = features.shape[2] * features.shape[3]
        mean = features.sum((2, 3), keepdim=True, dtype=torch.float32) / pixels  # (N, C, 1, 1)
        norm = torch.linalg.vector_norm(features, dim=(2, 3), keepdim=True, dtype=torch.float32)
        variance = (norm.square() / pixels - mean.square()).clamp(min=0)
        deviation = (variance + STYLE_NORM_EPSILON).sqrt()
        scale = gamma / deviation
        shift = beta - mean * scale
        ctx.save_for_backward(features, gamma, mean, deviation)
        return torch.addcmul(shift.to(features.dtype), features, scale.to(features.dtype))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, gamma, mean, deviation = ctx.saved_tensors
        pixels = features.shape[2] * features.shape[3]
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_beta = gradient.sum((2, 3), keepdim=True, dtype=torch.float32)
        along = (gradient * features).sum((2, 3), keepdim=True, dtype=torch.float32)
        of_gamma = (along - mean * of_beta) / deviation
        # gamma / deviation * (gradient - its mean - normalised features * of_gamma / pixels), as one affine of both
        scale = gamma / deviation
        slope = -scale * of_gamma / (deviation * pixels)
        offset = -scale * of_beta / pixels - slope * mean
        of_features = torch.addcmul(offset.to(features.dtype), features, slope.to(features.dtype))
        of_features.addcmul_(gradient, scale.to(features.dtype))
        return of_features, of_gamma.to(gamma.dtype), of_beta.to(gamma.dtype)


class JointNorm:
    """All pictures of a batch by one mean and variance; `affines` keeps what these make with gamma and beta.

    So samples of a picture say how each piece of it is to be painted, without the picture ever being in one piece.
    `weights`: (N, 1, H, W) a layer, how much each place counts; `floors`: (C,) a layer, the least variance, so that
    what is nearly of one colour is not blown up, nor the rounding of what is. The variance is that of centred features:
    the difference of two large numbers would be rounding alone on a flat picture.
    """

    def __init__(self, weights: Iterable[Tensor] | None = None, floors: Iterable[Tensor] | None = None):
        self.affines: list[Tensor] = []  # (2, C) of each layer in turn: scale and shift
        self.weights, self.floors = (None if given is None else iter(given) for given in (weights, floors))

    def _mean(self, features: Tensor, weights: Tensor | None) -> Tensor:
        if weights is None:
            return features.mean((0, 2, 3), keepdim=True)
        return (features * weights).sum((0, 2, 3), keepdim=True)

    def __call__(self, features: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        exact = features.float()  # a square overflows in half precision
        weights = None
        if self.weights is not None:
            weights = next(self.weights).float()
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
    """By affines that a JointNorm made, one a layer: what lies beside a piece of a picture does not matter to it."""

    def __init__(self, affines: Iterable[Tensor]):
        self.affines = iter(affines)

    def __call__(self, features: Tensor, _gamma: Tensor, _beta: Tensor) -> Tensor:
        scale, shift = next(self.affines)[..., None, None].split(1)  # (1, C, 1, 1) each
        return features * scale + shift


class StyledConv(nn.Module):
    """Convolution, then conditional instance norm, (N, C, H, W) and (N, 100) -> (N, O, H, W); Dumoulin 2017, eq. 5.

    Separable means depthwise then pointwise with nothing between (MobileNet's split without its norm). Gamma and beta
    are linear in the style vector. `norm` says of what the mean and variance are taken: each picture, by default.
    The kernel's pixels lie `dilation` apart.

    Where `rank` is above 0, kernels depend on the style, too: `up @ diag(mix(vector)) @ down`, of that rank, is added
    to the pointwise kernel; of a plain layer, to the plain one.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, separable: bool, padding: str, dilation: int = 1,
        rank: int = 0,
    ):  # fmt: skip
        super().__init__()
        self.kernel_size, self.padding, self.dilation, self.rank = kernel_size, padding, dilation, rank
        shape = {"kernel_size": kernel_size, "dilation": dilation, "bias": False}
        if separable:
            self.depthwise = nn.Conv2d(in_channels, in_channels, groups=in_channels, **shape)
            self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        else:
            self.conv = nn.Conv2d(in_channels, out_channels, **shape)
        self.separable = separable
        self.gamma = nn.Linear(VECTOR_SIZE, out_channels)
        self.beta = nn.Linear(VECTOR_SIZE, out_channels)
        nn.init.ones_(self.gamma.bias)  # an untrained style norm is a plain instance norm
        if rank:
            side = 1 if separable else kernel_size
            self.down = nn.Parameter(torch.randn(rank, in_channels, side, side) / (in_channels * side**2) ** 0.5)
            self.mix = nn.Linear(VECTOR_SIZE, rank)
            self.up = nn.Parameter(torch.zeros(out_channels, rank, 1, 1))  # so nothing is added before training

    def heads(self) -> list[nn.Linear]:
        """The layers that take a style vector."""
        return [*([self.mix] if self.rank else []), self.gamma, self.beta]

    def added_shapes(self) -> list[torch.Size]:
        """Of what a study adds to this layer: to its depthwise and pointwise kernels, to gamma and to beta."""
        return [self.depthwise.weight.shape, self.pointwise.weight.shape, self.gamma.bias.shape, self.beta.bias.shape]

    def forward(
        self, features: Tensor, vector: Tensor, added: Sequence[Tensor] | None = None, norm: Norm = instance_norm
    ) -> Tensor:
        """`added`: what a study adds, as `added_shapes` has it."""
        features = pad(features, self.kernel_size, self.padding, self.dilation)
        gamma, beta = self.gamma(vector), self.beta(vector)
        if self.separable:
            depthwise, pointwise = self.depthwise.weight, self.pointwise.weight
            if added is not None:
                to_depthwise, to_pointwise, to_gamma, to_beta = added
                depthwise, pointwise = depthwise + to_depthwise, pointwise + to_pointwise
                gamma, beta = gamma + to_gamma, beta + to_beta
            features = F.conv2d(features, depthwise, groups=len(depthwise), dilation=self.dilation)
            features = self._convolve(features, pointwise, vector)
        else:
            features = self._convolve(features, self.conv.weight, vector, self.dilation)
        return norm(features, gamma[..., None, None], beta[..., None, None])

    def _convolve(self, features: Tensor, kernels: Tensor, vector: Tensor, dilation: int = 1) -> Tensor:
        """By these kernels and what the style adds to them: in the kernels where there is one style, else beside."""
        if not self.rank:
            return F.conv2d(features, kernels, dilation=dilation)
        shares = self.mix(vector)  # (N, rank)
        if len(vector) == 1:
            kernels = kernels + ((self.up.flatten(1) * shares) @ self.down.flatten(1)).view_as(kernels)
            return F.conv2d(features, kernels, dilation=dilation)
        mixed = F.conv2d(features, self.down, dilation=dilation) * shares[..., None, None]
        return F.conv2d(features, kernels, dilation=dilation) + F.conv2d(mixed, self.up)


def calmed(photo: Tensor) -> Tensor:
    """A photo less the noise of its calm places, (N, 3, H, W) in [0, 1] -> the same; He et al. 2013, guided by itself.

    A painter takes the faintest noise in a sky for texture and makes a weave of it. Where a square varies by little,
    what is left of it is its mean; edges and textures stay. What comes is finer than bf16 can say: its steps show.
    """
    apart = photo - _mean_around(photo)
    variance = _mean_around(apart.square())
    return photo - apart * _mean_around(CALM_DEVIATION**2 / (variance + CALM_DEVIATION**2))


def _mean_around(values: Tensor) -> Tensor:
    return F.avg_pool2d(values, CALM_SIDE, stride=1, padding=CALM_SIDE // 2, count_include_pad=False)


def upsample(features: Tensor) -> Tensor:
    """Nearest neighbour x2, (N, C, H, W) -> (N, C, 2H, 2W): no checkerboard, unlike a transposed convolution."""
    return F.interpolate(features, scale_factor=2.0, mode="nearest")


def check_vector(vector: Tensor) -> None:
    """Refuse anything but (N, 100)."""
    if vector.ndim != 2 or vector.shape[1] != VECTOR_SIZE:
        raise ValueError(f"style vector has shape {tuple(vector.shape)}; it must be (N, {VECTOR_SIZE})")
