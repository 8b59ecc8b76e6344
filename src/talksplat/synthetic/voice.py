"""Rebuild the shipped speech: ``python -m talksplat.synthetic.voice FOLDER``. Needs espeak-ng 1.51 or later installed.

The sound and the phonemes' positions in it come from the callback of libespeak-ng's synthesis. Plosives without voice
are reported at their burst; the silence before it, in which the lips or tongue are shut, is found in the samples.
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int16

from talksplat.clock import SAMPLE_RATE, SAMPLES_PER_FRAME
from talksplat.errors import MissingExtra
from talksplat.storage import replacing, write_bytes
from talksplat.synthetic.speech import PAUSE, VOICES, Phoneme, Voice

RATE_PARAMETER, PITCH_PARAMETER, RANGE_PARAMETER = 1, 3, 4
PHONEME_EVENT = 7
SYNCHRONOUS, WITH_PHONEMES, PHONEMES_AS_IPA, UTF8 = 2, 1, 2, 1
LONGEST_CLOSURE_S, USUAL_CLOSURE_S = 0.16, 0.07
BLOCK_S, QUIET = 0.004, 0.1
"""Loudness is judged in blocks; those below this share of the loudest before the burst are silent."""


@dataclass(frozen=True)
class Script:
    """Who speaks, and what."""

    speaker: str
    """espeak-ng's voice and variant."""
    words_per_minute: int
    pitch: int
    """0 to 100."""
    sentences: tuple[str, ...]
    pauses_s: tuple[float, ...]
    """Silence after each sentence, taken in turn."""


SCRIPTS: dict[Voice, Script] = {
    "a": Script(
        speaker="en-us",
        words_per_minute=163,
        pitch=42,
        sentences=(
            "My name is Pam, or maybe Bob: I am made of numbers.",
            "People keep asking how a puppet moves its mouth.",
            "Pack my bag with apples, please, before the boat departs.",
            "We saw a blue moon above the calm bay.",
            "Would you prefer warm coffee, or a simple bowl of soup?",
            "Both of my boys enjoy the open air in summer.",
            "Look, a purple bumblebee!",
        ),
        pauses_s=(0.6, 0.5, 0.7, 0.55),
    ),
    "b": Script(
        speaker="en-gb-x-rp+f2",
        words_per_minute=166,
        pitch=55,
        sentences=(
            "Every morning the baker opens his window and hums.",
            "Beautiful shapes appear on paper, and move about.",
            "Could you come home for supper?",
        ),
        pauses_s=(0.6, 0.5),
    ),
}


