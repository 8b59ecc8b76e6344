"""The native point decoder against plain torch in 64-bit, and its laws.

On a matrix unit operands are rounded to bfloat16: eight bits, a relative 2^-9 each. A hidden value that is close to 0
may then fall on the other side of its ReLU, so single gradients are off by more, and errors are measured over all.
"""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from talksplat import native
from talksplat.model.decoder import PointDecoder, side_by_side

SHAPES = [(42, 33, 64, 10), (42, 72, 64, 10), (36, 32, 32, 3), (5, 1, 7, 17)]


def _decoder(shape: tuple[int, int, int, int]) -> PointDecoder:
    torch.manual_seed(0)
    decoder = PointDecoder(*shape)
    torch.nn.init.normal_(decoder.last)
    return decoder


@pytest.mark.parametrize("library", native.runnable())
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 95, 500])
def test_native_pass_agrees_with_double_torch(library, shape, count, monkeypatch):
    monkeypatch.setenv(native.CHOICE, library)
    decoder, exact = _decoder(shape), _decoder(shape).double()
    features, condition = torch.randn(count, shape[0]).requires_grad_(), torch.randn(shape[1]).requires_grad_()
    exact_inputs = [t.detach().double().requires_grad_() for t in (features, condition)]
    slopes = torch.randn(count, shape[3])
    result, expected = decoder(features, condition), exact(*exact_inputs)
    result.backward(slopes)
    expected.backward(slopes.double())
    found = [result, features.grad, condition.grad, *(p.grad for p in decoder.parameters())]
    wanted = [expected, *(t.grad for t in exact_inputs), *(p.grad for p in exact.parameters())]
    assert_near(found, wanted, library)


def assert_near(found: Sequence[Tensor | None], wanted: Sequence[Tensor | None], library: str) -> None:
    """The result, the first of ``found``, and gradients are what is ``wanted``, to the precision of the library."""
    for place, (mine, theirs) in enumerate(zip(found, wanted, strict=True)):
        assert mine is not None
        assert theirs is not None
        error = mine.detach().double() - theirs.detach()
        if library == "amx":
            assert error.norm() <= (0.1 if place else 0.01) * theirs.norm() + 1e-9
        else:
            assert error.abs().max() <= 1e-5 * max(float(theirs.detach().abs().max()), 1e-6)


OUTS = (3, 3, 4, 1, 12, 48)
"""Numbers of a Gaussian's attributes, and one that takes more than a tile's columns."""


def _networks(dtype: torch.dtype, count: int) -> tuple[list[Tensor], tuple[Tensor, ...], Tensor]:
    """Points, first weights and biases, last weights of networks side by side, and slopes of their results."""
    torch.manual_seed(count)
    shapes = [(count, 24), (32 * len(OUTS), 24), (32 * len(OUTS),), *((out, 32) for out in OUTS)]
    values = [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]
    return values[:3], tuple(values[3:]), torch.randn(count, sum(OUTS)).to(dtype)


@pytest.mark.parametrize("library", native.runnable())
@pytest.mark.parametrize("count", [1, 129, 300])
def test_networks_side_by_side_agree_with_double_torch(library, count, monkeypatch):
    monkeypatch.setenv(native.CHOICE, library)
    found = []
    for dtype in (torch.float32, torch.float64):
        inputs, lasts, slopes = _networks(dtype, count)
        result = side_by_side(*inputs, lasts)
        result.backward(slopes)
        found.append([result, *(value.grad for value in (*inputs, *lasts))])
    assert_near(*found, library)


def _whole(*shape: int, share: float) -> Tensor:
    """Some ones and minus ones among zeros: products of whole numbers below 256 are exact in bfloat16 as well."""
    return torch.randint(-1, 2, shape).float() * (torch.rand(shape) < share)


