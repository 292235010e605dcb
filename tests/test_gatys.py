"""Optimising the picture itself, on small networks of random weights; what downloads them, against a server here."""

import hashlib
import os
import pickle
import threading
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pictures
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from stylizer import cli, gatys, images, loss_networks, memory, weights
from stylizer.errors import OutOfMemory, ParameterError, PictureOutOfBounds, WeightsError
from stylizer.gatys import GatysConfig, optimise
from stylizer.networks import backbones
from stylizer.networks.backbones import VGG16, VGG19, Backbone, ResNet18, SmallNet
from stylizer.settings import Settings

TORCHVISION = "https://download.pytorch.org/models"


def small(kind=VGG16, width=0.125):
    torch.manual_seed(0)
    network = kind() if kind is ResNet18 else kind(width)
    for parameter in network.parameters():  # louder than torch's own start, or deep layers see nothing
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter)
    return network


@pytest.fixture(scope="module")
def network():
    return small()


def tensor(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.to_tensor(rgb))


PHOTO, PAINTING = tensor(pictures.photo(64, 48)), tensor(pictures.painting(64, 64))


def last(*arguments, **options):
    *_, step = optimise(*arguments, **options)
    return step


# Optimising ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", ["lbfgs", "adam"])
@pytest.mark.parametrize("init", ["photo", "noise"])
def test_the_loss_falls_and_every_step_is_told(network, optimiser, init):
    config = GatysConfig(steps=15, optimiser=optimiser, init=init, preview_every=5)
    steps = list(optimise(PHOTO, PAINTING, network, config))
    assert [step.index for step in steps] == list(range(16)) and {step.total for step in steps} == {15}
    assert steps[-1].loss < 0.7 * steps[0].loss
    assert set(steps[0].losses) == {"content", "style", "variation", "total"}
    assert [step.index for step in steps if step.picture is not None] == [0, 5, 10, 15]
    picture = steps[-1].picture
    assert picture.shape == PHOTO.shape and picture.dtype == torch.float32
    assert picture.min() >= 0 and picture.max() <= 1


@pytest.mark.parametrize("kind", [VGG16, VGG19, ResNet18, SmallNet])
def test_every_backbone_optimises_by_its_own_layers(kind):
    steps = list(optimise(PHOTO, PAINTING, small(kind), GatysConfig(steps=6)))
    assert steps[-1].losses["style"] < steps[0].losses["style"]


def test_lbfgs_never_goes_up_and_its_losses_are_of_the_picture_that_it_gives(network):
    config = GatysConfig(steps=12, precision="f32")
    steps = list(optimise(PHOTO, PAINTING, network, config))
    totals = [step.loss for step in steps]
    assert totals == sorted(totals, reverse=True)
    again = next(optimise(PHOTO, PAINTING, network, replace(config, init="feedforward"), start=steps[-1].picture))
    assert again.loss == pytest.approx(totals[-1], rel=1e-5)


def test_the_gradient_is_that_of_finite_differences():
    random = torch.Generator().manual_seed(0)
    picture = torch.rand(PHOTO.shape, generator=random, dtype=torch.float64)  # a photo's equal pixels tie in max pools
    styles, config = [PAINTING.double(), 1 - PHOTO.double()], GatysConfig(tv_weight=20.0)
    objective = gatys.Objective(small().double(), PHOTO.double(), styles, [0.7, 0.3], config)
    _, gradient = objective(picture)
    for _ in range(3):
        noise = torch.randn(PHOTO.shape, generator=random, dtype=torch.float64)
        way = gradient / gradient.norm() + 0.5 * noise / noise.norm()
        there, back = (objective(picture + sign * 1e-3 * way)[0]["total"] for sign in (1, -1))
        assert (there - back) / 2e-3 == pytest.approx((gradient * way).sum().item(), rel=2e-3)


def test_without_content_weight_the_photo_does_not_matter(network):
    config = GatysConfig(steps=5, content_weight=0.0, init="noise")
    one = last(PHOTO, PAINTING, network, config)
    other = last(1 - PHOTO, PAINTING, network, config)
    assert torch.equal(one.picture, other.picture) and "content" not in one.losses
    assert not torch.equal(one.picture, last(1 - PHOTO, PAINTING, network, replace(config, content_weight=1.0)).picture)


