"""Our own small network: its shape, its training on a drawn Tiny ImageNet, and the file that it becomes."""

import tarfile

import numpy as np
import pictures
import pytest
import torch
from PIL import Image

from stylizer import loss_networks
from stylizer.errors import ParameterError, WeightsError
from stylizer.networks.backbones import SmallNet
from stylizer.training import __main__ as command
from stylizer.training import classify
from stylizer.training.classify import ClassifyConfig, Run, augment, read_tiny_imagenet, top1
from stylizer.training.pairs import read_safetensors

COLOURS = {"n01": (220, 40, 40), "n02": (40, 200, 60), "n03": (50, 60, 220)}
CONFIG = ClassifyConfig(batch=12, first_side=32, last_side=48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes, told by colour, laid out as Tiny ImageNet is."""
    root = tmp_path_factory.mktemp("data") / "tiny-imagenet-200"
    random, lines = np.random.default_rng(0), []
    for label, colour in COLOURS.items():
        (root / "train" / label / "images").mkdir(parents=True)
        for number in range(8):
            draw(root / "train" / label / "images" / f"{label}_{number}.JPEG", colour, random)
    (root / "val" / "images").mkdir(parents=True)
    for number, (label, colour) in enumerate(list(COLOURS.items()) * 4):
        draw(root / "val" / "images" / f"val_{number}.JPEG", colour, random)
        lines.append(f"val_{number}.JPEG\t{label}\t0\t0\t62\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    return root


def draw(path, colour, random):
    pixels = 0.5 * pictures.photo(64, 64, seed=int(random.integers(1000))) + 0.5 * np.array(colour)
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)


@pytest.fixture(scope="module")
def some(folder):
    return read_tiny_imagenet(folder)


def started(training, **options):
    """A narrow run a tenth of its way in, where the rate is near its peak."""
    run = Run(CONFIG, training, 3, width=0.125, **options)
    run.seconds = 6 * CONFIG.minutes
    return run


def test_it_is_small_and_its_layers_go_from_half_to_a_sixteenth():
    network = SmallNet()
    assert sum(value.numel() for value in network.parameters()) <= 3_000_000
    with torch.no_grad():
        found = network(torch.rand(1, 3, 64, 96), network.LAYERS)
        odd = network(torch.rand(1, 3, 61, 45), network.LAYERS)
    sizes = [tuple(found[layer].shape[1:]) for layer in ("stem", "grouped1", "grouped2", "grouped3")]
    assert sizes == [(32, 32, 48), (96, 16, 24), (192, 8, 12), (384, 4, 6)]
    assert odd["grouped3"].shape[2:] == (4, 3)


def test_a_folder_and_a_tar_of_it_give_the_same_pictures(folder, some, tmp_path):
    with tarfile.open(tmp_path / "tiny.tar.gz", "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    packed = read_tiny_imagenet(tmp_path / "tiny.tar.gz")
    training, validation, names = some
    assert names == list(COLOURS) and training.pixels.shape == (24, 3, 64, 64)
    assert torch.bincount(training.labels).tolist() == [8, 8, 8] and len(validation.labels) == 12
    for ours, theirs in zip(some[:2], packed[:2], strict=True):
        assert torch.equal(ours.labels, theirs.labels) and torch.equal(ours.pixels, theirs.pixels)


def test_another_folder_is_refused(folder):
    with pytest.raises(ParameterError, match="0 training and 0 labelled validation"):
        read_tiny_imagenet(folder / "val" / "images")


def test_augmentation_shows_squares_of_the_picture_and_the_same_for_the_same_seed(some):
    pixels = some[0].pixels
    first, again = (augment(pixels, 40, CONFIG, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == (24, 3, 40, 40) and torch.equal(first, again) and 0 <= first.min() <= first.max() <= 1
    whole = ClassifyConfig(smallest_crop=1.0, jitter=0.0, erase=0.0)
    seen = augment(pixels, 64, whole, torch.Generator().manual_seed(1))
    plain = pixels / 255
    kept = [bool(torch.allclose(a, b, atol=1e-4)) for a, b in zip(seen, plain, strict=True)]
    mirrored = [bool(torch.allclose(a.flip(2), b, atol=1e-4)) for a, b in zip(seen, plain, strict=True)]
    assert all(a or b for a, b in zip(kept, mirrored, strict=True)) and any(kept) and any(mirrored)


@pytest.mark.slow
def test_it_learns_to_tell_classes_and_the_hints_with_them(some):
    training, validation, _ = some
    targets = torch.nn.functional.one_hot(training.labels, 3) - 1 / 3
    run = started(training, targets=targets)
    seen = [run.advance() for _ in range(40)]
    assert seen[-1]["label"] < 0.8 * seen[0]["label"] and seen[-1]["hint"] < 0.8 * seen[0]["hint"]
    assert top1(run.averaged(), validation) >= 0.6  # 0.33 by chance


def test_a_run_that_was_cut_goes_on_as_it_would_have(some, tmp_path):
    whole = started(some[0])
    for _ in range(3):
        whole.advance()
    whole.save(tmp_path)
    wanted = [float(whole.advance()["total"]) for _ in range(2)]
    resumed = started(some[0])
    resumed.load(tmp_path)
    assert resumed.step == 3
    assert [float(resumed.advance()["total"]) for _ in range(2)] == pytest.approx(wanted, rel=0.02)
    wider = Run(CONFIG, some[0], 3, width=0.25)
    with pytest.raises(WeightsError, match="not a checkpoint of this run"):
        wider.load(tmp_path)


@pytest.mark.slow
def test_the_command_trains_resumes_says_top1_and_writes_what_the_classic_mode_reads(folder, tmp_path, capsys):
    told = ["classify", "--data", folder, "--run", tmp_path, "--call-minutes", 1e-6, "--batch", 6, "--device", "cpu"]
    for step in (1, 2):
        assert command.main([str(word) for word in told]) == 0
        assert f"at step {step} after" in (said := capsys.readouterr().out) and "of 12 validation pictures" in said
    state, metadata = read_safetensors(tmp_path / classify.FILE)
    assert metadata["network"] == "small" and metadata["classes"] == "n01 n02 n03"
    # Three classes here, two hundred in what is shipped: the layers are the same.
    state |= {key: torch.zeros(200, *state[key].shape[1:]) for key in ("head.weight", "head.bias")}
    network = loss_networks.build("small", state)
    assert network(torch.rand(1, 3, 32, 32), ["grouped1"])["grouped1"].isfinite().all()


@pytest.mark.slow
def test_a_loss_that_is_nan_ends_the_command_with_status_3_and_says_what_to_do(folder, tmp_path, capsys):
    told = [
        "classify",
        "--data",
        folder,
        "--run",
        tmp_path,
        "--batch",
        6,
        "--device",
        "cpu",
        "--rate",
        1e30,
        "--warmup",
        0,
    ]
    assert command.main([str(word) for word in told]) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert "total became NaN or infinite" in last and last.endswith("a lower rate")
