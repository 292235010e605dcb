"""Fit a study to one painting: gradient descent on what it adds to the transformer, over a few dozen photos.

Johnson et al. 2016 train a network for one style. Here the transformer is there already and only a small addition to it
is learnt (`stylizer.studies`), so a minute is enough, and what is learnt stays small, mixes and has a strength.
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

from stylizer import gatys, images, losses, studies, weights
from stylizer.errors import NotFinite, ParameterError
from stylizer.feedforward import Interrupt, PictureSource, Stylizer, brushed, check_size, octaves
from stylizer.images import Picture
from stylizer.memory import check_memory
from stylizer.networks import Transformer, build
from stylizer.networks.backbones import Backbone
from stylizer.networks.merged import plain_shell, working_weights
from stylizer.settings import Settings
from stylizer.studies import LAYERS, RANK, STEPS, Study
from stylizer.styles import read_gallery
from stylizer.tiles import STRIDE

BYTES_PER_PIXEL = 7000  # transformer and VGG-16 in float32, for the way back
CLIP = 5.0  # of the gradient's norm: early steps can be wild
LARGE_EVERY = 3  # photos: one is seen large
OWN_EVERY = 4  # steps between looks at the photo that is to be painted
FOLLOW = 0.05  # part by which a step changes the weight of content, where that is twice what it should be
MOST = 20.0  # times the weight at the start
SEPARABLE = "studies are made for the separable transformer; set that one"


@dataclass(frozen=True)
class StudyConfig:
    """How to fit. Layers are those of `stylizer.losses` for VGG-16 and ours, else the backbone's own defaults."""

    steps: int = STEPS
    size: int = 224  # longer side of what is seen of a photo at a time: all of it,
    large: int = 640  # or, of every third photo, a window of it at this longer side: as large pictures are painted
    painting_size: int = 256  # longer side of the painting beside photos at `size`: what is small then is stroke
    content_distance: float = 1.0  # from photos, where a study settles, whatever the painting: the weight follows
    content_weight: float = 1.0  # at the start
    style_weight: float = 12.0
    tv_weight: float = 2.0
    calm_weight: float = 250.0  # of total variation where the photo has none: there a weave would show
    lattice_weight: float = 20.0  # of waves that all answers share and neither photos nor the painting have
    rate: float = 4e-3  # of Adam for kernels at the start, falling to zero by a cosine
    norm_rate: float = 0.02  # and for gammas and betas
    rank: int = RANK
    seed: int = 0  # of the photos' order


@dataclass(frozen=True)
class View:
    """What a step sees of a photo."""

    pixels: Tensor  # float32 (1, 3, H, W) in [0, 1], sides multiples of 4
    canvas: Tensor  # the same with brushwork, as it is painted
    longest: int  # side of the whole photo, in pixels: its strokes and the painting are as large as beside that


