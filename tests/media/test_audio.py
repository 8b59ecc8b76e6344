"""Sounds of every kind as 16 kHz mono, on the clock of the picture."""

from fractions import Fraction

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from talksplat.errors import MissingInput, UnreadableMedia, UnsuitableSpeech
from talksplat.media.audio import (
    is_silent,
    loudness,
    opened_sound,
    read_audio,
    read_soundtrack,
    rechunked,
    stream_audio,
)


def tone(hertz: float, seconds: float, rate: int) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def clicks(times: list[float], seconds: float, rate: int) -> np.ndarray:
    samples = np.zeros(round(seconds * rate), dtype=np.float32)
    for time in times:
        at = round(time * rate)
        samples[at : at + rate // 500] = 0.8
    return samples


def click_times(samples: np.ndarray, rate: int = 16_000) -> list[float]:
    """Where sound begins after silence, seconds."""
    loud = np.flatnonzero(np.abs(samples) > 0.3)
    return [float(at) / rate for at in loud[np.r_[True, np.diff(loud) > rate // 20]]] if len(loud) else []


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_any_rate_becomes_16_khz(tmp_path, rate, suffix):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(1000, 1.0, rate), rate, subtype="PCM_24")
    wave = read_audio(path)
    assert wave.rate == 16_000
    assert abs(len(wave.samples) - 16_000) <= 1
    expected = tone(1000, 1.0, 16_000)[: len(wave.samples)]
    assert np.abs(wave.samples - expected)[400:-400].max() < 1e-4


def test_stereo_of_24_bits_is_averaged(tmp_path):
    left, right = tone(440, 1.0, 48_000), tone(880, 1.0, 48_000)
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], axis=1), 48_000, subtype="PCM_24")
    wave = read_audio(tmp_path / "two.wav")
    expected = (tone(440, 1.0, 16_000) + tone(880, 1.0, 16_000)) / 2
    assert np.abs(wave.samples - expected)[400:-400].max() < 1e-4


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_streamed_chunks_equal_the_whole(tmp_path, rate):
    noise = np.random.default_rng(0).uniform(-1, 1, (rate * 5 + 77, 2)) / 2
    soundfile.write(tmp_path / "noise.wav", noise, rate)
    chunks = list(stream_audio(tmp_path / "noise.wav", 3001))
    assert {len(chunk) for chunk in chunks[:-1]} == {3001}
    assert np.array_equal(np.concatenate(chunks), read_audio(tmp_path / "noise.wav").samples)


def test_streaming_takes_constant_memory(tmp_path):
    """A minute or an hour: what is read ahead of the consumer does not grow."""
    import tracemalloc

    peaks = []
    for seconds in (20, 120):
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, np.zeros(seconds * 48_000, dtype=np.int16), 48_000)
        tracemalloc.start()
        for _ in stream_audio(path, 16_000):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


@settings(deadline=None, max_examples=50)
@given(sizes=st.lists(st.integers(0, 50), max_size=20), size=st.integers(1, 30))
def test_rechunking_keeps_the_sound(sizes, size):
    blocks = [np.random.default_rng(i).random((n, 2), dtype=np.float32) for i, n in enumerate(sizes)]
    pieces = list(rechunked(iter(blocks), size))
    assert all(len(piece) == size for piece in pieces[:-1])
    assert all(0 < len(piece) <= size for piece in pieces)
    whole = np.concatenate([np.zeros((0, 2), dtype=np.float32), *blocks])
    assert np.array_equal(np.concatenate([whole[:0], *pieces]), whole)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize(
    ("picture_start", "sound_start"),
    [(0, Fraction(0)), (0, Fraction(3, 10)), (0, Fraction(-3, 10)), (50, Fraction(2)), (50, Fraction(17, 10))],
)
def test_sound_lies_on_the_clock_of_the_picture(tmp_path, write_clip, numbered, suffix, picture_start, sound_start):
    """Clicks at 0.5 s and 1.4 s after the sound's start, wherever picture and sound start in the file."""
    if suffix == "mkv" and sound_start < 0:
        pytest.skip("Matroska has no times before zero")
    path = write_clip(
        tmp_path / f"clip.{suffix}",
        numbered(range(picture_start, picture_start + 50)),
        sound=clicks([0.5, 1.4], 2.0, 16_000),
        sound_start=sound_start,
    )
    wave = read_soundtrack(path, 50)
    assert len(wave.samples) == 50 * 640
    shift = float(sound_start) - picture_start / 25
    assert click_times(wave.samples) == pytest.approx([0.5 + shift, 1.4 + shift], abs=0.0015)


