"""Lips on p, b and m: an avatar of the synthetic speaker says what was filmed, and what it never heard.

    python benchmarks/closures.py --out DIR [--size 256] [--seconds 24.12] [--method gstalker] [--set name=value ...]

Films the drawn speaker, prepares, trains the method's quick preset (with the settings given), and reads the lips of
the avatar speaking with both voices, whose phoneme times are known exactly. Lips count as closed up to a quarter of
the way from the 5th to the 95th percentile of the avatar's own opening. Ends with one line of JSON: closures within a
frame, of how many, by voice; the mouth's opening and width on open and spread vowels.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import soundfile

from talksplat.clock import FRAME_RATE, SAMPLE_RATE
from talksplat.evaluate.spoken import spoken_mouth
from talksplat.methods.avatar_file import load_avatar
from talksplat.metrics.sync import closed_threshold, closure_errors
from talksplat.prepare.pipeline import PrepareConfig, prepare
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.synthetic.speaker import SyntheticSpeaker
from talksplat.synthetic.speech import VOICES, speech_of
from talksplat.train.loop import train
from talksplat.train.options import TrainOptions

VOWELS = {"open": ("ɑː", "æ", "aʊ"), "rounded": ("uː", "ʊ", "oʊ", "əʊ"), "spread": ("iː", "i", "ɪ")}


def make_avatar(folder: Path, size: int, seconds: float, given: TrainOptions) -> Path:
    """Film, prepare and train; what is there already is kept."""
    reporter, video, avatar = Reporter(), folder / "speaker.mp4", folder / "speaker.avatar"
    if not video.exists():
        SyntheticSpeaker(size=size).write_video(video, reporter, seconds)
    # Drawn lips are exactly in time, and do not begin early as those of people do, whom the offset's estimate expects.
    prepare(video, folder / "portrait", PrepareConfig(consent="a drawn speaker", size=size, av_offset=0.0), reporter)
    if not avatar.exists():
        train(folder / "portrait", avatar, given, choose_rasterizer("cpu"), reporter)
    return avatar


def main() -> None:
    """Print a line a voice and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=24.12)
    parser.add_argument("--method", default="gstalker")
    parser.add_argument("--speech", default=TrainOptions().speech, help="speech features that drive the avatar")
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = TrainOptions(method=options.method, speech=options.speech, settings=tuple(options.set), resume=True)
    avatar = make_avatar(options.out, options.size, options.seconds, wanted)
    saved, found = load_avatar(avatar), {}
    for voice in VOICES:
        speech = speech_of(voice)
        sound = options.out / f"{voice}.wav"
        soundfile.write(sound, speech.samples, SAMPLE_RATE)
        mouth = spoken_mouth(saved, sound, choose_rasterizer("cpu"), Reporter())
        spans = [(c.start_s * FRAME_RATE, c.end_s * FRAME_RATE) for c in speech.closures]
        errors = closure_errors(mouth[:, 0], spans, closed_threshold(mouth[:, 0], 0.25))
        shapes = {}
        for kind, symbols in VOWELS.items():
            frames = [
                round((p.start_s + p.end_s) / 2 * FRAME_RATE - 0.5) for p in speech.phonemes if p.symbol in symbols
            ]
            shapes[kind] = [round(float(value), 3) for value in np.nanmean(mouth[frames, :2], 0)] if frames else None
        found[voice] = {"within_a_frame": int((errors <= 1).sum()), "closures": len(errors), "vowels": shapes}
        print(f"voice {voice}: {found[voice]}")
    print(
        json.dumps(
            {"benchmark": "closures", "method": options.method, "speech": saved.speech_encoder, **found},
            ensure_ascii=False,
        )
    )


if __name__ == "__main__":
    main()