class _Identity(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """``espeak_EVENT`` of speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Synthesizer:
    """libespeak-ng, called from one thread."""

    def __init__(self) -> None:
        """Load the library.

        Raises:
            MissingExtra: espeak-ng is not installed.
        """
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise MissingExtra(
                "the library libespeak-ng was not found; rebuilding the shipped speech needs it",
                hint="install espeak-ng with the system's package manager; using the shipped speech needs nothing",
            )
        self._library = ctypes.CDLL(name)
        self.rate: int = self._library.espeak_Initialize(SYNCHRONOUS, 0, None, WITH_PHONEMES | PHONEMES_AS_IPA)
        self._callback = _Callback(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)
        self._chunks: list[Int16[np.ndarray, " samples"]] = []
        self._events: list[tuple[int, str]] = []

    def choose(self, script: Script) -> None:
        """Take the script's voice, speed and pitch."""
        if self._library.espeak_SetVoiceByName(script.speaker.encode()):
            raise ValueError(f"espeak-ng has no voice `{script.speaker}`")
        self._library.espeak_SetParameter(RATE_PARAMETER, script.words_per_minute, 0)
        self._library.espeak_SetParameter(PITCH_PARAMETER, script.pitch, 0)
        self._library.espeak_SetParameter(RANGE_PARAMETER, 60, 0)

    def speak(self, sentence: str) -> tuple[Int16[np.ndarray, " samples"], list[tuple[int, str]]]:
        """The sound of ``sentence`` at :attr:`rate`, and (first sample, IPA symbol) of every phoneme."""
        self._chunks, self._events = [], []
        text = sentence.encode()
        self._library.espeak_Synth(text, len(text) + 1, 0, 1, 0, UTF8, None, None)
        return np.concatenate(self._chunks), self._events

    def _collect(self, samples, count, events) -> int:
        if samples and count:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type:
            if events[index].type == PHONEME_EVENT:
                symbol = bytes(events[index].id.string).split(b"\0")[0].decode(errors="ignore")
                self._events.append((events[index].sample, symbol))
            index += 1
        return 0


def silence_before(samples: Int16[np.ndarray, " samples"], sample: int, rate: int) -> int:
    """The first sample of the silence that ends at ``sample``: where the closure of a voiceless plosive begins.

    A plosive after a pause has no closure of its own in the sound; the usual length is taken.
    """
    block = int(BLOCK_S * rate)
    blocks = min(int(LONGEST_CLOSURE_S * rate), sample) // block
    before = samples[sample - blocks * block : sample].astype(np.float64).reshape(blocks, block)
    level = np.sqrt((before**2).mean(1))
    loud = np.flatnonzero(level > QUIET * level.max(initial=1.0))
    silent = blocks - 1 - int(loud[-1]) if len(loud) else 0
    return max(0, sample - (silent * block if silent else int(USUAL_CLOSURE_S * rate)))


def phonemes_of_sentence(
    samples: Int16[np.ndarray, " samples"], events: list[tuple[int, str]], rate: int
) -> Iterator[tuple[Phoneme, float]]:
    """Every phoneme with the time of its release: bursts of plosives, the end of all others."""
    starts = [silence_before(samples, sample, rate) if symbol.startswith("p") else sample for sample, symbol in events]
    ends = [*starts[1:], len(samples)]
    for (sample, symbol), start, end in zip(events, starts, ends, strict=True):
        release = sample if symbol.startswith("p") else end
        if end > start:
            yield Phoneme(symbol or PAUSE, start / rate, end / rate), release / rate


def record(script: Script) -> tuple[Float[np.ndarray, " samples"], list[Phoneme], list[Phoneme]]:
    """Speak a script: 16 kHz samples in whole frames, phonemes, and closures of p, b and m."""
    import soxr

    synthesizer = Synthesizer()
    synthesizer.choose(script)
    rate = synthesizer.rate
    sound = [np.zeros(int(0.4 * rate), np.float32)]
    phonemes = [Phoneme(PAUSE, 0.0, 0.4)]
    closures: list[Phoneme] = []
    for number, sentence in enumerate(script.sentences):
        offset = sum(map(len, sound)) / rate
        samples, events = synthesizer.speak(sentence)
        for phoneme, release in phonemes_of_sentence(samples, events, rate):
            moved = Phoneme(phoneme.symbol, phoneme.start_s + offset, phoneme.end_s + offset)
            phonemes.append(moved)
            if phoneme.symbol[0] in "pbm":
                closures.append(Phoneme(phoneme.symbol[0], moved.start_s, release + offset))
        pause = script.pauses_s[number % len(script.pauses_s)]
        sound += [samples.astype(np.float32) / 32768, np.zeros(int(pause * rate), np.float32)]
    resampled = soxr.resample(np.concatenate(sound), rate, SAMPLE_RATE)
    whole = np.pad(resampled, (0, -len(resampled) % SAMPLES_PER_FRAME))
    return 0.5 * whole / np.abs(whole).max(), joined_pauses(phonemes, len(whole) / SAMPLE_RATE), closures


def joined_pauses(phonemes: list[Phoneme], end_s: float) -> list[Phoneme]:
    """The phonemes without gaps or overlaps up to ``end_s``: every one ends where the next begins, gaps are pauses."""
    spoken = [phoneme for phoneme in phonemes if phoneme.symbol != PAUSE]
    joined: list[Phoneme] = []
    before = 0.0
    for phoneme, following in zip(spoken, [*spoken[1:], Phoneme(PAUSE, end_s, end_s)], strict=True):
        if phoneme.start_s > before:
            joined.append(Phoneme(PAUSE, before, phoneme.start_s))
        before = min(phoneme.end_s, following.start_s)
        joined.append(Phoneme(phoneme.symbol, phoneme.start_s, before))
    return [*joined, Phoneme(PAUSE, before, end_s)]


def write_voice(folder: Path, voice: Voice) -> None:
    """Write ``VOICE.flac`` and ``VOICE.json`` (phonemes and closures as [symbol, start, end], seconds)."""
    import soundfile

    samples, phonemes, closures = record(SCRIPTS[voice])
    with replacing(folder / f"{voice}.flac") as temporary:
        soundfile.write(temporary, samples, SAMPLE_RATE, subtype="PCM_16", format="FLAC", compression_level=1.0)
    rows = {
        "script": asdict(SCRIPTS[voice]),
        "phonemes": [[p.symbol, round(p.start_s, 4), round(p.end_s, 4)] for p in phonemes],
        "closures": [[p.symbol, round(p.start_s, 4), round(p.end_s, 4)] for p in closures],
    }
    text = ",\n ".join(f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in rows.items())
    write_bytes(folder / f"{voice}.json", f"{{{text}}}\n".encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the FLAC and JSON files go: src/talksplat/assets/speech")
    for name in VOICES:
        write_voice(parser.parse_args().folder, name)
