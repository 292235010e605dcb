"""Training on random pictures with a small random loss network: no download, no data, seconds."""

import csv
import io
import itertools
import json
import shlex
import tarfile
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mixing import mixing  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from stylizer import losses, weights  # noqa: E402
from stylizer.errors import EmptyInput, NotFinite, ParameterError, WeightsError  # noqa: E402
from stylizer.networks import Transformer  # noqa: E402
from stylizer.networks.backbones import VGG16  # noqa: E402
from stylizer.networks.predictor import colors  # noqa: E402
from stylizer.settings import Settings  # noqa: E402
from stylizer.training import __main__ as command  # noqa: E402
from stylizer.training import colors as training_colors  # noqa: E402
from stylizer.training import config, data, factor, whiten  # noqa: E402
from stylizer.training.batches import build_bank  # noqa: E402
from stylizer.training.config import TrainConfig, stages  # noqa: E402
from stylizer.training.export import write_checksums  # noqa: E402
from stylizer.training.loop import Report, train  # noqa: E402
from stylizer.training.pairs import load_networks, load_pair, pair_at, save_network, save_pair  # noqa: E402
from stylizer.training.run import Run  # noqa: E402
from stylizer.training.start import starting_pair  # noqa: E402
from stylizer.training.train import Curve, config_of  # noqa: E402
from stylizer.weights import checksums  # noqa: E402

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SMALL = TrainConfig(
    stages="0:32:2",
    stored=72,
    view=64,
    style_sides=(48, 64),
    bank=4,
    bank_steps=2,
    steps=4,
    warmup=2,
    width=0.25,
    bf16=False,
    lattice_weight=0.0,
)
NO_LOSS = dict.fromkeys(
    (
        "content_weight",
        "structure_weight",
        "style_weight",
        "statistics_weight",
        "tv_weight",
        "calm_weight",
        "steady",
        "lattice_weight",
    ),
    0.0,
)


