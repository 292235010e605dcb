"""Styles tuned to a painting: by the vector, the norms or the network; tiny pictures and our own networks."""

import shutil
from dataclasses import replace

import numpy as np
import pictures
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from stylizer import cli, fit, images
from stylizer.errors import ParameterError, WeightsError
from stylizer.feedforward import Stylizer
from stylizer.fit import FitConfig
from stylizer.networks import Transformer, TransformerConfig
from stylizer.networks.backbones import SmallNet
from stylizer.styles import TunedStyle, is_norm, mix_tuned, read_gallery, read_tuned


def tensor(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.to_tensor(rgb))


PHOTOS = [tensor(pictures.photo(64, 48, seed)) for seed in range(2)]
PAINTINGS = {name: tensor(pictures.painting(64, 64, seed)) for name, seed in (("dawn", 1), ("dusk", 2))}
VECTORS = {name: np.full(100, 0.1, np.float32) for name in PAINTINGS}


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(0)
    return Transformer(TransformerConfig(width=0.25, residual_blocks=1)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    network = SmallNet(0.25)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter)
    return network


def tuned(transformer, backbone, names=("dawn",), **config):
    paintings, vectors = ({name: some[name] for name in names} for some in (PAINTINGS, VECTORS))
    return list(fit.fit(transformer, backbone, paintings, vectors, PHOTOS, FitConfig(**config), "weights"))


# Tuning -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tune", fit.TUNES)
def test_the_loss_falls_and_only_what_was_asked_for_changes(transformer, backbone, tune):
    before = {key: value.clone() for key, value in transformer.state_dict().items()}
    steps = tuned(transformer, backbone, tune=tune, steps=30)
    assert [step.index for step in steps] == list(range(1, 31)) and all(step.styles is None for step in steps[:-1])
    first, end = (np.mean([step.losses["total"] for step in some]) for some in (steps[:4], steps[-4:]))
    assert end < 0.97 * first
    style = steps[-1].styles["dawn"]
    assert np.array_equal(style.vector, VECTORS["dawn"]) == (tune != "vector")
    assert bool(style.norms) == (tune != "vector") and all(map(is_norm, style.norms))
    assert bool(style.network) == (tune == "network") and not any(map(is_norm, style.network))
    assert all(np.abs(value).max() > 0 for value in style.norms.values())
    assert all(torch.equal(value, before[key]) for key, value in transformer.state_dict().items())


@torch.no_grad()
def test_on_large_photos_a_vector_is_tuned_for_the_strokes_that_it_is_painted_with(transformer):
    coarser = np.linspace(-1, 1, 100, dtype=np.float32)
    learnt = fit.Learnt(transformer, VECTORS, "vector", coarser)
    for width, times in ((448, 0), (896, 1)):
        photo = tensor(pictures.photo(width, 48))
        wanted = learnt.painter(photo, torch.tensor(VECTORS["dawn"] + times * coarser)[None], {})
        assert (learnt.paint(photo, "dawn") - wanted).abs().mean() < 0.003


def test_the_same_seed_tunes_the_same(transformer, backbone):
    first, again = (tuned(transformer, backbone, steps=4)[-1].styles["dawn"].vector for _ in range(2))
    assert np.linalg.norm(first - again) < 0.02 * np.linalg.norm(first - VECTORS["dawn"])


def test_a_table_of_styles_shares_a_network_and_each_has_norms_of_its_own(transformer, backbone):
    styles = tuned(transformer, backbone, names=("dawn", "dusk"), tune="network", steps=6)[-1].styles
    assert styles["dawn"].network is styles["dusk"].network
    key = next(iter(styles["dawn"].norms))
    assert not np.allclose(styles["dawn"].norms[key], styles["dusk"].norms[key])


def test_merged_convolutions_paint_what_the_separable_ones_do(transformer):
    vector = torch.full((1, 100), 0.1)
    with torch.no_grad():
        painted, wanted = fit.Painter(transformer)(PHOTOS[0], vector, {}), transformer(PHOTOS[0], vector)
    assert (painted - wanted).abs().mean() < 0.01


