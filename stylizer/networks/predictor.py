"""The style predictor: from a painting to its style vector of 100 numbers. Ghiasi et al. 2017, section 3.

The trunks are torchvision's, without their classifiers: MobileNetV2 (Sandler et al. 2018) to its last 1280-channel
stage, or Inception-v3 (Szegedy et al. 2016) to Mixed_6e. torchvision differs from Magenta's TensorFlow in two details
that affect only pixels at the border: strided convolutions of MobileNetV2 pad evenly (TensorFlow pads right and below),
and Inception's average pools count the padding.

Ours also see the colours directly: a trunk trained to recognise things ignores shades, but a painting's palette is what
people see first.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import inception_v3, mobilenet_v2

from stylizer.networks.layers import BATCH_NORM_EPSILON, VECTOR_SIZE

INCEPTION_STAGES = (
    "Conv2d_1a_3x3",
    "Conv2d_2a_3x3",
    "Conv2d_2b_3x3",
    "maxpool1",
    "Conv2d_3b_1x1",
    "Conv2d_4a_3x3",
    "maxpool2",
    "Mixed_5b",
    "Mixed_5c",
    "Mixed_5d",
    "Mixed_6a",
    "Mixed_6b",
    "Mixed_6c",
    "Mixed_6d",
    "Mixed_6e",
)
INPUT_RANGES = {"-1..1": (2.0, -1.0), "0..1": (1.0, 0.0)}  # scale and shift applied to [0, 1]


def _mobilenet_trunk() -> nn.Sequential:
    return mobilenet_v2(weights=None).features  # (N, 3, H, W) -> (N, 1280, H/32, W/32)


def _inception_trunk() -> nn.Sequential:
    whole = inception_v3(weights=None, aux_logits=False, init_weights=False)
    trunk = nn.Sequential()
    for name in INCEPTION_STAGES:
        trunk.add_module(name, getattr(whole, name))
    return trunk  # (N, 3, H, W) -> (N, 768, ~H/16, ~W/16)


PREDICTORS = {"mobilenet-v2": (_mobilenet_trunk, 1280), "inception-v3": (_inception_trunk, 768)}

COLORS = 6  # each channel's mean and standard deviation,
DARKEST = 0.02  # as logits; darker and lighter values are clipped, because their logits are extreme


def colors(style: Tensor) -> Tensor:
    """Mean, then standard deviation, of each channel's logit over pictures (N, 3, H, W) in [0, 1] -> (N, 6).

    The transformer's last betas and gammas set exactly these in the pictures that it paints.
    """
    logits = style.clamp(DARKEST, 1 - DARKEST).logit()
    mean = logits.mean((2, 3), keepdim=True)
    deviation = (logits - mean).square().mean((2, 3)).sqrt()
    return torch.cat((mean.flatten(1), deviation), dim=1)


class StylePredictor(nn.Module):
    """Style pictures (N, 3, H, W) in [0, 1] -> style vectors (N, 100). Trained with the shorter side at about 256 px.

    `input_range` is the trunk's: -1..1 for ours, 0..1 for Magenta's. With `sees_colors` the last layer also gets the
    output of `colors`; Magenta's does not.
    """

    def __init__(self, trunk: str = "mobilenet-v2", input_range: str = "-1..1", sees_colors: bool = False):
        super().__init__()
        if trunk not in PREDICTORS:
            raise ValueError(f"unknown predictor trunk {trunk!r}; choose from {', '.join(sorted(PREDICTORS))}")
        if input_range not in INPUT_RANGES:
            raise ValueError(f"unknown input range {input_range!r}; choose from {', '.join(INPUT_RANGES)}")
        self.trunk, self.input_range, self.sees_colors = trunk, input_range, sees_colors
        make_trunk, channels = PREDICTORS[trunk]
        self.features = make_trunk()
        self.to_vector = nn.Linear(channels + COLORS * sees_colors, VECTOR_SIZE)
        for module in self.features.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = BATCH_NORM_EPSILON  # both trunks were trained with it, in TensorFlow

    def forward(self, style: Tensor) -> Tensor:
        stages = len(self.features)
        return self.finish(self.begin(style, stages), stages)

    def begin(self, style: Tensor, stages: int) -> Tensor:
        """Features of the trunk's first stages, (N, C, h, w); for all stages, their mean (N, C).

        With `sees_colors` the last channels are the colours, constant over the picture.
        """
        scale, shift = INPUT_RANGES[self.input_range]
        features = self.features[:stages](style * scale + shift)
        if self.sees_colors:
            seen = colors(style)[:, :, None, None].expand(-1, -1, *features.shape[2:])
            features = torch.cat((features, seen.to(features.dtype)), dim=1)
        return features.mean((2, 3)) if stages == len(self.features) else features

    def finish(self, features: Tensor, stages: int) -> Tensor:
        """The result of `begin` -> style vectors (N, 100)."""
        if stages < len(self.features):
            own = features.shape[1] - COLORS * self.sees_colors
            features, seen = features[:, :own], features[:, own:, 0, 0]
            features = torch.cat((self.features[stages:](features).mean((2, 3)), seen), dim=1)
        return self.to_vector(features)


@torch.no_grad()
def with_colors(predictor: StylePredictor) -> StylePredictor:
    """The same predictor with colour inputs whose weights are still zero."""
    seeing = StylePredictor(predictor.trunk, predictor.input_range, sees_colors=True)
    state = predictor.state_dict()
    state["to_vector.weight"] = F.pad(state["to_vector.weight"], (0, COLORS))
    seeing.load_state_dict(state)
    return seeing.train(predictor.training)
