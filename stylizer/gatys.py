"""Classic: style transfer by optimising the picture itself (Gatys et al. 2016). Slower than one pass, but no training.

total = alpha * content + beta * style + gamma * variation. Content and style are mean relative distances
(`stylizer.losses`), so weights mean much the same for every network, layer and size. The picture stays within [0, 1].
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from stylizer import cores, images, loss_networks, losses
from stylizer.errors import NotFinite, ParameterError
from stylizer.feedforward import Stylizer
from stylizer.images import Picture, PictureSource
from stylizer.loss_networks import MIN_SIDE, call_between_layers, computes_in_bf16, in_precision
from stylizer.memory import check_memory, give_back
from stylizer.networks.backbones import Backbone
from stylizer.options import option
from stylizer.parameters import check_size, check_weights
from stylizer.settings import Settings
from stylizer.styles import style_picture
from stylizer.weights import OnBytes

INITS = ("noise", "photo", "feedforward")
PRECISIONS = ("auto", "f32")
# VGG's features, kept for the backward pass; measured 1980 and 3220.
BYTES_PER_PIXEL = {torch.bfloat16: 2300, torch.float32: 3700}


@dataclass(frozen=True)
class GatysConfig:
    """How to optimise. Empty layers mean the backbone's own defaults."""

    steps: int = option(100, "evaluations of the loss after the first; from a photo, little changes after 100")
    content_weight: float = option(1.0, "alpha, weight of the content distance")
    style_weight: float = option(
        10.0, "beta, weight of the style distance, which falls to a few hundredths as content rises to a few tenths"
    )
    tv_weight: float | None = option(None, "gamma, weight of total variation; by default the loss network's own")
    content_layers: tuple[str, ...] = option((), "such as relu4_2 or layer2; by default the loss network's own")
    style_layers: tuple[str, ...] = option((), "such as relu1_1 relu2_1; by default the loss network's own")
    style_layer_weights: tuple[float, ...] = option((), "one per style layer; equal by default")
    init: str = option("photo", "starting picture: noise, photo or feedforward, the result of a single pass")
    optimiser: str = option("lbfgs", "lbfgs, or adam, which needs three times the steps for the same loss")
    learning_rate: float = option(0.02, "of adam, in units of the picture's range")
    scales: int = option(1, "number of sizes, coarse to fine, each twice the one before; they share the steps evenly")
    seed: int = option(0, "random seed of the noise")
    preview_every: int = 0  # steps between pictures; 0: only the last step has one
    precision: str = "auto"  # auto: features in bf16 if the hardware supports it; or f32


@dataclass(frozen=True)
class Step:
    """A completed step. Step 0 is the starting picture, unchanged."""

    index: int
    total: int
    losses: dict[str, float]  # content, style, variation, unweighted (those with a weight), and the weighted total
    picture: Tensor | None  # float32 (1, 3, H, W) in [0, 1], at the size of its scale; the last at the photo's size

    @property
    def loss(self) -> float:
        return self.losses["total"]


def optimise(
    content: Tensor,
    styles: Tensor | Sequence[Tensor],
    backbone: Backbone,
    config: GatysConfig | None = None,
    *,
    shares: Sequence[float] | None = None,
    start: Tensor | None = None,
) -> Iterator[Step]:
    """Paint the photo step by step, steps 0 to `config.steps`; errors in the arguments are raised immediately.

    content and styles: float32 (1, 3, H, W) in [0, 1]; strokes keep the size they have in the style pictures, which
    usually have the photo's longer side. shares: weights of the styles, scaled to sum to 1. start: the picture to
    start from if `init` is feedforward, of the photo's size. The arguments are not modified. NotFinite if a loss
    overflows.
    """
    config = config or GatysConfig()
    styles = [styles] if isinstance(styles, Tensor) else list(styles)
    _check(content, styles, backbone, config, start)
    return _tidily(_steps(content, styles, check_weights(shares, len(styles)).tolist(), backbone, config, start))


