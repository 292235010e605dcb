"""Style transfer by optimising the picture itself (Gatys et al. 2016): slower than one pass, and nothing is learnt.

total = alpha * content + beta * style + gamma * variation. Content and style are mean relative distances
(`stylizer.losses`), so weights mean much the same for every network, layer and size. The picture stays within [0, 1].
"""

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylizer import images, losses, weights
from stylizer.errors import NotFinite, ParameterError
from stylizer.feedforward import PictureSource, Stylizer, check_size, check_weights
from stylizer.images import Fit, Picture
from stylizer.memory import check_memory, give_back
from stylizer.networks.backbones import BACKBONES, Backbone, build_backbone
from stylizer.settings import Settings
from stylizer.styles import named, read_gallery

INITS = ("noise", "photo", "feedforward")
PRECISIONS = ("auto", "f32")
# Where they lie in models/, if they do; the others are downloaded.
SHIPPED = {"narrow": "vgg-narrow.safetensors", "small": "classifier-small.safetensors"}
MIN_SIDE = 32  # at the coarsest scale
BYTES_PER_PIXEL = {torch.bfloat16: 2300, torch.float32: 3700}  # VGG's features, for the way back; seen 1980 and 3220


@dataclass(frozen=True)
class GatysConfig:
    """How to optimise. Layers left empty are the backbone's own defaults."""

    steps: int = 100  # evaluations of the loss after the first; from a photo little changes after them
    content_weight: float = 1.0  # alpha
    style_weight: float = 10.0  # beta: style falls to a few hundredths where content rises to a few tenths
    tv_weight: float | None = None  # gamma; None: the backbone's own
    content_layers: tuple[str, ...] = ()
    style_layers: tuple[str, ...] = ()
    style_layer_weights: tuple[float, ...] = ()  # one a style layer; equal where there are none
    init: str = "photo"  # noise, photo, or feedforward: the picture given as `start`
    optimiser: str = "lbfgs"  # or adam: three times the steps for the same loss
    learning_rate: float = 0.02  # of adam, in units of the picture's range
    scales: int = 1  # from coarse to fine, each twice the last; the steps are shared out evenly
    seed: int = 0  # of the noise
    preview_every: int = 0  # steps between pictures; 0: the last step alone has one
    precision: str = "auto"  # features in bf16 where the machine computes in it, or f32


@dataclass(frozen=True)
class Step:
    """One step done. Step 0 is the start, before any change."""

    index: int
    total: int
    losses: dict[str, float]  # content, style, variation as they are, unweighted (those that count), and total
    picture: Tensor | None  # float32 (1, 3, H, W) in [0, 1], at the size of its scale; the last step's at the photo's

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
    """The photo painted step by step, steps 0 to `config.steps`; what is wrong with the arguments is raised at once.

    content and styles: float32 (1, 3, H, W) in [0, 1]; a style whose longer side is the photo's is seen as one would
    lay them side by side. shares: how much each style counts, scaled to sum to 1. start: where `init` is feedforward,
    the picture to go on from, of the photo's size. The arguments are not changed. NotFinite where a loss overflows.
    """
    config = config or GatysConfig()
    styles = [styles] if isinstance(styles, Tensor) else list(styles)
    _check(content, styles, backbone, config, start)
    return _tidily(_steps(content, styles, check_weights(shares, len(styles)).tolist(), backbone, config, start))


def _tidily(steps: Iterator[Step]) -> Iterator[Step]:
    """What the steps took goes back to the system when they are over: on a large photo that is a gigabyte or two."""
    try:
        yield from steps
    finally:
        give_back()


def _steps(content, styles, shares, backbone, config, start) -> Iterator[Step]:
    device = next(backbone.parameters()).device
    network = in_precision(backbone, config.precision)
    content, styles = content.to(device), [style.to(device) for style in styles]
    picture, done = _first(content, config, start), 0
    for scale, steps in zip(range(config.scales - 1, -1, -1), _split(config.steps, config.scales), strict=True):
        photo = _shrink(content, 2**scale)
        picture = _resize(picture, photo.shape[2:])
        objective = Objective(network, photo, [_shrink(style, 2**scale) for style in styles], shares, config)
        walk = OPTIMISERS[config.optimiser](objective, picture, config, steps)
        for index, (found, picture) in enumerate(walk, done):  # the next scale goes on from picture
            if index == done > 0:
                continue  # a finer scale begins where the one before ended
            last = index == config.steps
            asked = config.preview_every and index % config.preview_every == 0
            yield Step(index, config.steps, found, picture.float().cpu() if last or asked else None)
        done += steps