def test_settings_out_of_bounds_are_refused_before_the_first_step(transformer, backbone):
    for config, says in (({"tune": "colour"}, "choose from vector, norms, network"), ({"steps": 0}, "one is needed"),
                         ({"rate": float("nan")}, "rate is nan")):  # fmt: skip
        with pytest.raises(ParameterError, match=says):
            tuned(transformer, backbone, **config)


# Files, mixing, painting --------------------------------------------------------------------------------------------


def added(stylizer, tune: str, seed: int = 0) -> TunedStyle:
    """A style as if tuned from the shipped weights: something small added to them."""
    random = np.random.default_rng(seed)
    weights = fit.load_transformer(stylizer.settings).named_parameters()
    noise = {key: (0.2 * value.abs().mean().item() * random.standard_normal(value.shape)).astype(np.float16)
             for key, value in weights}  # fmt: skip
    norms = {key: value for key, value in noise.items() if is_norm(key)} if tune != "vector" else {}
    network = {key: value for key, value in noise.items() if not is_norm(key)} if tune == "network" else {}
    return TunedStyle("tuned", stylizer.gallery["kintsugi"].vector + 0.1, norms, network, stylizer.transformer)


@pytest.fixture
def files(stylizer, tmp_path):
    """{tune: a file of it}"""
    paths = {tune: tmp_path / f"{tune}.safetensors" for tune in fit.TUNES}
    for tune, path in paths.items():
        fit.write({"tuned": added(stylizer, tune)}, path, tune)
    return paths


@pytest.fixture(scope="module")
def photo():
    return pictures.photo(64, 48)


def close(ours, theirs) -> bool:
    """Equal but for what bf16 and half-precision files round."""
    return np.abs(np.asarray(ours).astype(float) - np.asarray(theirs)).mean() < 3


@pytest.mark.parametrize("tune", fit.TUNES)
def test_a_file_reads_back_as_it_was_written(stylizer, files, tune):
    wrote, read = added(stylizer, tune), read_tuned(files[tune])["tuned"]
    assert np.array_equal(read.vector, wrote.vector) and read.origin == wrote.origin
    assert read.added.keys() == wrote.added.keys()
    assert all(np.array_equal(read.added[key], value) for key, value in wrote.added.items())
    assert files[tune].stat().st_size < 3_000_000


def test_strength_goes_from_the_network_as_it_came_to_the_tuned_one(stylizer, files, photo):
    for tune in ("norms", "network"):
        style = str(files[tune])
        assert close(stylizer.stylize(photo, style, 0), stylizer.stylize(photo, "kintsugi", 0))
        assert not close(stylizer.stylize(photo, style, 1), stylizer.stylize(photo, "kintsugi", 1))


def test_norms_mix_with_any_style_and_vectors_are_vectors(stylizer, files, photo):
    vector, norms = str(files["vector"]), str(files["norms"])
    assert np.array_equal(stylizer.style_vector(vector), stylizer.mix([vector]))
    assert close(stylizer.stylize(photo, {norms: 0.0, "batik": 1.0}), stylizer.stylize(photo, "batik"))
    half = stylizer.mix([norms, "batik"])
    key = next(iter(half.norms))
    assert np.allclose(half.norms[key], read_tuned(files["norms"])["tuned"].norms[key] / 2)
    assert np.allclose(half.vector, (stylizer.style_vector(vector) + stylizer.style_vector("batik")) / 2, atol=1e-5)


def test_networks_mix_with_those_of_their_file_alone(stylizer, files, tmp_path):
    network = str(files["network"])
    with pytest.raises(ParameterError, match="cannot be mixed"):
        stylizer.mix([network, "batik"])
    with pytest.raises(ParameterError, match="cannot be mixed"):
        mix_tuned([read_tuned(files[tune])["tuned"] for tune in ("network", "norms")], [0.5, 0.5])
    style = added(stylizer, "network")
    fit.write({"a": style, "b": replace(style, vector=style.vector + 1)}, tmp_path / "table.safetensors", "network")
    mixed = stylizer.mix([f"{tmp_path}/table.safetensors#a", f"{tmp_path}/table.safetensors#b"], [1, 3])
    assert np.allclose(mixed.vector, style.vector + 0.75, atol=1e-5) and mixed.network.keys() == style.network.keys()
    with pytest.raises(ParameterError, match=r"holds a, b; name one as .*table.safetensors#a"):
        stylizer.mix([f"{tmp_path}/table.safetensors"])