def test_without_style_weight_the_photo_comes_back(network):
    config = GatysConfig(steps=5, style_weight=0.0, tv_weight=0.0)
    assert torch.equal(last(PHOTO, PAINTING, network, config).picture, PHOTO)
    shallow = replace(config, steps=60, init="noise", content_layers=("relu1_1",))
    steps = list(optimise(PHOTO, PAINTING, network, shallow))
    assert steps[-1].loss < 0.02 * steps[0].loss
    before, after = ((picture - PHOTO).abs().mean() for picture in (torch.full_like(PHOTO, 0.5), steps[-1].picture))
    assert after < 0.5 * before


def test_the_same_seed_gives_the_same_picture_and_another_one_another(network):
    config = GatysConfig(steps=4, init="noise", seed=3)
    one, again = (last(PHOTO, PAINTING, network, config).picture for _ in range(2))
    assert torch.equal(one, again)
    assert not torch.equal(one, last(PHOTO, PAINTING, network, replace(config, seed=4)).picture)


def test_several_styles_count_by_their_shares(network):
    other = tensor(pictures.painting(64, 64, seed=5))
    config = GatysConfig(steps=4, content_weight=0.0, tv_weight=0.0)
    alone = last(PHOTO, PAINTING, network, config)
    assert torch.equal(last(PHOTO, [PAINTING, other], network, config, shares=(2, 0)).picture, alone.picture)
    first, second, both = (
        next(optimise(PHOTO, [PAINTING, other], network, config, shares=shares)).loss
        for shares in ((1, 0), (0, 1), (3, 1))
    )
    assert both == pytest.approx(0.75 * first + 0.25 * second, rel=1e-3)


def test_style_layers_count_by_their_weights(network):
    config = GatysConfig(steps=1, style_layers=("relu1_1", "relu3_2"), content_weight=0.0, tv_weight=0.0)

    def loss(*shares):
        return next(optimise(PHOTO, PAINTING, network, replace(config, style_layer_weights=shares))).losses["style"]

    assert loss(1, 3) == pytest.approx(0.25 * loss(1, 0) + 0.75 * loss(0, 1), rel=1e-3)
    assert loss() == pytest.approx(loss(1, 1))


@pytest.mark.slow
def test_from_coarse_to_fine_ends_at_the_photos_size(network):
    photo, painting = tensor(pictures.photo(133, 130)), tensor(pictures.painting(150, 130))
    steps = list(optimise(photo, painting, network, GatysConfig(steps=8, scales=3, preview_every=1)))
    assert [step.index for step in steps] == list(range(9))
    widths = [step.picture.shape[3] for step in steps]
    assert widths == [33] * 3 + [66] * 3 + [133] * 3 and steps[-1].picture.shape == photo.shape


def test_it_goes_on_from_a_picture_and_stops_where_it_likes(network):
    config = GatysConfig(steps=3, init="feedforward", preview_every=1)
    start = tensor(pictures.photo(64, 48, seed=9))
    steps = optimise(PHOTO, PAINTING, network, config, start=start)
    assert torch.equal(next(steps).picture, start)
    steps.close()
    with pytest.raises(ParameterError, match=r"start of the photo's shape \(1, 3, 48, 64\)"):
        optimise(PHOTO, PAINTING, network, config)


def test_neither_the_network_nor_the_pictures_are_changed(network):
    photo, before = PHOTO.clone(), {key: value.clone() for key, value in network.state_dict().items()}
    last(photo, PAINTING, network, GatysConfig(steps=2, optimiser="adam"))
    assert torch.equal(photo, PHOTO)
    assert all(
        value.dtype == torch.float32 and torch.equal(value, before[key]) for key, value in network.state_dict().items()
    )