def _tidily(steps: Iterator[Step]) -> Iterator[Step]:
    """Return the memory to the system when the steps end: on a large photo that is a gigabyte or two."""
    try:
        yield from steps
    finally:
        give_back()


def _steps(
    content: Tensor,
    styles: Sequence[Tensor],
    shares: Sequence[float],
    backbone: Backbone,
    config: GatysConfig,
    start: Tensor | None,
) -> Iterator[Step]:
    device = next(backbone.parameters()).device
    network = in_precision(backbone, config.precision)
    content, styles = content.to(device), [style.to(device) for style in styles]
    picture, done = _first(content, config, start), 0
    for scale, steps in zip(range(config.scales - 1, -1, -1), _split(config.steps, config.scales), strict=True):
        photo = _shrink(content, 2**scale)
        picture = _resize(picture, photo.shape[2:])
        objective = Objective(network, photo, [_shrink(style, 2**scale) for style in styles], shares, config)
        walk = OPTIMISERS[config.optimiser](objective, picture, config, steps)
        for index, (found, picture) in enumerate(walk, done):  # the next scale continues from picture
            if index == done > 0:
                continue  # a finer scale starts where the coarser one ended
            last = index == config.steps
            asked = config.preview_every and index % config.preview_every == 0
            yield Step(index, config.steps, found, picture.float().cpu() if last or asked else None)
        done += steps


# The loss -----------------------------------------------------------------------------------------------------------


