"""Offsets between sound and picture, and foreign sounds, on real portraits, by priors that have not seen the speaker.

    python benchmarks/offsets.py PORTRAIT... --pool DIR [--same lieu-45s=office-man-60s] [--out FILE]

The sound of every portrait is shifted by known amounts and the offset estimated again; then every portrait's lips are
given every other one's sound. A pool's clip named like the portrait's source, or as --same says, is left out. Ends with
one line of JSON: worst error of a shift (frames), lowest agreement of an own and highest of a foreign sound.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from talksplat.clock import SAMPLES_PER_FRAME
from talksplat.portrait import Portrait
from talksplat.prior.fit import fit_prior
from talksplat.prior.offset import AvOffset, av_offset
from talksplat.prior.pool import read_pool
from talksplat.progress import Reporter
from talksplat.speech.encoders import find_encoder
from talksplat.speech.prior import ENCODER, ArticulationPrior
from talksplat.speech.standardization import Standardization
from talksplat.storage import write_json

SHIFTS = (-5.0, -2.4, -0.7, 0.7, 2.4, 5.0)
"""Frames; the recordings' own offsets come on top, and 8 is the search's reach."""


SAME_PERSON = {"lieu-45s": "office-man-60s"}
"""Clips whose person is in the pool under another name."""


def offset_of(sound: np.ndarray, portrait: Portrait, frames: int, prior: ArticulationPrior) -> AvOffset:
    """Offset of the portrait's first ``frames`` lips against a sound."""
    raw = find_encoder(ENCODER).encode(sound[: frames * SAMPLES_PER_FRAME])
    tracks = portrait.tracks
    mouth = np.where(tracks.usable.numpy()[:frames, None], tracks.mouth.numpy()[:frames], np.nan)
    return av_offset(Standardization.of(raw).apply(raw), mouth, prior)


def delayed(sound: np.ndarray, frames: float) -> np.ndarray:
    """The sound later by ``frames``, silence in the gap: lips that were on time are then early by as much."""
    samples = round(frames * SAMPLES_PER_FRAME)
    padded = np.pad(sound, (max(samples, 0), max(-samples, 0)))
    return padded[max(-samples, 0) :][: len(sound)]


def priors_without(people: Sequence[str], pool: Path) -> list[ArticulationPrior]:
    """A prior for each, fitted without all clips of whoever is in the clip of that name."""
    clips, fitted = read_pool(pool), dict[tuple[str, ...], ArticulationPrior]()
    found = []
    for name in people:
        left_out = {clip.person for clip in clips if clip.name == name} | {name}
        kept = [clip for clip in clips if clip.person not in left_out]
        key = tuple(clip.name for clip in kept)
        if key not in fitted:
            fitted[key] = fit_prior(kept, 0, Reporter(quiet=True))
        found.append(fitted[key])
    return found


def strangers(description: str | None) -> tuple[dict[str, tuple[Portrait, ArticulationPrior]], Path | None]:
    """From the command line: portraits by their source's name, each with a prior without its person; and --out."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portraits", nargs="+", type=Path)
    parser.add_argument("--pool", type=Path, required=True)
    same = [f"{clip}={name}" for clip, name in SAME_PERSON.items()]
    parser.add_argument("--same", nargs="*", default=same)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    portraits = [Portrait(path) for path in given.portraits]
    names = [Path(portrait.info.provenance.source).stem for portrait in portraits]
    same = dict(pair.split("=") for pair in given.same)
    priors = priors_without([same.get(name, name) for name in names], given.pool)
    return dict(zip(names, zip(portraits, priors, strict=True), strict=True)), given.out


def main() -> None:
    """Print a row a clip and one line of JSON."""
    clips, out = strangers(__doc__)
    names, portraits, priors = list(clips), *zip(*clips.values(), strict=True)
    sounds = [portrait.audio() for portrait in portraits]
    rows, foreign = [], []
    print(f"{'clip':<28} {'late':>6} {'agrees':>7} {'stands out':>11}   errors at shifts of {SHIFTS}")
    for name, portrait, sound, prior in zip(names, portraits, sounds, priors, strict=True):
        own = offset_of(sound, portrait, len(portrait), prior)
        found = [offset_of(delayed(sound, shift), portrait, len(portrait), prior) for shift in SHIFTS]
        errors = [one.lips_late_frames + shift - own.lips_late_frames for one, shift in zip(found, SHIFTS, strict=True)]
        told = " ".join(f"{error:+.2f}" for error in errors)
        print(
            f"{name:<28} {own.lips_late_frames:6.2f} {own.agreement:7.2f} {own.prominence:11.2f}   {told}", flush=True
        )
        rows.append({"clip": name, **vars(own), "errors": errors, "foreign": own.is_foreign})
        for other, heard in zip(names, sounds, strict=True):
            if other != name:
                frames = min(len(portrait), len(heard) // SAMPLES_PER_FRAME)
                judged = offset_of(heard, portrait, frames, prior)
                foreign.append({"lips": name, "sound": other, **vars(judged), "foreign": judged.is_foreign})
    for row in sorted(foreign, key=lambda row: -row["agreement"])[:5]:
        print(f"lips of {row['lips']} to the sound of {row['sound']}: agreement {row['agreement']:.2f}")
    result = {
        "worst_error": max(abs(error) for row in rows for error in row["errors"]),
        "lowest_own": min(row["agreement"] for row in rows),
        "highest_foreign": max(row["agreement"] for row in foreign) if foreign else None,
        "own_called_foreign": sum(row["foreign"] for row in rows),
        "foreign_called_own": sum(not row["foreign"] for row in foreign),
    }
    if out:
        write_json(out, {**result, "clips": rows, "pairs": foreign})
    print(json.dumps(result))


if __name__ == "__main__":
    main()