def test_bf16_features_have_nearly_float32s_loss_and_gradient(network):
    """Where the CPU does not compute in bf16 both are the same, and this holds all the more."""
    fast, exact = (
        gatys.Objective(loss_networks.in_precision(network, each), PHOTO, [PAINTING], [1.0], GatysConfig())
        for each in ("auto", "f32")
    )
    (losses, gradient), (true_losses, true_gradient) = fast(1 - PHOTO), exact(1 - PHOTO)
    assert losses == pytest.approx(true_losses, rel=0.02)
    assert torch.cosine_similarity(gradient.flatten(), true_gradient.flatten(), dim=0) > 0.95


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"content_layers": ("layer2",)}, "no layer 'layer2'; choose from relu1_1, relu1_2"),
        ({"style_layers": ("relu1_1", "relu3_4")}, "no layer 'relu3_4'; choose from relu1_1, .*relu5_3$"),
        ({"style_layer_weights": (1.0,)}, "1 weights for 4 style layers"),
        ({"init": "photograph"}, "init is 'photograph'; choose from noise, photo, feedforward"),
        ({"optimiser": "sgd"}, "choose from lbfgs, adam"),
        ({"style_weight": -1.0}, "style_weight is -1.0; it must be 0 or more"),
        ({"content_weight": 0, "style_weight": 0, "tv_weight": 0}, "all three weights are 0"),
        ({"steps": 0}, "0 steps for 1 scales"),
        ({"scales": 2, "steps": 9}, "the content's shorter side is 48 pixels, or 24 at the coarsest of 2 scales"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_step(network, options, says):
    with pytest.raises(ParameterError, match=says):
        optimise(PHOTO, PAINTING, network, GatysConfig(**options))


def test_nan_is_stopped_and_its_cause_named():
    network = small()
    network.features["10"].weight[0] = float("nan")
    with pytest.raises(gatys.NotFinite, match=r"content is nan.*weight file"):
        last(PHOTO, PAINTING, network, GatysConfig(steps=3))
    with pytest.raises(gatys.NotFinite, match=r"total is inf.*1e.39"):
        last(PHOTO, PAINTING, small(), GatysConfig(steps=3, style_weight=1e39))


# Backbones ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16-torchvision", "vgg19", "resnet18"])
def test_torchvisions_networks_give_the_same_features_behind_torchvisions_normalisation(name):
    models = pytest.importorskip("torchvision.models")
    transforms = pytest.importorskip("torchvision.transforms.functional")
    torch.manual_seed(0)
    theirs = getattr(models, name.removesuffix("-torchvision"))(weights=None).eval()
    for key, value in theirs.state_dict().items():  # batch norm that does something
        if "running" in key:
            value.uniform_(0.5, 2)
    ours = loss_networks.build(name, theirs.state_dict())
    seen = transforms.normalize(PHOTO, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        if name == "resnet18":
            wanted = {}
            features = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(seen))))
            for layer in ours.LAYERS:
                wanted[layer] = features = getattr(theirs, layer)(features)
        else:
            relus = [index for index, each in enumerate(theirs.features) if isinstance(each, torch.nn.ReLU)]
            wanted = {layer: theirs.features[: end + 1](seen) for layer, end in zip(ours.LAYERS, relus, strict=True)}
        found = ours(PHOTO, ours.LAYERS)
    for layer, features in wanted.items():
        assert torch.allclose(found[layer], features, rtol=1e-4, atol=1e-4 * features.abs().max()), layer


def test_the_original_vgg16_sees_0_to_255_less_the_means(network):
    found = network(PHOTO, ["relu1_1"])["relu1_1"]
    means = torch.tensor([123.68, 116.779, 103.939])[:, None, None]
    assert torch.allclose(found, network.features["0"](255 * PHOTO - means).relu(), rtol=1e-4, atol=1e-3)


def test_another_networks_weights_are_refused():
    with pytest.raises(WeightsError, match=r"not resnet18's features: 100 of 100 .* conv1\.weight"):
        loss_networks.build("resnet18", {"features.0.weight": torch.zeros(64, 3, 3, 3)})


# Downloads ----------------------------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()


