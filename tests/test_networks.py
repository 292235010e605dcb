"""The networks: their shapes, their sizes, and that they compute what the published ones compute."""

import copy
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SHARED
from mixing import mixing
from safetensors.torch import load_file, save_file

from stylizer import loss_networks, weights
from stylizer.errors import WeightsError
from stylizer.networks import StylePredictor, Transformer, TransformerConfig, build, describe, layers
from stylizer.networks.layers import STYLE_NORM_EPSILON, calmed, instance_norm
from stylizer.networks.predictor import colors, with_colors
from stylizer.settings import Settings
from stylizer.training import __main__ as command
from stylizer.training import convert, export

PAIRS = [(trunk, separable) for trunk in ("mobilenet-v2", "inception-v3") for separable in (True, False)]


@pytest.mark.parametrize(("trunk", "separable"), PAIRS)
@torch.no_grad()
def test_all_four_pairs_paint_a_picture_of_the_size_that_came_in(trunk, separable):
    torch.manual_seed(0)
    predictor, transformer = StylePredictor(trunk).eval(), Transformer(TransformerConfig(separable=separable)).eval()
    vector = predictor(torch.rand(2, 3, 96, 128))
    stylised = transformer(torch.rand(2, 3, 64, 96), vector)
    assert vector.shape == (2, 100)
    assert stylised.shape == (2, 3, 64, 96)
    assert stylised.min() >= 0 and stylised.max() <= 1 and stylised.std() > 0.01


@pytest.mark.parametrize("pictures", [1, 2])  # of one picture torch's own gradient is wrong
def test_the_norm_of_training_is_instance_norm_and_its_gradients_are_those_of_the_formula(pictures):
    generator = torch.Generator().manual_seed(0)
    shapes = ((pictures, 3, 8, 6), (pictures, 3, 1, 1), (pictures, 3, 1, 1))
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    inputs[0] = (3 * inputs[0] + 5).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(shapes[0], generator=generator).contiguous(memory_format=torch.channels_last)

    def formula(features, gamma, beta):
        variance, mean = torch.var_mean(features, dim=(2, 3), correction=0, keepdim=True)
        return (features - mean) / (variance + STYLE_NORM_EPSILON).sqrt() * gamma + beta

    found = []
    for norm in (formula, instance_norm):
        given = [value.clone().requires_grad_() for value in inputs]
        answer = norm(*given)
        (answer * weight).sum().backward()
        found.append([answer, *(value.grad for value in given)])
    for theirs, ours in zip(*found, strict=True):
        assert torch.allclose(theirs, ours, atol=1e-4)
    with torch.no_grad():
        assert torch.allclose(instance_norm(*inputs), found[0][0], atol=1e-4)


def parameter_count(network) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_transformers_have_the_published_numbers_of_parameters():
    assert parameter_count(Transformer()) == 568_958
    assert parameter_count(Transformer(TransformerConfig(separable=False))) == 1_953_438


@torch.no_grad()
def test_the_width_multiplier_scales_every_inner_layer():
    narrow = Transformer(TransformerConfig(separable=False, width=0.25)).eval()
    assert narrow.contract[2].conv.out_channels == 32
    assert narrow(torch.rand(1, 3, 32, 32), torch.rand(1, 100)).shape == (1, 3, 32, 32)


@torch.no_grad()
def test_encoding_once_and_decoding_twice_is_painting_twice():
    torch.manual_seed(0)
    transformer, content, vectors = Transformer().eval(), torch.rand(1, 3, 32, 48), torch.randn(2, 1, 100)
    features = transformer.encode(content)
    assert features.shape == (1, 128, 8, 12)
    for vector in vectors:
        assert torch.equal(transformer.decode(features, vector), transformer(content, vector))


