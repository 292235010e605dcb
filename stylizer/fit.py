"""Tune a style to one painting: gradient descent on its vector, on the norms that it sets, or on the whole network.

The vector alone is 100 numbers, learnt in seconds. The 13 pairs of gamma and beta are what a vector sets, set free.
The whole transformer is the system of Johnson et al. 2016, one network a style; several paintings learnt together, each
with norms of its own in a shared network, are the table of Dumoulin et al. 2017. What is learnt is kept as what it adds
to the weights in `models/`, so strength 0 is always the network as it came.
"""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor
from torch.func import functional_call

from stylizer import gatys, images, losses, weights
from stylizer.errors import NotFinite, ParameterError
from stylizer.feedforward import VECTOR_SIZE, PictureSource, Stylizer, check_size, octaves
from stylizer.files import write_whole
from stylizer.memory import check_memory
from stylizer.networks import Transformer, build
from stylizer.networks.backbones import Backbone
from stylizer.networks.merged import plain_shell, working_weights
from stylizer.settings import Settings
from stylizer.styles import TunedStyle, is_norm, read_gallery
from stylizer.tiles import STRIDE

TUNES = ("vector", "norms", "network")
RATES = {"vector": 0.1, "norms": 0.02, "network": 0.001}  # of Adam; a vector's numbers have variance 1
BYTES_PER_PIXEL = 7000  # transformer and VGG-16 in float32, for the way back
PAINTING_BYTES_PER_PIXEL = 900


@dataclass(frozen=True)
class FitConfig:
    """How to tune. Layers are those of `stylizer.losses` for VGG-16, else the backbone's own defaults."""

    tune: str = "vector"
    steps: int = 60  # a photo and a painting each
    size: int = 256  # longer side of photos and paintings: what is small at this size is stroke
    content_weight: float = 1.0
    style_weight: float = 10.0
    tv_weight: float = 5.0
    rate: float = 0.0  # of Adam at the start, falling to zero by a cosine; 0: as `tune` wants it
    seed: int = 0  # of the photos' order


@dataclass(frozen=True)
class Step:
    """One step done; its losses are of the style and photo that it saw. The last one carries what was learnt."""

    index: int
    total: int
    losses: dict[str, float]  # content, style, variation, unweighted, and total
    styles: dict[str, TunedStyle] | None


def fit(
    transformer: Transformer,
    backbone: Backbone,
    paintings: Mapping[str, Tensor],
    vectors: Mapping[str, np.ndarray],
    photos: Sequence[Tensor],
    config: FitConfig | None = None,
    origin: str = "",
    coarser: np.ndarray | None = None,
) -> Iterator[Step]:
    """Steps 1 to `config.steps`; what is wrong with the arguments is raised at once.

    paintings: {name: float32 (1, 3, H, W) in [0, 1]}, vectors: {name: (100,)} to begin with; photos as paintings, sides
    multiples of 4. `origin` names the weights of the transformer, and the styles will belong to them. `coarser` (100,)
    is added to vectors where photos are large, as when they are painted.
    """
    config = config or FitConfig()
    _check(config, paintings, photos)
    return _steps(transformer, backbone, paintings, vectors, photos, config, origin, coarser)


def _steps(transformer, backbone, paintings, vectors, photos, config, origin, coarser) -> Iterator[Step]:
    learnt = Learnt(transformer, vectors, config.tune, coarser)
    network = gatys.in_precision(backbone, "auto")
    objectives = Objectives(network, paintings, photos, config)
    adam = torch.optim.Adam(learnt.leaves(), lr=config.rate or RATES[config.tune])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, config.steps)
    names, order = itertools.cycle(paintings), _shuffled(len(photos), config.seed)
    for index in range(1, config.steps + 1):
        name, photo = next(names), next(order)
        painted = learnt.paint(photos[photo], name)
        terms = objectives(painted, name, photo)
        total = sum(weight * terms[term] for term, weight in objectives.weights.items())
        if not total.isfinite():
            raise NotFinite(f"the loss is {total.item()} at step {index}: stopped; take a lower rate or lower weights")
        adam.zero_grad()
        total.backward()
        adam.step()
        schedule.step()
        found = {term: value.item() for term, value in {**terms, "total": total}.items()}
        yield Step(index, config.steps, found, learnt.styles(origin) if index == config.steps else None)


