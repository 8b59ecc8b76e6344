"""Rebuilding the shipped speech: closures found in the sound, phonemes without gaps, the scripts as shipped."""

import ctypes.util

import numpy as np
import pytest

from talksplat.errors import MissingExtra
from talksplat.synthetic.speech import PAUSE, VOICES, Phoneme, speech_of
from talksplat.synthetic.voice import SCRIPTS, joined_pauses, record, silence_before

RATE = 22_050


def tone_then_silence(silent_s: float) -> tuple[np.ndarray, int]:
    """Half a second of tone, silence with some noise, a burst; and the burst's first sample."""
    tone = 8000 * np.sin(np.arange(RATE // 2) * 0.05)
    noise = np.random.default_rng(0).normal(0, 60, int(silent_s * RATE))
    samples = np.concatenate([tone, noise, np.full(400, 3000.0)]).astype(np.int16)
    return samples, len(tone) + len(noise)


@pytest.mark.parametrize("silent_s", [0.03, 0.06, 0.1])
def test_the_closure_before_a_burst_is_found(silent_s):
    samples, burst = tone_then_silence(silent_s)
    start = silence_before(samples, burst, RATE)
    assert (burst - start) / RATE == pytest.approx(silent_s, abs=0.005)


def test_without_silence_or_after_a_pause_the_usual_closure_is_taken():
    samples, burst = tone_then_silence(0.0)
    assert (burst - silence_before(samples, burst, RATE)) / RATE == pytest.approx(0.07, abs=0.001)
    samples, burst = tone_then_silence(0.4)
    assert (burst - silence_before(samples, burst, RATE)) / RATE == pytest.approx(0.07, abs=0.001)
    assert silence_before(samples, 10, RATE) == 0


def test_gaps_become_pauses_and_overlaps_are_cut():
    spoken = [Phoneme(PAUSE, 0.0, 0.4), Phoneme("a", 0.4, 0.6), Phoneme("p", 0.55, 0.7), Phoneme("u", 1.0, 1.2)]
    joined = joined_pauses(spoken, 1.5)
    assert [(p.symbol, p.start_s, p.end_s) for p in joined] == [
        (PAUSE, 0.0, 0.4),
        ("a", 0.4, 0.55),
        ("p", 0.55, 0.7),
        (PAUSE, 0.7, 1.0),
        ("u", 1.0, 1.2),
        (PAUSE, 1.2, 1.5),
    ]


@pytest.mark.parametrize("voice", VOICES)
def test_the_shipped_speech_is_what_the_scripts_give(voice):
    try:
        samples, phonemes, closures = record(SCRIPTS[voice])
    except MissingExtra as error:
        pytest.skip(error.message)
    shipped = speech_of(voice)
    assert [p.symbol for p in phonemes] == [p.symbol for p in shipped.phonemes]
    # Other versions of espeak-ng time their phonemes a little differently.
    assert len(samples) == pytest.approx(len(shipped.samples), rel=0.05)
    assert [c.symbol for c in closures] == [c.symbol for c in shipped.closures]


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(MissingExtra, match="libespeak-ng was not found") as caught:
        record(SCRIPTS["b"])
    assert "install espeak-ng" in caught.value.hint
