"""Fit a study to one painting: gradient descent on what it adds to the transformer, over a few dozen photos.

Johnson et al. 2016 train a whole network for one style. Here only a small addition to an existing transformer is learnt
(`stylizer.studies`), so a minute is enough, and the result is small, can be mixed and has a strength.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from stylizer import cores, images, loss_networks, losses, studies, weights
from stylizer.canvas import brushed
from stylizer.errors import NotFinite, ParameterError
from stylizer.feedforward import Stylizer
from stylizer.images import Picture, PictureSource
from stylizer.loss_networks import MIN_SIDE, call_between_layers, computes_in_bf16, in_precision
from stylizer.memory import check_memory
from stylizer.networks import Transformer, build_transformer
from stylizer.networks.backbones import Backbone
from stylizer.networks.merged import plain_shell, working_weights
from stylizer.options import option
from stylizer.parameters import check_size
from stylizer.progress import Interrupt
from stylizer.reading import octaves
from stylizer.settings import Settings
from stylizer.studies import LAYERS, RANK, STEPS, Study
from stylizer.styles import read_gallery, style_picture
from stylizer.tiles import STRIDE

BYTES_PER_PIXEL = 7000  # transformer and VGG-16 in float32, for the backward pass
CLIP = 5.0  # largest norm of the gradient: early steps can be wild
LARGE_EVERY = 3  # one photo in so many is seen large
OWN_EVERY = 4  # steps per look at the photo that will be painted
FOLLOW = 0.05  # relative change of the content weight per step, when the content distance is twice its target
MOST = 20.0  # largest factor between the content weight and its start
SEPARABLE = "studies need the separable transformer; set STYLIZER_TRANSFORMER=separable"


@dataclass(frozen=True)
class StudyConfig:
    """How to fit. Layers are those of `stylizer.losses` for VGG-16 and ours, else the backbone's own defaults."""

    steps: int = option(STEPS, "steps, one photo each")
    size: int = option(224, "longer side at which whole photos are seen")
    large: int = option(
        640, "longer side at which every third photo is seen, through a window, as large pictures are painted"
    )
    painting_size: int = option(256, "longer side of the painting next to photos at `size`: larger for broader strokes")
    content_distance: float = option(
        1.0, "target distance from the photos, by adjusting the content weight: larger is bolder"
    )
    content_weight: float = option(1.0, "initial weight of the content distance")
    style_weight: float = option(12.0, "weight of the style distance")
    tv_weight: float = option(2.0, "weight of total variation")
    calm_weight: float = option(250.0, "weight of total variation where the photo is calm and a weave would show")
    lattice_weight: float = option(20.0, "weight of waves common to all results but absent from photos and painting")
    rate: float = option(4e-3, "Adam's initial learning rate for kernels, with cosine decay to zero")
    norm_rate: float = option(0.02, "Adam's initial learning rate for gammas and betas")
    rank: int = option(RANK, f"rank of what is added to a matrix, at most {RANK}")
    seed: int = option(0, "random seed of the photos' order")


@dataclass(frozen=True)
class View:
    """What a step sees of a photo."""

    pixels: Tensor  # float32 (1, 3, H, W) in [0, 1], sides multiples of 4
    canvas: Tensor  # the same with brushwork, the transformer's input
    longest: int  # longest side of the whole photo in pixels, which determines the size of strokes and painting


@dataclass(frozen=True)
class Step:
    """A completed step: the study so far, and the losses of this step's photo."""

    index: int
    total: int
    losses: dict[str, float]  # content, style, variation, weave and lattice, unweighted, and total
    study: Study


def fit(
    transformer: Transformer,
    backbone: Backbone,
    painting: Picture,
    vector: np.ndarray,
    views: Sequence[View],
    config: StudyConfig | None = None,
    *,
    name: str = "study",
    origin: str = "",
    coarser: np.ndarray | None = None,
    device: torch.device | str = "cpu",
    start: Study | None = None,
) -> Iterator[Step]:
    """Steps 1 to `config.steps`; errors in the arguments are raised immediately.

    vector (100,): the painting's style vector; views: see `views_of`. `coarser` (100,) is added to the vector for large
    photos, as when painting. The study is named `name` and belongs to the transformer with fingerprint `origin`. It
    continues from `start`, a study of the painting for other weights, if that has the same rank; otherwise it starts
    with nothing added.
    """
    config, device = config or StudyConfig(), torch.device(device)
    _check(config, views, transformer, device)
    learnt = Learnt(transformer.to(device), vector, config, coarser, start)
    network = in_precision(backbone.to(device), "auto")
    objectives = Objectives(network, painting, views, config)
    return _steps(learnt, objectives, config, name, origin)