def _shuffled(count: int, seed: int) -> Iterator[int]:
    """0 to count - 1 in ever new order."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=generator).tolist()


class Painter:
    """The transformer with something added to its weights, its convolutions merged: that is how torch runs it fast."""

    def __init__(self, transformer: Transformer):
        self.transformer, self.weights = transformer, dict(transformer.named_parameters())
        self.merge = transformer.config.separable
        self.shell = plain_shell(transformer).eval() if self.merge else transformer
        self.dtype = torch.bfloat16 if gatys.computes_in_bf16(torch.device("cpu")) else torch.float32

    def __call__(self, photo: Tensor, vector: Tensor, added: Mapping[str, Tensor]) -> Tensor:
        """Photo (1, 3, H, W) in [0, 1], sides multiples of 4, and vector (1, 100) -> painted, float32."""
        weights = {**self.weights, **{key: self.weights[key] + value for key, value in added.items()}}
        working = working_weights(self.transformer, self.dtype, self.merge, weights)
        inputs = photo.contiguous(memory_format=torch.channels_last), vector
        return functional_call(self.shell, working, tuple(value.to(self.dtype) for value in inputs)).float()


class Learnt:
    """What gradients reach: vectors, or what is added to each style's norms and to the network that all share."""

    def __init__(
        self, transformer: Transformer, vectors: Mapping[str, np.ndarray], tune: str, coarser: np.ndarray | None
    ):
        self.coarser = torch.zeros(VECTOR_SIZE) if coarser is None else torch.from_numpy(coarser)
        self.painter = Painter(transformer)
        self.vectors = {name: torch.tensor(vector)[None] for name, vector in vectors.items()}
        norms = [key for key in self.painter.weights if is_norm(key)] if tune != "vector" else []
        rest = [key for key in self.painter.weights if not is_norm(key)] if tune == "network" else []
        self.norms, self.network = {name: self._zeros(norms) for name in vectors}, self._zeros(rest)
        if tune == "vector":
            for vector in self.vectors.values():
                vector.requires_grad_()

    def _zeros(self, keys: Sequence[str]) -> dict[str, Tensor]:
        return {key: torch.zeros_like(self.painter.weights[key]).requires_grad_() for key in keys}

    def leaves(self) -> list[Tensor]:
        added = [value for some in (self.network, *self.norms.values()) for value in some.values()]
        return added or list(self.vectors.values())

    def paint(self, photo: Tensor, name: str) -> Tensor:
        height, width = photo.shape[2:]
        vector = self.vectors[name] + octaves(width, height) * self.coarser
        return self.painter(photo, vector, {**self.network, **self.norms[name]})

    def styles(self, origin: str) -> dict[str, TunedStyle]:
        network = _arrays(self.network)
        return {
            name: TunedStyle(name, vector.detach()[0].numpy().copy(), _arrays(self.norms[name]), network, origin)
            for name, vector in self.vectors.items()
        }


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {key: value.detach().numpy().copy() for key, value in tensors.items()}


