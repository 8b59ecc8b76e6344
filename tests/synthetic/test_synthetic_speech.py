"""The shipped speech: its timings against each other and against its sound."""

import numpy as np
import pytest

from talksplat.clock import FRAME_RATE, SAMPLE_RATE, SAMPLES_PER_FRAME
from talksplat.synthetic.articulation import MARKS, TARGETS
from talksplat.synthetic.speech import PAUSE, VOICES, closures, phonemes, speech_of


def loudness(samples: np.ndarray, start_s: float, end_s: float) -> float:
    part = samples[int(start_s * SAMPLE_RATE) : int(end_s * SAMPLE_RATE)].astype(np.float64)
    return float(np.sqrt(np.mean(part**2)))


@pytest.mark.parametrize("voice", VOICES)
def test_phonemes_cover_the_recording_without_gaps(voice):
    speech = speech_of(voice)
    assert len(speech.samples) == speech.frames * SAMPLES_PER_FRAME
    assert speech.phonemes[0].start_s == 0
    assert speech.phonemes[-1].end_s == pytest.approx(speech.frames / FRAME_RATE, abs=1e-3)
    for before, after in zip(speech.phonemes, speech.phonemes[1:], strict=False):
        assert before.end_s == pytest.approx(after.start_s, abs=1e-3)
        assert before.end_s > before.start_s


@pytest.mark.parametrize("voice", VOICES)
def test_every_symbol_has_a_target(voice):
    letters = {letter for phoneme in phonemes(voice) for letter in phoneme.symbol if letter not in MARKS}
    assert letters <= TARGETS.keys()


@pytest.mark.parametrize("voice", VOICES)
def test_timings_agree_with_the_sound(voice):
    speech = speech_of(voice)
    vowels = [loudness(speech.samples, p.start_s, p.end_s) for p in speech.phonemes if p.symbol[0] in "ɑæaɔoʌɛ"]
    pauses = [p for p in speech.phonemes if p.symbol == PAUSE and p.end_s - p.start_s > 0.3]
    voiceless = [c for c in speech.closures if c.symbol == "p"]
    assert len(pauses) >= 3
    assert len(voiceless) >= 3
    for silent in [*pauses, *voiceless]:
        # The first and last hundredth of a second belong to the neighbors' decay and burst.
        level = loudness(speech.samples, silent.start_s + 0.012, silent.end_s - 0.008)
        assert level < 0.12 * np.median(vowels), silent


def test_the_two_voices_say_different_words():
    said = {voice: [p.symbol for p in phonemes(voice)] for voice in VOICES}
    runs = {voice: {tuple(row[i : i + 6]) for i in range(len(row) - 5)} for voice, row in said.items()}
    assert not runs["a"] & runs["b"]


@pytest.mark.parametrize(("voice", "least"), [("a", 40), ("b", 10)])
def test_closures_lie_in_the_recording(voice, least):
    spans = closures(voice)
    assert len(spans) >= least
    assert all(len(span) >= 1 and span[0] >= 0 and span[-1] < speech_of(voice).frames for span in spans)


def test_sound_files_are_small():
    from importlib.resources import files

    folder = files("talksplat") / "assets" / "speech"
    assert sum(len((folder / f"{voice}.flac").read_bytes()) for voice in VOICES) < 500_000
