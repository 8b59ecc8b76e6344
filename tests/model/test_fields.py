"""The tri-plane lookup: published sizes, the native pass against plain torch in 64-bit, and its laws."""

import pytest
import torch

from talksplat import native
from talksplat.model.fields import TriPlaneEncoder, grid_levels

SHAPES = {
    "face": {"levels": 12, "base": 16, "finest": 38.4, "log2_table": 17, "bound": 0.15},
    "mouth": {"levels": 12, "base": 64, "finest": 57.6, "log2_table": 17, "bound": 0.15},
    "hashed": {"levels": 14, "base": 64, "finest": 512, "log2_table": 14, "bound": 1.0},
    "tiny": {"levels": 2, "base": 4, "finest": 9, "log2_table": 5, "bound": (0.5, 1.0, 2.0)},
}


def _encoder(name: str) -> TriPlaneEncoder:
    torch.manual_seed(0)
    encoder = TriPlaneEncoder(**SHAPES[name])
    torch.nn.init.uniform_(encoder.tables, -1, 1)
    return encoder


def _points(encoder: TriPlaneEncoder, count: int = 501) -> torch.Tensor:
    """Most inside the box, some outside along one axis or all."""
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(count, 3, generator=generator) * 2 - 1) * torch.tensor(encoder.bound) * 1.1


def test_published_table_lengths():
    face = grid_levels(12, 16, 38.4, 17)
    assert face.lengths.tolist() == [296, 368, 400, 488, 536, 632, 736, 848, 1024, 1160, 1376, 1600]
    assert (face.strides - 1).tolist() == [16, 18, 19, 21, 22, 24, 26, 28, 31, 33, 36, 39]
    mouth = grid_levels(12, 64, 57.6, 17)
    assert mouth.lengths.tolist() == [4232, 4232, 4096, 4096, 3976, 3976, 3848, 3728, 3728, 3600, 3600, 3488]
    assert not any(face.is_hashed(level) for level in range(12))


def test_gstalker_has_the_published_number_of_parameters():
    encoder = TriPlaneEncoder(levels=14, base=64, finest=512, log2_table=14)
    assert sum(p.numel() for p in encoder.parameters()) == 575_688
    assert encoder.width == 42
    assert [encoder.grid.is_hashed(level) for level in range(14)] == [False] * 5 + [True] * 9
    assert float(encoder.tables.detach().abs().max()) <= 1e-4


@pytest.mark.parametrize("library", native.runnable())
@pytest.mark.parametrize("name", SHAPES)
def test_native_pass_agrees_with_double_torch(library, name, monkeypatch):
    monkeypatch.setenv(native.CHOICE, library)
    encoder = _encoder(name)
    # Cell borders apart: there the derivative jumps, and the two roundings may fall on different sides.
    points = _points(encoder)
    exact = _encoder(name).double()
    leaf, exact_leaf = points.clone().requires_grad_(), points.double().requires_grad_()
    features, expected = encoder(leaf), exact(exact_leaf)
    slopes = torch.randn(features.shape, generator=torch.Generator().manual_seed(2))
    features.backward(slopes)
    expected.backward(slopes.double())
    assert leaf.grad is not None
    assert exact_leaf.grad is not None
    assert encoder.tables.grad is not None
    assert exact.tables.grad is not None
    torch.testing.assert_close(features.double(), expected, rtol=0, atol=2e-4)
    scale = exact.tables.grad.abs().max().item()
    torch.testing.assert_close(encoder.tables.grad.double(), exact.tables.grad, rtol=0, atol=2e-4 * scale)
    error = (leaf.grad - exact_leaf.grad).abs().amax(1) / exact_leaf.grad.abs().max()
    assert (error > 1e-4).float().mean() < 0.01
    assert error.quantile(0.98) < 1e-4


def test_gradients_are_those_of_finite_differences():
    encoder = _encoder("tiny").double()
    points = _points(encoder, 12).double()
    assert torch.autograd.gradcheck(encoder, (points.requires_grad_(),), eps=1e-7)


def test_a_point_on_a_corner_reads_that_entry():
    encoder = TriPlaneEncoder(levels=1, base=8, finest=8, bound=1.0)
    scale, stride = float(encoder.grid.scales[0]), int(encoder.grid.strides[0])
    corner = torch.tensor([3.0, 5.0, 2.0])
    point = ((corner - 0.5) / scale * 2 - 1)[None]
    x, y, z = corner.long().tolist()
    wanted = [encoder.tables[0, x + y * stride], encoder.tables[1, y + z * stride], encoder.tables[2, x + z * stride]]
    torch.testing.assert_close(encoder(point)[0], torch.stack(wanted), rtol=0, atol=1e-9)


def test_outside_the_box_there_is_nothing():
    encoder = _encoder("face")
    points = torch.tensor([[0.2, 0.0, 0.0], [0.0, 0.0, -0.2], [1.0, 1.0, 1.0], [float("nan")] * 3], requires_grad=True)
    features = encoder(points)
    features.sum().backward()
    planes = features.detach().reshape(4, 3, 12).abs().sum(-1) > 0
    # A plane that does not hold the outer axis still answers.
    assert planes.tolist() == [[False, True, False], [True, False, False], [False] * 3, [False] * 3]
    assert points.grad is not None
    assert not points.grad[2:].any()
    assert not points.grad[0, 0].any()
    assert points.grad[0, 1:].abs().sum() > 0


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 33])
def test_any_number_of_points(count):
    encoder = _encoder("hashed")
    points = _points(encoder, 40)
    assert torch.equal(encoder(points)[:count], encoder(points[:count]))


def test_same_threads_same_bits():
    encoder = _encoder("hashed")
    points = _points(encoder, 3000)
    gradients = []
    for _ in range(2):
        encoder.zero_grad()
        leaf = points.clone().requires_grad_()
        encoder(leaf).square().sum().backward()
        gradients.append((encoder.tables.grad, leaf.grad))
    assert all(torch.equal(first, second) for first, second in zip(*gradients, strict=True))
