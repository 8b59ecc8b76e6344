"""The silence gate on constructed sounds, and the rest state."""

import numpy as np
import pytest
import torch

from talksplat.speech.silence import (
    LOOKAHEAD_STEPS,
    SilenceGate,
    gated,
    measure_level,
    rest_features,
    silence_gate,
)


def babble(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    """Syllables of coloured noise, four a second, ``level`` decibels of full scale at their loudest."""
    count = round(16_000 * seconds)
    noise = np.convolve(np.random.default_rng(seed).standard_normal(count + 8), np.ones(8) / 8, mode="valid")[:count]
    swell = np.abs(np.sin(2 * np.pi * 2 * np.arange(count) / 16_000 + 0.4)) ** 0.5
    return 10 ** (level / 20) * swell * noise / noise.std()


def scene(background: float, level: float = -20.0) -> tuple[np.ndarray, np.ndarray]:
    """Pause 0.6 s, speech 2 s, pause 0.5 s, speech 1 s, a lull of 0.12 s, speech 1 s, pause 0.8 s; and what is said."""
    parts = [(0.6, False), (2.0, True), (0.5, False), (1.0, True), (0.12, False), (1.0, True), (0.8, False)]
    sound = [
        babble(seconds, level, i) if said else np.zeros(round(16_000 * seconds))
        for i, (seconds, said) in enumerate(parts)
    ]
    said = np.concatenate([np.full(round(50 * seconds), said) for seconds, said in parts])
    samples = np.concatenate(sound)
    noise = 10 ** (background / 20) * np.random.default_rng(9).standard_normal(len(samples))
    return (samples + noise).astype(np.float32), said


@pytest.mark.parametrize("background", [-120.0, -70.0, -55.0, -45.0])
@pytest.mark.parametrize("level", [-35.0, -20.0, -10.0])
def test_pauses_are_silent_and_speech_is_not(background, level):
    if level - background < 20:
        pytest.skip("speech drowned in noise is not told from it")
    samples, said = scene(background, level)
    gate = silence_gate(samples)
    steps = len(said)
    assert gate.min() >= 0
    assert gate.max() == pytest.approx(1)
    at = np.arange(steps)
    inside = np.array([not said[max(0, i - 8) : i + 9].any() for i in at])
    assert gate[:steps][inside].min() > 0.99
    assert gate[:steps][said].mean() < 0.03


def test_a_short_lull_is_not_silence():
    samples, _ = scene(-70.0)
    lull = slice(round(50 * 4.1), round(50 * 4.22))
    assert not silence_gate(samples)[lull].any()


def test_ramps_are_smooth_and_end_where_speech_begins():
    samples, said = scene(-70.0)
    gate = silence_gate(samples)[: len(said)]
    assert np.abs(np.diff(gate)).max() < 0.31
    onset = 30
    assert said[onset]
    assert not said[onset - 1]
    assert gate[onset - 6] == pytest.approx(1)
    assert gate[onset + 1 : onset + 50].max() == 0


def test_level_does_not_matter():
    samples, _ = scene(-60.0)
    assert np.abs(silence_gate(samples) - silence_gate(samples / 8)).mean() < 0.01


def test_hum_does_not_hide_a_pause():
    samples, said = scene(-80.0, level=-22.0)
    hum = 0.02 * np.sin(2 * np.pi * 40 * np.arange(len(samples)) / 16_000)
    gate = silence_gate((samples + hum).astype(np.float32))
    assert gate[10:25].min() > 0.99
    assert gate[: len(said)][said].mean() < 0.03


def test_speech_without_pauses_is_never_gated():
    samples = (babble(6.0, -20.0) + 1e-3 * np.random.default_rng(1).standard_normal(96_000)).astype(np.float32)
    assert not silence_gate(samples)[2:-2].any()


@pytest.mark.parametrize("samples", [np.zeros(32_000), 1e-4 * np.random.default_rng(0).standard_normal(32_000)])
def test_a_recording_without_speech_is_all_silent(samples):
    assert silence_gate(samples.astype(np.float32)) == pytest.approx(1)


@pytest.mark.parametrize("samples", [1, 640, 641, 12_345])
def test_two_steps_for_every_frame_begun(samples):
    assert len(silence_gate(np.full(samples, 0.1, dtype=np.float32))) == 2 * -(-samples // 640)


@pytest.mark.parametrize("size", [100, 320, 999, 16_000])
def test_stream_equals_the_whole_and_keeps_to_its_lookahead(size):
    samples, _ = scene(-60.0)
    chunks = [samples[at : at + size] for at in range(0, len(samples), size)]
    gate = SilenceGate(measure_level(iter(chunks)))
    parts, given_steps = [], 0
    for i, chunk in enumerate(chunks):
        parts.append(gate.push(chunk))
        given_steps += len(parts[-1])
        whole_steps = min(len(samples), (i + 1) * size) // 320
        assert given_steps >= whole_steps - LOOKAHEAD_STEPS - 1
    parts.append(gate.finish())
    assert np.array_equal(np.concatenate(parts), silence_gate(samples))


def test_rest_is_the_mean_of_closed_and_silent_frames():
    features = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    opening = torch.linspace(1, 2, 100)
    gate = torch.zeros(200)
    opening[40:50], gate[80:100] = 0.1, 1.0
    opening[60:65] = 0.0
    assert torch.allclose(rest_features(features, opening, gate), features[80:100].mean(dim=0))


def test_rest_without_silence_is_the_mean_of_the_most_closed_frames():
    features = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    opening = torch.linspace(1, 2, 100)
    opening[[7, 31, 60, 61, 99]] = 0.0
    closed = torch.tensor([14, 15, 62, 63, 120, 121, 122, 123, 198, 199])
    assert torch.allclose(rest_features(features, opening, torch.zeros(200)), features[closed].mean(dim=0))


def test_gated_features_blend():
    features, rest = torch.randn(4, 3), torch.tensor([1.0, 2.0, 3.0])
    blended = gated(features, torch.tensor([0.0, 1.0, 0.5, 0.0]), rest)
    assert torch.equal(blended[[0, 3]], features[[0, 3]])
    assert torch.allclose(blended[1], rest)
    assert torch.allclose(blended[2], (features[2] + rest) / 2)
