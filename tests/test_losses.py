"""The losses' known values and the loss network's shapes."""

import pytest
import torch

from stylizer import losses
from stylizer.errors import WeightsError
from stylizer.loss_networks import load_vgg16
from stylizer.networks.backbones import VGG16


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return VGG16(width=0.0625)


@pytest.fixture
def pictures():
    return torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))


def test_gram_matrix_of_two_channels_is_their_mean_products():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # (1, 2, 1, 2)
    assert torch.equal(losses.gram_matrix(features), torch.tensor([[[2.5, 0.5], [0.5, 5.0]]]))


def test_gram_matrix_does_not_depend_on_the_size_of_a_repeating_picture():
    tile = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(losses.gram_matrix(tile), losses.gram_matrix(tile.tile(1, 1, 3, 2)), atol=1e-6)


def test_statistics_are_each_channels_mean_and_deviation():
    found = losses.channel_statistics(*losses.moments(torch.tensor([[[[1.0, 3.0]], [[5.0, 5.0]]]])))
    assert torch.allclose(found, torch.tensor([[[2.0, 5.0], [1.0, 0.0]]]), atol=1e-3)


def test_moments_have_the_gradient_that_autograd_finds():
    features = torch.rand(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(losses.moments, features)


def test_relative_distance_is_one_for_an_empty_answer_and_does_not_change_with_scale():
    target = torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    given = target + 0.5
    assert torch.allclose(losses.relative_distance(torch.zeros(3, 5), target), torch.ones(3))
    assert torch.allclose(losses.relative_distance(given, target), losses.relative_distance(7 * given, 7 * target))


def test_structure_ignores_the_light_and_contrast_of_each_channel():
    generator = torch.Generator().manual_seed(0)
    features = 200 * torch.rand(2, 4, 9, 12, generator=generator)
    relit = features * torch.rand(2, 4, 1, 1, generator=generator).add(0.5) + 30
    assert losses.structure_distance(relit, features).max() < 0.01
    assert losses.structure_distance(features.flip(3), features).min() > 0.5
    flat = torch.full((1, 4, 9, 12), 50.0)
    assert losses.structure_distance(flat, flat).max() == 0


def test_a_weave_counts_where_the_photo_is_calm_alone():
    photo = torch.full((1, 3, 32, 64), 0.5)
    photo[..., 32:] += 0.2 * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    checks = 0.1 * ((torch.arange(32)[:, None] + torch.arange(64)) % 2)
    calm = losses.calm(photo)
    left, right = (
        losses.weave(photo * 0 + checks * side, calm) for side in (torch.arange(64) < 28, torch.arange(64) >= 36)
    )
    assert left > 0.005 and right < 0.01 * left


def test_threads_stand_out_however_faint_and_edges_do_not():
    down, across = torch.arange(128)[:, None], torch.arange(192)
    picture = 0.5 + 0.02 * torch.randn(1, 3, 128, 192, generator=torch.Generator().manual_seed(0))
    picture[..., 100:] += 0.4
    threads = 0.02 * torch.cos(2 * torch.pi * (8 * down + 6 * across) / 64)  # 6.4 pixels apart
    without, woven = (losses.standing_out(losses.spectrum(some))[0] for some in (picture, picture + threads))
    assert woven[0, 8, 6] > without[0].max() + 0.5 and woven[0, 8, 6] == woven[0].max()
    assert woven[1].max() < without[0].max() + 0.5  # they are grey
    assert without[:, :3, :2].abs().max() == 0  # what is coarser is no thread
    assert losses.standing_out(losses.spectrum(picture * 0)).abs().max() == 0


def test_identical_pictures_have_no_distance(network, pictures):
    features = network(pictures, VGG16.LAYERS)
    assert losses.content_distance(features, features).abs().max() == 0
    assert losses.style_distance(features, losses.gram_matrices(features)).abs().max() == 0


def test_style_ignores_where_things_are_and_content_does_not(network, pictures):
    mirrored = network(pictures.flip(3), VGG16.LAYERS)
    turned = {layer: value.flip(3) for layer, value in mirrored.items()}  # same features, other places
    grams = losses.gram_matrices(mirrored)
    assert losses.style_distance(turned, grams).max() < 1e-9
    assert losses.content_distance(turned, mirrored).min() > 0.01


def test_distances_are_given_for_each_picture(network, pictures):
    features = network(pictures, VGG16.LAYERS)
    changed = network(torch.stack([pictures[0], 1 - pictures[1]]), VGG16.LAYERS)
    same, other = losses.style_distance(changed, losses.gram_matrices(features))
    assert same < 1e-9 < other


def test_total_variation_of_a_step_of_one_in_four_columns():
    picture = torch.zeros(1, 1, 3, 4)
    picture[..., 2:] = 1.0
    assert losses.total_variation(picture).item() == pytest.approx(1 / 3)
    assert losses.total_variation(torch.full((1, 3, 4, 4), 0.7)).item() == 0


def test_gradients_reach_the_picture_and_not_the_loss_network(network, pictures):
    given = pictures.clone().requires_grad_()
    target = losses.gram_matrices(network(1 - pictures, losses.STYLE_LAYERS))
    losses.style_distance(network(given, losses.STYLE_LAYERS), target).sum().backward()
    assert given.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


def test_layers_have_vgg16s_shapes(pictures):
    found = VGG16(width=1.0)(pictures[:1], ["relu1_2", "relu3_3", "relu4_3"])
    shapes = {layer: tuple(value.shape[1:]) for layer, value in found.items()}
    assert shapes == {"relu1_2": (64, 64, 48), "relu3_3": (256, 16, 12), "relu4_3": (512, 8, 6)}


def test_keys_are_torchvisions():
    torchvision = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        theirs = torchvision.vgg16(weights=None).features.state_dict(prefix="features.")
        ours = VGG16().state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}


def test_an_unknown_layer_is_refused_with_the_list(network, pictures):
    with pytest.raises(ValueError, match=r"relu9_9.*relu1_1, relu1_2"):
        network(pictures, ["relu9_9"])


def test_other_weights_than_vgg16s_are_refused_naming_what_is_missing():
    with pytest.raises(WeightsError, match=r"26 of 26.*features\.0\.weight"):
        load_vgg16({"classifier.0.weight": torch.zeros(2, 2)})
