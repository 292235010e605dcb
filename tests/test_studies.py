"""Studies: how they are learnt, their file, and painting by them, everywhere that a style is taken."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pictures
import pytest
import torch
from PIL import Image
from safetensors.numpy import save
from studying import random_study

from stylizer import cli, fit, images, losses, studies
from stylizer.canvas import brushed, framed, unframed
from stylizer.errors import ParameterError, WeightsError
from stylizer.feedforward import Stylizer
from stylizer.fit import Objectives, StudyConfig, View
from stylizer.images import Picture
from stylizer.networks import Transformer, TransformerConfig
from stylizer.networks.backbones import SmallNet
from stylizer.studies import ADDED_SIZE, LAYERS, RANK, Study
from stylizer.styles import Blend, read_gallery

STYLE = "embroidered-garden"  # painted by its vector alone


def tensor(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.to_tensor(rgb))


PHOTOS = [View(tensor(pictures.photo(64, 48, seed)), tensor(pictures.photo(64, 48, seed)), 64) for seed in range(2)]
PAINTING = Picture(pictures.painting(64, 64, 1))


@pytest.fixture(scope="module")
def transformer(settings):
    return fit.load_transformer(settings)


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    network = SmallNet(0.25)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            torch.nn.init.kaiming_normal_(parameter)
    return network


@pytest.fixture(scope="module")
def study(stylizer) -> Study:
    return random_study(stylizer)


@pytest.fixture(scope="module")
def photo():
    return pictures.photo(96, 64)


# Learning -----------------------------------------------------------------------------------------------------------


def learnt(transformer, backbone, vector, **config) -> list[fit.Step]:
    config = StudyConfig(size=64, painting_size=64, **config)
    return list(fit.fit(transformer, backbone, PAINTING, vector, PHOTOS, config, name="dawn", origin="weights"))


def test_a_view_is_painted_with_brushwork_and_judged_beside_the_photo():
    photo = Picture(pictures.photo(300, 200))
    small, _, large = fit.views_of([photo] * 3, 8, StudyConfig(size=128, large=256))
    shown = images.resize(photo, 128)
    assert torch.equal(small.pixels[0, :, :84], tensor(shown.rgb)[0, :, :84])
    assert torch.equal(small.canvas[0, :, :84], tensor(brushed(shown, 8).rgb)[0, :, :84])
    assert small.longest == 128 and large.longest == 256 and large.canvas.shape == large.pixels.shape
    assert 1 / 255 < (large.canvas - large.pixels).std() < 10 / 255


def test_waves_that_all_answers_share_cost_more_and_more(backbone):
    photo = pictures.photo(96, 80)
    view = View(tensor(photo), tensor(photo), 96)
    objectives = Objectives(backbone, Picture(photo), [view], StudyConfig(size=96, painting_size=96))
    threads = 0.1 * torch.sin(torch.arange(96) * 2 * torch.pi / 6)
    costs = [objectives(view.pixels + threads, 0)["lattice"].item() for _ in range(5)]
    assert costs[0] == 0 and costs == sorted(costs) and costs[-1] > 1e-4
    again = [objectives(view.pixels, 0)["lattice"].item() for _ in range(2)]
    assert max(again) < 0.2 * costs[-1]


def test_a_study_knows_the_layers_of_the_transformer_in_the_order_of_painting(transformer):
    names = {module: name for name, module in transformer.named_modules()}
    for layer, module in zip(LAYERS, transformer.styled(), strict=True):
        assert names[module] == layer.name
        assert [tuple(shape) for shape in module.added_shapes()] == layer.added_shapes()
    assert ADDED_SIZE == 192_774


@pytest.mark.slow
def test_the_loss_falls_and_the_transformer_stays_as_it_is(transformer, backbone, stylizer):
    before = {key: value.clone() for key, value in transformer.state_dict().items()}
    steps = learnt(transformer, backbone, stylizer.gallery[STYLE].vector, steps=30)
    assert [step.index for step in steps] == list(range(1, 31))
    first, end = (np.mean([step.losses["total"] for step in some]) for some in (steps[:4], steps[-4:]))
    assert end < 0.97 * first
    found = steps[-1].study
    assert (found.name, found.origin, found.rank) == ("dawn", "weights", RANK)
    for layer, parts in zip(LAYERS, studies.split(found.numbers, RANK), strict=True):
        idle = layer.name.startswith("residual") and layer.name.endswith("1")  # whose betas no picture shows
        assert [bool(np.abs(part).max()) for part in parts] == [True, True, True, True, not idle]
    assert all(torch.equal(value, before[key]) for key, value in transformer.state_dict().items())


@pytest.mark.slow
def test_how_far_photos_may_go_decides_the_weight_of_content(transformer, backbone, stylizer):
    near, far = (
        np.mean(
            [
                step.losses["content"]
                for step in learnt(
                    transformer, backbone, stylizer.gallery[STYLE].vector, steps=30, content_distance=content
                )[-4:]
            ]
        )
        for content in (0.05, 5.0)
    )
    assert near < 0.95 * far


def test_before_the_first_step_a_study_adds_nothing(transformer, stylizer):
    start = fit.Learnt(transformer, stylizer.gallery[STYLE].vector, StudyConfig(), None).study("dawn", "weights")
    assert not start.added().any()


def test_a_study_begins_where_one_of_other_weights_ended(transformer, stylizer):
    other = random_study(stylizer, size=0.1)
    begun = fit.Learnt(transformer, other.vector, StudyConfig(rank=other.rank), None, other).study("dusk", "weights")
    assert np.array_equal(begun.numbers, other.numbers) and begun.origin == "weights"
    narrower = fit.Learnt(transformer, other.vector, StudyConfig(rank=other.rank - 1), None, other)
    assert not narrower.study("dusk", "weights").added().any()


@torch.no_grad()
def test_the_engine_paints_by_a_study_what_was_seen_while_it_was_learnt(transformer, backbone, stylizer):
    vector = stylizer.gallery[STYLE].vector
    learner = fit.Learnt(transformer, vector, StudyConfig(rank=4), stylizer.coarser)
    study = random_study(stylizer, size=0.1)
    for tensors, parts in zip(learner.layers, studies.split(study.numbers.astype(np.float32), 4), strict=True):
        for to, value in zip(tensors, parts, strict=True):
            to.copy_(torch.from_numpy(value))
    rgb = pictures.photo(64, 48)
    canvas = framed(brushed(Picture(rgb), stylizer.brush_height(vector)).rgb)
    seen = unframed(images.from_tensor(learner.paint(View(tensor(rgb), tensor(canvas), 64)).numpy()))
    painted = stylizer.stylize(rgb, replace(study, vector=vector))
    assert pictures.near(painted, seen, levels=2.5)  # of bf16, where the machine has it
    assert not pictures.near(painted, stylizer.stylize(rgb, vector), levels=8)


@torch.no_grad()
def test_on_large_photos_it_is_learnt_for_the_strokes_that_they_are_painted_with(transformer):
    vector, coarser = np.full(100, 0.1, np.float32), np.linspace(-1, 1, 100, dtype=np.float32)
    learner = fit.Learnt(transformer, vector, StudyConfig(), coarser)
    for width, times in ((448, 0), (896, 1)):
        view = View(tensor(pictures.photo(64, 48)), tensor(pictures.photo(64, 48)), width)
        wanted = learner.painter(view.pixels, torch.tensor(vector + times * coarser)[None], {})
        assert (learner.paint(view) - wanted).abs().mean() < 0.003


def test_every_third_photo_is_seen_large_by_a_window_beside_a_painting_as_large():
    config = StudyConfig(size=64, large=160, painting_size=80)
    views = fit.views_of([Picture(pictures.photo(128, 96))] * 6, 8, config)
    assert [(view.longest, tuple(view.pixels.shape[2:])) for view in views] == 2 * [
        (64, (48, 64)),
        (64, (48, 64)),
        (160, (64, 64)),
    ]
    assert not torch.equal(views[2].pixels, views[5].pixels)
    sizes = []

    class Looks(SmallNet):
        def forward(self, pictures, layers):
            sizes.append(tuple(pictures.shape[2:]))
            return super().forward(pictures, layers)

    objectives = fit.Objectives(Looks(0.25), Picture(pictures.painting(96, 96)), views, config)
    for number in (0, 2):
        objectives(views[number].pixels, number)
    assert (80, 80) in sizes and (200, 200) in sizes


def test_calm_places_are_told_from_busy_ones():
    half = pictures.photo(64, 64)
    half[:, :32] = 128
    half[:, 32:] = np.random.default_rng(0).integers(0, 256, (64, 32, 3))
    found = losses.calm(tensor(half))[0, 0]
    assert found[:, :24].min() > 0.9 and found[:, 40:].max() < 0.1


def test_the_same_seed_learns_the_same(transformer, backbone, stylizer):
    vector = stylizer.gallery[STYLE].vector
    first, again = (learnt(transformer, backbone, vector, steps=3)[-1].study.added() for _ in range(2))
    assert np.linalg.norm(first - again) < 0.05 * np.linalg.norm(first)


@torch.no_grad()
def test_merged_convolutions_paint_what_the_separable_ones_do(transformer, stylizer):
    vector = torch.from_numpy(stylizer.gallery[STYLE].vector)[None]
    photo = PHOTOS[0].pixels
    painted, wanted = fit.Painter(transformer)(photo, vector, {}), transformer(photo, vector)
    assert (painted - wanted).abs().mean() < 0.01


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"steps": 0}, "must be at least 1"),
        ({"rank": 17}, "must be 1 to 16"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"content_weight": 0, "style_weight": 0, "tv_weight": 0}, "nothing to learn"),
    ],
)
def test_settings_out_of_bounds_are_refused_before_the_first_step(transformer, backbone, config, says):
    with pytest.raises(ParameterError, match=says):
        fit.fit(transformer, backbone, PAINTING, np.zeros(100, np.float32), PHOTOS, StudyConfig(**config))


def test_another_transformer_than_the_separable_one_is_not_studied_with(backbone):
    for config in (TransformerConfig(separable=False), TransformerConfig(width=0.5)):
        with pytest.raises(ParameterError, match="separable transformer"):
            fit.fit(Transformer(config), backbone, PAINTING, np.zeros(100, np.float32), PHOTOS)


# Files --------------------------------------------------------------------------------------------------------------


def test_a_file_reads_back_as_it_was_written_and_is_small(stylizer, tmp_path):
    study = random_study(stylizer, rank=RANK)
    path = tmp_path / "dawn.study.safetensors"
    studies.write(study, path)
    found = studies.read(path)
    assert (found.name, found.rank, found.origin) == ("dawn", RANK, stylizer.fingerprint)
    assert np.array_equal(found.vector, study.vector) and np.array_equal(found.numbers, study.numbers)
    assert np.array_equal(found.added(), study.added()) and found.added().shape == (ADDED_SIZE,)
    assert path.stat().st_size < 128 * 1024


def test_what_is_added_is_what_the_parts_say(study):
    added, at = study.added(), 0
    for layer, (depthwise, up, down, gamma, beta) in zip(LAYERS, studies.split(study.numbers, 4), strict=True):
        product = up.astype(np.float64) @ down.astype(np.float64)
        for part, shape in zip((depthwise, product, gamma, beta), layer.added_shapes(), strict=True):
            piece = added[at : at + part.size].reshape(shape)
            assert np.allclose(piece, part.reshape(shape), atol=1e-6)
            at += part.size
    assert at == ADDED_SIZE


def bad_studies(study: Study) -> dict[str, tuple[bytes, str]]:
    """{what is wrong: (the file, what is said of it)}"""
    arrays, whole = {"vector": study.vector, "numbers": study.numbers}, studies.dump(study)
    metadata = {"study": "1", "rank": "4", "transformer": study.origin}
    nan = study.numbers.copy()
    nan[3] = np.nan
    header = int.from_bytes(whole[:8], "little")
    return {
        "cut": (whole[:-100], "truncated or altered"),
        "header altered": (whole[:9] + b"\xff" + whole[10:], "truncated or altered"),
        "header alone": (whole[: 8 + header], "truncated or altered"),
        "not finite": (studies.dump(replace(study, numbers=nan)), "holds NaN or numbers beyond 100"),
        "huge numbers": (studies.dump(replace(study, numbers=study.numbers + np.float16(1000))), "beyond 100"),
        "huge vector": (studies.dump(replace(study, vector=study.vector + 1e6)), "must be from -100 to 100"),
        "another shape": (save({**arrays, "numbers": study.numbers[:-1]}, metadata), "a rank-4 study holds"),
        "another type": (save({**arrays, "numbers": study.numbers.astype(np.float32)}, metadata), "in float32"),
        "an array more": (save({**arrays, "more": study.vector}, metadata), "a rank-4 study holds"),
        "no vector": (save({"numbers": study.numbers}, metadata), "a rank-4 study holds"),
        "another rank": (save(arrays, {**metadata, "rank": "5"}), "a rank-5 study holds"),
        "an impossible rank": (save(arrays, {**metadata, "rank": "1_6"}), "it must be 1 to 16"),
        "another version": (save(arrays, {**metadata, "study": "2"}), "not a version 1 study"),
        "something else": (save({"weight": study.vector}), "not a version 1 study"),
        "other weights": (studies.dump(replace(study, origin="0123456789ab")), "made for transformer '0123456789ab'"),
        "50 MB": (whole + bytes(50 * 10**6), "at most 262,144"),
    }


def test_a_study_is_the_same_bytes_each_time(study):
    # Addresses in the browser's manifest hold their checksum.
    assert len({studies.dump(study) for _ in range(8)}) == 1


def test_a_bad_file_is_refused_in_words_by_everyone_who_takes_one(stylizer, study, client, tmp_path):
    for wrong, (data, says) in bad_studies(study).items():
        with pytest.raises(ParameterError, match=says):
            stylizer.mix([data])
        if len(data) < 20 * 10**6:
            content, style = ((io.BytesIO(each), "x") for each in (pictures.png(pictures.photo(48, 32)), data))
            answer = client.post("/api/v1/stylize", data={"content": content, "style": style})
            assert answer.status_code == 422 and says in answer.json["detail"], wrong
            assert answer.json["field"] == "style"


def test_a_missing_or_damaged_file_is_said_in_one_line(study, tmp_path, capsys):
    photo, cut = tmp_path / "photo.png", tmp_path / "cut.study.safetensors"
    photo.write_bytes(pictures.png(pictures.photo(48, 32)))
    cut.write_bytes(studies.dump(study)[:1000])
    for path, says in ((tmp_path / "none.study.safetensors", "cannot read"), (cut, "truncated or altered")):
        assert cli.main(["stylize", str(photo), "--style", str(path), "-o", str(tmp_path / "out.png")]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and str(path) in lines[0] and says in lines[0]


# Painting -----------------------------------------------------------------------------------------------------------


def test_strength_scales_what_is_added(stylizer, study, photo, monkeypatch):
    monkeypatch.setattr(stylizer, "brush_height", lambda vector: 8)  # else as high as the whole style wants it
    half = Blend(study.vector, (study.added() / 2).astype(np.float32))
    own = stylizer.style_vector(photo)
    mean = replace(half, vector=((study.vector + own) / 2).astype(np.float32))
    assert pictures.near(stylizer.stylize(photo, study, 0.5), stylizer.stylize(photo, mean))
    assert not pictures.near(stylizer.stylize(photo, study), stylizer.stylize(photo, study.vector), levels=8)


def test_studies_mix_with_each_other_and_with_vectors_by_sums(stylizer, study, photo):
    other = random_study(stylizer, seed=1)
    mixed = stylizer.mix([study, STYLE, other], [2, 1, 1])
    vectors = [study.vector, stylizer.gallery[STYLE].vector, other.vector]
    assert np.allclose(mixed.vector, np.average(vectors, axis=0, weights=[2, 1, 1]), atol=1e-5)
    of_gallery = Blend.of(stylizer.gallery[STYLE]).added
    expected = study.added() / 2 + other.added() / 4 + (0 if of_gallery is None else of_gallery / 4)
    assert np.allclose(mixed.added, expected, atol=1e-5)
    alone = stylizer.mix([study, stylizer.gallery[STYLE].vector], [0, 1])
    assert pictures.near(stylizer.stylize(photo, alone), stylizer.stylize(photo, stylizer.gallery[STYLE].vector))


def test_up_to_five_studies_are_mixed_and_a_sixth_is_refused(stylizer, photo):
    some = [random_study(stylizer, seed=seed) for seed in range(6)]
    assert np.asarray(stylizer.stylize(photo, stylizer.mix(some[:5]))).std() > 5
    with pytest.raises(ParameterError, match="at most 5"):
        stylizer.mix(some)


@pytest.mark.slow
def test_a_study_paints_calm_pictures_and_tiles_as_it_paints_a_photo(stylizer, study, monkeypatch):
    """One piece, measured and tiled: the same network with the same numbers added."""
    from stylizer import tiles

    rgb = pictures.photo(640, 480)
    whole = stylizer.stylize(rgb, study)
    monkeypatch.setattr(tiles, "WHOLE_PIXELS", 256 * 256)
    monkeypatch.setattr(tiles, "TILE", 384)
    in_tiles = stylizer.stylize(rgb.copy(), study)
    assert pictures.near(in_tiles, whole, levels=3)
    assert not pictures.near(in_tiles, stylizer.stylize(rgb.copy(), study.vector), levels=8)


@pytest.mark.slow
def test_a_calm_picture_feels_a_study_too(stylizer, study):
    disc = pictures.disc(256, 256, (128, 128), 20)
    assert not pictures.near(stylizer.stylize(disc, study), stylizer.stylize(disc, study.vector), levels=2)


@pytest.mark.slow
def test_all_runtimes_paint_the_same_by_a_study(stylizer, study, photo, settings):
    exact = Stylizer(settings=replace(settings, precision="f32"))
    torch_cpu = Stylizer(settings=replace(settings, device="torch-cpu"))
    for picture in (photo, pictures.disc(128, 128, (64, 64), 10)):
        assert pictures.near(torch_cpu.stylize(picture, study), exact.stylize(picture, study))


def test_the_plain_transformer_refuses_studies_and_paints_the_gallery_by_its_vectors(settings, study, photo):
    plain = Stylizer(settings=replace(settings, transformer="plain"))
    with pytest.raises(ParameterError, match="made for transformer"):
        plain.stylize(photo, study)
    assert not any(style.study for style in plain.gallery.values())
    assert np.asarray(plain.stylize(photo, STYLE)).std() > 5


def test_the_api_takes_a_study_wherever_it_takes_a_painting(stylizer, client, study, photo):
    content = pictures.png(photo)

    def post(path, **fields):
        files = {"content": (io.BytesIO(content), "content"), "style": (io.BytesIO(studies.dump(study)), "style")}
        return client.post(path, data={**files, **fields})

    answer = post("/api/v1/stylize", style_name=STYLE, weight=["3", "1"], size="original")
    wanted = stylizer.stylize(photo, stylizer.mix([study, STYLE], [3, 1]))
    assert pictures.near(np.asarray(Image.open(io.BytesIO(answer.data))), wanted)
    lines = [json.loads(line) for line in post("/api/v1/wall", style_name=STYLE).data.splitlines()]
    assert [(line["index"], line["style"]) for line in lines] == [(0, None), (1, STYLE)]
    style = (io.BytesIO(studies.dump(study)), "style")
    vector = client.post("/api/v1/vectors", data={"style": style}).json["vector"]
    assert np.allclose(vector, study.vector)
    wrong = client.post(
        "/api/v1/wall",
        data={
            "content": (io.BytesIO(content), "content"),
            "style": (io.BytesIO(content), "style"),
        },
    )
    assert wrong.status_code == 422 and "takes studies as files" in wrong.json["detail"]


# The gallery's ------------------------------------------------------------------------------------------------------


@pytest.fixture
def gallery_folder(settings, tmp_path):
    """A copy of styles/ with its own pictures and no studies."""
    folder = tmp_path / "styles"
    shutil.copytree(settings.styles, folder, ignore=shutil.ignore_patterns("studies"))
    (folder / "studies").mkdir()
    return folder


def test_a_gallery_style_with_a_study_is_painted_by_it_and_another_name_is_a_style_of_its_own(
    stylizer, study, photo, gallery_folder
):
    for name in (STYLE, "my-aunts-garden"):
        studies.write(study, gallery_folder / "studies" / f"{name}.study.safetensors")
    own = Stylizer(settings=replace(stylizer.settings, styles=gallery_folder))
    assert set(own.gallery) - set(stylizer.gallery) == {"my-aunts-garden"}
    assert own.gallery["my-aunts-garden"].title == "My aunts garden"
    assert own.gallery[STYLE].title == stylizer.gallery[STYLE].title
    for name in (STYLE, "my-aunts-garden"):
        by_study = stylizer.mix([replace(study, vector=own.gallery[name].vector)])
        assert pictures.near(own.stylize(photo, name), stylizer.stylize(photo, by_study))


def test_a_listed_study_that_was_altered_is_refused_and_one_of_other_weights_is_left_out(
    stylizer, study, gallery_folder
):
    path = gallery_folder / "studies" / f"{STYLE}.study.safetensors"
    studies.write(replace(study, origin="0123456789ab"), path)
    own = Stylizer(settings=replace(stylizer.settings, styles=gallery_folder))
    assert own.gallery[STYLE].study is None
    with open(gallery_folder / "SHA256SUMS", "a") as sums:
        sums.write(f"{'0' * 64}  studies/{path.name}\n")
    with pytest.raises(WeightsError, match="truncated or altered"):
        read_gallery(gallery_folder)


# The command --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_studies_a_painting_and_paints_with_what_it_wrote(tmp_path, monkeypatch):
    painting, photo, out = (tmp_path / name for name in ("dawn.png", "photo.png", "out.png"))
    painting.write_bytes(pictures.png(pictures.painting(64, 64)))
    photo.write_bytes(pictures.png(pictures.photo(64, 48)))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["study", str(painting), "--photos", str(photo), "--steps", "2", "--size", "48"]) == 0
    style = tmp_path / "dawn.study.safetensors"
    assert studies.read(style).name == "dawn"
    assert cli.main(["stylize", str(photo), "--style", str(style), "--style", STYLE, "-o", str(out)]) == 0
    assert Image.open(out).size == (64, 48)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["batik", "--rank", "17"], "the rank is 17; it must be 1 to 16"),
        (["batik", "-o", "batik.png"], "must end in .study.safetensors"),
        (["starry-night"], "only the style vector of 'starry-night' is stored"),
        (["batik", "--backbone", "vgg11"], "choose from narrow, small, vgg16"),
        (["batik", "--backbone-weights", "x.pth"], "needs the name of its network"),
    ],
)
def test_mistakes_are_said_in_one_line(arguments, says, capsys):
    assert cli.main(["study", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and says in lines[0]