def _steps(learnt: "Learnt", objectives: "Objectives", config: StudyConfig, name: str, origin: str) -> Iterator[Step]:
    adam = torch.optim.Adam(learnt.groups(config))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, config.steps)
    order = _shuffled(len(objectives.views), config.seed)
    for index in range(1, config.steps + 1):
        number = next(order)
        terms = objectives(learnt.paint(objectives.views[number]), number)
        if not terms["total"].isfinite():
            raise NotFinite(
                f"the loss became {terms['total'].item()} at step {index}; try a lower rate or lower weights"
            )
        adam.zero_grad()
        terms["total"].backward()
        nn.utils.clip_grad_norm_(learnt.leaves(), CLIP)
        adam.step()
        schedule.step()
        objectives.follow(terms["content"].item())
        found = {term: value.item() for term, value in terms.items()}
        yield Step(index, config.steps, found, learnt.study(name, origin))


def _shuffled(count: int, seed: int) -> Iterator[int]:
    """0 to count - 1 in random order, over and over."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=generator).tolist()


class Painter:
    """The transformer with additions to its weights, its separable convolutions merged, which torch runs faster."""

    def __init__(self, transformer: Transformer):
        self.transformer, self.weights = transformer, dict(transformer.named_parameters())
        self.shell = plain_shell(transformer).eval()
        self.device = next(transformer.parameters()).device
        self.dtype = torch.bfloat16 if computes_in_bf16(self.device) else torch.float32

    def __call__(self, photo: Tensor, vector: Tensor, added: Mapping[str, Tensor]) -> Tensor:
        """Photo (1, 3, H, W) in [0, 1], sides multiples of 4, and vector (1, 100) -> painted, float32."""
        weights = {**self.weights, **{key: self.weights[key] + value for key, value in added.items()}}
        working = working_weights(self.transformer, self.dtype, True, weights)
        inputs = photo.contiguous(memory_format=torch.channels_last), vector
        return functional_call(self.shell, working, tuple(value.to(self.dtype) for value in inputs)).float()


class Learnt:
    """What is optimised: a study's numbers, as tensors (depthwise, up, down, gamma, beta) per layer."""

    def __init__(
        self,
        transformer: Transformer,
        vector: np.ndarray,
        config: StudyConfig,
        coarser: np.ndarray | None,
        start: Study | None = None,
    ):
        self.vector, self.rank = vector, config.rank
        self.coarser = np.zeros_like(vector) if coarser is None else coarser
        self.painter = Painter(transformer)
        generator = torch.Generator().manual_seed(config.seed)
        self.layers: list[list[Tensor]] = []
        for layer in LAYERS:
            depthwise, up, down, gamma, beta = (torch.zeros(shape) for shape in layer.shapes(config.rank))
            nn.init.normal_(down, std=layer.channels**-0.5, generator=generator)  # up is zero, so the product is too
            self.layers.append([part.to(self.painter.device) for part in (depthwise, up, down, gamma, beta)])
        if start and start.rank == config.rank:
            learnt = studies.split(start.numbers.astype(np.float32), start.rank)
            for tensors, arrays in zip(self.layers, learnt, strict=True):
                for tensor, array in zip(tensors, arrays, strict=True):
                    tensor.copy_(torch.from_numpy(array))
        idle = {name.removesuffix(".beta.weight") for name in transformer.centre()}
        for layer, tensors in zip(LAYERS, self.layers, strict=True):
            for tensor in tensors[:4] if layer.name in idle else tensors:
                tensor.requires_grad_()

    def leaves(self) -> list[Tensor]:
        return [tensor for layer in self.layers for tensor in layer if tensor.requires_grad]

    def groups(self, config: StudyConfig) -> list[dict]:
        """Parameter groups for Adam: kernels have one learning rate, gammas and betas another."""
        parts = {config.rate: slice(0, 3), config.norm_rate: slice(3, 5)}
        return [
            {"params": [tensor for layer in self.layers for tensor in layer[part] if tensor.requires_grad], "lr": rate}
            for rate, part in parts.items()
        ]

    def added(self) -> dict[str, Tensor]:
        """What is added to the weights, by the transformer's keys."""
        found = {}
        for layer, (depthwise, up, down, gamma, beta) in zip(LAYERS, self.layers, strict=True):
            found[f"{layer.name}.depthwise.weight"] = depthwise
            found[f"{layer.name}.pointwise.weight"] = (up @ down)[:, :, None, None]
            found[f"{layer.name}.gamma.bias"], found[f"{layer.name}.beta.bias"] = gamma, beta
        return found

    def paint(self, view: View) -> Tensor:
        device = self.painter.device
        vector = (self.vector + octaves(view.longest, view.longest) * self.coarser).astype(np.float32)
        return self.painter(view.canvas.to(device), torch.from_numpy(vector)[None].to(device), self.added())

    def study(self, name: str, origin: str) -> Study:
        layers = [[tensor.detach().cpu().numpy() for tensor in layer] for layer in self.layers]
        return studies.pack(name, self.vector, layers, self.rank, origin)