def test_what_is_no_tuned_style_or_of_other_weights_is_refused(stylizer, files, tmp_path):
    with pytest.raises(ParameterError, match="more than a style vector"):
        stylizer.style_vector(str(files["norms"]))
    with pytest.raises(ParameterError, match="cannot be read"):
        stylizer.mix([str(tmp_path / "none.safetensors")])
    with pytest.raises(ParameterError, match="no tuned style"):
        stylizer.mix([str(stylizer.settings.styles / "vectors.safetensors")])
    (tmp_path / "cut.safetensors").write_bytes(files["norms"].read_bytes()[:100])
    with pytest.raises(ParameterError, match="no safetensors file"):
        stylizer.mix([str(tmp_path / "cut.safetensors")])
    old = replace(added(stylizer, "vector"), origin="0123456789ab")
    fit.write({"old": old}, tmp_path / "old.safetensors", "vector")
    with pytest.raises(WeightsError, match="tuned for transformer 0123456789ab"):
        stylizer.mix([str(tmp_path / "old.safetensors")])


def test_a_tuned_vector_in_the_gallerys_folder_is_a_style_like_any_other(stylizer, files, tmp_path, photo):
    folder = tmp_path / "styles"
    folder.mkdir()
    for name in ("styles.toml", "vectors.safetensors", "SHA256SUMS"):
        shutil.copy(stylizer.settings.styles / name, folder)
    shutil.copy(files["vector"], folder)
    own = Stylizer(settings=replace(stylizer.settings, styles=folder))
    assert len(own.gallery) == len(stylizer.gallery) + 1 and own.gallery["tuned"].kind == "original"
    assert pictures.near(own.stylize(photo, "tuned"), stylizer.stylize(photo, str(files["vector"])))
    shutil.copy(files["norms"], folder)
    with pytest.raises(WeightsError, match="more than vectors"):
        read_gallery(folder)


# The command --------------------------------------------------------------------------------------------------------


def test_the_command_tunes_to_a_painting_and_paints_with_what_it_wrote(tmp_path):
    painting, photo, style, out = (tmp_path / name for name in ("dawn.png", "photo.png", "dawn.safetensors", "out.png"))
    painting.write_bytes(pictures.png(pictures.painting(64, 64)))
    photo.write_bytes(pictures.png(pictures.photo(64, 48)))
    looks = tmp_path / "small.safetensors"
    save_file(SmallNet().state_dict(), looks)
    told = ["fit", painting, "--tune", "norms", "--photos", photo, "--steps", 2, "--size", 48, "-o", style,
            "--backbone", "small", "--backbone-weights", looks]  # fmt: skip
    assert cli.main([str(word) for word in told]) == 0
    assert list(read_tuned(style)) == ["dawn"] and read_tuned(style)["dawn"].norms
    assert cli.main(["stylize", str(photo), "--style", str(style), "-o", str(out)]) == 0
    assert Image.open(out).size == (64, 48)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["batik", "--tune", "colour"], "tune is 'colour'; choose from vector, norms, network"),
        (["batik", "-o", "batik.png"], "does not end in .safetensors"),
        (["starry-night"], "only the style vector is stored"),
        (["batik", "batik"], "two paintings have one name"),
        (["batik", "--backbone", "vgg11"], "choose from small, vgg16"),
        (["batik", "--backbone-weights", "x.pth"], "without its network's name"),
    ],
)
def test_mistakes_are_said_in_one_line(arguments, says, capsys):
    assert cli.main(["fit", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and says in lines[0]
