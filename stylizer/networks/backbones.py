"""Architectures of loss networks, with features by layer name.

VGG-16 and VGG-19 (Simonyan and Zisserman 2015), ResNet-18 (He et al. 2016), and two of our own: the narrow VGG,
distilled from VGG-16 (`python -m stylizer.training narrow`), and the small network, trained to classify Tiny ImageNet
(`python -m stylizer.training classify`). Keys are torchvision's. `stylizer.weights` lists the weight files, and
`stylizer.loss_networks` loads them.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18


class InputScale(NamedTuple):
    """The input that weights were trained on: pictures in [0, 1] * factor - offset, each for R, G and B."""

    factor: tuple[float, ...]
    offset: tuple[float, ...]


DEVIATIONS, MEANS = (0.229, 0.224, 0.225), (0.485, 0.456, 0.406)  # of ImageNet's RGB in [0, 1]
# The original VGG weights expect 0 to 255 minus the means; torchvision's expect zero mean and unit deviation.
CAFFE = InputScale((255.0, 255.0, 255.0), (123.68, 116.779, 103.939))
TORCHVISION = InputScale(
    tuple(1 / deviation for deviation in DEVIATIONS),
    tuple(mean / deviation for mean, deviation in zip(MEANS, DEVIATIONS, strict=True)),
)


INPUT_SCALES = {"caffe": CAFFE, "torchvision": TORCHVISION}


class Backbone(nn.Module):
    """RGB pictures (N, 3, H, W) in [0, 1] -> {layer: features} for the requested layers.

    Frozen and in evaluation mode: gradients reach only the picture. Computes in the weights' own precision.
    """

    LAYERS: tuple[str, ...]  # from the first to the deepest
    CONTENT_LAYERS: tuple[str, ...]  # good defaults
    STYLE_LAYERS: tuple[str, ...]
    TV_WEIGHT = 5.0  # removes grain, with no other visible effect
    STRIDE: int  # of the deepest layer: smaller pictures leave it no pixels

    def __init__(self, scale: InputScale):
        super().__init__()
        self.scale = scale
        self.steps: list[tuple[str, str]] = []  # (name of the resulting layer or "", name for `step`)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def step(self, name: str, features: Tensor) -> Tensor:
        """Run one of `steps`."""
        return self.get_submodule(name)(features)

    def scaled(self, pictures: Tensor) -> Tensor:
        """Pictures in [0, 1], scaled as the weights expect."""
        factor, offset = (pictures.new_tensor(numbers)[:, None, None] for numbers in self.scale)
        return pictures * factor - offset

    def forward(self, pictures: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        wanted = set(layers)
        unknown = sorted(wanted - set(self.LAYERS))
        if unknown or not wanted:
            raise ValueError(f"unknown layers {unknown}; choose from {', '.join(self.LAYERS)}")
        found, features = {}, self.scaled(pictures).to(self.dtype).contiguous(memory_format=torch.channels_last)
        for layer, name in self.steps:
            features = self.step(name, features)
            if layer in wanted:
                found[layer] = features
                if len(found) == len(wanted):
                    break  # deeper layers are not computed
        return found


# VGG ----------------------------------------------------------------------------------------------------------------


def _relu_names(counts: Iterable[int]) -> tuple[str, ...]:
    return tuple(f"relu{block}_{i}" for block, count in enumerate(counts, 1) for i in range(1, count + 1))


class VGG(Backbone):
    """Five blocks of 3x3 convolutions; block b works at H / 2^(b-1). `width` below 1 makes small ones for tests."""

    DEPTHS: tuple[int, ...]  # convolutions in each block
    CHANNELS = (64, 128, 256, 512, 512)
    CONTENT_LAYERS = ("relu4_2",)  # Gatys et al. 2016, who take it before the ReLU
    STRIDE = 16

    def __init__(self, width: float = 1.0, scale: InputScale = CAFFE):
        super().__init__(scale)
        self.features = nn.ModuleDict()  # keyed by torchvision's index, which counts ReLUs and pools
        index, channels = 0, 3
        for block, (depth, block_channels) in enumerate(zip(self.DEPTHS, self.CHANNELS, strict=True), 1):
            out_channels = max(1, round(block_channels * width))
            for number in range(1, depth + 1):
                self.features[str(index)] = nn.Conv2d(channels, out_channels, 3, padding=1)
                self.steps.append((f"relu{block}_{number}", str(index)))
                index, channels = index + 2, out_channels
            self.steps.append(("", "pool"))
            index += 1
        self.eval().requires_grad_(False)

    def step(self, name: str, features: Tensor) -> Tensor:
        if name == "pool":
            return F.max_pool2d(features, 2)
        return F.relu(self.features[name](features), inplace=True)


class VGG16(VGG):
    DEPTHS = (2, 2, 3, 3, 3)
    LAYERS = _relu_names(DEPTHS)
    STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")  # the last of each block, as Johnson et al. 2016


class VGG19(VGG):
    DEPTHS = (2, 2, 4, 4, 4)
    LAYERS = _relu_names(DEPTHS)
    STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_4", "relu4_4")


class NarrowVGG(VGG):
    """VGG-16 up to relu5_1, distilled from it, with 3.1 million parameters instead of ten.

    The first two blocks have fewer channels, whose features f predict VGG-16's as A f. The output is R f, where R is
    the square root of A'A, so that distances and Gram matrices equal those of the prediction. The other blocks have all
    channels, with low-rank convolutions: 3x3 to a few channels, then 1x1 (Zhang et al. 2016). Optimisation exploits
    first blocks that are too narrow: with 16 and 64 channels pictures end up 2.5 times as far from a style as with
    VGG-16, with 32 and 96 channels 1.5 times, whatever the ranks.
    """

    DEPTHS = (2, 2, 3, 3, 1)
    CHANNELS = (32, 96, 256, 512, 512)
    RANKS = (0, 0, 96, 160, 64)  # per block; 0: full rank
    LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_1")
    CONTENT_LAYERS = ("relu4_3",)
    STYLE_LAYERS = VGG16.STYLE_LAYERS

    def __init__(self, width: float = 1.0, scale: InputScale = TORCHVISION):
        super().__init__(width, scale)
        ranks = [rank for rank, depth in zip(self.RANKS, self.DEPTHS, strict=True) for _ in range(depth)]
        for (name, whole), rank in zip(list(self.features.items()), ranks, strict=True):
            if rank:
                assert isinstance(whole, nn.Conv2d)  # as VGG creates them
                middle = max(1, round(rank * width))
                self.features[name] = nn.Sequential(
                    nn.Conv2d(whole.in_channels, middle, 3, padding=1, bias=False),
                    nn.Conv2d(middle, whole.out_channels, 1),
                )
        counts = [max(1, round(count * width)) for count in self.CHANNELS[:2]]
        self.roots = nn.ModuleDict(
            {layer: nn.Conv2d(count, count, 1, bias=False) for layer, count in zip(self.LAYERS, counts, strict=False)}
        )
        self.eval().requires_grad_(False)

    def forward(self, pictures: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        found = super().forward(pictures, layers)
        return {layer: self.roots[layer](value) if layer in self.roots else value for layer, value in found.items()}


# ResNet -------------------------------------------------------------------------------------------------------------


class ResNet18(Backbone):
    """torchvision's: a stem at H/4, then four layers of two blocks each at H/4, H/8, H/16 and H/32."""

    LAYERS = ("layer1", "layer2", "layer3", "layer4")
    CONTENT_LAYERS = ("layer2",)  # deeper ones say too little about where things are
    STYLE_LAYERS = ("layer1", "layer2", "layer3")
    STRIDE = 32

    def __init__(self, scale: InputScale = TORCHVISION):
        super().__init__(scale)
        for name, module in resnet18(weights=None).named_children():
            if name not in ("avgpool", "fc"):  # the classifier
                self.add_module(name, module)
        stem = ("conv1", "bn1", "relu", "maxpool")  # (N, 64, H/4, W/4)
        self.steps = [(name if name in self.LAYERS else "", name) for name in (*stem, *self.LAYERS)]
        self.eval().requires_grad_(False)