def pictures(count, side=72, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def loss_network():
    torch.manual_seed(0)
    return VGG16(width=0.0625)


def make_run(config=SMALL, network=True):
    return Run(config, pictures(5), pictures(6, seed=1), loss_network() if network else None)


def weights_of(run):
    return {key: value.clone() for key, value in run.pair.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def distance(left, right):
    """Between two states, of all their numbers together."""
    return float(torch.stack([(left[key] - right[key]).float().square().sum() for key in left]).sum().sqrt())


def picture_bytes(kind, size=(90, 80), mode="RGB", **options):
    file = io.BytesIO()
    array = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), np.uint8)
    Image.fromarray(array).convert(mode).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Five pictures that can be trained on, and four files that cannot."""
    file = io.BytesIO()
    frames = [Image.linear_gradient("L").rotate(turn) for turn in (0, 90, 180)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    good = {
        "color.jpg": picture_bytes("JPEG"),
        "grey.png": picture_bytes("PNG", mode="L"),
        "press.jpg": picture_bytes("JPEG", mode="CMYK"),
        "moving.gif": file.getvalue(),
        "clear.png": picture_bytes("PNG", mode="RGBA"),
    }
    white = io.BytesIO()
    Image.new("RGB", (90, 80), "white").save(white, "PNG")
    bad = {
        "cut.jpg": good["color.jpg"][:400],
        "tiny.png": picture_bytes("PNG", (9, 9)),
        "notes.txt": b"no picture",
        "white.png": white.getvalue(),
    }
    (tmp_path / "data" / "deeper").mkdir(parents=True)
    for name, content in {**good, **bad}.items():
        (tmp_path / "data" / ("deeper" if name == "grey.png" else "") / name).write_bytes(content)
    return tmp_path / "data"


# Data ----------------------------------------------------------------------------------------------------------------


def test_a_mixed_folder_gives_its_good_pictures_and_counts_the_rest(folder):
    found = data.load_pictures([folder], 72, CPU)
    assert found.pixels.shape == (5, 3, 72, 72) and found.pixels.dtype == torch.uint8
    assert sum(found.skipped.values()) == 4 and len(found.skipped) == 4
    assert "5 pictures" in str(found) and "1 skipped: unsupported picture format" in str(found)
    assert "1 skipped: only one colour" in str(found)


def test_a_tar_gives_what_its_folder_gives(folder, tmp_path):
    with tarfile.open(tmp_path / "data.tar", "w") as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                tar.add(path, path.name)
    from_tar, from_folder = (data.load_pictures([source], 72, CPU).pixels for source in (tmp_path / "data.tar", folder))
    assert torch.equal(from_tar, from_folder)


def test_an_empty_folder_stops_with_one_line(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(EmptyInput, match=r"no picture to train on in .*photos: no files at all"):
        data.load_pictures([tmp_path / "photos"], 72, CPU)


def test_a_missing_folder_and_a_broken_tar_are_named(tmp_path):
    with pytest.raises(ParameterError, match="nowhere does not exist"):
        data.load_pictures([tmp_path / "nowhere"], 72, CPU)
    (tmp_path / "broken.tar").write_bytes(b"x" * 2000)
    with pytest.raises(ParameterError, match=r"broken\.tar is not a tar"):
        data.load_pictures([tmp_path / "broken.tar"], 72, CPU)


def test_crops_hold_the_pictures_own_pixels_at_places_that_depend_on_the_numbers_alone():
    ramp = torch.arange(72, dtype=torch.uint8)
    planes = [ramp.expand(72, 72), ramp[:, None].expand(72, 72), torch.full((72, 72), 7)]
    some = torch.stack(planes).expand(200, 3, 72, 72)
    crops = data.random_crops(some, 40, data.generator_for(CPU, 1, 2))
    found = (crops * 255).round()
    assert torch.allclose(crops * 255, found, atol=1e-4) and (found[:, 2] == 7).all()
    across, down = found[:, 0, 0], found[:, 1, :, 0]  # one row, one column of each
    assert (across.diff().abs() == 1).all() and (down.diff() == 1).all()
    assert 0.3 < (across[:, 0] > across[:, 1]).float().mean() < 0.7  # mirrored half the time
    assert down[:, 0].min() == 0 and down[:, -1].max() == 71  # every place down to the last
    assert torch.equal(crops, data.random_crops(some, 40, data.generator_for(CPU, 1, 2)))
    assert not torch.equal(crops, data.random_crops(some, 40, data.generator_for(CPU, 1, 3)))


def test_a_picture_shrinks_by_averaging():
    board = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2).float().expand(1, 3, 8, 8)
    assert torch.allclose(data.resize(board, 4)[..., 1:-1, 1:-1], torch.tensor(0.5), atol=1e-3)
    assert torch.equal(data.resize(board, 8), board)


def test_jittered_colors_keep_greys_grey():
    grey = torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(0)).expand(4, 3, 5, 5)
    changed = data.jitter_colors(grey, 0.3, data.generator_for(CPU, 0))
    assert (changed.amax(1) - changed.amin(1)).max() < 1e-5 < (changed - grey).abs().max()


# Steps ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("capable", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bf16_is_taken_where_the_machine_computes_in_it_and_nowhere_else(monkeypatch, capsys, capable, dtype):
    monkeypatch.setattr(config, "computes_in_bf16", lambda device: capable)
    assert make_run(replace(SMALL, bf16=True)).objectives.dtype == dtype
    assert make_run(SMALL).objectives.dtype == torch.float32
    call = ["train", "--device", "cpu", "--content", "a", "--style", "b", "--run", "c"]
    assert config_of(command.parse(call), CPU).bf16
    assert ("float32 is faster here" in capsys.readouterr().out) == (not capable)
    config_of(command.parse([*call, "--no-bf16"]), CPU)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("trunk", ["mobilenet-v2", "inception-v3"])
@pytest.mark.parametrize("separable", [True, False])
def test_two_steps_of_every_pair_train_both_networks(trunk, separable):
    run = make_run(replace(SMALL, trunk=trunk, separable=separable, stages="0:64:2", bf16=True, low_strength_share=0.5))
    before = weights_of(run)
    reports = list(itertools.islice(train(run, report_every=1), 2))
    assert all(np.isfinite(list(report.losses.values())).all() for report in reports)
    assert {"content", "style", "low_strength", "loss", "norm"} <= reports[0].losses.keys()
    still = [key for key in run.parameters if torch.equal(before[key], run.pair.state_dict()[key])]
    assert not [key for key in still if not key.startswith("predictor.features.")]  # a random trunk is half dead
    assert len(still) < len(run.parameters) / 2
    norms = [key for key in before if key.startswith("predictor.") and "running" in key]
    assert norms and all(torch.equal(before[key], run.pair.state_dict()[key]) for key in norms)


def test_the_loss_falls():
    run = make_run(replace(SMALL, steps=30, bank_steps=100))
    reports = list(train(run, report_every=5))
    assert reports[-1].losses["loss"] < reports[0].losses["loss"]


@pytest.mark.parametrize("rank", [0, 4])
def test_a_merged_separable_network_is_the_separable_network(rank):
    run = make_run(replace(SMALL, rank=rank))
    mixing(run.pair.transformer)
    contents, vectors = torch.rand(2, 3, 32, 32), torch.randn(2, 100)
    run.pair.transformer.eval(), run.objectives.shell.eval()
    as_it_is = run.objectives.paint(contents, vectors, merged=False)
    merged = run.objectives.paint(contents, vectors)
    assert torch.allclose(as_it_is, merged, atol=1e-5)
    merged.sum().backward()
    kernels = ("wise.weight", ".down", ".up")
    assert all(value.grad is not None for key, value in run.parameters.items() if key.endswith(kernels))


def test_what_no_picture_shows_stays_zero():
    run = make_run()
    run.advance()
    betas = [block[1].beta for block in run.pair.transformer.residual]
    assert not any(beta.weight.any() or beta.bias.any() for beta in betas)


def test_a_rate_of_zero_freezes():
    run = make_run(replace(SMALL, predictor_rate=0.0))
    before = weights_of(run)
    run.advance()
    now = run.pair.state_dict()
    assert all(torch.equal(before[key], now[key]) for key in before if key.startswith("predictor."))
    assert not torch.equal(before["transformer.expand.2.beta.bias"], now["transformer.expand.2.beta.bias"])


@pytest.mark.parametrize(
    ("trunk", "frozen", "first"),
    [
        ("mobilenet-v2", 19, "to_vector"),
        ("mobilenet-v2", 14, "features.14."),
        ("inception-v3", 14, "features.Mixed_6e."),
    ],
)
def test_frozen_stages_of_a_trunk_are_asked_once_a_bank_and_the_others_learn(trunk, frozen, first):
    config = replace(SMALL, trunk=trunk)
    run, whole = make_run(replace(config, frozen_stages=frozen)), make_run(config)
    answers, seen = run.batch(), whole.batch()
    with torch.no_grad():
        asked = [run.pair.predictor.begin(some, frozen) for some in (seen.views, seen.photo_views)]
    assert torch.allclose(answers.views, asked[0], rtol=0.05, atol=1e-2)  # views are rounded to bytes
    assert torch.allclose(answers.photo_views, asked[1], atol=1e-5)
    before = weights_of(run)
    run.advance()
    changed = [key for key, value in run.pair.state_dict().items() if not torch.equal(before[key], value)]
    changed = [key.removeprefix("predictor.") for key in changed if key.startswith("predictor.")]
    assert {"to_vector.weight", "to_vector.bias"} <= set(changed)
    assert changed[0].startswith(first)


def test_a_batch_has_plain_photos_and_noise_for_the_last_ones():
    config = replace(SMALL, stages="0:32:6", plain=0.5, steady=1 / 3, noise=0.02, low_strength_share=1 / 3)
    batch, as_they_are = make_run(config).batch(), make_run(replace(config, plain=0.0, steady=0.0)).batch()
    assert batch.noise.shape == (2, 3, 32, 32) and len(as_they_are.noise) == 0 and len(batch.photo_views) == 2
    assert 0 < batch.noise.std() < 0.02
    assert torch.equal(batch.contents[:3], as_they_are.contents[:3])
    assert losses.total_variation(batch.contents[3:]).max() < 0.2 * losses.total_variation(as_they_are.contents).min()
    assert torch.equal(make_run(config).batch().noise, batch.noise)


def test_of_small_batches_one_photo_in_some_is_plain():
    run = make_run(replace(SMALL, plain=0.25, steps=100))
    plain = 0
    for run.step in range(24):
        plain += int((losses.total_variation(run.batch().contents) < 0.02).sum())
    assert 4 <= plain <= 22  # 12 of 48 are to be expected


def test_photos_are_painted_with_brushwork_on_them():
    config = replace(SMALL, stages="0:64:4", plain=1.0, brushwork=1.0)
    batch, without = make_run(config).batch(), make_run(replace(config, brushwork=0.0)).batch()
    assert torch.equal(batch.contents, without.contents) and torch.equal(without.canvases, without.contents)
    added = (batch.canvases - batch.contents).std((1, 2, 3))
    assert added.min() > 3 / 255 and (losses.calm(batch.canvases) < losses.calm(batch.contents)).float().mean() > 0.9


def test_all_losses_together_have_finite_values_and_a_gradient():
    config = replace(
        SMALL,
        stages="0:64:4",
        style_sides=(64,),
        plain=0.25,
        steady=0.5,
        calm_weight=100.0,
        structure_weight=1.0,
        lattice_weight=10.0,
    )
    run = make_run(config)
    before = weights_of(run)
    found = run.advance()
    assert all(value.isfinite() for value in found.values())
    assert {"weave", "noise", "lattice", "structure", "content", "style", "low_strength"} <= found.keys()
    assert not same(before, run.pair.state_dict())


def test_noise_and_weave_fall_where_they_have_a_weight():
    run = make_run(
        replace(
            SMALL,
            **{**NO_LOSS, "steady": 0.5, "content_weight": 1e-9, "calm_weight": 100.0},
            stages="0:32:4",
            plain=0.5,
            steps=30,
            low_strength_share=0.0,
            steady_weight=0.3,
            transformer_rate=3e-3,
        )
    )
    first = run.advance()
    for _ in range(28):
        last = run.advance()
    assert last["noise"] < 0.5 * first["noise"] and last["weave"] < 0.5 * first["weave"]


def test_what_all_results_share_falls_where_it_has_a_weight():
    def shared(weight):
        run = make_run(
            replace(
                SMALL,
                **{**NO_LOSS, "content_weight": 1e-9, "lattice_weight": weight},
                stages="0:72:4",
                style_sides=(64,),
                steps=30,
                low_strength_share=0.0,
                transformer_rate=3e-3,
            )
        )
        for _ in range(29):
            run.advance()
        return float(run.common_waves.clamp(min=0).square().mean())

    assert shared(100.0) < 0.8 * shared(1e-9)  # it was 0.48 of it


def test_the_distance_from_a_photo_counts_by_its_logarithm():
    alone = {**NO_LOSS, "content_weight": 1.0, "low_strength_share": 0.0, "plain": 0.0, "stages": "0:32:1"}
    found = make_run(replace(SMALL, **alone)).advance()
    torch.testing.assert_close(found["loss"], found["content"].log1p())
    found = make_run(replace(SMALL, **alone, log_content=False)).advance()
    torch.testing.assert_close(found["loss"], found["content"])


def test_a_share_is_a_share():
    for name in ("low_strength_share", "plain", "steady"):
        with pytest.raises(ParameterError, match=f"{name} is 1.5; it is a share, 0 to 1"):
            TrainConfig(**{name: 1.5})


def test_more_frozen_stages_than_the_trunk_has_are_refused():
    with pytest.raises(ParameterError, match="frozen_stages is 20; the trunk of mobilenet-v2 has 0 to 19"):
        make_run(replace(SMALL, frozen_stages=20))


def test_a_pair_distilled_from_itself_has_nothing_to_learn(tmp_path):
    paths = tuple(map(str, save_pair(make_run().pair, tmp_path)))
    config = replace(
        SMALL,
        **NO_LOSS,
        init=paths,
        teacher=paths,
        vector_weight=1.0,
        picture_weight=1.0,
        low_strength_share=0.0,
        transformer_rate=0.0,
    )
    found = make_run(config, network=False).advance()
    assert found["vector"] < 1e-9 and found["picture"] < 1e-5


def test_distillation_begins_with_the_last_layer_that_fits_the_trunk_best(tmp_path):
    paths = tuple(map(str, save_pair(make_run().pair, tmp_path)))
    config = replace(SMALL, **NO_LOSS, teacher=paths, vector_weight=1.0, bank=64, seed=5)
    run, wanted = make_run(config, network=False), make_run().pair.predictor.eval()
    run.pair.predictor.features.load_state_dict(wanted.features.state_dict())  # so a perfect answer exists
    styles = run.batches.styles[:16] / 255
    before = (run.pair.predictor(styles) - wanted(styles)).square().mean()
    run.fit_last_layer()
    assert (run.pair.predictor(styles) - wanted(styles)).square().mean() < 0.1 * before
    assert torch.equal(run.averaged().predictor.to_vector.weight, run.pair.predictor.to_vector.weight)


def test_distillation_without_a_teacher_is_refused():
    with pytest.raises(ParameterError, match="teacher"):
        TrainConfig(vector_weight=1.0)


def test_the_schedule_rises_and_ends_at_zero():
    run = make_run(replace(SMALL, steps=100, warmup=10))
    rates = []
    for run.step in range(101):
        rates.append(run.rate())
    assert rates[0] == pytest.approx(0.1) and max(rates) > 0.95 and rates[-1] == 0
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_settings_that_cannot_be_are_refused_with_what_can():
    for given, message in (
        ({"trunk": "resnet"}, "inception-v3"),
        ({"input_range": "0..255"}, "0..1"),
        ({"width": 9.0}, "at most 4"),
        ({"zoom": 1.5}, "at most 1"),
        ({"rank": 500}, "0 to 128"),
        ({"stages": "0:512:4"}, "crops of 512 pixels"),
        ({"minutes": 0.0}, "--steps"),
        ({"stages": "0:32:4"}, "crops have 32 pixels: spectra need 64"),
    ):
        with pytest.raises(ParameterError, match=message):
            TrainConfig(**given)


def test_stages_are_read_and_bad_ones_refused():
    assert stages("0:128:8,0.5:256:4") == [(0.0, 128, 8), (0.5, 256, 4)]
    for text in ("128", "0.5:128:8", "0:130:8", "0:128:8,0.9:64:2,0.5:64:2"):
        with pytest.raises(ParameterError, match="stages"):
            stages(text)


# Cut, resumed, stopped -----------------------------------------------------------------------------------------------


def test_a_resumed_run_is_the_uninterrupted_run(tmp_path, monkeypatch):
    monkeypatch.setattr("stylizer.training.checkpoints.SHARD_BYTES", 10**6)
    config = replace(SMALL, stages="0:64:2", style_sides=(64,), lattice_weight=10.0)
    whole = make_run(config)
    began = weights_of(whole)
    curve = [report.losses for report in train(whole, report_every=1)]
    first = make_run(config)
    parts = [report.losses for report in itertools.islice(train(first, report_every=1), 1)]
    first.save(tmp_path / "checkpoint")
    assert len(list((tmp_path / "checkpoint").glob("weights-*.safetensors"))) > 1
    second = make_run(config)
    second.load(tmp_path / "checkpoint")
    parts += [report.losses for report in train(second, report_every=1)]
    assert len(parts) == len(curve) == 4
    for ours, theirs in zip(parts, curve, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    # Of the way from where they began: a last digit that is rounded otherwise makes 2e-5, moments that are lost 0.03.
    assert distance(weights_of(whole), weights_of(second)) < 1e-3 * distance(weights_of(whole), began)
    assert distance(whole.average, second.average) < 1e-3 * distance(weights_of(whole), began)


def test_a_cut_while_saving_leaves_the_checkpoint_before(tmp_path):
    run = make_run()
    run.save(tmp_path / "checkpoint")
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")  # cut between the two renames
    run.load(tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint" / "state.json").exists()


def test_a_checkpoint_of_another_architecture_is_refused_by_name(tmp_path):
    make_run().save(tmp_path / "checkpoint")
    other = make_run(replace(SMALL, trunk="inception-v3", separable=False))
    with pytest.raises(WeightsError, match=r"checkpoint of mobilenet-v2 .*separable.* trains inception-v3 .*plain"):
        other.load(tmp_path / "checkpoint")


def test_a_checkpoint_older_than_a_setting_goes_on_with_what_the_setting_was_then(tmp_path):
    run = make_run()
    run.save(tmp_path / "checkpoint")
    path = tmp_path / "checkpoint" / "state.json"
    state = json.loads(path.read_text())
    config = json.loads(state["architecture"]["transformer"]["config"])
    del config["dilations"], config["calms"], config["rank"]
    state["architecture"]["transformer"]["config"] = json.dumps(config)
    path.write_text(json.dumps(state))
    make_run().load(tmp_path / "checkpoint")


def test_dilations_are_kept_from_the_weights_or_put_between_their_kernels(tmp_path):
    paths = tuple(map(str, save_pair(make_run().pair, tmp_path / "plain")))
    dilations = (1, 1, 2, 2, 4, 4, 2, 2, 1, 1)
    wider = make_run(replace(SMALL, init=paths, dilations=dilations))
    assert wider.pair.transformer.config.dilations == dilations
    assert wider.pair.transformer.reach == make_run().pair.transformer.reach + 40
    again = tuple(map(str, save_pair(wider.averaged(), tmp_path / "wider")))
    kept = make_run(replace(SMALL, init=again)).pair.transformer
    assert kept.config.dilations == dilations
    assert torch.equal(kept.residual[2][0].depthwise.weight, wider.pair.transformer.residual[2][0].depthwise.weight)
    assert make_run(replace(SMALL, init=again)).advance()["loss"].isfinite()


def test_a_rank_is_kept_from_the_weights_or_begins_with_the_same_pictures(tmp_path):
    begun = make_run()
    paths = tuple(map(str, save_pair(begun.pair, tmp_path / "before")))
    mixes = make_run(replace(SMALL, init=paths, rank=4))
    photo, vector = torch.rand(1, 3, 48, 40), torch.randn(1, 100)
    before, after = (run.pair.transformer.eval()(photo, vector) for run in (begun, mixes))
    torch.testing.assert_close(after, before)
    mixing(mixes.pair.transformer)
    again = tuple(map(str, save_pair(mixes.pair, tmp_path / "after")))
    kept = make_run(replace(SMALL, init=again)).pair.transformer
    assert kept.config.rank == 4 and torch.equal(kept.expand[0].up, mixes.pair.transformer.expand[0].up)


def test_the_mean_of_two_pairs_lies_between_them_number_by_number(tmp_path, capsys):
    before = make_run().pair
    save_pair(before, tmp_path / "before")
    paths = tuple(map(str, sorted((tmp_path / "before").glob("*"))))
    after = make_run(replace(SMALL, init=paths, rank=4)).pair
    mixing(after.transformer)
    after.transformer.contract[0].conv.weight.data.add_(1)
    save_pair(after, tmp_path / "after")
    places = [",".join(map(str, sorted((tmp_path / name).glob("*")))) for name in ("before", "after")]
    assert command.main(["mean", *places, "--share", "0.75", "--out", str(tmp_path / "mean")]) == 0
    mean = load_pair(sorted((tmp_path / "mean").glob("*"))).transformer
    first, theirs = mean.contract[0].conv.weight, before.transformer.contract[0].conv.weight
    torch.testing.assert_close(first, theirs + 0.75)
    torch.testing.assert_close(mean.expand[0].up, 0.75 * after.transformer.expand[0].up)
    assert torch.equal(mean.expand[0].down, after.transformer.expand[0].down)
    assert command.main(["mean", *places, "--share", "2", "--out", str(tmp_path / "no")]) == 2
    assert command.main(["mean", *places[::-1], "--out", str(tmp_path / "no")]) == 2
    assert "0 to 1" in (said := capsys.readouterr().err) and "rank 4" in said and "no mean" in said


def test_an_encoder_learns_a_cheaper_first_convolution_and_nothing_else_changes(tmp_path, monkeypatch, capsys):
    for name, value in (("STORED", 64), ("SIDE", 48), ("BATCH", 2), ("HELD_BACK", 2), ("TRIALS", 1)):
        monkeypatch.setattr(factor, name, value)
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(factor.HELD_BACK + 8):
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{seed}.png")
    whole, thin = tmp_path / "whole.safetensors", tmp_path / "thin.safetensors"
    save_network(Transformer(), whole)
    given = ["factor", str(whole), "--content", str(photos), "--out", str(thin)]
    assert command.main([*given, "--rank", "6", "--steps", "12"]) == 0
    before, after = (load_networks([path])["transformer"] for path in (whole, thin))
    assert after.config == replace(before.config, first_rank=6)
    assert after.contract[0].vertical.weight.shape == (6, 3, 9, 1)
    assert after.contract[0].conv.weight.shape == (32, 6, 1, 9)
    kept = after.state_dict()
    assert all(torch.equal(value, kept[key]) for key, value in before.state_dict().items() if "contract" not in key)
    photo = torch.rand(1, 3, 64, 64)
    assert after.encode(photo).shape == before.encode(photo).shape
    for wrong, words in ((given, "1 to 27"), (["factor", str(thin), *given[2:]], "already products")):
        assert command.main([*wrong, "--rank", "28"]) == 2 and words in capsys.readouterr().err


def test_batch_norms_get_the_statistics_of_what_they_see_and_give_the_same(monkeypatch):
    monkeypatch.setattr(factor, "SIDE", 48)
    torch.manual_seed(0)
    teacher = Transformer().eval()
    contract, photos = factor.factored(teacher, 4).contract, torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    seen = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = contract(seen)
        factor.restate(contract[0], teacher, contract, photos, torch.Generator().manual_seed(0))
        torch.testing.assert_close(contract(seen), before, rtol=1e-3, atol=1e-4)
        found = contract[0].conv(contract[0].vertical(photos.float() / 255))
    assert torch.allclose(contract[0].norm.running_mean, found.mean((0, 2, 3)), atol=0.1)


def test_nan_stops_the_run_and_the_checkpoint_before_is_good(tmp_path):
    run = make_run()
    steps = train(run, report_every=1)
    next(steps)
    run.save(tmp_path / "checkpoint")
    with torch.no_grad():
        run.pair.transformer.contract[0].conv.weight[0] = torch.nan
    with pytest.raises(NotFinite, match="last checkpoint is unaffected"):
        next(steps)
    again = make_run()
    again.load(tmp_path / "checkpoint")
    assert again.step == 1 and next(train(again, report_every=1)).step == 2


# Weight files --------------------------------------------------------------------------------------------------------


def test_a_saved_pair_loads_as_it_was_from_two_files_or_from_one(tmp_path):
    pair = make_run().averaged()
    paths = save_pair(pair, tmp_path)
    assert [path.stem for path in paths] == ["predictor-mobilenet-v2", "transformer-separable-0.25"]
    save_file(
        {
            f"{part}.{key}": value
            for part, path in zip(("predictor", "transformer"), paths, strict=True)
            for key, value in load_file(path).items()
        },
        tmp_path / "both.safetensors",
    )
    for place in ([*paths], [tmp_path / "both.safetensors"]):
        again = load_pair(place)
        assert again.architecture() == pair.architecture() and same(again.state_dict(), pair.state_dict())


def test_a_weight_file_that_would_be_too_large_has_its_kernels_in_half_precision(tmp_path):
    pair = starting_pair(replace(SMALL, trunk="inception-v3")).eval()
    paths = save_pair(pair, tmp_path)
    assert paths[0].stem == "predictor-inception-v3" and paths[0].stat().st_size < 25e6
    with torch.no_grad():
        picture = torch.rand(1, 3, 96, 96)
        vector, again = pair.predictor(picture), load_pair(paths).predictor(picture)
    assert torch.allclose(vector, again, rtol=0.01, atol=0.01 * float(vector.abs().max()))
    assert not torch.equal(vector, again)


def test_other_files_than_weights_are_refused(tmp_path):
    (tmp_path / "text.safetensors").write_bytes(b"hello")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name, message in (("text", "not a safetensors"), ("other", "holds no predictor"), ("none", "does not exist")):
        with pytest.raises(WeightsError, match=message):
            load_pair([tmp_path / f"{name}.safetensors"])


def test_among_several_networks_none_is_taken_by_chance(tmp_path):
    pair = make_run().pair
    save_pair(pair, tmp_path)
    (tmp_path / "transformer-separable-0.25.safetensors").rename(tmp_path / "transformer-separable.safetensors")
    save_pair(starting_pair(replace(SMALL, trunk="inception-v3", separable=False)), tmp_path)
    with pytest.raises(WeightsError, match=r"plain-0\.25\.safetensors holds a second transformer; name one of each"):
        load_pair([tmp_path / f"transformer-{kind}.safetensors" for kind in ("separable", "plain-0.25")])
    assert pair_at(str(tmp_path)).architecture() == pair.architecture()  # of models/ the default pair


def test_starting_from_another_architecture_is_refused(tmp_path):
    paths = tuple(map(str, save_pair(make_run().pair, tmp_path)))
    with pytest.raises(WeightsError, match=r"init holds the transformer .*0\.25.*this run trains"):
        starting_pair(replace(SMALL, init=paths, width=0.5))
    with pytest.raises(WeightsError, match="another trunk than inception-v3"):
        starting_pair(replace(SMALL, predictor_init=paths[0], trunk="inception-v3"))


def test_favourites_are_their_share_of_every_bank():
    config = replace(SMALL, favoured=0.5, bank=32, jitter=0)
    black, white = torch.zeros(3, 3, 72, 72, dtype=torch.uint8), torch.full((2, 3, 72, 72), 255, dtype=torch.uint8)
    for number in range(2):
        bank = build_bank(black, None, config, number, favourites=white)
        assert bank.views.float().mean() / 255 == 0.5
    assert not build_bank(black, None, config, 0).views.any()
    with pytest.raises(ParameterError, match="a share, 0 to 1"):
        replace(SMALL, favoured=45)


def test_whitening_changes_the_numbers_of_a_style_and_no_picture():
    torch.manual_seed(0)
    stretched = torch.randn(400, 100) * torch.logspace(0, -2, 100) @ torch.linalg.qr(torch.randn(100, 100))[0] + 3
    coordinates = whiten.whitening(stretched, damping=1e-6)
    whitened = (stretched.double() - coordinates.centre) @ coordinates.into.T
    assert whitened.mean(0).abs().max() < 1e-9
    assert torch.allclose(torch.cov(whitened.T), torch.eye(100, dtype=torch.float64), atol=0.05)
    torch.testing.assert_close(whitened @ coordinates.back.T + coordinates.centre, stretched.double())
    pair = make_run(replace(SMALL, rank=4)).pair.eval()
    photo, style = torch.rand(1, 3, 48, 40), torch.rand(1, 3, 64, 64)
    mixing(pair.transformer)
    with torch.no_grad():
        painted = pair.transformer(photo, pair.predictor(style))
        coordinates.apply(pair.predictor)
        coordinates.apply(pair.transformer)
        again = pair.transformer(photo, pair.predictor(style))
    torch.testing.assert_close(again, painted, atol=1e-4, rtol=0)


def test_the_command_whitens_all_networks_of_a_folder(tmp_path, monkeypatch, capsys):
    models, paintings = tmp_path / "models", tmp_path / "paintings"
    given = make_run().pair
    save_pair(given, models)
    (models / "transformer-separable-0.25.safetensors").rename(models / "transformer-separable.safetensors")
    write_checksums(models)
    paintings.mkdir()
    for index, picture in enumerate(pictures(100, 96)):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(paintings / f"{index}.png")
    monkeypatch.setenv("STYLIZER_MODELS", str(models))

    def whitened(*arguments) -> tuple[int, str]:
        status, said = command.main(["whiten", "--style", *map(str, arguments)]), capsys.readouterr()
        return status, said.out + said.err

    def is_refused(answer: tuple[int, str], why: str) -> bool:
        return answer[0] == 2 and why in answer[1]

    assert is_refused(whitened(tmp_path / "none"), "does not exist")
    monkeypatch.setenv("STYLIZER_PREDICTOR", "cubist")
    assert is_refused(whitened(paintings), "choose from mobilenet-v2")
    monkeypatch.delenv("STYLIZER_PREDICTOR")
    assert is_refused(whitened(paintings, "--count", "50"), "50 pictures")
    status, said = whitened(paintings)
    assert status == 0 and "100 pictures" in said
    assert "transformer-separable.safetensors" in checksums(models)
    pair = load_pair(sorted(models.glob("*.safetensors")))
    photo, style = torch.rand(1, 3, 48, 40), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        given.eval()
        assert not torch.allclose(pair.predictor(style), given.predictor(style), rtol=0.5)
        painted, wanted = (each.transformer(photo, each.predictor(style)) for each in (pair, given))
    torch.testing.assert_close(painted, wanted, atol=1e-3, rtol=0)


def of_the_last_layer(pair, vectors):
    """The betas and gammas that end a painting."""
    gamma, beta = (head(vectors) for head in pair.transformer.heads()[-2:])
    return torch.cat((beta, gamma), dim=1)


def test_a_predictor_that_follows_colors_goes_its_share_of_the_way_to_a_paintings_own():
    pair, styles = make_run().pair.eval(), torch.rand(8, 3, 64, 64) ** 2
    with torch.no_grad():
        before = of_the_last_layer(pair, pair.predictor(styles))
        following = training_colors.follow_colors(pair.predictor, pair.transformer)
        after, there = of_the_last_layer(pair, following(styles)), colors(styles)
    share = (after - before) / (there - before)
    assert torch.allclose(share[:, :3], torch.tensor(training_colors.MEAN_SHARE), atol=0.02)
    assert torch.allclose(share[:, 3:], torch.tensor(training_colors.DEVIATION_SHARE), atol=0.02)


def test_the_command_makes_every_predictor_of_a_folder_follow_colors(tmp_path, monkeypatch, capsys):
    models = tmp_path / "models"
    save_pair(make_run().pair, models)
    (models / "transformer-separable-0.25.safetensors").rename(models / "transformer-separable.safetensors")
    write_checksums(models)
    listed, before = checksums(models), load_pair(sorted(models.glob("*.safetensors")))
    monkeypatch.setenv("STYLIZER_MODELS", str(models))
    assert command.main(["colors"]) == 0 and "predictor-mobilenet-v2.safetensors follows" in capsys.readouterr().out
    after, style = load_pair(sorted(models.glob("*.safetensors"))), torch.rand(4, 3, 64, 64)
    with torch.no_grad():
        ways = [
            (of_the_last_layer(pair, pair.predictor(style)) - colors(style)).abs()[:, :3].mean()
            for pair in (before, after)
        ]
    assert ways[1] < 0.3 * ways[0]
    changed = [file for file, digest in checksums(models).items() if listed[file] != digest]
    assert changed == ["predictor-mobilenet-v2.safetensors"]
    monkeypatch.setenv("STYLIZER_TRANSFORMER", "cubist")
    assert command.main(["colors"]) == 2 and "choose from separable" in capsys.readouterr().err


def test_a_plain_transformer_begins_as_the_separable_one_it_is_given(tmp_path):
    given = make_run(replace(SMALL, rank=4)).pair
    mixing(given.transformer)
    paths = tuple(map(str, save_pair(given, tmp_path)))
    began = starting_pair(replace(SMALL, init=paths, separable=False)).transformer.eval()
    photo, vector = torch.rand(2, 3, 48, 40), torch.randn(2, 100)
    assert not began.config.separable
    torch.testing.assert_close(began(photo, vector), given.transformer.eval()(photo, vector), atol=1e-5, rtol=0)


# The commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", command.COMMANDS)
def test_every_command_says_what_it_does_and_takes(name, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main([name, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and f"python -m stylizer.training {name}" in said


def test_the_help_lists_every_command_and_imports_none(capsys, monkeypatch):
    monkeypatch.setattr(command, "import_module", None)
    with pytest.raises(SystemExit):
        command.main(["--help"])
    said = capsys.readouterr().out
    assert all(f"\n    {name}" in said for name in command.COMMANDS)


def test_a_curve_keeps_its_columns_where_a_resumed_run_has_other_losses(tmp_path):
    curve = Curve(tmp_path / "curve.csv")
    curve.keep_until(0)
    for step, found in ((1, {"content": 1.0, "style": 2.0}), (2, {"content": 3.0})):
        curve.add(Report(step, 0.0, 0.5, 0.0, 1.0, 1.0, found))
    again = Curve(tmp_path / "curve.csv")
    again.keep_until(1)
    again.add(Report(2, 0.0, 0.5, 0.0, 1.0, 1.0, {"accents": 5.0, "style": 4.0}))
    with (tmp_path / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["content"], row["style"]) for row in rows] == [("1", "1", "2"), ("2", "", "4")]


# Options that make a run small.
TINY = shlex.split("--stages 0:64:2 --stored 72 --view 64 --style-sides 64 72 --bank 4 --width 0.25 --no-bf16")


def test_the_train_command_trains_resumes_and_writes_what_it_says(folder, tmp_path, capsys):
    paths = list(map(str, save_pair(starting_pair(replace(SMALL, width=0.25)), tmp_path / "teacher")))
    call = [
        "train",
        "--device",
        "cpu",
        "--content",
        str(folder),
        "--style",
        str(folder),
        "--run",
        str(tmp_path / "run"),
        "--teacher",
        *paths,
        *shlex.split(
            "--vector-weight 1 --content-weight 0 --structure-weight 0 --style-weight 0 --statistics-weight 0"
        ),
        *TINY,
        "--report-every",
        "1",
    ]
    assert command.main([*call, "--steps", "2"]) == 0
    assert command.main([*call, "--steps", "3"]) == 0
    assert "finished at step 3" in capsys.readouterr().out
    with (tmp_path / "run" / "curve.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    with Image.open(tmp_path / "run" / "samples-000003.jpg") as sheet:
        assert sheet.size == (6 * 256, 5 * 256)
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["steps"] == 3
    assert pair_at(str(tmp_path / "run")).predictor.trunk == "mobilenet-v2"


def test_a_pair_learns_through_the_narrow_vgg_but_is_not_judged_by_it(tmp_path, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    for number, pixels in enumerate(pictures(4)):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    narrow = str(Settings().models / weights.WEIGHTS["narrow"].file)
    call = [
        "train",
        "--device",
        "cpu",
        "--content",
        str(folder),
        "--style",
        str(folder),
        "--vgg",
        narrow,
        "--run",
        str(tmp_path / "run"),
        *TINY,
        "--steps",
        "2",
    ]
    assert command.main(call) == 0
    with (tmp_path / "run" / "curve.csv").open() as file:
        assert all(float(row["style"]) > 0 for row in csv.DictReader(file))
    assert command.main(["evaluate", "--photos", str(folder), "--styles", str(folder), "--vgg", narrow]) == 2
    assert "not vgg16's features" in capsys.readouterr().err


def test_a_callers_mistake_is_one_line_and_exit_code_two(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    call = [
        "train",
        "--device",
        "cpu",
        "--content",
        str(tmp_path / "empty"),
        "--style",
        str(tmp_path / "empty"),
        "--run",
        str(tmp_path / "run"),
    ]
    assert command.main(call) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("no picture to train on") and "Traceback" not in "".join(lines)
