"""Pictures too large for one piece, painted in tiles; the size of strokes; and which networks paint."""

import io
import re
import shutil
from dataclasses import replace

import numpy as np
import pictures
import pytest
import torch

from stylizer import Settings, Stylizer, images, memory, tiles, weights
from stylizer.canvas import brushed, framed, pad, picture_of
from stylizer.errors import ParameterError, PictureOutOfBounds, WeightsError
from stylizer.images import Picture
from stylizer.networks import Transformer, TransformerConfig, build
from stylizer.networks.layers import GivenNorm, JointNorm
from stylizer.photos import Photo
from stylizer.styles import read_gallery
from stylizer.web.page.about import make_panel

STYLE = "whirling-night"
SIDES = (458, 1023, 1024, 1025, 1904, 1905, 2049, 5773, 16384)


@pytest.fixture(scope="module")
def exact() -> Stylizer:
    """In float32, where equal means equal."""
    return Stylizer(settings=Settings(device="cpu", precision="f32", cached_photos=0))


@pytest.fixture
def small_tiles(monkeypatch):
    """Every picture is a large one: tiles of 256 pixels with the margins that they have in earnest."""
    monkeypatch.setattr(tiles, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(tiles, "TILE", 256)
    monkeypatch.setattr(tiles, "SAMPLES", 24)


# Where tiles lie ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", SIDES)
def test_what_tiles_keep_covers_a_side_once_and_has_its_margins(length):
    spans = tiles._spans(length, tiles.TILE)
    assert [place for _, keep, _ in spans for place in range(keep.start, keep.stop)] == list(range(length))
    for read, keep, inside in spans:
        assert read.start % tiles.STRIDE == 0 and read.stop - read.start <= tiles.TILE
        assert (inside.start, inside.stop) == (keep.start - read.start, keep.stop - read.start)
        assert read.start == 0 or keep.start - read.start >= tiles.MARGIN
        assert read.stop == length or read.stop - keep.stop >= tiles.MARGIN
    padded = {-(-(read.stop - read.start) // tiles.STRIDE) for read, _, _ in spans}
    assert len(padded) == 1  # so that one compiled size paints them all


@pytest.mark.parametrize("size", [(2049, 2048), (8660, 5773), (16384, 820)])
def test_samples_lie_in_the_picture_and_everywhere_in_it(size):
    width, height = size
    places = tiles.samples(height, width)
    assert 0.8 * tiles.SAMPLES <= len(places) <= 1.25 * tiles.SAMPLES
    for rows, columns in places:
        assert min(rows.start, columns.start) >= 0 and rows.stop <= height and columns.stop <= width
    middle = np.mean([[rows.start + 64, columns.start + 64] for rows, columns in places], axis=0)
    assert np.allclose(middle, [height / 2, width / 2], atol=2)


# One set of statistics ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@torch.no_grad()
def test_statistics_of_the_whole_given_back_paint_the_whole():
    torch.manual_seed(0)
    network = Transformer(TransformerConfig(width=0.25)).eval()
    features, vector, norm = network.encode(torch.rand(1, 3, 48, 64)), torch.randn(1, 100), JointNorm()
    whole = network.decode(features, vector)
    assert torch.allclose(network.decode(features, vector, norm=norm), whole, atol=1e-5)
    assert torch.allclose(network.decode(features, vector, norm=GivenNorm(norm.affines)), whole, atol=1e-5)


@torch.no_grad()
def test_a_batch_of_samples_has_one_mean_and_variance():
    torch.manual_seed(0)
    features, one, zero = torch.randn(3, 4, 8, 8) * 3 + 1, torch.ones(1, 4, 1, 1), torch.zeros(1, 4, 1, 1)
    normed = JointNorm()(features, one, zero)
    assert normed.mean((0, 2, 3)).abs().max() < 1e-5 and (normed.var((0, 2, 3), correction=0) - 1).abs().max() < 1e-4
    assert normed[0].mean().abs() > 1e-3  # each alone has another


@torch.no_grad()
@pytest.mark.parametrize("config", [{}, {"calms": False}, {"dilations": (1, 1, 2, 1, 1, 2, 1, 1, 1, 1)}])
def test_a_pixel_depends_on_nothing_beyond_the_reach(config):
    torch.manual_seed(0)
    network = Transformer(TransformerConfig(width=0.25, **config)).eval().double()  # what comes from afar is little
    content = torch.rand(1, 3, 64, 256).double()
    changed = content.clone()
    changed[..., 192:] = 0
    features = network.encode(content)
    alike, no_floor = torch.ones_like(features[:, :1]), torch.zeros(1)
    vector = torch.randn(1, 100).double()
    affine = network.measure(features, vector, alike, no_floor)
    before, after = (network.decode_tile(network.encode(each), affine, vector) for each in (content, changed))
    reach = 192 - int((before != after).any(dim=1).any(dim=1)[0].nonzero()[0])
    assert network.reach - 12 < reach <= network.reach


@pytest.mark.parametrize("name", ["separable", "plain"])
def test_the_margin_holds_the_reach_of_what_is_there(settings, name):
    stem = f"transformer-{name}"
    arrays, metadata = weights.parse(weights.read(settings.models, f"{stem}.safetensors"), stem)
    network = build({key: torch.from_numpy(value) for key, value in arrays.items()}, metadata, stem)
    assert network.reach <= tiles.MARGIN < network.reach + tiles.STRIDE


@pytest.mark.slow
def test_tiles_fit_together_exactly(exact, small_tiles):
    rgb = pictures.photo(450, 331)
    vector = exact.style_vector(STYLE)
    record = exact.photo(rgb)
    tiled = exact.paint(record, vector).rgb
    places = tiles.samples(331, 450)
    encode, runtime = (lambda part: exact.runtime.encode(pad(images.to_tensor(part)))), exact.runtime
    weights = tiles.weigh(places, tiles.survey(rgb))
    seen = brushed(Picture(rgb), exact.brush_height(vector)).rgb
    affine = runtime.measure([encode(seen[place]) for place in places], vector[None], weights)
    whole = picture_of(runtime.decode_tile(encode(framed(seen)), affine, vector[None]), 331, 450)
    assert np.abs(tiled.astype(np.int16) - whole).max() <= 1  # a rounding that fell the other way


@pytest.mark.slow
def test_tiled_differs_from_whole_by_about_a_hundredth_and_shows_no_line(exact, monkeypatch):
    rgb, vector = pictures.photo(640, 480), exact.style_vector(STYLE)
    whole = exact.paint(exact.photo(rgb), vector).rgb.astype(np.float32) / 255
    for name, value in (("WHOLE_PIXELS", 0), ("TILE", 256), ("SAMPLES", 24)):
        monkeypatch.setattr(tiles, name, value)
    tiled = exact.paint(exact.photo(rgb), vector).rgb.astype(np.float32) / 255
    difference = tiled - whole
    assert 0 < np.abs(difference).mean() < 0.013  # strokes are a little fainter or stronger by other statistics
    for axis, length in ((0, 480), (1, 640)):
        steps = np.abs(np.diff(difference, axis=axis)).mean(axis=(1 - axis, 2))  # from each row or column to the next
        borders = [keep.start - 1 for _, keep, _ in tiles._spans(length, tiles.TILE)[1:]]
        assert len(borders) >= 2
        assert steps[borders].max() < 2 * np.median(steps) + 1 / 255


# Calm pictures: a look at the whole ---------------------------------------------------------------------------------


def test_a_survey_says_where_a_picture_differs_from_its_mean_and_how_sparse_it_is(settings):
    look = tiles.survey(pictures.disc(640, 490, (100, 70), 20))
    assert look.things.shape == (16, 20) and look.calm and look.share == tiles.THINGS_SHARE
    rows, columns = np.nonzero(look.things)
    assert {*rows} == {1, 2} and {*columns} == {2, 3}
    for level in (0, 128, 255):
        look = tiles.survey(pictures.blank(70, 40, level))
        assert look.calm and look.floor == 1 and not look.share and not look.things.any()
    drawn = [settings.styles / f"{name}.webp" for name in ("whirling-night", "woodcut-valley", "kintsugi")]
    for photo in (pictures.photo(640, 480), *(images.as_picture(file, settings).rgb for file in drawn)):
        look = tiles.survey(photo)
        assert not look.calm and not look.share and not look.floor


def test_what_counts_in_statistics_is_all_of_a_photo_alike_and_half_the_things_of_a_sparse_page():
    page = pictures.disc(640, 490, (100, 70), 20)
    whole, look = [(slice(0, 490), slice(0, 640))], tiles.survey(page)
    weights = tiles.weigh(whole, look)
    assert weights.shape == (1, 1, 123, 160) and weights.dtype == np.float32
    inside = np.kron(look.things, np.ones((8, 8), bool))[:123, :160]
    assert weights[0, 0][inside].sum() == pytest.approx(0.5, abs=1e-3)
    assert weights[0, 0][~inside].sum() == pytest.approx(0.5, abs=1e-3)
    photo = tiles.weigh(whole, tiles.survey(pictures.photo(640, 490)))
    assert np.allclose(photo, 1 / photo.size)


@pytest.mark.slow
def test_samples_of_a_sparse_picture_lie_where_its_things_are_and_in_the_rest():
    page = pictures.disc(4000, 3000, (3100, 2000), 40)
    places = tiles.samples(3000, 4000, tiles.survey(page))
    covered = np.zeros((3000, 4000), bool)
    for place in places:
        covered[place] = True
    assert covered[1960:2041, 3060:3141].all()
    assert 64 < len(places) <= tiles.SAMPLES
    assert len({rows.start for rows, _ in places}) > 5 and len({columns.start for _, columns in places}) > 5
    photo = tiles.survey(pictures.photo(400, 300))
    assert tiles.samples(3000, 4000, photo) == tiles.samples(3000, 4000)


@torch.no_grad()
def test_statistics_are_weighted_and_have_a_floor():
    generator = torch.Generator().manual_seed(0)
    features, one = torch.randn(2, 3, 4, 4, generator=generator), torch.ones(1, 3, 1, 1)
    weights = torch.zeros(2, 1, 4, 4)
    weights[1, :, :2] = 5
    norm = JointNorm([weights], [torch.tensor([0.0, 0.0, 9.0])])
    norm(features, one, 0 * one)
    part = features[1, :, :2].flatten(1)
    variance = part.var(1, correction=0)
    assert variance[2] < 9
    variance[2] = 9
    scale = (variance + 1e-5).rsqrt()
    torch.testing.assert_close(norm.affines[0], torch.stack((scale, -part.mean(1) * scale)))


PAGES = {
    "a disc": lambda size, at: pictures.disc(*size, at, 20),
    "two words": lambda size, at: pictures.words(*size, at),
    "a lamp in the night": lambda size, at: pictures.lamp(*size, at),
}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_small_thing_is_painted_alike_whole_and_in_tiles_wherever_it_lies(exact, page, monkeypatch):
    vector = exact.style_vector("great-wave")
    painted = []
    for at in ((200, 150), (330, 260)):
        rgb = PAGES[page]((620, 470), at)
        painted.append(exact.paint(exact.photo(rgb), vector).rgb.astype(float))
        with monkeypatch.context() as patch:
            for name, value in (("WHOLE_PIXELS", 0), ("TILE", 256), ("SAMPLES", 16)):
                patch.setattr(tiles, name, value)
            painted.append(exact.paint(exact.photo(rgb), vector).rgb.astype(float))
    far = [picture[300:, :120].mean((0, 1)) for picture in painted]
    assert np.ptp(far, axis=0).max() < 35  # which cells hold a thing depends on where it lies
    for whole, tiled in (painted[:2], painted[2:]):
        assert np.abs(whole[300:, :120].mean((0, 1)) - tiled[300:, :120].mean((0, 1))).max() < 10
        assert np.abs(whole - tiled).mean() < 8


@pytest.mark.slow
def test_a_small_thing_on_white_is_no_blot_with_a_halo(exact):
    y, x = np.mgrid[:600, :600]
    near = np.hypot(x - 300, y - 300) < 87
    clipped = []
    for style in ("great-wave", "melencolia", "tide-mosaic"):
        painted = exact.paint(exact.photo(pictures.disc(600, 600, (300, 300), 30)), exact.style_vector(style)).rgb[near]
        clipped.append(((painted <= 2) | (painted >= 253)).mean())
    assert np.median(clipped) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_picture_of_one_colour_has_one_answer_at_any_size_and_by_any_runtime(exact, level):
    by_torch = Stylizer(settings=Settings(device="torch-cpu", cached_photos=0))
    for style in ("melencolia", "great-wave"):
        answers = [
            np.asarray(painter.stylize(pictures.blank(side, side, level), style), float)
            for painter, side in ((exact, 32), (exact, 400), (by_torch, 64))
        ]
        means = [answer.mean((0, 1)) for answer in answers]
        assert np.ptp(means, axis=0).max() < 0.003 * 255 + 0.5
        assert max(answer.std((0, 1)).max() for answer in answers) < 1


@pytest.mark.slow
def test_a_nearly_blank_picture_is_painted_nearly_blank(exact):
    noise = np.random.default_rng(0).normal(128, 1, (128, 160, 3)).round().astype(np.uint8)
    painted = np.asarray(exact.stylize(noise, "great-wave"), float)
    assert painted.std((0, 1)).max() < 15  # with no floor it would be 57
    assert exact.paint(exact.photo(pictures.photo(160, 128)), exact.style_vector("great-wave")).rgb.std() > 30


@pytest.mark.slow
@pytest.mark.parametrize("transformer", ["separable", "plain"])
def test_floors_are_about_what_photos_vary_by(transformer, settings):
    from stylizer.fit import load_transformer
    from stylizer.training.calibrate import SHARE, least

    floors = weights.calibration(settings.models, f"transformer-{transformer}")["floors"]
    network = load_transformer(replace(settings, transformer=transformer))
    vectors = [style.vector for style in read_gallery(settings.styles).values()][3::30]
    found = least(network, [images.to_tensor(pictures.photo(160, 120))], vectors)
    assert floors.shape == found.shape == (sum(network.styled_channels),) and (floors > 0).all()
    assert 0.25 * SHARE < np.median(floors / found) < SHARE


@pytest.mark.slow
def test_every_tile_is_told_and_the_painting_can_be_ended(stylizer, small_tiles):
    told = []
    rgb = pictures.photo(300, 260)
    stylizer.stylize(rgb, STYLE, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, len(tiles.cover(260, 300))) for done in range(1, 5)]

    def stop(done: int, _total: int) -> None:
        told.append(done)
        raise KeyboardInterrupt

    del told[:]
    with pytest.raises(KeyboardInterrupt):
        stylizer.stylize(rgb, STYLE, progress=stop)
    assert told == [1]


@pytest.mark.slow
def test_where_memory_does_not_hold_a_picture_in_one_piece_it_is_painted_in_smaller_ones(exact, monkeypatch):
    rgb, told = pictures.photo(900, 600), []
    whole = np.asarray(exact.stylize(rgb, STYLE), float)
    monkeypatch.setattr(memory, "free_memory", lambda: 3 * 10**8)
    pieces = np.asarray(exact.stylize(rgb, STYLE, progress=lambda _done, total: told.append(total)), float)
    assert told == [6] * 6 and 0 < np.abs(pieces - whole).mean() < 0.02 * 255


@pytest.mark.slow
def test_torch_paints_tiles_as_openvino_does(exact, small_tiles):
    rgb = pictures.photo(280, 200)
    by_torch = Stylizer(settings=Settings(device="torch-cpu"))
    painted = [np.asarray(each.stylize(rgb, STYLE), np.int16) for each in (exact, by_torch)]
    assert np.abs(painted[0] - painted[1]).max() <= 1


# The size of strokes ------------------------------------------------------------------------------------------------


def test_small_strokes_are_a_larger_painting_made_smaller(stylizer):
    rgb = pictures.photo(96, 72)
    large = stylizer.stylize(rgb, STYLE, size=192)
    expected = images.resize_to(Picture(np.asarray(large)), (96, 72)).rgb
    assert pictures.near(stylizer.stylize(rgb, STYLE, style_scale=0.5), expected)


def test_large_strokes_are_a_small_painting_enlarged_and_painted_over(stylizer):
    rgb = pictures.photo(160, 120)
    draft = np.asarray(stylizer.stylize(images.resize_to(Picture(rgb), (80, 60)).rgb, STYLE))
    enlarged = images.resize_to(Picture(draft), (160, 120))
    painted = stylizer.stylize(rgb, STYLE, style_scale=2)
    over_it = stylizer.paint(Photo(enlarged, enlarged, brushed=True), stylizer.style(STYLE)).rgb
    assert pictures.near(painted, over_it)
    assert not pictures.near(painted, enlarged.rgb, levels=4)


def test_somewhat_larger_strokes_are_painted_over_a_part_of_the_draft(stylizer):
    rgb = pictures.photo(160, 120)
    plain, half_way, large = (
        np.asarray(stylizer.stylize(rgb, STYLE, style_scale=scale), np.float32) for scale in (1, 2**0.25, 2)
    )
    nearly = np.asarray(stylizer.stylize(rgb, STYLE, style_scale=1.02), np.float32)
    from_plain = [np.abs(each - plain).mean() for each in (nearly, half_way, large)]
    assert from_plain[0] < from_plain[1] < from_plain[2] and from_plain[0] < 0.2 * from_plain[2]


@pytest.mark.parametrize("scale", [0.5, 1, 2])
def test_at_strength_0_the_photo_comes_back_with_strokes_of_any_size(stylizer, scale):
    rgb = pictures.photo(160, 120)
    assert np.array_equal(stylizer.stylize(rgb, STYLE, 0, style_scale=scale), rgb)


@pytest.mark.slow
def test_strokes_of_any_size_leave_size_alpha_and_colours_as_they_were_asked_for(stylizer):
    alpha = stylizer.stylize(pictures.rgba_png(100, 76), STYLE, style_scale=1.7)
    assert alpha.size == (100, 76) and alpha.mode == "RGBA"
    rgb = pictures.photo(101, 77)
    assert stylizer.stylize(rgb, STYLE, size=90, style_scale=0.7, keep_colors=True).size == (90, 69)
    assert pictures.near(stylizer.stylize(rgb, STYLE, style_scale="1"), stylizer.stylize(rgb, STYLE))


@pytest.mark.parametrize("scale", [0.49, 2.01, float("nan"), "large", None])
def test_a_style_scale_out_of_bounds_is_refused_by_name(stylizer, client, scale):
    with pytest.raises(ParameterError, match="style_scale") as caught:
        stylizer.stylize(pictures.photo(), STYLE, style_scale=scale)
    assert caught.value.field == "style_scale"


def test_strokes_that_need_too_small_or_too_large_a_painting_are_refused(settings):
    little = Stylizer(settings=replace(settings, max_megapixels=0.02))
    with pytest.raises(PictureOutOfBounds, match=r"strokes 2 times as large is 24x20 pixels.*32"):
        little.stylize(pictures.photo(48, 40), STYLE, style_scale=2)
    with pytest.raises(PictureOutOfBounds, match=r"strokes 0\.5 times.*megapixels"):
        little.stylize(pictures.photo(100, 80), STYLE, style_scale=0.5)


def test_the_api_takes_a_style_scale(client, stylizer):
    photo = pictures.png(pictures.photo(96, 72))

    def post(scale: str):
        fields = {"content": (io.BytesIO(photo), "p.png"), "style_name": STYLE, "style_scale": scale}
        return client.post("/api/v1/stylize", data=fields)

    answer = images.decode(post("0.8").data, stylizer.settings).rgb
    assert pictures.near(answer, stylizer.stylize(photo, STYLE, style_scale=0.8))
    assert not pictures.near(answer, stylizer.stylize(photo, STYLE), levels=2)
    refused = post("3")
    assert refused.status_code == 422 and refused.json["field"] == "style_scale"


# Which networks paint -----------------------------------------------------------------------------------------------


@pytest.fixture
def models(settings, tmp_path):
    """The weights, with the transformer a second time under another name."""
    folder = shutil.copytree(settings.models, tmp_path / "models")
    for file in folder.glob("transformer-separable*"):
        shutil.copy(file, folder / file.name.replace("separable", "second"))
    sums = (folder / "SHA256SUMS").read_text()
    (folder / "SHA256SUMS").write_text(sums + sums.replace("transformer-separable", "transformer-second"))
    return folder


def test_a_transformer_is_chosen_by_its_name(models, stylizer):
    second = Stylizer(settings=Settings(device="cpu", models=models, transformer="second"))
    rgb = pictures.photo()
    assert pictures.near(second.stylize(rgb, STYLE), stylizer.stylize(rgb, STYLE))
    (models / "transformer-second-decoder.onnx").unlink()
    with pytest.raises(WeightsError, match="transformer-second-decoder"):
        Stylizer(settings=Settings(device="cpu", models=models, transformer="second"))


@pytest.mark.parametrize("network", ["predictor", "transformer"])
def test_networks_that_are_not_there_are_refused_with_those_that_are(models, network):
    there = {"predictor": "mobilenet-v2", "transformer": r"second, separable|separable.*second"}[network]
    with pytest.raises(ParameterError, match=f"no {network} 'cubist'.*({there})"):
        Stylizer(settings=replace(Settings(device="cpu", models=models), **{network: "cubist"}))


def test_a_gallery_of_another_predictor_is_refused(models):
    (models / "SHA256SUMS").write_text(
        "\n".join(
            "0" * 64 + line[64:] if line.endswith("predictor-mobilenet-v2.safetensors") else line
            for line in (models / "SHA256SUMS").read_text().splitlines()
        )
    )
    with pytest.raises(WeightsError, match=r"gallery.*another predictor.*training vectors"):
        Stylizer(settings=Settings(device="cpu", models=models))


@pytest.mark.parametrize("transformer", ["separable", "plain"])
def test_the_page_about_lists_the_networks_that_run(transformer, app):  # addresses of assets are an application's
    words = str(make_panel(Stylizer(settings=Settings(device="cpu", transformer=transformer))))
    assert re.findall(r"Transformer, (\w+)", words) == [transformer] and "MobileNetV2" in words