# Our own ------------------------------------------------------------------------------------------------------------


class ConvNorm(nn.Sequential):
    """Convolution, batch norm and optionally ReLU, padded by half a kernel."""

    def __init__(
        self, channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1, relu: bool = True
    ):
        conv = nn.Conv2d(channels, out_channels, kernel_size, stride, (kernel_size - 1) // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(out_channels), *([nn.ReLU(inplace=True)] if relu else []))


class MixedReduction(nn.Module):
    """Halves height and width in three parallel branches: a 3x3, two 3x3 (a 5x5's view), and a mean with a 1x1.

    Like Inception's reductions (Szegedy et al. 2016), without their bottleneck between two stages.
    """

    def __init__(self, channels: int, out_channels: int):
        super().__init__()
        quarter = out_channels // 4
        self.near = ConvNorm(channels, out_channels - 2 * quarter, 3, stride=2)
        self.far = nn.Sequential(
            ConvNorm(channels, quarter, 1), ConvNorm(quarter, quarter, 3), ConvNorm(quarter, quarter, 3, stride=2)
        )
        self.mean = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), ConvNorm(channels, quarter, 1))

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat((self.near(features), self.far(features), self.mean(features)), dim=1)


class GroupedBlock(nn.Module):
    """Residual block of 1x1, grouped 3x3 and 1x1: ResNeXt (Xie et al. 2017), without reducing channels inside."""

    def __init__(self, channels: int):
        super().__init__()
        groups = max(1, channels // GROUP_CHANNELS)
        self.residual = nn.Sequential(
            ConvNorm(channels, channels, 1),
            ConvNorm(channels, channels, 3, groups=groups),
            ConvNorm(channels, channels, 1, relu=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.residual(features) + features)


GROUP_CHANNELS = 32  # narrower groups starve a CPU's matrix units; ResNeXt's 32x4d to 2x64d are nearly equally good


class SmallNet(Backbone):
    """A stem at H/2, then three stages at H/4, H/8 and H/16: a mixed reduction each, then 1, 2 and 3 grouped blocks.

    2.3 million parameters; 200 classes from the mean over all pixels; `width` as in `VGG`.
    """

    LAYERS = ("stem", "mixed1", "grouped1", "mixed2", "grouped2", "mixed3", "grouped3")
    CONTENT_LAYERS = ("grouped1",)
    STYLE_LAYERS = ("stem", "grouped1", "grouped2", "grouped3")
    TV_WEIGHT = 30.0  # its strides cause a grid in flat areas
    STRIDE = 16
    BLOCKS = (1, 2, 3)
    CHANNELS = (32, 96, 192, 384)

    def __init__(self, width: float = 1.0, scale: InputScale = TORCHVISION, classes: int = 200):
        super().__init__(scale)
        counts = [max(4, round(count * width)) for count in self.CHANNELS]
        self.stem = ConvNorm(3, counts[0], 4, stride=2)
        for number, blocks in enumerate(self.BLOCKS, 1):
            self.add_module(f"mixed{number}", MixedReduction(counts[number - 1], counts[number]))
            self.add_module(f"grouped{number}", nn.Sequential(*(GroupedBlock(counts[number]) for _ in range(blocks))))
        self.head = nn.Linear(counts[-1], classes)
        self.steps = [(layer, layer) for layer in self.LAYERS]
        self.eval().requires_grad_(False)

    def pooled(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 384), the classifier's input."""
        return self(pictures, self.LAYERS[-1:])[self.LAYERS[-1]].mean(dim=(2, 3))

    def classify(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, classes), logits."""
        return self.head(self.pooled(pictures))