@dataclass(frozen=True)
class Step:
    """One step done: what is learnt by now, and the losses of the photo that it saw."""

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
    """Steps 1 to `config.steps`; what is wrong with the arguments is raised at once.

    painting, and its style vector (100,); `views_of` makes views of photos. `coarser` (100,) is added to the vector
    where photos are large, as when they are painted. The study will be called `name` and belong to the transformer of
    the fingerprint `origin`. It begins where `start` ended, a study of the painting that was made for other weights and
    has this rank; else with nothing added.
    """
    config, device = config or StudyConfig(), torch.device(device)
    _check(config, views, transformer, device)
    learnt = Learnt(transformer.to(device), vector, config, coarser, start)
    network = gatys.in_precision(backbone.to(device), "auto")
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
                f"the loss is {terms['total'].item()} at step {index}: stopped; take a lower rate or lower weights"
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
    """0 to count - 1 in ever new order."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=generator).tolist()


class Painter:
    """The transformer with something added to its weights, its convolutions merged: that is how torch runs it fast."""

    def __init__(self, transformer: Transformer):
        self.transformer, self.weights = transformer, dict(transformer.named_parameters())
        self.shell = plain_shell(transformer).eval()
        self.device = next(transformer.parameters()).device
        self.dtype = torch.bfloat16 if gatys.computes_in_bf16(self.device) else torch.float32

    def __call__(self, photo: Tensor, vector: Tensor, added: Mapping[str, Tensor]) -> Tensor:
        """Photo (1, 3, H, W) in [0, 1], sides multiples of 4, and vector (1, 100) -> painted, float32."""
        weights = {**self.weights, **{key: self.weights[key] + value for key, value in added.items()}}
        working = working_weights(self.transformer, self.dtype, True, weights)
        inputs = photo.contiguous(memory_format=torch.channels_last), vector
        return functional_call(self.shell, working, tuple(value.to(self.dtype) for value in inputs)).float()


class Learnt:
    """What gradients reach: a study's numbers, as tensors (depthwise, up, down, gamma, beta) a layer."""

    def __init__(
        self, transformer: Transformer, vector: np.ndarray, config: StudyConfig, coarser: np.ndarray | None,
        start: Study | None = None,
    ):  # fmt: skip
        self.vector, self.rank = vector, config.rank
        self.coarser = np.zeros_like(vector) if coarser is None else coarser
        self.painter = Painter(transformer)
        generator = torch.Generator().manual_seed(config.seed)
        self.layers: list[list[Tensor]] = []
        for layer in LAYERS:
            depthwise, up, down, gamma, beta = (torch.zeros(shape) for shape in layer.shapes(config.rank))
            nn.init.normal_(down, std=layer.channels**-0.5, generator=generator)  # up is zero: so is the product
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
        """For Adam: kernels are learnt at one rate, gammas and betas at another."""
        parts = {config.rate: slice(0, 3), config.norm_rate: slice(3, 5)}
        return [{"params": [tensor for layer in self.layers for tensor in layer[part] if tensor.requires_grad],
                 "lr": rate} for rate, part in parts.items()]  # fmt: skip

    def added(self) -> dict[str, Tensor]:
        """By the transformer's keys."""
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
    """The losses of a painted view; what is the photo's and the painting's is computed once, when first wanted."""

    def __init__(self, network: Backbone, painting: Picture, views: Sequence[View], config: StudyConfig):
        self.network, self.painting, self.views, self.config = network, painting, views, config
        self.content_weight = config.content_weight
        known = set(losses.CONTENT_LAYERS) <= set(network.LAYERS)
        self.content_layers = losses.CONTENT_LAYERS if known else network.CONTENT_LAYERS
        self.style_layers = network.STYLE_LAYERS
        self.device = next(network.parameters()).device
        self._beside = cache(self._of_painting)
        self._photo = cache(self._of_photo)
        self.common = torch.zeros(2, losses.WINDOW, losses.WINDOW, device=self.device)  # what answers shared so far,
        self.seen = 0  # and how many these were

    @torch.no_grad()
    def _of_painting(self, longest: int) -> tuple[dict[str, Tensor], Tensor | None]:
        """Its Gram matrices and spectrum, as large as it is beside a photo of that size."""
        size = round(self.config.painting_size * longest / self.config.size)
        pixels = tensor_of(self.painting, size).to(self.device)
        grams = losses.gram_matrices(self._look(pixels, self.style_layers), self.style_layers)
        return grams, losses.spectrum(pixels) if _shows_waves(pixels) else None

    @torch.no_grad()
    def _of_photo(self, number: int) -> tuple[dict[str, Tensor], Tensor]:
        """The content of a view, and how calm each place of what is painted is."""
        view = self.views[number]
        return self._look(view.pixels.to(self.device), self.content_layers), losses.calm(view.canvas.to(self.device))

    def _look(self, picture: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        return self.network(picture.contiguous(memory_format=torch.channels_last), layers)

    def __call__(self, painted: Tensor, number: int) -> dict[str, Tensor]:
        """The losses of this view painted, by name; `total` is what is minimised."""
        config, view, (photo, calm_places) = self.config, self.views[number], self._photo(number)
        found = self._look(painted, (*self.content_layers, *self.style_layers))
        grams, spectrum = self._beside(view.longest)
        content = losses.content_distance(found, photo, self.content_layers)[0]
        style = losses.style_distance(found, grams, self.style_layers)[0]
        variation, weave = losses.total_variation(painted)[0], losses.weave(painted, calm_places)[0]
        total = (self.content_weight * content + config.style_weight * style.log1p()
                 + config.tv_weight * variation + config.calm_weight * weave)  # fmt: skip
        found = {"content": content, "style": style, "variation": variation, "weave": weave}
        if config.lattice_weight and spectrum is not None and _shows_waves(painted):
            excess = losses.lattice_excess(painted, view.canvas.to(self.device), spectrum)
            found["lattice"] = losses.lattice(excess, self.common)
            losses.follow_lattice(self.common, excess, self.seen)
            total = total + config.lattice_weight * found["lattice"]
        self.seen += 1
        return {**found, "total": total}

    def follow(self, content: float) -> None:
        """Weigh content more after a view that is too far from its photo, less after one that could go further.

        One weight does not suit all paintings: one makes a mosaic of a photo where another leaves it untouched.
        """
        start = self.config.content_weight
        weight = self.content_weight * math.exp(FOLLOW * (content / self.config.content_distance - 1))
        self.content_weight = min(max(weight, start / MOST), start * MOST)


# From files ---------------------------------------------------------------------------------------------------------


def load_transformer(settings: Settings) -> Transformer:
    """The transformer of `models/` as torch has it, in float32."""
    stem = settings.transformer_stem
    arrays, metadata = weights.parse(weights.read(settings.models, f"{stem}.safetensors"), stem)
    network = build({key: torch.from_numpy(value) for key, value in arrays.items()}, metadata, stem)
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
    progress: weights.Progress = False,
    interrupt: Interrupt | None = None,
) -> Iterator[Step]:
    """`fit`'s steps, from pictures and paths.

    Without photos, on the sample photo and the gallery's own pictures; `own`, the photo that is to be painted, is seen
    every OWN_EVERY steps besides. What `interrupt` raises ends the work, within a step too.
    """
    check_config(config)
    check_size(config.size, settings)
    stylizer = stylizer or Stylizer(settings=settings)
    if not stylizer.takes_studies:
        raise ParameterError("style", SEPARABLE)
    picture = gatys.style_picture(painting, settings)
    network = gatys.load_backbone(
        backbone or gatys.default_backbone(settings, backbone_weights), settings, backbone_weights, progress
    )
    if interrupt:
        interrupt()
        gatys.call_between_layers(network, interrupt)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    pictures = [images.as_picture(photo, settings) for photo in photos or default_photos(settings)]
    if own is not None:
        pictures += [images.as_picture(own, settings)] * max(1, len(pictures) // (OWN_EVERY - 1))
    cuda = settings.device in ("auto", "cuda") and torch.cuda.is_available()
    vector = stylizer.style_vector(picture, interrupt)
    return fit(
        load_transformer(settings), network, picture, vector,
        views_of(pictures, stylizer.brush_height(vector), config), config,
        name=name, origin=stylizer.transformer, coarser=stylizer.coarser, device="cuda" if cuda else "cpu",
    )  # fmt: skip


def views_of(photos: Iterable[Picture], height: int, config: StudyConfig) -> list[View]:
    """A view of each: whole at `config.size`, and of every third a window somewhere in it at `config.large`."""
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
    """The photo at that longer side, and as it is painted, with brushwork of that height."""
    picture = images.resize(photo, size)
    return tensor_of(picture, size), tensor_of(brushed(picture, height), size)


def _shows_waves(pictures: Tensor) -> bool:
    return min(pictures.shape[2:]) >= losses.WINDOW


def default_photos(settings: Settings) -> list[Path]:
    """What this project has drawn: of things, places and patterns, light and dark."""
    drawn = [settings.styles / style.picture for style in read_gallery(settings.styles).values() if style.picture]
    return [settings.assets / "sample.jpg", *drawn]


def tensor_of(picture: images.Picture, size: int) -> Tensor:
    """At that longer side, cut at its right and lower edge to multiples of the encoder's stride."""
    rgb = images.resize(picture, size).rgb
    height, width = (max(STRIDE, side // STRIDE * STRIDE) for side in rgb.shape[:2])
    return torch.from_numpy(images.to_tensor(rgb[:height, :width]))


def _check(config: StudyConfig, views: Sequence[View], transformer: Transformer, device: torch.device) -> None:
    check_config(config)
    if not views:
        raise ParameterError("photos", "no photo was given; give one at least")
    shapes = [[tuple(shape) for shape in layer.added_shapes()] for layer in transformer.styled()] if (
        transformer.config.separable) else []  # fmt: skip
    if shapes != [layer.added_shapes() for layer in LAYERS]:
        raise ParameterError("transformer", SEPARABLE)
    if device.type == "cpu":
        height, width = max((view.pixels.shape[2:] for view in views), key=lambda size: size[0] * size[1])
        check_memory(height, width, BYTES_PER_PIXEL)


def check_config(config: StudyConfig) -> None:
    if config.steps < 1:
        raise ParameterError("steps", f"{config.steps} steps; one is needed at least")
    if config.painting_size < gatys.MIN_SIDE:
        raise ParameterError(
            "painting_size",
            f"the painting's longer side is {config.painting_size} pixels; it must be {gatys.MIN_SIDE} at least",
        )
    if not 0 < config.content_distance < float("inf"):
        raise ParameterError(
            "content_distance", f"the content distance is {config.content_distance}; it must be more than 0"
        )
    if not 1 <= config.rank <= RANK:
        raise ParameterError("rank", f"the rank is {config.rank}; it must be 1 to {RANK}")
    for field in ("content_weight", "style_weight", "tv_weight", "calm_weight", "lattice_weight", "rate", "norm_rate"):
        value = getattr(config, field)
        if not 0 <= value < float("inf"):
            raise ParameterError(field, f"{field} is {value}; it must be 0 or more")
    if not config.content_weight + config.style_weight + config.tv_weight > 0:
        raise ParameterError("style_weight", "all three weights are 0, so there is nothing to learn; raise one")