class Objectives:
    """The losses of a painted photo; what is the photo's and the painting's is computed once, when first wanted."""

    def __init__(
        self, network: Backbone, paintings: Mapping[str, Tensor], photos: Sequence[Tensor], config: FitConfig
    ):
        self.network, self.photos = network, photos
        self.content_layers, self.style_layers = network.CONTENT_LAYERS, network.STYLE_LAYERS
        self.weights = {
            "content": config.content_weight,
            "style": config.style_weight,
            "variation": config.tv_weight,
        }
        with torch.no_grad():
            self.grams = {name: losses.gram_matrices(self._look(painting, self.style_layers), self.style_layers)
                          for name, painting in paintings.items()}  # fmt: skip
        self.contents: dict[int, dict[str, Tensor]] = {}

    def _look(self, picture: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        return self.network(picture.contiguous(memory_format=torch.channels_last), layers)

    def __call__(self, painted: Tensor, name: str, photo: int) -> dict[str, Tensor]:
        if photo not in self.contents:
            with torch.no_grad():
                self.contents[photo] = self._look(self.photos[photo], self.content_layers)
        found = self._look(painted, (*self.content_layers, *self.style_layers))
        return {
            "content": losses.content_distance(found, self.contents[photo], self.content_layers)[0],
            "style": losses.style_distance(found, self.grams[name], self.style_layers)[0],
            "variation": losses.total_variation(painted)[0],
        }


# Painting by a tuned style ------------------------------------------------------------------------------------------


def load_painter(settings: Settings) -> Painter:
    return Painter(load_transformer(settings))


def load_transformer(settings: Settings) -> Transformer:
    """The transformer of `models/` as torch has it, in float32."""
    stem = settings.transformer_stem
    arrays, metadata = weights.parse(weights.read(settings.models, f"{stem}.safetensors"), stem)
    network = build({key: torch.from_numpy(value) for key, value in arrays.items()}, metadata, stem)
    return network.requires_grad_(False)


@torch.inference_mode()
def paint(painter: Painter, content: np.ndarray, vector: np.ndarray, style: TunedStyle, strength: float) -> np.ndarray:
    """Photo (1, 3, H, W) in [0, 1], sides multiples of 4, painted; `strength` of what the style adds to the weights."""
    check_memory(*content.shape[2:], PAINTING_BYTES_PER_PIXEL)
    added = {key: strength * torch.from_numpy(value) for key, value in style.added.items()}
    return painter(torch.from_numpy(content), torch.from_numpy(vector), added).contiguous().numpy()


# From files ---------------------------------------------------------------------------------------------------------


def tune(
    paintings: Sequence[PictureSource],
    config: FitConfig,
    settings: Settings,
    *,
    names: Sequence[str] | None = None,
    photos: Sequence[PictureSource] = (),
    backbone: str | None = None,
    backbone_weights: Path | None = None,
    progress: bool = False,
) -> Iterator[Step]:
    """`fit`'s steps from pictures and paths; without photos, on the sample photo and the gallery's own pictures."""
    check_config(config)
    check_size(config.size, settings)
    stylizer = Stylizer(settings=settings)
    pictures = [gatys.style_picture(painting, settings) for painting in paintings]
    names = list(names or names_of(paintings))
    photos = list(photos) or default_photos(settings)
    backbone = backbone or gatys.default_backbone(settings, backbone_weights)
    network = gatys.load_backbone(backbone, settings, backbone_weights, progress)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    return fit(
        load_transformer(settings),
        network,
        {name: _tensor(picture, config.size) for name, picture in zip(names, pictures, strict=True)},
        {name: stylizer.style_vector(picture) for name, picture in zip(names, pictures, strict=True)},
        [_tensor(images.as_picture(photo, settings), config.size) for photo in photos],
        config,
        stylizer.transformer,
        stylizer.coarser,
    )


def names_of(paintings: Sequence[PictureSource]) -> list[str]:
    """A name for each, of its file's; ParameterError where two are the same."""
    names = [Path(painting).stem if isinstance(painting, (str, os.PathLike)) else f"style-{number}"
             for number, painting in enumerate(paintings, 1)]  # fmt: skip
    if len(set(names)) < len(names):
        raise ParameterError("painting", f"two paintings have one name among {', '.join(names)}; rename a file")
    return names


def default_photos(settings: Settings) -> list[Path]:
    """What this project has drawn: of things, places and patterns, light and dark."""
    drawn = [settings.styles / style.picture for style in read_gallery(settings.styles).values() if style.picture]
    return [settings.assets / "sample.jpg", *drawn]


def write(styles: Mapping[str, TunedStyle], path: Path, tune: str) -> None:
    """All styles of one run in one file; ParameterError where it cannot be written."""
    tensors = {}
    for name, style in styles.items():
        tensors[f"{name}/vector"] = style.vector.astype(np.float32)
        tensors |= {f"{name}/{key}": value.astype(np.float16) for key, value in style.norms.items()}
        tensors |= {f"/{key}": value.astype(np.float16) for key, value in style.network.items()}
    origin = next(iter(styles.values())).origin
    try:
        write_whole(path, save(tensors, {"tune": tune, "transformer": origin}))
    except OSError as cause:
        raise ParameterError("output", f"{path} cannot be written: {cause.strerror}") from cause


def _tensor(picture: images.Picture, size: int) -> Tensor:
    """At that longer side, cut at its right and lower edge to multiples of the encoder's stride."""
    rgb = images.resize(picture, size).rgb
    height, width = (max(STRIDE, side // STRIDE * STRIDE) for side in rgb.shape[:2])
    return torch.from_numpy(images.to_tensor(rgb[:height, :width]))


def _check(config: FitConfig, paintings: Mapping[str, Tensor], photos: Sequence[Tensor]) -> None:
    check_config(config)
    if not paintings or not photos:
        raise ParameterError("painting", f"{len(paintings)} paintings and {len(photos)} photos; give one of each")
    height, width = max((photo.shape[2:] for photo in photos), key=lambda size: size[0] * size[1])
    check_memory(height, width, BYTES_PER_PIXEL)


def check_config(config: FitConfig) -> None:
    if config.tune not in TUNES:
        raise ParameterError("tune", f"tune is {config.tune!r}; choose from {', '.join(TUNES)}")
    if config.steps < 1:
        raise ParameterError("steps", f"{config.steps} steps; one is needed at least")
    for field in ("content_weight", "style_weight", "tv_weight", "rate"):
        value = getattr(config, field)
        if not 0 <= value < float("inf"):
            raise ParameterError(field, f"{field} is {value}; it must be 0 or more")
