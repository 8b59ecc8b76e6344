"""Region attention equals its textbook form, and its parameters are the published ones."""

import pytest
import torch

from talksplat.model.conditioning import SPEECH_CODE
from talksplat.model.decoder import PointDecoder
from talksplat.model.regions import UPPER_FACE, RegionDecoder


def decoder(seed: int = 0) -> RegionDecoder:
    torch.manual_seed(seed)
    made = RegionDecoder(36, 64, 11)
    with torch.no_grad():
        made.decoder.last.normal_(0, 0.1)
    return made


def textbook(net: RegionDecoder, features: torch.Tensor, speech: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
    """The condition multiplied into every point's attention, then everything concatenated."""
    heard, seen = net.attention(features)
    moved = torch.cat([net.upper_face_net(units[:5]), units[5:]])
    inner = net.decoder
    first = torch.cat([inner.of_features, inner.of_condition], 1)
    hidden = torch.relu(torch.cat([features, heard * speech, seen * moved], 1) @ first.T)
    return torch.relu(hidden @ inner.second.T) @ inner.last.T


@pytest.mark.usefixtures("single_precision")
def test_collapsed_form_equals_the_textbook_in_value_and_gradient() -> None:
    net = decoder()
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(200, 36, generator=generator)
    speech = torch.randn(SPEECH_CODE, generator=generator).requires_grad_()
    units = torch.rand(UPPER_FACE, generator=generator)
    weight = torch.randn(200, 11, generator=generator)
    gradients = []
    for form in (lambda: net(net.inputs(features, net.attention(features)), speech, units), None):
        net.zero_grad()
        speech.grad = None
        result = form() if form else textbook(net, features, speech, units)
        (result * weight).sum().backward()
        gradients.append([result.detach(), speech.grad, *(p.grad for p in net.parameters())])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-4)


@pytest.mark.usefixtures("single_precision")
def test_gates_of_one_are_the_plain_decoder() -> None:
    plain = PointDecoder(8, 4, 16, 3)
    with torch.no_grad():
        plain.last.normal_()
    features, condition = torch.randn(50, 8), torch.randn(4)
    gated = plain.gated(torch.cat([features, torch.ones(50, 4)], 1), condition)
    torch.testing.assert_close(gated, plain(features, condition), rtol=1e-4, atol=1e-5)


def test_a_double_precision_gate_has_the_right_gradient() -> None:
    plain = PointDecoder(3, 2, 6, 2).double()
    with torch.no_grad():
        plain.last.normal_()
    inputs = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    condition = torch.randn(2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(plain.gated, (inputs, condition))


def test_attention_that_starts_at_one_hears_the_first_blink() -> None:
    """Grids start near 0: attention does so too as published, and a unit moves next to nothing whatever is learnt."""
    generator = torch.Generator().manual_seed(2)
    features = 1e-4 * torch.randn(100, 36, generator=generator)
    blink = torch.tensor([0.0, 0, 0, 0, 0, 2.0])
    moved = {}
    for start in (0.0, 1.0):
        torch.manual_seed(0)
        net = RegionDecoder(36, 64, 11, start=start)
        with torch.no_grad():
            net.decoder.last.normal_(0, 0.1)
            attention = net.attention(features)
            inputs = net.inputs(features, attention)
            still, shut = (net(inputs, torch.zeros(SPEECH_CODE), units) for units in (0 * blink, blink))
        moved[start] = float((shut - still).abs().mean())
        assert float((attention[1] - start).abs().max()) < 1e-3
    assert moved[1.0] > 100 * moved[0.0]


def test_numbers_of_parameters() -> None:
    net = decoder()

    def count(module: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    assert count(net.decoder) == 9_536
    assert count(net.speech_attention) == 2_176
    assert count(net.upper_face_attention) == 672
    assert count(net.upper_face_net) == 160


def test_upper_face_attention_is_never_negative() -> None:
    _, seen = decoder().attention(torch.randn(100, 36))
    assert seen.shape == (100, UPPER_FACE)
    assert bool((seen >= 0).all())