class Objective:
    """The loss of a picture. Targets are computed once; terms with weight 0 are not computed."""

    def __init__(
        self, network: Backbone, content: Tensor, styles: Sequence[Tensor], shares: Sequence[float], config: GatysConfig
    ):
        self.network, self.shares = network, shares
        self.weights = {
            "content": config.content_weight,
            "style": config.style_weight,
            "variation": _tv_weight(config, network),
        }
        self.content_layers = config.content_layers or network.CONTENT_LAYERS if config.content_weight else ()
        self.style_layers = config.style_layers or network.STYLE_LAYERS if config.style_weight else ()
        self.layer_shares = check_weights(config.style_layer_weights, len(self.style_layers)).tolist()
        with torch.no_grad():
            self.target = self._look(content, self.content_layers)
            self.grams = [
                losses.gram_matrices(self._look(style, self.style_layers), self.style_layers) for style in styles
            ]

    def _look(self, picture: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        return self.network(picture, layers) if layers else {}

    def terms(self, picture: Tensor) -> dict[str, Tensor]:
        """{content, style, variation}: unweighted scalars, without those of weight 0."""
        features = self._look(picture, (*self.content_layers, *self.style_layers))
        found = {}
        if self.content_layers:
            found["content"] = losses.content_distance(features, self.target, self.content_layers)[0]
        if self.style_layers:
            given = losses.gram_matrices(features, self.style_layers)
            distances = [
                losses.mean_distance(given, grams, self.style_layers, self.layer_shares)[0] for grams in self.grams
            ]
            found["style"] = losses.weighted_sum(self.shares, distances)
        if self.weights["variation"]:
            found["variation"] = losses.total_variation(picture)[0]
        return found

    @torch.enable_grad()
    def __call__(self, picture: Tensor) -> tuple[dict[str, float], Tensor]:
        """({term or "total": value}, gradient of the total by the picture); NotFinite names what overflowed."""
        picture = picture.detach().requires_grad_()
        terms = self.terms(picture)
        total = losses.weighted_sum((self.weights[name] for name in terms), terms.values())
        (gradient,) = torch.autograd.grad(total, picture)
        found = {name: value.item() for name, value in {**terms, "total": total}.items()}
        wrong = [f"{name} is {value}" for name, value in found.items() if not abs(value) < float("inf")]
        if not wrong and not gradient.isfinite().all():
            wrong = ["the gradient is not finite"]
        if wrong:
            raise NotFinite(
                f"the optimisation diverged: {wrong[0]}, with content, style and variation weights "
                f"{', '.join(f'{weight:g}' for weight in self.weights.values())}; lower the weights, check the "
                "network's weight file, or compute in float32"
            )
        return found, gradient


# From files ---------------------------------------------------------------------------------------------------------


def paint(
    photo: PictureSource,
    styles: Sequence[PictureSource],
    config: GatysConfig,
    settings: Settings,
    *,
    backbone: str | None = None,
    backbone_weights: Path | None = None,
    shares: Sequence[float] | None = None,
    size: int | str | None = 512,
    start: PictureSource | None = None,
    stylizer: Stylizer | None = None,
    progress: OnBytes = False,
    interrupt: Callable[[], None] | None = None,
) -> tuple[Picture, Iterator[Step]]:
    """(the photo at its size, `optimise`'s steps) from pictures, paths and names of the project's own styles.

    backbone: the name of a loss network; by default our own. All arguments are checked before a network is downloaded;
    `progress` reports the download. start: the picture to start from if `init` is feedforward; if missing, `stylizer`
    or a new one paints it. `interrupt` is also called within steps; raise in it to stop.
    """
    backbone = backbone or loss_networks.default(settings, backbone_weights)
    check_config(config, loss_networks.class_of(backbone))
    check_weights(shares, len(styles))
    size = check_size(size, settings)
    picture = images.as_picture(photo, settings, images.longest_side(size) if size else None)
    picture = picture if size is None else images.resize(picture, size)
    images.check_bounds(picture.size, settings, "the photo at its size")
    longest = max(picture.size)
    style_pictures = [
        images.resize(style_picture(style, settings, images.longest_side(longest)), longest) for style in styles
    ]
    network = loss_networks.load(backbone, settings, backbone_weights, progress)
    if interrupt:
        interrupt()
        call_between_layers(network, interrupt)
    first = None
    if config.init == "feedforward":
        if start is None:
            stylizer = stylizer or Stylizer(settings=settings)
            start = stylizer.paint(stylizer.photo(picture), stylizer.mix(styles, shares))
        first = _start(picture, start, settings)
    if settings.precision != "auto":
        config = replace(config, precision=settings.precision)
    cores.limit_torch(settings.threads)
    cuda = settings.device in ("auto", "cuda") and torch.cuda.is_available()
    network = network.to("cuda" if cuda else "cpu")
    tensors = [_tensor(style) for style in style_pictures]
    return picture, optimise(_tensor(picture), tensors, network, config, shares=shares, start=first)


def _start(picture: Picture, start: PictureSource, settings: Settings) -> Tensor:
    """`start` at the photo's size; ParameterError if its aspect ratio differs."""
    start = images.as_picture(start, settings)
    (width, height), (start_width, start_height) = picture.size, start.size
    if abs(start_width * height / (start_height * width) - 1) > SHAPE_TOLERANCE:
        raise ParameterError(
            "start",
            f"the start is {start_width}x{start_height} and the photo {width}x{height}; their aspect ratios must match",
        )
    return _resize(_tensor(start), (height, width))


SHAPE_TOLERANCE = 0.05  # sides are rounded to pixels, which matters for small or narrow pictures


def _tensor(picture: Picture) -> Tensor:
    return torch.from_numpy(images.to_tensor(picture.rgb))


# Optimisers: each yields (losses, picture) at the start and after every step, a step being one evaluation ------------


def _lbfgs(
    objective: Objective, picture: Tensor, config: GatysConfig, steps: int
) -> Iterator[tuple[dict[str, float], Tensor]]:
    """L-BFGS within [0, 1] (Nocedal 1980); pixels at a bound are held there while the gradient points outwards.

    Ours rather than torch.optim's, which has no bounds: its picture leaves [0, 1], so the picture shown would not be
    the one measured. It also either accepts steps that increase the loss or evaluates it many times per step in a line
    search; here a step that increases the loss is undone, and the next tries a shorter one.
    """
    found, gradient = objective(picture)
    yield found, picture
    pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=MEMORY)
    length = 1.0
    for _ in range(steps):
        free = ~((picture <= 0) & (gradient > 0) | (picture >= 1) & (gradient < 0))
        slope = gradient * free
        direction = -_inverse_hessian(slope, pairs) * free
        if (direction * slope).sum() >= 0:
            pairs.clear()
            direction = -slope
        if not pairs:  # the scale is still unknown
            direction = direction * (FIRST_STEP / direction.square().mean().sqrt().clamp_min(1e-30))
        trial = (picture + length * direction).clamp(0, 1)
        tried, its_gradient = objective(trial)
        if tried["total"] > found["total"]:
            length /= 4
            if length < 1e-2:  # the length is not to blame: the curvature estimate is wrong here
                pairs.clear()
                length = 1.0 / 16
        else:
            moved, turned = trial - picture, its_gradient - gradient
            curvature = (moved * turned).sum()
            if curvature > 1e-6 * moved.norm() * turned.norm():
                pairs.append((moved, turned, 1 / curvature))
            picture, found, gradient, length = trial, tried, its_gradient, 1.0
        yield found, picture


