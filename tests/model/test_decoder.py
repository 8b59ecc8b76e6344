"""The native point decoder against plain torch in 64-bit, and its laws."""

import pytest
import torch

from talksplat import native
from talksplat.model.decoder import PointDecoder

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
    torch.testing.assert_close(result.double(), expected, rtol=1e-4, atol=1e-4)
    found = [features.grad, condition.grad, *(p.grad for p in decoder.parameters())]
    wanted = [*(t.grad for t in exact_inputs), *(p.grad for p in exact.parameters())]
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine is not None
        assert theirs is not None
        scale = max(theirs.abs().max().item(), 1e-6)
        torch.testing.assert_close(mine.double(), theirs, rtol=0, atol=1e-5 * scale)


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
    expected = decoder(features, condition)
    torch.testing.assert_close(decoder.forward_cached(decoder.first_layer(features), condition), expected)
    with torch.no_grad():
        products = decoder.first_layer(features)
        torch.testing.assert_close(decoder.forward_cached(products, condition), expected, rtol=1e-4, atol=1e-5)


def test_no_points_no_offsets():
    decoder = _decoder((42, 33, 64, 10))
    result = decoder(torch.zeros(0, 42), torch.randn(33))
    result.sum().backward()
    assert result.shape == (0, 10)
    assert decoder.second.grad is not None
    assert not decoder.second.grad.any()