@pytest.mark.parametrize("library", native.runnable())
@pytest.mark.parametrize("count", [1, 48, 49, 128, 129, 300])
@pytest.mark.parametrize(("features", "hidden", "outs", "deep"), [(5, 7, (17,), True), (64, 128, (3, 1, 48), False)])
def test_products_of_whole_numbers_are_exact(library, count, features, hidden, outs, deep, monkeypatch):
    """To the last point and the last number of every shape: rounding hides nothing here."""
    monkeypatch.setenv(native.CHOICE, library)
    torch.manual_seed(count)
    first = _whole(hidden * len(outs), features, share=min(1.0, 6 / features))
    second = _whole(hidden, hidden, share=0.5) if deep else None
    weights = first, _whole(len(first), share=0.5), second, _whole(sum(outs), hidden, share=6 / hidden)
    points, slopes = 2 * _whole(count, features, share=0.5), _whole(count, sum(outs), share=6 / sum(outs))
    leaves = [value if value is None else value.double().requires_grad_() for value in (points, *weights)]
    exact, found = _networks_by_hand(leaves, outs, deep), torch.empty(count, sum(outs))
    exact.backward(slopes.double())
    native.mlp_forward(points, None, weights, outs, not deep, found)
    assert torch.equal(found.double(), exact.detach())
    by = tuple(value if value is None else torch.full_like(value, torch.nan) for value in (points, *weights))
    native.mlp_backward(points, weights, outs, not deep, slopes, by)
    for mine, leaf in zip(by, leaves, strict=True):
        if mine is not None and leaf is not None:
            assert leaf.grad is not None
            assert torch.equal(mine.double(), leaf.grad)


def _networks_by_hand(leaves: list[Tensor | None], outs: tuple[int, ...], deep: bool) -> Tensor:
    """The networks' results in torch; of shallow ones the points pass a ReLU first."""
    points, first, shared, second, third = leaves
    assert points is not None
    assert first is not None
    assert shared is not None
    assert third is not None
    hidden = torch.relu((points if deep else torch.relu(points)) @ first.T + shared).unflatten(1, (len(outs), -1))
    if second is not None:
        hidden = torch.relu(hidden @ second.T)
    rows = third.split(outs)
    return torch.cat([hidden[:, place] @ rows[place].T for place in range(len(outs))], 1)


def test_networks_side_by_side_are_each_by_itself():
    (points, first, bias), lasts, _ = _networks(torch.float64, 7)
    found = side_by_side(points, first, bias, lasts).split(OUTS, 1)
    for place, last in enumerate(lasts):
        rows = slice(32 * place, 32 * place + 32)
        expected = torch.relu(torch.relu(points) @ first[rows].T + bias[rows]) @ last.T
        torch.testing.assert_close(found[place], expected)


@pytest.mark.parametrize("library", native.runnable())
def test_gradients_repeat_bit_for_bit(library, monkeypatch):
    monkeypatch.setenv(native.CHOICE, library)
    found = []
    for _ in range(2):
        inputs, lasts, slopes = _networks(torch.float32, 500)
        side_by_side(*inputs, lasts).backward(slopes)
        found.append([value.grad for value in (*inputs, *lasts)])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_gradients_are_those_of_finite_differences():
    decoder = _decoder((4, 3, 6, 2)).double()
    inputs = torch.randn(5, 4).double().requires_grad_(), torch.randn(3).double().requires_grad_()
    assert torch.autograd.gradcheck(decoder, inputs)


def test_untrained_decoder_moves_nothing_but_learns():
    torch.manual_seed(0)
    decoder = PointDecoder(42, 33, 64, 10)
    offsets = decoder(torch.randn(20, 42), torch.randn(33))
    assert not offsets.any()
    (offsets - 1).square().sum().backward()
    assert decoder.last.grad is not None
    assert decoder.last.grad.any()


@pytest.mark.usefixtures("single_precision")
def test_it_is_the_network_over_the_concatenation():
    decoder = _decoder((6, 5, 8, 3))
    features, condition = torch.randn(9, 6), torch.randn(5)
    joined = torch.cat([features, condition.expand(9, -1)], 1)
    first = torch.relu(joined @ torch.cat([decoder.of_features, decoder.of_condition], 1).T)
    expected = torch.relu(first @ decoder.second.T) @ decoder.last.T
    torch.testing.assert_close(decoder(features, condition), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_cached_first_layer_changes_nothing(shape):
    decoder = _decoder(shape)
    features, condition = torch.randn(333, shape[0]), torch.randn(shape[1])
    expected = decoder.double()(features.double(), condition.double())
    decoder.float()
    with torch.no_grad():
        products = decoder.first_layer(features)
        assert_near([decoder.forward_cached(products, condition)], [expected], native.runnable()[0])


def test_no_points_no_offsets():
    decoder = _decoder((42, 33, 64, 10))
    result = decoder(torch.zeros(0, 42), torch.randn(33))
    result.sum().backward()
    assert result.shape == (0, 10)
    assert decoder.second.grad is not None
    assert not decoder.second.grad.any()