# The loss -----------------------------------------------------------------------------------------------------------


class Objective:
    """What a picture costs. What the photo and the styles have of it is computed once; a weight of 0 costs nothing."""

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
            self.grams = [losses.gram_matrices(self._look(style, self.style_layers), self.style_layers)
                          for style in styles]  # fmt: skip

    def _look(self, picture: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        return self.network(picture.contiguous(memory_format=torch.channels_last), layers) if layers else {}

    def terms(self, picture: Tensor) -> dict[str, Tensor]:
        """{content, style, variation}: scalars, unweighted; those of weight 0 are left out."""
        features = self._look(picture, (*self.content_layers, *self.style_layers))
        found = {}
        if self.content_layers:
            found["content"] = losses.content_distance(features, self.target, self.content_layers)[0]
        if self.style_layers:
            found["style"] = sum(
                share * self._style(layer, losses.gram_matrix(features[layer]))
                for layer, share in zip(self.style_layers, self.layer_shares, strict=True)
            )
        if self.weights["variation"]:
            found["variation"] = losses.total_variation(picture)[0]
        return found

    def _style(self, layer: str, gram: Tensor) -> Tensor:
        distances = [losses.relative_distance(gram, grams[layer])[0] for grams in self.grams]
        return sum(share * distance for share, distance in zip(self.shares, distances, strict=True))

    @torch.enable_grad()
    def __call__(self, picture: Tensor) -> tuple[dict[str, float], Tensor]:
        """({term or "total": value}, the total's gradient by the picture); NotFinite names what overflowed."""
        picture = picture.detach().requires_grad_()
        terms = self.terms(picture)
        total = sum(self.weights[name] * value for name, value in terms.items())
        (gradient,) = torch.autograd.grad(total, picture)
        found = {name: value.item() for name, value in {**terms, "total": total}.items()}
        wrong = [f"{name} is {value}" for name, value in found.items() if not abs(value) < float("inf")]
        if not wrong and not gradient.isfinite().all():
            wrong = ["the gradient holds numbers that are not finite"]
        if wrong:
            raise NotFinite(
                f"the optimisation stopped: {wrong[0]}, with content, style and variation weighted "
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
    progress: weights.Progress = False,
    interrupt: Callable[[], None] | None = None,
) -> tuple[Picture, Iterator[Step]]:
    """(the photo at its size, `optimise`'s steps) from pictures, paths and names of the gallery's own styles.

    backbone: of BACKBONES; by default as `default_backbone` says.
    Everything that can be refused is refused before a network is downloaded; `progress` draws a bar of that. start:
    where `init` is feedforward, the picture to go on from; without one `stylizer`, or a new one, paints it. What
    `interrupt` raises ends the work: it is called within a step too, so a slow one need not be waited for.
    """
    backbone = backbone or default_backbone(settings, backbone_weights)
    check_config(config, network_of(backbone))
    check_weights(shares, len(styles))
    size = check_size(size, settings)
    picture = images.as_picture(photo, settings, images.longest_side(size) if size else None)
    picture = picture if size is None else images.resize(picture, size)
    images.check_size(picture.size, settings, "the photo at its size")
    longest = max(picture.size)
    style_pictures = [
        images.resize(style_picture(style, settings, images.longest_side(longest)), longest) for style in styles
    ]
    network = load_backbone(backbone, settings, backbone_weights, progress)
    if interrupt:
        interrupt()
        call_between_layers(network, interrupt)
    if config.init == "feedforward":
        if start is None:
            stylizer = stylizer or Stylizer(settings=settings)
            start = stylizer.paint(stylizer.photo(picture), stylizer.mix(styles, shares))
        start = _start(picture, start, settings)
    if settings.precision != "auto":
        config = replace(config, precision=settings.precision)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    cuda = settings.device in ("auto", "cuda") and torch.cuda.is_available()
    network = network.to("cuda" if cuda else "cpu")
    tensors = [_tensor(style) for style in style_pictures]
    return picture, optimise(_tensor(picture), tensors, network, config, shares=shares, start=start)


def network_of(backbone: str) -> type[Backbone]:
    """Its class, which knows its layers; ParameterError lists what there is."""
    if backbone not in BACKBONES:
        raise ParameterError("backbone", f"there is no backbone {backbone!r}; choose from {', '.join(BACKBONES)}")
    return BACKBONES[backbone].network


def default_backbone(settings: Settings, file: Path | None = None) -> str:
    """The first that can be had: our narrow VGG, as shipped. ParameterError for weights whose network is not named."""
    if file is not None:
        raise ParameterError("backbone", f"{file} came without its network's name; name one of {', '.join(BACKBONES)}")
    return available(settings)[0]


def available(settings: Settings) -> list[str]:
    """Backbones that can be had: those to be downloaded, and our own where its weights lie in models/."""
    listed = weights.checksums(settings.models)
    return [name for name in BACKBONES if name in weights.DOWNLOADS or SHIPPED[name] in listed]


def load_backbone(
    name: str, settings: Settings, file: Path | None = None, progress: weights.Progress = False
) -> Backbone:
    """A network of BACKBONES with its weights, from `file`, as shipped, or downloaded once.

    ParameterError for a name that is none, WeightsError where the weights are not to be had.
    """
    network_of(name)
    if name in weights.DOWNLOADS or file is not None:
        return build_backbone(name, weights.read_backbone(name, settings.cache, file, progress))
    arrays, _ = weights.parse(weights.read(settings.models, SHIPPED[name]), SHIPPED[name])
    return build_backbone(name, {key: torch.from_numpy(array) for key, array in arrays.items()})


def style_picture(style: PictureSource, settings: Settings, fit: Fit | None = None) -> Picture:
    """A style as a picture; the gallery's masters have none, so they are refused. `fit`: see `images.decode`."""
    found = named(read_gallery(settings.styles), style)
    if found and found.picture is None:
        raise ParameterError(
            "style", f"of {style!r} only the style vector is stored, and optimising needs a picture; name a file"
        )
    if found:
        style = settings.styles / found.picture
    return images.as_picture(style, settings, fit)


def _start(picture: Picture, start: PictureSource, settings: Settings) -> Tensor:
    """`start` at the photo's size; ParameterError where it is of another shape."""
    start = images.as_picture(start, settings)
    (width, height), (start_width, start_height) = picture.size, start.size
    if abs(start_width * height / (start_height * width) - 1) > SHAPE_TOLERANCE:
        raise ParameterError(
            "start",
            f"the start is {start_width}x{start_height}, the photo {width}x{height}; they must be of one shape",
        )
    return _resize(_tensor(start), (height, width))


SHAPE_TOLERANCE = 0.05  # sides are rounded to pixels, which on small or narrow pictures shows


def call_between_layers(network: Backbone, interrupt: Callable[[], None]) -> None:
    """Have `interrupt` called after every module on the way there, and before it on the way back."""

    def hook(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        interrupt()
        if output.requires_grad:
            output.register_hook(lambda _gradient: interrupt())

    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(hook)


def _tensor(picture: Picture) -> Tensor:
    return torch.from_numpy(images.to_tensor(picture.rgb))


# Optimisers: each yields (losses, picture) at the start and after every step, a step being one evaluation ------------


def _lbfgs(
    objective: Objective, picture: Tensor, config: GatysConfig, steps: int
) -> Iterator[tuple[dict[str, float], Tensor]]:
    """L-BFGS within [0, 1] (Nocedal 1980), pixels at a bound held there while the gradient points outwards.

    Ours rather than torch.optim's, which knows no bounds: its picture leaves [0, 1], so what is seen would not be what
    was measured. It also either goes where it may be worse or evaluates many times a step in a line search; here a step
    that made things worse is taken back, and the next one tries it shorter.
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
        if not pairs:  # nothing is known of the scale yet
            direction = direction * (FIRST_STEP / direction.square().mean().sqrt().clamp_min(1e-30))
        trial = (picture + length * direction).clamp(0, 1)
        tried, its_gradient = objective(trial)
        if tried["total"] > found["total"]:
            length /= 4
            if length < 1e-2:  # not a matter of length: what was learnt of the curvature is wrong here
                pairs.clear()
                length = 1.0 / 16
        else:
            moved, turned = trial - picture, its_gradient - gradient
            curvature = (moved * turned).sum()
            if curvature > 1e-6 * moved.norm() * turned.norm():
                pairs.append((moved, turned, 1 / curvature))
            picture, found, gradient, length = trial, tried, its_gradient, 1.0
        yield found, picture


MEMORY = 20  # pairs of vectors as long as the picture; more gained nothing
FIRST_STEP = 0.01  # root mean square change of a pixel


def _inverse_hessian(gradient: Tensor, pairs: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The inverse Hessian, as pairs of (moved, turned, 1 / curvature) show it, times gradient: two-loop recursion.

    What the pairs do not show is taken to be stiffer the finer the detail, where the textbook has the identity: 40
    steps then reach what 50 did.
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
    """Each frequency divided by its root: symmetric and positive, as an inverse Hessian must be."""
    height, width = picture.shape[2:]
    down = torch.fft.fftfreq(height, device=picture.device)[:, None]  # cycles a pixel
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
        return start.to(content)
    if config.init == "noise":
        generator = torch.Generator().manual_seed(config.seed)
        noise = torch.rand(content.shape, generator=generator, dtype=content.dtype)
        return (0.45 + 0.1 * noise).to(content.device)  # faint: what the losses do not see of it would stay as grain
    return content.clone()


def _shrink(picture: Tensor, factor: int) -> Tensor:
    return _resize(picture, [max(1, round(side / factor)) for side in picture.shape[2:]])


def _resize(picture: Tensor, size: Sequence[int]) -> Tensor:
    if picture.shape[2:] == torch.Size(size):
        return picture
    return F.interpolate(picture, tuple(size), mode="bicubic", antialias=True).clamp(0, 1)


def _split(steps: int, scales: int) -> list[int]:
    return [steps * (scale + 1) // scales - steps * scale // scales for scale in range(scales)]


def in_precision(backbone: Backbone, precision: str) -> Backbone:
    """A copy laid out, and for "auto" in the precision, as is fastest on its device. Float64, for tests, stays."""
    dtype = backbone.dtype
    if dtype == torch.float32 and precision == "auto" and computes_in_bf16(next(backbone.parameters()).device):
        dtype = torch.bfloat16
    return copy.deepcopy(backbone).to(dtype=dtype, memory_format=torch.channels_last)


def computes_in_bf16(device: torch.device) -> bool:
    """Whether bf16 is an instruction here and not a detour: elsewhere it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return device.type == "cpu" and any(ask() for ask in known if ask)


# Checks -------------------------------------------------------------------------------------------------------------


def _check(content: Tensor, styles: list[Tensor], backbone: Backbone, config: GatysConfig, start: Tensor | None):
    check_config(config, backbone)
    if not styles:
        raise ParameterError("style", "no style was given; give a picture")
    for name, picture in [("content", content), *(("style", style) for style in styles)]:
        if picture.ndim != 4 or picture.shape[:2] != (1, 3):
            raise ParameterError(name, f"{name} is of shape {tuple(picture.shape)}; it must be (1, 3, H, W)")
        side, coarsest = min(picture.shape[2:]), 2 ** (config.scales - 1)
        if side / coarsest < MIN_SIDE:
            raise ParameterError(
                "scales",
                f"the {name}'s shorter side is {side} pixels, which {config.scales} scales make {side // coarsest}; "
                f"{MIN_SIDE} are needed: take fewer scales or a larger size",
            )
    if config.init == "feedforward" and (start is None or start.shape != content.shape):
        shape = "none" if start is None else f"one of shape {tuple(start.shape)}"
        raise ParameterError(
            "init",
            f"init is feedforward, so a start of the photo's shape {tuple(content.shape)} is needed; {shape} came",
        )
    if content.device.type == "cpu":
        fast = config.precision == "auto" and computes_in_bf16(content.device)
        check_memory(*content.shape[2:], BYTES_PER_PIXEL[torch.bfloat16 if fast else torch.float32])


def _tv_weight(config: GatysConfig, backbone: Backbone | type[Backbone]) -> float:
    return backbone.TV_WEIGHT if config.tv_weight is None else config.tv_weight


def check_config(config: GatysConfig, backbone: Backbone | type[Backbone]) -> None:
    """ParameterError for a setting out of bounds, or a layer that the network does not have."""
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
        raise ParameterError("steps", f"{config.steps} steps for {config.scales} scales; each needs one at least")
    if config.style_layer_weights and len(config.style_layer_weights) != len(
        config.style_layers or backbone.STYLE_LAYERS
    ):
        raise ParameterError(
            "style_layer_weights",
            f"{len(config.style_layer_weights)} weights came for "
            f"{len(config.style_layers or backbone.STYLE_LAYERS)} style layers; give one a layer, or none",
        )