@torch.no_grad()
def test_reflect_padding_leaves_a_flat_picture_flat_where_zeros_draw_a_border():
    torch.manual_seed(0)
    flat, vector = torch.full((1, 3, 64, 64), 0.5), torch.zeros(1, 100)
    reflecting, zeros = (Transformer(TransformerConfig(padding=padding)).eval() for padding in ("reflect", "zeros"))
    zeros.load_state_dict(reflecting.state_dict())
    assert reflecting(flat, vector).std(dim=(2, 3)).max() < 5e-3
    assert zeros(flat, vector).std(dim=(2, 3)).max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("separable", [True, False], ids=["separable", "plain"])
@pytest.mark.parametrize("padding", ["reflect", "zeros"])
@pytest.mark.parametrize("styles", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])
def test_folded_kernels_give_what_enlarging_and_then_convolving_gives(separable, padding, styles, layout):
    torch.manual_seed(0)
    folding = layers.StyledConv(12, 8, 3, separable, padding, rank=4, upsamples=True)
    enlarging = layers.StyledConv(12, 8, 3, separable, padding, rank=4)
    folding.up.normal_()
    enlarging.load_state_dict(folding.state_dict())
    features, vector = torch.randn(styles, 12, 9, 7).to(memory_format=layout), torch.randn(styles, 100)
    wanted = enlarging(layers.upsample(features), vector)
    torch.testing.assert_close(folding(features, vector), wanted, rtol=1e-4, atol=1e-4)