MEMORY = 20  # pairs of picture-sized vectors; more brought no gain
FIRST_STEP = 0.01  # root mean square change of a pixel


def _inverse_hessian(gradient: Tensor, pairs: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Inverse Hessian from pairs of (moved, turned, 1 / curvature), times gradient: two-loop recursion.

    The initial estimate, in textbooks the identity, assumes more curvature for finer detail: 40 steps then reach what
    took 50.
    """
    result, factors = gradient, []
    for moved, turned, inverse in reversed(pairs):
        factors.append(inverse * (moved * result).sum())
        result = result - factors[-1] * turned
    result = _favour_coarse(result)
    if pairs:
        moved, turned, _ = pairs[-1]
        result = result * ((moved * turned).sum() / (turned * _favour_coarse(turned)).sum())
    for (moved, turned, inverse), factor in zip(pairs, reversed(factors), strict=True):
        result = result + (factor - inverse * (turned * result).sum()) * moved
    return result


def _favour_coarse(picture: Tensor) -> Tensor:
    """Divide each frequency by its square root: symmetric and positive, as an inverse Hessian must be."""
    height, width = picture.shape[2:]
    down = torch.fft.fftfreq(height, device=picture.device)[:, None]  # cycles per pixel
    across = torch.fft.rfftfreq(width, device=picture.device)
    frequency = torch.hypot(down, across).clamp_min(1 / max(height, width))
    return torch.fft.irfft2(torch.fft.rfft2(picture) / frequency.sqrt(), s=(height, width))


def _adam(
    objective: Objective, picture: Tensor, config: GatysConfig, steps: int
) -> Iterator[tuple[dict[str, float], Tensor]]:
    picture = picture.clone()
    adam = torch.optim.Adam([picture], lr=config.learning_rate)
    found, picture.grad = objective(picture)
    yield found, picture.clone()
    for _ in range(steps):
        adam.step()
        picture.clamp_(0, 1)
        found, picture.grad = objective(picture)
        yield found, picture.clone()


OPTIMISERS: dict[str, Callable] = {"lbfgs": _lbfgs, "adam": _adam}


# Pictures and precision ---------------------------------------------------------------------------------------------


def _first(content: Tensor, config: GatysConfig, start: Tensor | None) -> Tensor:
    if config.init == "feedforward":
        assert start is not None  # ensured by _check
        return start.to(content)
    if config.init == "noise":
        generator = torch.Generator().manual_seed(config.seed)
        noise = torch.rand(content.shape, generator=generator, dtype=content.dtype)
        return (0.45 + 0.1 * noise).to(content.device)  # faint: noise that the losses do not see would remain as grain
    return content.clone()


def _shrink(picture: Tensor, factor: int) -> Tensor:
    return _resize(picture, [max(1, round(side / factor)) for side in picture.shape[2:]])


def _resize(picture: Tensor, size: Sequence[int]) -> Tensor:
    if picture.shape[2:] == torch.Size(size):
        return picture
    return F.interpolate(picture, tuple(size), mode="bicubic", antialias=True).clamp(0, 1)


def _split(steps: int, scales: int) -> list[int]:
    return [steps * (scale + 1) // scales - steps * scale // scales for scale in range(scales)]


# Checks -------------------------------------------------------------------------------------------------------------


def _check(
    content: Tensor, styles: list[Tensor], backbone: Backbone, config: GatysConfig, start: Tensor | None
) -> None:
    check_config(config, backbone)
    if not styles:
        raise ParameterError("style", "no style was given; give a picture")
    for name, picture in [("content", content), *(("style", style) for style in styles)]:
        if picture.ndim != 4 or picture.shape[:2] != (1, 3):
            raise ParameterError(name, f"{name} has shape {tuple(picture.shape)}; it must be (1, 3, H, W)")
        side, coarsest = min(picture.shape[2:]), 2 ** (config.scales - 1)
        if side / coarsest < MIN_SIDE:
            raise ParameterError(
                "scales",
                f"the {name}'s shorter side is {side} pixels, or {side // coarsest} at the coarsest of {config.scales} "
                f"scales; at least {MIN_SIDE} are needed: use fewer scales or a larger size",
            )
    if config.init == "feedforward" and (start is None or start.shape != content.shape):
        shape = "none" if start is None else f"one of shape {tuple(start.shape)}"
        raise ParameterError(
            "init",
            f"init is feedforward, which needs a start of the photo's shape {tuple(content.shape)}; got {shape}",
        )
    if content.device.type == "cpu":
        fast = config.precision == "auto" and computes_in_bf16(content.device)
        height, width = content.shape[2:]
        check_memory(height, width, BYTES_PER_PIXEL[torch.bfloat16 if fast else torch.float32])


def _tv_weight(config: GatysConfig, backbone: Backbone | type[Backbone]) -> float:
    return backbone.TV_WEIGHT if config.tv_weight is None else config.tv_weight


def check_config(config: GatysConfig, backbone: Backbone | type[Backbone]) -> None:
    """Raise ParameterError for a setting out of bounds or a layer that the network lacks."""
    for field, allowed in (("init", INITS), ("optimiser", OPTIMISERS), ("precision", PRECISIONS)):
        value = getattr(config, field)
        if value not in allowed:
            raise ParameterError(field, f"{field} is {value!r}; choose from {', '.join(allowed)}")
    for field in ("content_layers", "style_layers"):
        unknown = [layer for layer in getattr(config, field) if layer not in backbone.LAYERS]
        if unknown:
            raise ParameterError(
                field, f"this network has no layer {unknown[0]!r}; choose from {', '.join(backbone.LAYERS)}"
            )
    tv_weight = _tv_weight(config, backbone)
    weights = {"content_weight": config.content_weight, "style_weight": config.style_weight, "tv_weight": tv_weight}
    for field, value in weights.items():
        if not 0 <= value < float("inf"):
            raise ParameterError(field, f"{field} is {value}; it must be 0 or more")
    if not sum(weights.values()) > 0:
        raise ParameterError("style_weight", "all three weights are 0, so there is nothing to optimise; raise one")
    if config.scales < 1 or config.steps < config.scales:
        raise ParameterError("steps", f"{config.steps} steps for {config.scales} scales; each needs at least one")
    if config.style_layer_weights and len(config.style_layer_weights) != len(
        config.style_layers or backbone.STYLE_LAYERS
    ):
        raise ParameterError(
            "style_layer_weights",
            f"{len(config.style_layer_weights)} weights for "
            f"{len(config.style_layers or backbone.STYLE_LAYERS)} style layers; give one per layer, or none",
        )
