"""The whole way once: a clip, a portrait, an avatar, new speech, a report. All of it lands in one folder.

Without a clip of the user's, the drawn synthetic speaker is filmed with one voice and made to speak with another that
it has never heard. Its video goes through the same preparation as any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from talksplat.errors import UnsuitableClip
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import Rasterizer
from talksplat.storage import replacing

T = TypeVar("T")

SYNTHETIC_CONSENT = "a drawn speaker; no person is shown"
FILMED_VOICE = "a"
NEW_VOICE = "b"


@dataclass(frozen=True)
class DemoConfig:
    """What a demo may differ in."""

    video: Path | None = None
    """The user's clip, or None for the synthetic speaker."""
    consent: str = ""
    """How the person in it agreed; required with ``video``."""
    audio: Path | None = None
    """Speech to say, or None for the synthetic voice that was not filmed."""
    method: str = "gstalker"
    preset: str = "quick"
    device: Literal["cpu", "cuda"] = "cpu"
    size: int = 512
    """Edge of the pictures, pixels."""
    seconds: float | None = 16.0
    """How long the synthetic speaker is filmed; None for all it has to say."""
    settings: tuple[str, ...] = ()
    """Settings of the method that differ from the preset, as name=value."""


def demonstrate(out: Path, config: DemoConfig, rasterizer: Rasterizer, reporter: Reporter) -> dict[str, Any]:
    """Leave ``speech.mp4``, ``speech.png``, ``report.html``, ``report.json`` and all before them in ``out``.

    Returns:
        Where things are, the seconds of every stage, and the report's headline figures.

    Raises:
        UnsuitableClip: a clip without a statement of consent; and what the stages raise.
    """
    if config.video is not None and not config.consent.strip():
        raise UnsuitableClip(
            f"no consent was stated for `{config.video}`; expected how the person in it agreed",
            hint='add CONSENT="own recording" to make demo, or --consent to talksplat demo',
        )
    from talksplat.evaluate import EvaluationOptions, evaluate
    from talksplat.prepare.pipeline import PrepareConfig, prepare
    from talksplat.speak import SpeakConfig, speak
    from talksplat.train.loop import train
    from talksplat.train.options import TrainOptions

    seconds: dict[str, float] = {}

    def timed(stage: str, work: Callable[[], T]) -> T:
        reporter.note(f"== {stage}")
        began = time.perf_counter()
        result = work()
        seconds[stage] = round(time.perf_counter() - began, 1)
        return result

    clip = config.video or timed("film", lambda: film_synthetic_speaker(out / "speaker.mp4", config, reporter))
    audio = config.audio or synthetic_speech(out / "new-speech.wav")
    portrait, avatar = out / clip.stem, out / f"{clip.stem}.avatar"
    preparation = PrepareConfig(
        consent=config.consent or SYNTHETIC_CONSENT,
        size=config.size,
        av_offset=None if config.video else 0.0,  # The drawn lips do not run ahead of their sounds as people's do.
    )
    options = TrainOptions(
        method=config.method, preset=config.preset, device=config.device, resume=True, settings=config.settings
    )
    driving, judging = SpeakConfig(device=config.device), EvaluationOptions(device=config.device)
    timed("prepare", lambda: prepare(clip, portrait, preparation, reporter))
    timed("train", lambda: train(portrait, avatar, options, rasterizer, reporter))
    spoken = timed("speak", lambda: speak(avatar, audio, out / "speech.mp4", driving, rasterizer, reporter))
    figures = timed("evaluate", lambda: evaluate(avatar, portrait, out, rasterizer, reporter, judging))
    return {"video": spoken.video, "preview": spoken.preview, "seconds": seconds, **figures}


def film_synthetic_speaker(path: Path, config: DemoConfig, reporter: Reporter) -> Path:
    """Write the video of the synthetic speaker, unless it is there already."""
    from talksplat.synthetic.speaker import SyntheticSpeaker

    if not path.is_file():
        SyntheticSpeaker(voice=FILMED_VOICE, size=config.size).write_video(path, reporter, config.seconds)
    return path


def synthetic_speech(path: Path) -> Path:
    """Write the sound of the voice that was not filmed, and some silence after it to see the mouth close."""
    import numpy as np
    import soundfile

    from talksplat.clock import SAMPLE_RATE
    from talksplat.synthetic.speech import speech_of

    samples = np.concatenate([speech_of(NEW_VOICE).samples, np.zeros(SAMPLE_RATE, np.float32)])
    with replacing(path) as temporary:
        soundfile.write(temporary, samples, SAMPLE_RATE, subtype="PCM_16", format="WAV")
    return path