class Objectives:
    """The losses of a painted view. Targets from photos and the painting are computed once, on first use."""

    def __init__(self, network: Backbone, painting: Picture, views: Sequence[View], config: StudyConfig):
        self.network, self.painting, self.views, self.config = network, painting, views, config
        self.content_weight = config.content_weight
        known = set(losses.CONTENT_LAYERS) <= set(network.LAYERS)
        self.content_layers = losses.CONTENT_LAYERS if known else network.CONTENT_LAYERS
        self.style_layers = network.STYLE_LAYERS
        self.device = next(network.parameters()).device
        self._beside = cache(self._of_painting)
        self._photo = cache(self._of_photo)
        self.common = torch.zeros(2, losses.WINDOW, losses.WINDOW, device=self.device)  # waves common to the results
        self.seen = 0  # number of results so far

    @torch.no_grad()
    def _of_painting(self, longest: int) -> tuple[dict[str, Tensor], Tensor | None]:
        """The painting's Gram matrices and spectrum, at its size next to a photo of that size."""
        size = round(self.config.painting_size * longest / self.config.size)
        pixels = tensor_of(self.painting, size).to(self.device)
        grams = losses.gram_matrices(self.network(pixels, self.style_layers), self.style_layers)
        return grams, losses.spectrum(pixels) if _shows_waves(pixels) else None

    @torch.no_grad()
    def _of_photo(self, number: int) -> tuple[dict[str, Tensor], Tensor]:
        """The content features of a view, and how calm each place of its canvas is."""
        view = self.views[number]
        return self.network(view.pixels.to(self.device), self.content_layers), losses.calm(view.canvas.to(self.device))

    def __call__(self, painted: Tensor, number: int) -> dict[str, Tensor]:
        """The losses of a painted view, by name; `total` is minimised."""
        config, view, (photo, calm_places) = self.config, self.views[number], self._photo(number)
        found = self.network(painted, (*self.content_layers, *self.style_layers))
        grams, spectrum = self._beside(view.longest)
        content = losses.content_distance(found, photo, self.content_layers)[0]
        style = losses.style_distance(found, grams, self.style_layers)[0]
        variation, weave = losses.total_variation(painted)[0], losses.weave(painted, calm_places)[0]
        total = (
            self.content_weight * content
            + config.style_weight * style.log1p()
            + config.tv_weight * variation
            + config.calm_weight * weave
        )
        found = {"content": content, "style": style, "variation": variation, "weave": weave}
        if config.lattice_weight and spectrum is not None and _shows_waves(painted):
            excess = losses.lattice_excess(painted, view.canvas.to(self.device), spectrum)
            found["lattice"] = losses.lattice(excess, self.common)
            losses.follow_lattice(self.common, excess, self.seen)
            total = total + config.lattice_weight * found["lattice"]
        self.seen += 1
        return {**found, "total": total}

    def follow(self, content: float) -> None:
        """Raise the content weight after a view too far from its photo, lower it after one that is too close.

        No single weight suits all paintings: the same weight lets one turn a photo into a mosaic and another barely
        change it.
        """
        start = self.config.content_weight
        weight = self.content_weight * math.exp(FOLLOW * (content / self.config.content_distance - 1))
        self.content_weight = min(max(weight, start / MOST), start * MOST)


# From files ---------------------------------------------------------------------------------------------------------


def load_transformer(settings: Settings) -> Transformer:
    """The transformer in `models/` as a torch module in float32."""
    stem = settings.transformer_stem
    arrays, metadata = weights.parse(weights.read(settings.models, f"{stem}.safetensors"), stem)
    network = build_transformer({key: torch.from_numpy(value) for key, value in arrays.items()}, metadata, stem)
    return network.requires_grad_(False)


