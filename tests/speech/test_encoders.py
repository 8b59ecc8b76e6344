"""Speech features: independence of chunks, the clock, float64 references, and arrays stored elsewhere."""

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from talksplat.errors import InputError, UnsuitableSpeech
from talksplat.media.audio import read_soundtrack
from talksplat.speech import encoders
from talksplat.speech.encoders import ENCODERS, blocks_with_margins, find_encoder
from talksplat.speech.melbank import hertz_to_mel, mel_to_hertz, slaney_filterbank


def murmur(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise that swells and fades, in the range of speech."""
    count = round(16_000 * seconds)
    swell = 0.1 * (1 + np.sin(2 * np.pi * 3 * np.arange(count) / 16_000))
    return (swell * np.random.default_rng(seed).standard_normal(count)).clip(-1, 1).astype(np.float32)


def cut(samples: np.ndarray, sizes: list[int]):
    at = 0
    for size in sizes:
        yield samples[at : at + size]
        at += size
    yield samples[at:]


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("samples", [1, 639, 640, 641, 16_000, 20_001])
def test_two_steps_for_every_frame_begun(name, samples):
    encoder = find_encoder(name, 1)
    features = encoder.encode(murmur(2.0)[:samples])
    assert features.shape == (2 * -(-samples // 640), encoder.channels)
    assert np.isfinite(features).all()
    assert 0 < encoder.spectral_channels <= encoder.channels


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("sizes", [[1, 700, 30_000], [16_000] * 3, [333] * 150])
def test_chunks_do_not_matter(name, sizes):
    samples = murmur(3.3)
    encoder = find_encoder(name, 1)
    streamed = np.concatenate(list(encoder.encode_chunks(cut(samples, sizes))))
    assert streamed == pytest.approx(encoder.encode(samples), abs=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_features_depend_on_nothing_beyond_the_lookahead(name):
    encoder = find_encoder(name, 1)
    samples = murmur(3.0)
    frame = 30
    changed = samples.copy()
    changed[(frame + 1) * 640 + encoder.lookahead :] = 0.9
    one, other = encoder.encode(samples), encoder.encode(changed)
    steps = 2 * (frame + 1)
    assert other[:steps] == pytest.approx(one[:steps], abs=1e-4)
    assert np.abs(other[-10:] - one[-10:]).max() > 0.1


@pytest.mark.parametrize("name", ENCODERS)
def test_a_shift_by_whole_frames_shifts_the_features(name):
    encoder = find_encoder(name, 1)
    samples = murmur(3.0)
    features = encoder.encode(samples)
    later = encoder.encode(np.concatenate([np.zeros(5 * 640, dtype=np.float32), samples]))
    assert later[10 + 20 :] == pytest.approx(features[20:], abs=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_click_lies_in_its_step(name):
    """The spectrum is loudest at the step in whose middle something sounds."""
    samples = 1e-3 * murmur(2.0)
    step = 51
    samples[step * 320 + 130 : step * 320 + 190] += 0.8
    encoder = find_encoder(name, 1)
    loud = encoder.encode(samples)[:, : encoder.spectral_channels].mean(axis=1)
    assert int(loud.argmax()) == step
    assert loud[step] - max(loud[step - 3], loud[step + 3]) > 0.5


@pytest.mark.parametrize("name", ENCODERS)
def test_silence_is_finite_and_even(name):
    features = find_encoder(name, 1).encode(np.zeros(16_000, dtype=np.float32))
    assert np.isfinite(features).all()
    assert np.ptp(features, axis=0).max() < 1e-4


def test_mel_agrees_with_the_formula_in_float64():
    """Each step by itself: 640 samples around its middle, Hann, DFT of 1,024 as a sum, triangles, logarithm."""
    samples = murmur(0.5)
    features = find_encoder("mel").encode(samples)
    padded = np.pad(samples.astype(np.float64), (160, 160 + -len(samples) % 640))
    n = np.arange(640)
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * n / 640)
    taper *= 2 / taper.sum()
    waves = np.exp(-2j * np.pi * np.outer(np.arange(513), n) / 1024)
    bank = slaney_filterbank(80, 1024, 16_000)
    for step in (0, 1, 13, len(features) - 1):
        power = np.abs(waves @ (padded[320 * step : 320 * step + 640] * taper)) ** 2
        assert features[step] == pytest.approx(np.log10(np.maximum(bank @ power, 1e-10)), abs=2e-4)


def test_full_scale_sine_has_power_one_before_the_bank():
    sine = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    features = find_encoder("mel").encode(sine)[20]
    taper = np.hanning(641)[:-1]
    lobe = np.abs(np.fft.fft(taper, 1024) / taper.sum()) ** 2
    power = np.roll(lobe, 64)[:513]
    assert power[64] == pytest.approx(1)
    expected = slaney_filterbank(80, 1024, 16_000) @ power
    assert 10 ** features.max() == pytest.approx(expected.max(), rel=1e-3)
    assert features.argmax() == expected.argmax()


def test_filterbank_points_of_slaney():
    """1,000 Hz is mel 15 and 6,400 Hz mel 42; every triangle has area 1 over frequency."""
    assert hertz_to_mel(np.array([0.0, 500.0, 1000.0, 6400.0])) == pytest.approx([0, 7.5, 15, 42])
    hertz = np.linspace(0, 8000, 50)
    assert mel_to_hertz(hertz_to_mel(hertz)) == pytest.approx(hertz)
    areas = slaney_filterbank(80, 32_768, 16_000).sum(axis=1) * 16_000 / 32_768
    assert areas == pytest.approx(1, abs=1e-3)


def test_embedding_is_interpolated_between_frame_middles():
    """A step a quarter of a frame before the middle: three parts its own frame's embedding, one the frame before's."""
    encoder = encoders.EmbeddingEncoder(1)
    samples = murmur(3.0)
    features = encoder.encode(samples)
    frame = 30
    whole = np.pad(samples, (11 * 640, 22 * 640))
    rows = encoder.rows(whole)
    windows = np.stack([rows[4 * (m + 11) - 38 : 4 * (m + 11) + 38] for m in range(frame - 1, frame + 2)])
    before, at, after = encoder.embed(windows)
    assert features[2 * frame, 32:] == pytest.approx(0.75 * at + 0.25 * before, abs=1e-3)
    assert features[2 * frame + 1, 32:] == pytest.approx(0.75 * at + 0.25 * after, abs=1e-3)


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(0, 6000), min_size=1, max_size=6).filter(any),
    before=st.integers(0, 2000),
    after=st.integers(0, 2000),
)
def test_blocks_cover_the_sound_once(sizes, before, after):
    chunks = [np.random.default_rng(i).random(size, dtype=np.float32) for i, size in enumerate(sizes)]
    whole = np.concatenate(chunks)
    with mock.patch.object(encoders, "BLOCK_FRAMES", 3):
        blocks = list(blocks_with_margins(chunks, before, after))
    core = np.concatenate([block[before : len(block) - after] for block in blocks])
    assert len(core) == 640 * -(-len(whole) // 640)
    assert np.array_equal(core[: len(whole)], whole)
    assert not core[len(whole) :].any()
    padded = np.concatenate([np.zeros(before, np.float32), core, np.zeros(after, np.float32)])
    at = 0
    for block in blocks:
        assert np.array_equal(block, padded[at : at + len(block)])
        at += len(block) - before - after


def test_memory_does_not_grow_with_length():
    import tracemalloc

    encoder = find_encoder("mel")
    peaks = []
    for seconds in (5, 20):
        tracemalloc.start()
        for _ in encoder.encode_chunks(np.zeros(16_000, dtype=np.float32) for _ in range(seconds)):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize("name", ENCODERS)
def test_empty_speech_is_refused(name):
    with pytest.raises(UnsuitableSpeech, match="0 samples"):
        find_encoder(name).encode(np.zeros(0, dtype=np.float32))


def test_unknown_encoder_lists_the_known_ones():
    with pytest.raises(InputError, match="known: embedding, articulation, mel"):
        find_encoder("hubbert")


@pytest.mark.clips
@pytest.mark.parametrize(("clip", "frames"), [("presenter-german-20s", 499), ("presenter-71s", 400)])
def test_embedding_agrees_with_stored_arrays(clips, clip, frames):
    """Arrays of the same clips made by another program (other resampler, stereo summed 3 dB louder)."""
    path = Path(clips).parent / "speech-lips" / f"{clip}.npz"
    if not path.is_file():
        pytest.skip(f"no stored arrays at {path}")
    stored = np.load(path)
    features = find_encoder("embedding").encode(read_soundtrack(clips / f"{clip}.mp4", frames).samples)
    steps = np.arange(20, 2 * frames - 40)
    rows = stored["mel"].astype(np.float64) - 0.301
    mel = (rows[60 + 2 * steps - 3] + rows[60 + 2 * steps - 2]) / 2
    audible = mel > 4.6
    assert np.abs(features[steps, :32] - mel)[audible].mean() < 0.01
    vectors = stored["embedding"].astype(np.float64)
    even = 0.75 * vectors[10 : frames - 20] + 0.25 * vectors[9 : frames - 21]
    ours = features[20 : 2 * (frames - 20) : 2, 32:]
    correlations = [np.corrcoef(ours[:, k], even[:, k])[0, 1] for k in range(96)]
    assert np.mean(correlations) > 0.98