@pytest.mark.parametrize("delay", [2.5, -1.25])
def test_delayed_sound_is_cut_elsewhere_not_filled(tmp_path, write_clip, numbered, delay):
    path = write_clip(tmp_path / "clip.mkv", numbered(range(10, 40)), sound=clicks([0.35, 0.8, 1.65], 2.0, 16_000))
    wave = read_soundtrack(path, 30, delay)
    assert len(wave.samples) == 30 * 640
    wanted = [time - 0.4 + delay / 25 for time in (0.35, 0.8, 1.65)]
    assert click_times(wave.samples) == pytest.approx([time for time in wanted if 0 <= time < 1.2], abs=0.0015)


def test_short_sound_is_padded_and_long_sound_cut(tmp_path, write_clip, numbered):
    short = write_clip(tmp_path / "short.mkv", numbered(range(50)), sound=clicks([0.5], 1.0, 16_000))
    samples = read_soundtrack(short, 50).samples
    assert len(samples) == 32_000
    assert not samples[16_100:].any()
    long = write_clip(tmp_path / "long.mkv", numbered(range(10)), sound=clicks([0.1, 0.9], 1.0, 16_000))
    assert click_times(read_soundtrack(long, 10).samples) == pytest.approx([0.1], abs=0.001)


def test_gaps_in_the_sound_are_silence(tmp_path):
    import av

    path = tmp_path / "gap.mkv"
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for at, samples in ((0, clicks([0.2], 0.5, 16_000)), (16_000, clicks([0.2], 0.5, 16_000))):
            block = (samples[None] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.rate, frame.pts, frame.time_base = 16_000, at, Fraction(1, 16_000)
            container.mux(track.encode(frame))
    wave = read_audio(path)
    assert click_times(wave.samples) == pytest.approx([0.2, 1.2], abs=0.001)


def test_more_channels_than_two_become_mono(tmp_path):
    channels = np.stack([tone(100 * (i + 1), 0.5, 16_000) for i in range(6)], axis=1)
    soundfile.write(tmp_path / "six.wav", channels, 16_000, subtype="FLOAT")
    with opened_sound(tmp_path / "six.wav") as sound:
        assert sound.channels == 1
        read = np.concatenate(list(sound.blocks))
    assert read[:, 0] == pytest.approx(channels.mean(axis=1), abs=1e-6)


def test_loudness_of_a_reference_tone():
    """EBU Tech 3341, case 1: a 1 kHz sine of -23 dBFS in both channels is -23 LUFS; one channel alone is 3 LU less."""
    sine = 10 ** (-23 / 20) * np.sin(2 * np.pi * 1000 * np.arange(48_000 * 5) / 48_000)
    assert loudness(sine.astype(np.float32), 48_000) == pytest.approx(-26.0, abs=0.1)


def test_loudness_is_not_defined_for_silence_and_short_sounds():
    assert loudness(np.zeros(16_000, dtype=np.float32)) is None
    assert loudness(np.zeros(0, dtype=np.float32)) is None
    assert loudness(tone(500, 0.3, 16_000).astype(np.float32)) is None


def test_silence_is_read_as_silence(tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    assert is_silent(read_audio(tmp_path / "silence.wav").samples)
    assert not is_silent(tone(500, 0.1, 16_000).astype(np.float32))


def test_no_such_sound(tmp_path):
    with pytest.raises(MissingInput, match="found nothing"):
        read_audio(tmp_path / "nothing.wav")


def test_not_a_sound(tmp_path):
    (tmp_path / "letter.wav").write_text("Dear Anna, " * 100)
    with pytest.raises(UnreadableMedia, match="neither a sound nor a video"):
        read_audio(tmp_path / "letter.wav")


def test_video_without_sound(tmp_path, write_clip, numbered):
    path = write_clip(tmp_path / "silent.mp4", numbered(range(5)))
    for reader in (read_audio, lambda p: read_soundtrack(p, 5), lambda p: list(stream_audio(p))):
        with pytest.raises(UnreadableMedia, match="has no sound: found video"):
            reader(path)


def test_empty_sound(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    with pytest.raises(UnsuitableSpeech, match="found 0 samples"):
        read_audio(tmp_path / "empty.wav")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_sound_that_is_not_finite(tmp_path, bad):
    samples = tone(500, 1.0, 16_000).astype(np.float32)
    samples[12_000] = bad
    soundfile.write(tmp_path / "bad.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(UnsuitableSpeech, match=r"NaN or infinity at 0\.750 s"):
        read_audio(tmp_path / "bad.wav")


@pytest.mark.clips
def test_real_soundtracks_have_640_samples_a_frame(clips):
    samples = read_soundtrack(clips / "may-13s.mp4", 331).samples
    assert len(samples) == 331 * 640
    assert loudness(samples) == pytest.approx(-19.7, abs=0.5)