def study(
    painting: PictureSource,
    config: StudyConfig,
    settings: Settings,
    *,
    name: str = "study",
    photos: Sequence[PictureSource] = (),
    own: PictureSource | None = None,
    backbone: str | None = None,
    backbone_weights: Path | None = None,
    stylizer: Stylizer | None = None,
    progress: weights.OnBytes = False,
    interrupt: Interrupt | None = None,
) -> Iterator[Step]:
    """`fit`'s steps, from pictures and paths.

    The default photos are the sample photo and the gallery's own pictures. `own`, the photo that will be painted, is
    also seen every OWN_EVERY steps. `interrupt` is also called within steps; raise in it to stop.
    """
    check_config(config)
    check_size(config.size, settings)
    stylizer = stylizer or Stylizer(settings=settings)
    if not stylizer.takes_studies:
        raise ParameterError("style", SEPARABLE)
    picture = style_picture(painting, settings)
    network = loss_networks.load(
        backbone or loss_networks.default(settings, backbone_weights), settings, backbone_weights, progress
    )
    if interrupt:
        interrupt()
        call_between_layers(network, interrupt)
    cores.limit_torch(settings.threads)
    pictures = [images.as_picture(photo, settings) for photo in photos or default_photos(settings)]
    if own is not None:
        pictures += [images.as_picture(own, settings)] * max(1, len(pictures) // (OWN_EVERY - 1))
    cuda = settings.device in ("auto", "cuda") and torch.cuda.is_available()
    vector = stylizer.style_vector(picture, interrupt)
    return fit(
        load_transformer(settings),
        network,
        picture,
        vector,
        views_of(pictures, stylizer.brush_height(vector), config),
        config,
        name=name,
        origin=stylizer.fingerprint,
        coarser=stylizer.coarser,
        device="cuda" if cuda else "cpu",
    )


def views_of(photos: Iterable[Picture], height: int, config: StudyConfig) -> list[View]:
    """A view of each photo: the whole at `config.size`, or for every third a random window at `config.large`."""
    generator, found = np.random.default_rng(config.seed), []
    for number, photo in enumerate(photos):
        if number % LARGE_EVERY != LARGE_EVERY - 1 or config.large <= config.size:
            found.append(View(*_with_canvas(photo, height, config.size), config.size))
            continue
        pixels, canvas = _with_canvas(photo, height, config.large)
        side = min(config.size // STRIDE * STRIDE, *pixels.shape[2:])
        top, left = (int(generator.integers(length - side + 1)) for length in pixels.shape[2:])
        window = (..., slice(top, top + side), slice(left, left + side))
        found.append(View(pixels[window].contiguous(), canvas[window].contiguous(), config.large))
    return found


def _with_canvas(photo: Picture, height: int, size: int) -> tuple[Tensor, Tensor]:
    """The photo with this longer side, without and with brushwork of this height."""
    picture = images.resize(photo, size)
    return tensor_of(picture, size), tensor_of(brushed(picture, height), size)


def _shows_waves(pictures: Tensor) -> bool:
    return min(pictures.shape[2:]) >= losses.WINDOW


def default_photos(settings: Settings) -> list[Path]:
    """The project's own pictures: things, places and patterns, light and dark."""
    drawn = [settings.styles / style.picture for style in read_gallery(settings.styles).values() if style.picture]
    return [settings.assets / "sample.jpg", *drawn]


def tensor_of(picture: images.Picture, size: int) -> Tensor:
    """A picture with this longer side, cropped at its right and lower edge to multiples of the encoder's stride."""
    rgb = images.resize(picture, size).rgb
    height, width = (max(STRIDE, side // STRIDE * STRIDE) for side in rgb.shape[:2])
    return torch.from_numpy(images.to_tensor(rgb[:height, :width]))


def _check(config: StudyConfig, views: Sequence[View], transformer: Transformer, device: torch.device) -> None:
    check_config(config)
    if not views:
        raise ParameterError("photos", "no photo was given; give at least one")
    shapes = (
        [[tuple(shape) for shape in layer.added_shapes()] for layer in transformer.styled()]
        if (transformer.config.separable)
        else []
    )
    if shapes != [layer.added_shapes() for layer in LAYERS]:
        raise ParameterError("transformer", SEPARABLE)
    if device.type == "cpu":
        height, width = max((view.pixels.shape[2:] for view in views), key=lambda size: size[0] * size[1])
        check_memory(height, width, BYTES_PER_PIXEL)


def check_config(config: StudyConfig) -> None:
    if config.steps < 1:
        raise ParameterError("steps", f"steps is {config.steps}; it must be at least 1")
    if config.painting_size < MIN_SIDE:
        raise ParameterError(
            "painting_size",
            f"the painting's longer side is {config.painting_size} pixels; it must be at least {MIN_SIDE}",
        )
    if not 0 < config.content_distance < float("inf"):
        raise ParameterError(
            "content_distance", f"the content distance is {config.content_distance}; it must be greater than 0"
        )
    if not 1 <= config.rank <= RANK:
        raise ParameterError("rank", f"the rank is {config.rank}; it must be 1 to {RANK}")
    for field in ("content_weight", "style_weight", "tv_weight", "calm_weight", "lattice_weight", "rate", "norm_rate"):
        value = getattr(config, field)
        if not 0 <= value < float("inf"):
            raise ParameterError(field, f"{field} is {value}; it must be 0 or more")
    if not config.content_weight + config.style_weight + config.tv_weight > 0:
        raise ParameterError("style_weight", "all three weights are 0, so there is nothing to learn; raise one")
