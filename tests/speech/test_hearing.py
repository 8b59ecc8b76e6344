from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from talksplat.errors import MissingInput, UnsuitableSpeech
from talksplat.progress import Reporter
from talksplat.speech.encoders import MelEncoder, find_encoder
from talksplat.speech.hearing import Hearing
from talksplat.speech.silence import gated, silence_gate
from talksplat.speech.standardization import Standardization
from talksplat.speech.windows import windows_of

QUIET = Reporter(quiet=True)


def babble(seconds: float, rate: int = 16_000, seed: int = 3) -> np.ndarray:
    """A buzz whose pitch and loudness wander, silent from 1 s to 2 s."""
    times = np.arange(round(seconds * rate)) / rate
    chance = np.random.default_rng(seed)
    loud = 0.2 + 0.2 * np.sin(7 * times) ** 2
    sound = loud * np.sin(2 * np.pi * 150 * times + 5 * np.sin(3 * times)) + 1e-4 * chance.normal(size=len(times))
    sound[(times > 1) & (times < 2)] *= 1e-3
    return sound.astype(np.float32)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "babble.wav"
    soundfile.write(path, babble(4.21), 16_000, subtype="FLOAT")
    return path


@pytest.mark.parametrize("name", ["mel", "embedding"])
def test_streamed_windows_equal_those_of_the_whole_recording(recording: Path, name: str) -> None:
    encoder = find_encoder(name)
    hearing = Hearing.of(recording, encoder, QUIET)
    raw = encoder.encode(babble(4.21))
    features = torch.from_numpy(Standardization.of(raw).apply(raw))
    streamed = list(hearing.windows(None))
    assert hearing.frames == len(streamed) == 106  # 4.21 s are 105.25 frames.
    for frame in (0, 1, 50, 104, 105):
        torch.testing.assert_close(streamed[frame], windows_of(features, frame), atol=1e-4, rtol=1e-4)


def test_with_a_rest_state_silence_is_heard_as_rest_and_so_is_all_beyond_the_sound(recording: Path) -> None:
    encoder = MelEncoder()
    rest = torch.linspace(-1, 1, encoder.channels)
    hearing = Hearing.of(recording, encoder, QUIET)
    raw, samples = encoder.encode(babble(4.21)), babble(4.21)
    features = torch.from_numpy(Standardization.of(raw).apply(raw))
    steps = gated(features, torch.from_numpy(silence_gate(samples)), rest)
    padded = torch.cat([rest.repeat(40, 1), steps, rest.repeat(40, 1)])
    streamed = list(hearing.windows(rest))
    assert len(streamed) == hearing.frames
    for frame, windows in enumerate(streamed):
        torch.testing.assert_close(windows, windows_of(padded, frame + 20), atol=1e-4, rtol=1e-4)
    in_the_pause = streamed[37]  # 1.5 s
    torch.testing.assert_close(in_the_pause[4, :, 7:9], rest[:, None].repeat(1, 2), atol=1e-6, rtol=0)


def test_rate_and_channels_of_the_file_make_no_difference(tmp_path: Path) -> None:
    encoder = MelEncoder()
    heard = []
    for rate, channels in ((16_000, 1), (48_000, 2), (44_100, 1)):
        path = tmp_path / f"{rate}.wav"
        times = np.arange(2 * rate) / rate
        tone = 0.3 * np.sin(2 * np.pi * (200 + 300 * times) * times)
        soundfile.write(path, np.stack([tone] * channels, 1), rate, subtype="FLOAT")
        heard.append(torch.stack(list(Hearing.of(path, encoder, QUIET).windows(None))))
    assert heard[0].shape == heard[1].shape == heard[2].shape == (50, 8, 80, 16)
    for other in heard[1:]:
        assert float((heard[0][5:45] - other[5:45])[:, :, :60].abs().mean()) < 0.03


def test_silence_alone_is_all_rest(tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    rest = torch.full((80,), 0.7)
    for windows in Hearing.of(path, MelEncoder(), QUIET).windows(rest):
        assert torch.equal(windows, torch.full_like(windows, 0.7))


def test_empty_and_broken_sound_is_refused_on_the_first_pass(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    with pytest.raises(UnsuitableSpeech, match="empty"):
        Hearing.of(tmp_path / "empty.wav", MelEncoder(), QUIET)
    sound = babble(1.0)
    sound[8000] = np.nan
    soundfile.write(tmp_path / "nan.wav", sound, 16_000, subtype="FLOAT")
    with pytest.raises(UnsuitableSpeech, match=r"NaN or infinity at 0\.500 s"):
        Hearing.of(tmp_path / "nan.wav", MelEncoder(), QUIET)
    with pytest.raises(MissingInput):
        Hearing.of(tmp_path / "nobody.wav", MelEncoder(), QUIET)