def test_means_around_a_pixel_are_those_of_pooling():
    photo = torch.rand(2, 3, 21, 34)
    side = layers.CALM_SIDE
    pooled = F.avg_pool2d(photo, side, stride=1, padding=side // 2, count_include_pad=False)
    torch.testing.assert_close(layers._mean_around(photo), pooled)


def test_instance_norm_is_the_same_in_either_order_of_channels():
    features, gamma, beta = torch.randn(2, 6, 20, 24) * 3 + 5, torch.randn(2, 6, 1, 1), torch.randn(2, 6, 1, 1)
    first, last = (
        layers.instance_norm(features.to(memory_format=layout), gamma, beta)
        for layout in (torch.contiguous_format, torch.channels_last)
    )
    torch.testing.assert_close(last, first, rtol=1e-4, atol=1e-4)


def test_calm_places_lose_their_noise_and_edges_and_textures_stay():
    generator = torch.Generator().manual_seed(0)
    noise = 2 / 255 * torch.randn(1, 3, 64, 96, generator=generator)
    slope = torch.linspace(0.3, 0.6, 96).expand(1, 3, 64, 96)
    assert (calmed(slope + noise) - slope).std() < 0.35 * noise.std()
    torch.testing.assert_close(calmed(slope), slope, atol=1e-2, rtol=0)  # at the border it sees one side alone
    torch.testing.assert_close(calmed(slope)[..., 12:-12], slope[..., 12:-12], atol=1e-5, rtol=0)
    texture = 0.5 + 0.2 * torch.randn(1, 3, 64, 96, generator=generator)
    assert (calmed(texture) - texture).std() < 0.02 * texture.std()
    edge = torch.where(torch.arange(96) < 48, 0.2, 0.8).expand(1, 3, 64, 96)
    torch.testing.assert_close(calmed(edge), edge, atol=5e-3, rtol=0)


@torch.no_grad()
def test_a_centred_transformer_paints_the_same_and_in_bf16_more_exactly():
    torch.manual_seed(0)
    drifted = Transformer(TransformerConfig(width=0.25)).eval()
    for block in drifted.residual:
        torch.nn.init.normal_(block[1].beta.bias, std=30.0)
    photo, vector = torch.rand(1, 3, 48, 64), torch.randn(1, 100)
    centred = copy.deepcopy(drifted)
    assert all("beta" in name for name in centred.centre())
    exact, again = drifted(photo, vector), centred(photo, vector)
    errors = [
        (each.bfloat16()(photo.bfloat16(), vector.bfloat16()).float() - exact).abs().mean()
        for each in (drifted, centred)
    ]
    torch.testing.assert_close(again, exact, atol=1e-4, rtol=0)
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize(
    ("shape", "vector"), [((1, 3, 33, 32), (1, 100)), ((1, 3, 4, 32), (1, 100)), ((1, 3, 32, 32), (1, 99))]
)
def test_a_wrong_shape_is_refused_in_words(shape, vector):
    with pytest.raises(ValueError, match=r"must be"):
        Transformer()(torch.rand(shape), torch.rand(vector))


def test_colors_are_the_mean_and_the_deviation_that_a_transformers_last_layer_sets():
    torch.manual_seed(0)
    transformer, vector = Transformer(TransformerConfig(width=0.25)).eval(), torch.randn(2, 100)
    with torch.no_grad():
        gamma, beta = (head(vector) for head in transformer.heads()[-2:])
        seen = colors(transformer(torch.rand(2, 3, 64, 48), 0.3 * vector))
        gamma, beta = (head(0.3 * vector) for head in transformer.heads()[-2:])
    torch.testing.assert_close(seen, torch.cat((beta, gamma.abs()), dim=1), atol=0.05, rtol=0)
    assert colors(torch.tensor([0.0, 0.5, 1.0]).expand(1, 3, 8, 3)).isfinite().all()  # black and white too


@pytest.mark.parametrize("separable", [True, False])
@torch.no_grad()
def test_a_style_has_kernels_of_its_own_and_paints_alone_as_beside_others(separable):
    torch.manual_seed(0)
    transformer = mixing(Transformer(TransformerConfig(separable, width=0.25, rank=4)).eval())
    photos, vectors = torch.rand(2, 3, 32, 40), torch.randn(2, 100)
    beside = transformer(photos, vectors)
    alone = torch.cat([transformer(photo[None], vector[None]) for photo, vector in zip(photos, vectors, strict=True)])
    torch.testing.assert_close(alone, beside, atol=1e-5, rtol=0)
    kept = transformer.residual[0][0].mix
    kept.weight.zero_(), kept.bias.zero_()
    assert (transformer(photos, vectors) - beside).abs().mean() > 1e-4  # so these kernels were felt


@pytest.mark.parametrize("trunk", ["mobilenet-v2", "inception-v3"])
@torch.no_grad()
def test_a_predictor_that_is_shown_colors_answers_as_before_until_it_minds_them(trunk):
    torch.manual_seed(0)
    given, style = StylePredictor(trunk).eval(), torch.rand(2, 3, 96, 96)
    seeing = with_colors(given)
    assert seeing.sees_colors and not given.sees_colors
    torch.testing.assert_close(seeing(style), given(style))
    seeing.to_vector.weight[:, -6:] = torch.randn(100, 6)
    wanted = given(style) + colors(style) @ seeing.to_vector.weight[:, -6:].T
    stages = len(seeing.features)
    for some in (0, 3, stages - 1, stages):
        torch.testing.assert_close(seeing.finish(seeing.begin(style, some), some), wanted, atol=1e-4, rtol=1e-4)
    again = build(seeing.state_dict(), describe(seeing))
    assert torch.equal(again(style), seeing(style))


def test_an_unknown_trunk_is_refused_with_the_list_of_known_ones():
    with pytest.raises(ValueError, match="inception-v3, mobilenet-v2"):
        StylePredictor("resnet")


# Magenta's weights --------------------------------------------------------------------------------------------------


def tfjs_folder(folder, arrays, quantise=()):
    """Write arrays as a TensorFlow.js graph model in two shards."""
    entries, data = [], b""
    for name, array in arrays.items():
        entry = {"name": name, "shape": list(array.shape), "dtype": "float32"}
        if name in quantise:
            low, scale = float(array.min()), float(np.ptp(array) / 255) or 1.0
            entry["quantization"] = {"dtype": "uint8", "min": low, "scale": scale}
            array = np.rint((array - low) / scale).astype(np.uint8)
        entries.append(entry)
        data += np.ascontiguousarray(array).tobytes()
    half = len(data) // 2
    (folder / "shard1").write_bytes(data[:half])
    (folder / "shard2").write_bytes(data[half:])
    manifest = [{"paths": ["shard1", "shard2"], "weights": entries}]
    (folder / "model.json").write_text(json.dumps({"weightsManifest": manifest}))
    return folder


# slim's Inception-v3 names two convolutions of one block unlike their twins in the others
ODD_NAMES_OF_5C = {"Branch_1/Conv2d_0b_1x1", "Branch_1/Conv_1_0c_5x5"}
EVEN_NAMES = {"Branch_1/Conv2d_0a_1x1", "Branch_1/Conv2d_0b_5x5"}


def magenta_names(network):
    """{Magenta's name: random array in TensorFlow's layout} of a network of ours, by the published naming."""
    random, arrays = np.random.default_rng(0), {}

    def put(name, *shape):
        arrays[name] = random.uniform(0.5, 1, shape).astype(np.float32)

    def norm(name, channels, scale):
        for part in (*((scale,) if scale else ()), "beta", "moving_mean", "moving_variance"):
            put(f"{name}/BatchNorm/{part}", channels)

    if isinstance(network, Transformer):
        for index, layer in enumerate(network.contract, 1):
            out, into, size, _ = layer.conv.weight.shape
            put(f"transformer/contract/conv{index}/weights", size, size, into, out)
            norm(f"transformer/contract/conv{index}", out, "Const")
        residual = [(f"residual/residual{i}", j, network.residual[i - 1][j - 1]) for i in range(1, 6) for j in (1, 2)]
        expand = [(f"expand/conv{i}", "", network.expand[i - 1]) for i in (1, 2, 3)]
        for block, number, layer in residual + expand:
            place = f"{block}/conv{number}"
            if layer.separable:
                out, into = layer.pointwise.weight.shape[:2]
                size = layer.kernel_size
                put(f"transformer/{block}/dilate_conv{number}/depthwise_weights", size, size, into, 1)
                put(f"transformer/{block}/dilate_conv{number}/pointwise_weights", 1, 1, into, out)
            else:
                out, into, size, _ = layer.conv.weight.shape
                put(f"transformer/{place}/weights", size, size, into, out)
            for linear in ("Conv", "Conv_1"):
                put(f"style_params/transformer/{place}/StyleNorm/{linear}/weights", 1, 1, 100, layer.gamma.out_features)
                put(f"style_params/transformer/{place}/StyleNorm/{linear}/biases", layer.gamma.out_features)
    elif network.trunk == "mobilenet-v2":
        for index, name in ((0, "Conv"), (18, "Conv_1")):
            out, into, size, _ = network.features[index][0].weight.shape
            put(f"MobilenetV2/{name}/weights", size, size, into, out)
            norm(f"MobilenetV2/{name}", out, "gamma")
        for block in range(17):
            convolutions = [m for m in network.features[block + 1].modules() if isinstance(m, torch.nn.Conv2d)]
            steps = ("expand", "depthwise", "project")[-len(convolutions) :]
            for step, convolution in zip(steps, convolutions, strict=True):
                place = f"MobilenetV2/expanded_conv{f'_{block}' if block else ''}/{step}"
                out, into, size, _ = convolution.weight.shape
                put(
                    f"{place}/{'depthwise_weights' if step == 'depthwise' else 'weights'}",
                    size,
                    size,
                    *((out, 1) if step == "depthwise" else (into, out)),
                )
                norm(place, out, "gamma")
        put("mobilenet_conv/Conv/weights", 1, 1, 1280, 100)
        put("mobilenet_conv/Conv/biases", 100)
    else:
        for stage, module in network.features.named_children():
            for theirs, ours in convert.INCEPTION_BLOCKS.get(stage, {"": ""}).items():
                layer = getattr(module, ours) if ours else module
                other_spelling = ODD_NAMES_OF_5C if stage != "Mixed_5c" else EVEN_NAMES
                if not hasattr(layer, "conv") or theirs in other_spelling:
                    continue
                place = f"InceptionV3/{stage}{'/' + theirs if theirs else ''}"
                out, into, *size = layer.conv.weight.shape
                put(f"{place}/weights", *size, into, out)
                norm(place, out, None)
        put("InceptionV3/Conv2d_1a_3x3/BatchNorm/Const", 32)  # equal constants are kept once, anywhere
        put("Conv/weights", 1, 1, 768, 100)
        put("Conv/biases", 100)
    return arrays


NETWORKS = {
    "separable": lambda: Transformer(TransformerConfig(padding="zeros", calms=False)),
    "plain": lambda: Transformer(TransformerConfig(separable=False, padding="zeros", calms=False)),
    "mobilenet-v2": lambda: StylePredictor("mobilenet-v2", "0..1"),
    "inception-v3": lambda: StylePredictor("inception-v3", "0..1"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_each_published_network_converts_tensor_for_tensor(name, tmp_path, capsys):
    network = NETWORKS[name]()
    arrays = magenta_names(network)
    out = tmp_path / "out.safetensors"
    assert command.main(["convert", "tfjs", str(tfjs_folder(tmp_path, arrays)), str(out)]) == 0
    read, metadata = weights.parse(out.read_bytes())
    assert metadata == describe(network)
    converted = build({key: torch.from_numpy(value) for key, value in read.items()}, metadata)
    used = sum(array.size for name, array in arrays.items() if not name.endswith("Conv2d_1a_3x3/BatchNorm/Const"))
    scales = sum(value.size for key, value in read.items() if key.endswith("bn.weight"))  # made, not read
    assert sum(value.size for value in read.values()) - scales == used
    wanted = {key for key in network.state_dict() if "num_batches" not in key}
    assert set(read) == wanted
    if "transformer" in metadata["network"]:
        beta = arrays["style_params/transformer/expand/conv3/conv/StyleNorm/Conv/biases"]
        assert np.array_equal(converted.expand[2].beta.bias, beta)


def test_quantised_shards_are_expanded(tmp_path):
    array = np.linspace(-1, 2, 50, dtype=np.float32)
    folder = tfjs_folder(tmp_path, {"a": array, "b": array}, quantise={"a"})
    read = convert.read_tfjs(folder)
    assert np.abs(read["a"] - array).max() <= 3 / 255 and np.array_equal(read["b"], array)


def test_a_missing_shard_and_a_missing_array_are_named(tmp_path, capsys):
    arrays = magenta_names(NETWORKS["separable"]())
    arrays.pop("transformer/expand/conv2/dilate_conv/pointwise_weights")
    folder = tfjs_folder(tmp_path, arrays)
    assert command.main(["convert", "tfjs", str(folder), str(tmp_path / "out")]) == 2
    assert "expand.1.pointwise.weight" in capsys.readouterr().err
    (folder / "shard2").unlink()
    assert command.main(["convert", "tfjs", str(folder), str(tmp_path / "out")]) == 2
    assert "shard2 is missing" in capsys.readouterr().err


@pytest.mark.skipif(not (SHARED / "weights/magenta-separable-tfjs").is_dir(), reason="Magenta's weights are not here")
@torch.no_grad()
def test_the_converted_published_transformer_paints_what_tensorflow_js_recorded(tmp_path):
    folder = SHARED / "weights/magenta-separable-tfjs"
    state, metadata = convert.convert(convert.read_tfjs(folder))
    recorded = load_file(folder / "recorded.safetensors")
    stylised = build(state, metadata)(recorded["content"].permute(0, 3, 1, 2), recorded["vector"].reshape(1, 100))
    assert (stylised.permute(0, 2, 3, 1) - recorded["stylised"]).abs().max() < 1e-4


@pytest.mark.skipif(not (SHARED / "weights/first-light.safetensors").is_file(), reason="the recorded check is not here")
@torch.no_grad()
def test_our_networks_compute_what_was_recorded_when_they_were_trained():
    recorded = load_file(SHARED / "weights/first-light.safetensors")
    for kind, inputs, output in (
        ("predictor", ["style"], "vector"),
        ("transformer", ["content", "vector"], "stylised"),
    ):
        state = {key.removeprefix(f"{kind}."): value for key, value in recorded.items() if key.startswith(f"{kind}.")}
        kinds = {"predictor": StylePredictor(), "transformer": Transformer(TransformerConfig(calms=False))}
        network = build(state, describe(kinds[kind]))
        made = network(*(recorded[f"check.{name}"] for name in inputs))
        assert (made - recorded[f"check.{output}"]).abs().max() < 1e-4


# Export -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("mixing", 4), ("plain", 2), ("inception-v3", 1)])
@torch.no_grad()
def test_every_network_exports_to_onnx_that_agrees_with_torch(name, most, tmp_path, monkeypatch):
    torch.manual_seed(0)
    all_parts = export.parts  # each takes seconds to trace: measure and tile are no other code in the plain transformer
    monkeypatch.setattr(export, "parts", lambda *network: all_parts(*network)[:most])
    network = NETWORKS[name]().eval() if name in NETWORKS else mixing(Transformer(TransformerConfig(rank=8))).eval()
    path = tmp_path / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path, describe(network))
    for file in export.export(path):  # refuses to write what differs
        assert (tmp_path / file).stat().st_size > 10_000
    export.write_checksums(tmp_path)
    assert weights.read(tmp_path, path.name) == path.read_bytes()


def test_predictors_and_transformers_are_exported_and_loss_networks_are_not(tmp_path, monkeypatch):
    exported = []
    monkeypatch.setattr(export, "export", lambda path: exported.append(path.stem))
    monkeypatch.setattr(export, "write_checksums", lambda folder: None)
    for file in Settings().models.glob("*.safetensors"):
        (tmp_path / file.name).touch()
    assert command.main(["export", str(tmp_path)]) == 0
    assert exported == sorted(
        file.stem for kind in ("predictor-*", "transformer-*") for file in tmp_path.glob(f"{kind}.safetensors")
    )


def test_what_is_said_of_the_shipped_weights_is_true():
    models = Settings().models
    said = weights.facts(models)
    listed = {file for file in weights.checksums(models) if file.endswith(".safetensors")}
    assert set(said) == {file for file in listed if not file.startswith(export.CALIBRATION)}
    for file, facts in said.items():
        arrays, metadata = weights.parse(weights.read(models, file), file)
        state = {key: torch.from_numpy(array) for key, array in arrays.items()}
        ours = metadata.get("network")
        network = loss_networks.build(ours, state) if ours in loss_networks.names() else build(state, metadata, file)
        learnt = sum(parameter.numel() for parameter in network.parameters())
        assert facts == weights.Facts(learnt, (models / file).stat().st_size), f"{file}: export writes FACTS.json anew"


def test_facts_of_weights_that_were_replaced_are_not_told(tmp_path):
    save_file({"a": torch.zeros(7)}, tmp_path / "a.safetensors")
    save_file({"b": torch.zeros(8)}, tmp_path / "b.safetensors")
    export.write_checksums(tmp_path)
    listed = (tmp_path / weights.CHECKSUMS).read_text()
    (tmp_path / weights.CHECKSUMS).write_text("0" * 64 + listed[64:])
    assert {file: facts.parameters for file, facts in weights.facts(tmp_path).items()} == {"b.safetensors": 8}
    (tmp_path / weights.FACTS).write_text('{"b.safetensors": {"parameters": 8}}')
    with pytest.raises(WeightsError, match=r"FACTS\.json is not valid; run python -m stylizer\.training export"):
        weights.facts(tmp_path)
    (tmp_path / weights.FACTS).unlink()
    assert weights.facts(tmp_path) == {}


def test_weights_of_another_network_are_refused_by_name():
    state = Transformer().state_dict()
    with pytest.raises(WeightsError, match=r"nets\.safetensors does not fit"):
        build(state, describe(Transformer(TransformerConfig(separable=False))), "nets.safetensors")
    with pytest.raises(WeightsError, match="unknown network"):
        build(state, {"network": "diffusion", "config": "{}"})