@pytest.fixture
def server(tmp_path):
    """Serves tmp_path / "served"; `asked` lists the requests."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        server.folder, server.asked = folder, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def publish(server, content: bytes) -> weights.WeightFile:
    name = f"tiny-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    (server.folder / name).write_bytes(content)
    return offered(server.server_port, name, 1)


def offered(port: int, file: str, megabytes: int) -> weights.WeightFile:
    return weights.WeightFile("Tiny", file, "a test", "none", f"http://127.0.0.1:{port}/{file}", megabytes)


def checkpoint(tmp_path, state: object, zipped: bool = True) -> bytes:
    path = tmp_path / "made.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    return path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])  # torchvision's VGG files are of before zip
def test_a_file_is_downloaded_once_and_read(server, tmp_path, zipped, capsys):
    state = {"features.0.weight": torch.nn.Parameter(torch.rand(2, 3)), "classifier.0.bias": torch.rand(5)}
    download = publish(server, checkpoint(tmp_path, state, zipped))
    folder = tmp_path / "cache" / "new"
    path = weights.fetch(download, folder, progress=True)
    assert path == folder / download.file and "Tiny: 100%" in capsys.readouterr().err
    assert weights.fetch(download, folder) == path and len(server.asked) == 1
    assert os.listdir(folder) == [download.file]
    read = weights.read_state(path)
    assert set(read) == set(state) and all(torch.equal(read[key], state[key]) for key in state)


def test_an_altered_file_is_refused_whether_it_came_or_lay_there(server, tmp_path):
    download = publish(server, b"as published")
    (server.folder / download.file).write_bytes(b"altered on the way")
    with pytest.raises(WeightsError, match=r"not the published one: its sha256 begins .* put it at"):
        weights.fetch(download, tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == []
    (tmp_path / "cache" / download.file).write_bytes(b"put there by hand, and the wrong one")
    with pytest.raises(WeightsError, match=r"was truncated or altered.*delete it and try again"):
        weights.fetch(download, tmp_path / "cache")
    (tmp_path / "cache" / download.file).write_bytes(b"as published")
    assert weights.fetch(download, tmp_path / "cache").read_bytes() == b"as published"


def test_offline_says_where_to_put_the_file(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        port = closed.server_port
    download = offered(port, "tiny-00000000.pth", 7)
    with pytest.raises(WeightsError) as refusal:
        weights.fetch(download, tmp_path)
    said = str(refusal.value)
    assert "Tiny (7 MB) could not be downloaded" in said and "refused" in said
    assert download.url in said and str(tmp_path / "tiny-00000000.pth") in said and "--backbone-weights" in said
    assert os.listdir(tmp_path) == []


def test_a_connection_that_ends_early_leaves_nothing(server, tmp_path, monkeypatch):
    download = publish(server, bytes(100_000))

    def cut(self, source, output):
        output.write(source.read(5000))
        self.close_connection = True

    monkeypatch.setattr(Quiet, "copyfile", cut)
    with pytest.raises(WeightsError, match=r"could not be downloaded: .*5000"):
        weights.fetch(download, tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == []


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "attack.pth"
    path.write_bytes(pickle.dumps({"features.0.weight": Attack()}))
    with pytest.warns(UserWarning), pytest.raises(WeightsError, match="neither a safetensors file nor a torch"):
        weights.read_state(path)  # torch warns of the pickle's age
    torch.save({"features.0.weight": Attack()}, path)
    with pytest.raises(WeightsError, match="neither a safetensors file nor a torch checkpoint"):
        weights.read_state(path)
    assert not (tmp_path / "ran").exists()


def test_every_backbone_is_shipped_or_has_a_download_that_its_name_checks():
    for name in loss_networks.names():
        known = weights.WEIGHTS[name]
        assert issubclass(loss_networks.class_of(name), Backbone) and known.input_scale in backbones.INPUT_SCALES
        if known.url:
            assert len(known.digest) == 8 and int(known.digest, 16) and known.url == f"{TORCHVISION}/{known.file}"
        else:
            assert known.file in weights.checksums(Settings().models)


def test_the_cache_folder_is_a_setting():
    assert Settings.from_env({"STYLIZER_CACHE": "somewhere"}).cache == Path("somewhere")


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A photo, a painting and the weights of a narrow VGG-16, which stands in for the whole one."""
    monkeypatch.setattr(backbones, "VGG16", Narrow)
    found = {name: tmp_path / name for name in ("photo.png", "painting.png", "vgg16.safetensors", "out.png")}
    found["photo.png"].write_bytes(pictures.png(pictures.photo(96, 64)))
    found["painting.png"].write_bytes(pictures.png(pictures.painting()))
    save_file(small(Narrow).state_dict(), found["vgg16.safetensors"])
    return found


class Narrow(VGG16):
    def __init__(self, width: float = 0.0625, **options):
        super().__init__(0.0625, **options)


