"""Teaching the narrow VGG, on tiny pictures and by a VGG-16 of random weights; and the gallery's studies."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pictures
import pytest
import torch
from torch import nn

from stylizer import fit, images, loss_networks, losses, studies, weights
from stylizer.errors import ParameterError, WeightsError
from stylizer.feedforward import Stylizer
from stylizer.networks.backbones import VGG16, NarrowVGG
from stylizer.styles import read_gallery
from stylizer.training import checkpoints, least_squares, narrow
from stylizer.training.__main__ import main
from stylizer.training.narrow import NarrowConfig, Run
from stylizer.training.pairs import read_safetensors
from stylizer.training.studies import _wanted, config_of

TINY = {"side": 32, "sources": (32, 48), "first": 24, "batch": 4, "kept": 20, "fittings": 2, "walks": 2, "warmup": 1}


@pytest.fixture(scope="module")
def teacher() -> VGG16:
    torch.manual_seed(0)
    network = VGG16()
    for parameter in network.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    return network


@pytest.fixture
def run(teacher, settings) -> Run:
    some = [np.stack([make(64, 64, seed) for seed in range(3)]) for make in (pictures.photo, pictures.painting)]
    photos, paintings = (torch.from_numpy(each).permute(0, 3, 1, 2).contiguous() for each in some)
    vectors = torch.stack([torch.from_numpy(style.vector) for style in read_gallery(settings.styles).values()][:3])
    return Run(NarrowConfig(**TINY), photos, paintings, teacher, fit.load_transformer(settings), vectors)


@torch.no_grad()
def test_through_its_roots_distances_are_those_of_what_is_predicted():
    torch.manual_seed(0)
    layer = "relu2_2"
    wide = torch.randn(128, NarrowVGG.CHANNELS[1], 1, 1)
    network = NarrowVGG()
    network.load_state_dict(least_squares.roots_of({f"{layer}.weight": wide}), strict=False)
    first, second = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    given = [network(picture, [layer])[layer] for picture in (first, second)]
    own = [narrow.run_steps(network, network.scaled(picture), 0, narrow.EARLY)[1] for picture in (first, second)]
    predicted = [torch.conv2d(features[layer], wide) for features in own]
    for of in (lambda features: features, losses.gram_matrix):
        ours, theirs = (losses.relative_distance(of(pair[0]), of(pair[1])) for pair in (given, predicted))
        assert torch.allclose(ours, theirs, rtol=1e-3)


def test_the_best_predictors_are_the_channels_that_predict_the_others():
    torch.manual_seed(0)
    free = torch.randn(100, 3)
    values = torch.cat([free, 0.1 * free[:, :1], free[:, 1:2] + 0.01 * torch.randn(100, 1)], dim=1)
    chosen = least_squares.best_predictors((values.mT @ values).double(), 3)
    assert 3 not in chosen and len({1, 4} & set(chosen)) == 1


@pytest.mark.slow
@torch.no_grad()
def test_least_squares_answer_as_the_teacher_does_on_what_they_saw(teacher):
    pixels = [pictures.photo(32, 32, 1), pictures.painting(32, 32, 1), pictures.photo(32, 32, 2)]
    crops = torch.cat([torch.from_numpy(images.to_tensor(each)) for each in pixels])
    network, sizes = least_squares.least_squares(teacher, crops, seed=0)
    found, wanted = network(crops, narrow.LEARNT), teacher(crops, narrow.LEARNT)
    for layer in narrow.LEARNT[1:]:  # which have fewer places here than ranks
        assert losses.relative_distance(found[layer][None], wanted[layer][None] / sizes[layer]) < 0.1


@torch.no_grad()
def test_of_full_rank_least_squares_are_exact():
    torch.manual_seed(0)
    whole = nn.Conv2d(3, 8, 3, padding=1)
    pair = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 1))
    given = [torch.rand(2, 3, 12, 12) for _ in range(3)]
    wanted = [whole(part) for part in given]
    least_squares._learn_all(pair, given, wanted, torch.Generator().manual_seed(0))
    size = least_squares._size([part.relu() for part in wanted])
    assert torch.allclose(pair(given[0]) * size, wanted[0], atol=1e-2)


@pytest.mark.slow
def test_the_loss_falls_on_crops_of_all_kinds_and_what_ships_is_small(run, tmp_path):
    run.start()
    assert run.new_crops(torch.Generator().manual_seed(0)).shape == (3, 3, 32, 32)
    early = run.network.features["0"].weight.clone()
    found = [float(run.advance()["total"]) for _ in range(12)]
    assert np.mean(found[-3:]) < 0.9 * np.mean(found[:3])
    assert torch.equal(run.network.features["0"].weight, early)
    checkpoints.write_weights(tmp_path / narrow.FILE, "narrow", run.averaged(), {})
    assert (tmp_path / narrow.FILE).stat().st_size < 7 * 10**6
    network = loss_networks.build("narrow", read_safetensors(tmp_path / narrow.FILE)[0])
    assert sum(value.numel() for value in network.parameters()) < 3.5e6
    picture = torch.rand(1, 3, 48, 32)
    ours, theirs = (each(picture, ["relu3_3"])["relu3_3"] for each in (network, run.averaged()))
    assert torch.allclose(ours, theirs, rtol=0.05, atol=0.05 * float(theirs.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 2])
def test_a_run_goes_on_where_its_checkpoint_ends(run, teacher, settings, tmp_path, steps):
    run.start()
    for _ in range(steps):
        run.advance()
    run.save(tmp_path)
    again = Run(run.config, run.photos, run.paintings, teacher, fit.load_transformer(settings), run.vectors)
    again.load(tmp_path)
    assert again.step == steps and all(torch.equal(again.average[key], value) for key, value in run.average.items())
    again.advance()
    (tmp_path / checkpoints.FILE).write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="not a checkpoint of this run"):
        again.load(tmp_path)


def test_without_its_teacher_it_says_what_is_missing(tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    assert main(["narrow", "--content", str(folder), "--style", str(folder), "--run", str(tmp_path)]) == 2
    assert "give --vgg" in capsys.readouterr().err


# The gallery's studies ----------------------------------------------------------------------------------------------


@pytest.fixture
def gallery_folder(settings, tmp_path, monkeypatch):
    """A copy of styles/ that the command is told to use, with its own pictures and no studies."""
    folder = tmp_path / "styles"
    folder.mkdir()
    for file in settings.styles.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    monkeypatch.setenv("STYLIZER_STYLES", str(folder))
    return folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        (folder / f"{seed}.png").write_bytes(pictures.png(pictures.photo(96, 64, seed)))
    return folder


@pytest.mark.slow
def test_the_gallery_is_studied_and_the_same_command_makes_what_is_missing(gallery_folder, photos, tmp_path, capsys):
    def command(*more) -> int:
        return main(
            [
                "studies",
                "--content",
                str(photos),
                "--steps",
                "2",
                "--size",
                "64",
                "--painting-size",
                "64",
                "--sheets",
                str(tmp_path / "sheets"),
                *more,
            ]
        )

    assert command("--only", "kintsugi") == 0
    path = gallery_folder / "studies" / "kintsugi.study.safetensors"
    assert studies.read(path).added().any() and (tmp_path / "sheets" / "kintsugi.jpg").exists()
    assert f"studies/{path.name}" in weights.checksums(gallery_folder)
    assert read_gallery(gallery_folder)["kintsugi"].study is not None
    assert "1 of 1 kintsugi" in capsys.readouterr().out
    assert command("--minutes", "0") == 2  # the masters' pictures are not here
    assert "--masters" in capsys.readouterr().err
    assert command("--only", "batik", "nobody") == 2
    assert "no style 'nobody'" in capsys.readouterr().err


def test_what_has_a_study_or_is_to_have_none_is_left_alone(gallery_folder, settings):
    path = gallery_folder / "styles.toml"
    unsaid = re.sub("^study = .*\n", "", path.read_text(), flags=re.MULTILINE)
    path.write_text(unsaid.replace('name = "batik"', 'name = "batik"\nstudy = false'))
    (gallery_folder / "studies").mkdir()
    shutil.copy(settings.styles / "studies" / f"starry-night{studies.SUFFIX}", gallery_folder / "studies")
    own = Stylizer(settings=replace(settings, styles=gallery_folder))
    names = [entry["name"] for entry in _wanted(own, [])]
    assert "peacock" in names and "starry-night" not in names and "batik" not in names
    with pytest.raises(ParameterError, match="no style"):
        _wanted(own, ["nobody"])


def test_the_list_says_how_a_style_is_studied():
    entry = {"name": "batik", "study": {"painting_size": 448}}
    assert config_of(entry, {}) == fit.StudyConfig(painting_size=448)
    assert config_of(entry, {"painting_size": 300, "steps": 5}) == fit.StudyConfig(painting_size=300, steps=5)
    assert config_of({"name": "batik"}, {}) == fit.StudyConfig()
    assert config_of({"name": "batik", "study": False}, {}) == fit.StudyConfig()  # --only makes it all the same
    assert config_of({"name": "batik", "study": {"content_distance": 2}}, {}).content_distance == 2
    assert config_of({"name": "batik", "study": {"calm_weight": 0.5}}, {}).calm_weight == 0.5
    for said in ({"rank": 4}, {"painting_size": "large"}, {"painting_size": 448.5}, "", 0, True):
        with pytest.raises(ParameterError, match="of batik; it must be false, or numbers for painting_size, "):
            config_of({"name": "batik", "study": said}, {})
    with pytest.raises(ParameterError, match="4 pixels; it must be at least 32"):
        config_of({"name": "batik", "study": {"painting_size": 4}}, {})
