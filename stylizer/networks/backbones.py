"""Loss networks, their features by name: VGG-16, VGG-19 (Simonyan and Zisserman 2015), ResNet-18 (He et al. 2016).

Their keys are torchvision's. The weights are nobody's to ship here: `stylizer.weights` says where they are downloaded
from, and `stylizer.training` reads VGG-16's from a safetensors file, see docs/training.md. Two are our own and have
their weights in `models/`: the narrow VGG, taught by VGG-16 (`python -m stylizer.training narrow`), and the small
network, taught to tell Tiny ImageNet's classes apart (`python -m stylizer.training classify`).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylizer.errors import WeightsError


class InputScale(NamedTuple):
    """What weights were trained to see: pictures in [0, 1] * factor - offset, each for R, G and B."""

    factor: tuple[float, float, float]
    offset: tuple[float, float, float]


DEVIATIONS, MEANS = (0.229, 0.224, 0.225), (0.485, 0.456, 0.406)  # of ImageNet's RGB in [0, 1]
# The original VGG weights take 0 to 255 less the means; those that torchvision trained take zero mean, unit deviation.
CAFFE = InputScale((255.0, 255.0, 255.0), (123.68, 116.779, 103.939))
TORCHVISION = InputScale(
    tuple(1 / deviation for deviation in DEVIATIONS),
    tuple(mean / deviation for mean, deviation in zip(MEANS, DEVIATIONS, strict=True)),
)


class Backbone(nn.Module):
    """RGB pictures (N, 3, H, W) in [0, 1] -> {layer: features} for the layers asked for.

    Frozen and in evaluation mode: gradients reach the picture alone. What is computed is in the weights' own precision.
    """

    LAYERS: tuple[str, ...]  # from the picture to the deepest
    CONTENT_LAYERS: tuple[str, ...]  # good ones to begin with
    STYLE_LAYERS: tuple[str, ...]
    TV_WEIGHT = 5.0  # takes the grain off, and is not seen otherwise
    STRIDE: int  # of the deepest layer: fewer pixels than that a side leave it nothing

    def __init__(self, scale: InputScale):
        super().__init__()
        self.scale = scale
        self.steps: list[tuple[str, str]] = []  # (the layer that comes of it or "", what `step` calls it)

    @property
    def dtype(self) -> torch.dtype:
        raise NotImplementedError

    def step(self, name: str, features: Tensor) -> Tensor:
        """One of `steps` taken."""
        raise NotImplementedError

    def scaled(self, pictures: Tensor) -> Tensor:
        """Pictures in [0, 1] as the weights were trained to see them."""
        factor, offset = (pictures.new_tensor(numbers)[:, None, None] for numbers in self.scale)
        return pictures * factor - offset

    def forward(self, pictures: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        wanted = set(layers)
        unknown = sorted(wanted - set(self.LAYERS))
        if unknown or not wanted:
            raise ValueError(f"unknown layers {unknown}; choose from {', '.join(self.LAYERS)}")
        found, features = {}, self.scaled(pictures).to(self.dtype)
        for layer, name in self.steps:
            features = self.step(name, features)
            if layer in wanted:
                found[layer] = features
                if len(found) == len(wanted):
                    break  # nothing deeper is paid for
        return found


# VGG ----------------------------------------------------------------------------------------------------------------


def _relu_names(counts: Iterable[int]) -> tuple[str, ...]:
    return tuple(f"relu{block}_{i}" for block, count in enumerate(counts, 1) for i in range(1, count + 1))


class VGG(Backbone):
    """Five blocks of 3x3 convolutions; block b works at H / 2^(b-1). `width` below 1 makes small ones for tests."""

    DEPTHS: tuple[int, ...]  # convolutions in each block
    CHANNELS = (64, 128, 256, 512, 512)
    CONTENT_LAYERS = ("relu4_2",)  # Gatys et al. 2016, there before the relu
    STRIDE = 16

    def __init__(self, width: float = 1.0, scale: InputScale = CAFFE):
        super().__init__(scale)
        self.features = nn.ModuleDict()  # keyed by torchvision's index, which counts relus and pools
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

    @property
    def dtype(self) -> torch.dtype:
        return self.features["0"].weight.dtype

    def step(self, name: str, features: Tensor) -> Tensor:
        if name == "pool":
            return F.max_pool2d(features, 2)
        return F.relu(self.features[name](features), inplace=True)


class VGG16(VGG):
    DEPTHS = (2, 2, 3, 3, 3)
    LAYERS = _relu_names(DEPTHS)
    STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")  # the last of a block each, as Johnson et al. 2016


class VGG19(VGG):
    DEPTHS = (2, 2, 4, 4, 4)
    LAYERS = _relu_names(DEPTHS)
    STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_4", "relu4_4")


class NarrowVGG(VGG):
    """VGG-16 as far as relu5_1, taught to answer as it does, with 3.1 million numbers for ten.

    The first two blocks have a part of the channels, whose features f predict VGG-16's as A f. What is given is R f, R
    being the square root of A'A, so that distances and Gram matrices are those of the prediction. The others have all
    channels, of convolutions of low rank: 3x3 to a few, then 1x1 (Zhang et al. 2016). Narrower first blocks would be
    what optimisation finds out: with 16 and 64 channels pictures end 2.5 times as far from a style as VGG-16's own,
    with 32 and 96 1.5 times, whatever the ranks.
    """

    DEPTHS = (2, 2, 3, 3, 1)
    CHANNELS = (32, 96, 256, 512, 512)
    RANKS = (0, 0, 96, 160, 64)  # of the blocks; 0: whole
    LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_1")
    CONTENT_LAYERS = ("relu4_3",)
    STYLE_LAYERS = VGG16.STYLE_LAYERS

    def __init__(self, width: float = 1.0, scale: InputScale = TORCHVISION):
        super().__init__(width, scale)
        ranks = [rank for rank, depth in zip(self.RANKS, self.DEPTHS, strict=True) for _ in range(depth)]
        for (name, whole), rank in zip(list(self.features.items()), ranks, strict=True):
            if rank:
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


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride > 1 or channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.downsample is None else self.downsample(features)
        features = F.relu(self.bn1(self.conv1(features)))
        return F.relu(self.bn2(self.conv2(features)) + shortcut)


class ResNet18(Backbone):
    """A stem at H/4, then four layers of two blocks each at H/4, H/8, H/16 and H/32; `width` as in `VGG`."""

    LAYERS = ("layer1", "layer2", "layer3", "layer4")
    CONTENT_LAYERS = ("layer2",)  # deeper ones hold too little of where things are
    STYLE_LAYERS = ("layer1", "layer2", "layer3")
    STRIDE = 32

    def __init__(self, width: float = 1.0, scale: InputScale = TORCHVISION):
        super().__init__(scale)
        counts = [max(1, round(count * width)) for count in (64, 64, 128, 256, 512)]
        self.conv1 = nn.Conv2d(3, counts[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(counts[0])
        for number, layer in enumerate(self.LAYERS, 1):
            first = BasicBlock(counts[number - 1], counts[number], stride=1 if number == 1 else 2)
            self.add_module(layer, nn.Sequential(first, BasicBlock(counts[number], counts[number], stride=1)))
        self.steps = [("", "stem"), *((layer, layer) for layer in self.LAYERS)]
        self.eval().requires_grad_(False)

    @property
    def dtype(self) -> torch.dtype:
        return self.conv1.weight.dtype

    def step(self, name: str, features: Tensor) -> Tensor:
        if name == "stem":
            features = F.relu(self.bn1(self.conv1(features)))  # (N, 64, H/2, W/2)
            return F.max_pool2d(features, 3, stride=2, padding=1)  # (N, 64, H/4, W/4)
        return self.get_submodule(name)(features)


# Our own ------------------------------------------------------------------------------------------------------------


class ConvNorm(nn.Sequential):
    """Convolution, batch norm and, unless told otherwise, ReLU; half a kernel of padding."""

    def __init__(
        self, channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1, relu: bool = True
    ):
        conv = nn.Conv2d(channels, out_channels, kernel_size, stride, (kernel_size - 1) // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(out_channels), *([nn.ReLU(inplace=True)] if relu else []))


class MixedReduction(nn.Module):
    """Half the height and width by three branches side by side: a 3x3, two of them (a 5x5's view), a mean and a 1x1.

    As Inception's reductions (Szegedy et al. 2016), without their bottleneck between two stages.
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
    """1x1, a 3x3 in groups, 1x1, beside the identity: ResNeXt (Xie et al. 2017), the channels not reduced within."""

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


GROUP_CHANNELS = 32  # narrower groups starve a CPU's matrix units; of ResNeXt's 32x4d to 2x64d nearly all are as good


class SmallNet(Backbone):
    """A stem at H/2, then three stages at H/4, H/8 and H/16: a mixed reduction each, then 1, 2 and 3 grouped blocks.

    2.3 million numbers, 200 classes by the mean over all pixels; `width` as in `VGG`.
    """

    LAYERS = ("stem", "mixed1", "grouped1", "mixed2", "grouped2", "mixed3", "grouped3")
    CONTENT_LAYERS = ("grouped1",)
    STYLE_LAYERS = ("stem", "grouped1", "grouped2", "grouped3")
    TV_WEIGHT = 30.0  # through its strides a grid comes into flat areas
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

    @property
    def dtype(self) -> torch.dtype:
        return self.head.weight.dtype

    def step(self, name: str, features: Tensor) -> Tensor:
        return self.get_submodule(name)(features)

    def pooled(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, 384), what the classes are told by."""
        return self(pictures, self.LAYERS[-1:])[self.LAYERS[-1]].mean(dim=(2, 3))

    def classify(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> (N, classes), logits."""
        return self.head(self.pooled(pictures))


# By name ------------------------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    network: Callable[..., Backbone]
    scale: InputScale


# Names are those of `weights.DOWNLOADS`, and our own. VGG-16 is published in both forms and nothing in a file tells
# them apart, so they have a name each.
BACKBONES = {
    "narrow": Entry(NarrowVGG, TORCHVISION),
    "small": Entry(SmallNet, TORCHVISION),
    "vgg16": Entry(VGG16, CAFFE),
    "vgg16-torchvision": Entry(VGG16, TORCHVISION),
    "vgg19": Entry(VGG19, TORCHVISION),
    "resnet18": Entry(ResNet18, TORCHVISION),
}


def build_backbone(name: str, state: Mapping[str, Tensor]) -> Backbone:
    """The network of that name in float32; keys that it does not need (a classifier's) are passed over.

    WeightsError where an array is missing or has another shape, ValueError for a name that is not in BACKBONES.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}; choose from {', '.join(BACKBONES)}")
    network = BACKBONES[name].network(scale=BACKBONES[name].scale)
    wanted = network.state_dict()
    # A counter of training steps is in batch norm's state, older files lack it and evaluation does not use it.
    optional = {key for key in wanted if key.endswith("num_batches_tracked")}
    wrong = [key for key in wanted.keys() - optional if key not in state or state[key].shape != wanted[key].shape]
    if wrong:
        first = next(key for key in wanted if key in wrong)
        raise WeightsError(
            f"these are not {name}'s features: {len(wrong)} of {len(wanted) - len(optional)} arrays are missing or of "
            f"another shape, the first is {first}"
        )
    network.load_state_dict({key: state[key].float() for key in wanted.keys() - optional}, strict=False)
    return network


def load_vgg16(state: Mapping[str, Tensor]) -> VGG16:
    """VGG-16 with the original weights, as training and evaluation want it."""
    return build_backbone("vgg16", state)