def run(files, *arguments) -> int:
    weights = ("--backbone", "vgg16", "--backbone-weights", files["vgg16.safetensors"])
    given = ("gatys", files["photo.png"], *weights, *arguments)
    try:
        return cli.main([str(argument) for argument in given])
    except SystemExit as stop:
        return stop.code


def test_the_command_paints_by_the_layers_and_weights_it_is_told(files):
    told = (
        "--content-layer",
        "relu3_1",
        "--style-layers",
        "relu1_1",
        "relu2_1",
        "--style-weight",
        5,
        "--tv-weight",
        0,
        "--steps",
        4,
        "--size",
        64,
        "--init",
        "noise",
        "--seed",
        7,
    )
    assert run(files, "--style", files["painting.png"], *told, "-o", files["out.png"]) == 0
    config = GatysConfig(
        steps=4,
        content_layers=("relu3_1",),
        style_layers=("relu1_1", "relu2_1"),
        style_weight=5.0,
        tv_weight=0.0,
        init="noise",
        seed=7,
    )
    picture, steps = gatys.paint(
        files["photo.png"],
        [files["painting.png"]],
        config,
        Settings(),
        size=64,
        backbone="vgg16",
        backbone_weights=files["vgg16.safetensors"],
    )
    *_, step = steps
    painted = np.asarray(Image.open(files["out.png"]))
    assert picture.size == (64, 43) and painted.shape == (43, 64, 3)
    assert pictures.near(painted, images.from_tensor(step.picture.numpy()))


@pytest.mark.slow
def test_the_command_polishes_what_the_network_painted(files, stylizer):
    style = ("--style", "whirling-night", "--style", "stained-glass", "--weight", 3, "--weight", 1)
    assert (
        run(
            files,
            *style,
            "--init",
            "feedforward",
            "--steps",
            1,
            "--content-weight",
            1e-6,
            "--style-weight",
            1e-6,
            "--tv-weight",
            0,
            "--size",
            64,
        )
        == 0
    )
    painted = np.asarray(Image.open(files["photo.png"].with_name("photo-gatys.png"))).astype(int)
    forward = np.asarray(
        stylizer.stylize(files["photo.png"], {"whirling-night": 3, "stained-glass": 1}, size=64)
    ).astype(int)
    assert painted.shape == forward.shape and np.abs(painted - forward).mean() < 8  # one small step away


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--style", "whirling-night", "--backbone", "vgg11"], "choose from narrow, small, vgg16, vgg16-torchvision"),
        (["--style", "whirling-night", "--content-layer", "layer2"], "no layer 'layer2'; choose from relu1_1"),
        (
            ["--style", "whirling-night", "--backbone", "resnet18", "--style-layers", "relu1_1"],
            "no layer 'relu1_1'; choose from layer1, layer2, layer3, layer4",
        ),
        (["--style", "whirling-night", "--backbone", "resnet18"], "these are not resnet18's features"),
        (["--style", "starry-night"], "only the style vector of 'starry-night' is stored"),
        (["--style", "stary-night"], "did you mean 'starry-night'"),
        (["--style", "whirling-night", "--weight", "1", "--weight", "2"], "2 weights for 1 styles"),
        (["--style", "whirling-night", "--size", "7"], "size is 7"),
        (["--style", "whirling-night", "-o", "out.bmp"], "the file name must end in"),
    ],
)
def test_mistakes_are_said_in_one_line(files, arguments, says, capsys):
    assert run(files, *arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and says in lines[0]


def test_a_photo_that_memory_does_not_hold_is_refused(network, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 1_000_000)
    with pytest.raises(OutOfMemory, match="64x48 pixels needs"):
        optimise(PHOTO, PAINTING, network, GatysConfig())


def test_memory_is_asked_for_all_of_a_large_photo_for_nothing_here_is_done_in_tiles(network, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 16 * 10**9)
    monkeypatch.setattr(memory, "total_memory", lambda: 32 * 10**9)
    with pytest.raises(PictureOutOfBounds, match=r"8000x6000 pixels needs 1\d\d\.\d GB .* 32.0 GB is the most"):
        optimise(torch.empty(1, 3, 6000, 8000), PAINTING, network, GatysConfig())
