"""The speech nets hold the lineage's parameter counts; codes behave as their formulas say."""

import math

import pytest
import torch

from talksplat.model.conditioning import (
    TOLD_GAIN,
    SpeechChannels,
    SpeechNet,
    SpeechWindowNet,
    WindowAttention,
    frequency_code,
)
from talksplat.speech.windows import windows_of_frames


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_are_the_published_ones() -> None:
    assert parameters(SpeechWindowNet(29)) == 30_720
    assert parameters(WindowAttention()) == 2_149


def test_attention_is_a_weighted_mean() -> None:
    code = torch.randn(1, 1, 32).expand(3, 8, 32)
    assert torch.allclose(WindowAttention()(code), code[:, 0], atol=1e-6)


def test_a_batch_is_its_items() -> None:
    net, speech = SpeechNet(SpeechChannels(12)), torch.randn(4, 8, 12, 16)
    assert torch.allclose(net(speech)[2], net(speech[2:3])[0], atol=1e-5)


def test_what_is_told_of_an_instant_is_the_beginning_of_its_code() -> None:
    net = SpeechNet(SpeechChannels(12, told=3))
    features = torch.randn(200, 12)
    codes = net(windows_of_frames(features, torch.arange(20, 80)))
    assert codes.shape == (60, 32)
    frames = features[40:160].reshape(60, 2, 12).mean(1)
    assert torch.allclose(codes[:, :3], TOLD_GAIN * frames[:, 9:])
    assert parameters(net.window_net) == parameters(SpeechWindowNet(9)) - 3 * 65


def test_the_net_itself_does_not_hear_what_is_told() -> None:
    net, speech = SpeechNet(SpeechChannels(12, told=3)), torch.randn(4, 8, 12, 16)
    other = torch.cat([speech[:, :, :9], torch.randn(4, 8, 3, 16)], 2)
    assert torch.equal(net(speech)[:, 3:], net(other)[:, 3:])
    assert not torch.equal(net(speech)[:, :3], net(other)[:, :3])


def test_a_net_that_trusts_what_is_told_adds_nothing_until_it_learns() -> None:
    net, speech, wanted = SpeechNet(SpeechChannels(12, told=3)), torch.randn(4, 8, 12, 16), torch.randn(4, 29)
    before = net(speech)
    net.trust_what_is_told()
    after = net(speech)
    assert torch.equal(after[:, :3], before[:, :3])
    assert (after[:, 3:] == 0).all()
    (after[:, 3:] * wanted).sum().backward()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.grad is not None:
                parameter += 0.1 * parameter.grad
    assert ((net(speech)[:, 3:] * wanted).sum() > 0).item()


def test_what_adds_nothing_does_not_run_unless_it_may_learn() -> None:
    net, speech, runs = SpeechNet(SpeechChannels(12, told=3)), torch.randn(4, 8, 12, 16), []
    net.window_net.register_forward_hook(lambda *_: runs.append(1))
    with torch.no_grad():
        assert net(speech)[:, 3:].any()
        net.trust_what_is_told()
        assert len(runs) == 1
        silent = net(speech)
    assert len(runs) == 1
    assert torch.equal(net(speech), silent)
    assert len(runs) == 2
    with torch.no_grad():
        net.window_net.linear[-1].bias[5] = 1.0
        assert net(speech)[:, 3:].any()


def test_frequency_code_opens_from_coarse_to_fine() -> None:
    values = torch.tensor([0.3, -0.1])
    full = frequency_code(values, 6)
    assert full.shape == (24,)
    assert full[0].item() == pytest.approx(math.sin(0.3 * math.pi), abs=1e-6)
    assert full[5].item() == pytest.approx(math.sin(0.3 * math.pi * 32), abs=1e-4)
    assert (frequency_code(values, 6, 0.0) == 0).all()
    half = frequency_code(values, 6, 0.5).reshape(2, 2, 6)
    assert (half[..., 3:] == 0).all()
    assert torch.equal(half[..., :3], full.reshape(2, 2, 6)[..., :3])
