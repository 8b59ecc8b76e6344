"""What each part of a method is worth: the same clip trained without it, one table.

    python benchmarks/ablations.py CLIP --method talking-gaussian --out DIR [--set pace=27] [--size 256]

Rows are the method as it is and each of its ablations; every row is a cell of benchmarks/clips.py (its settings say
which), so rows that are there already are read and an interrupted table goes on where it was. ``--set`` and
``--size`` apply to all rows, for a shorter comparison. Ends with one line of JSON: the figures of every row.
"""

import argparse
import json
import sys
from pathlib import Path

from cells import RESULTS, USUAL_SIZE, Cell, lip, score
from clips import DEFAULT_FEATURES, PEOPLE, SPEECH, Job, fill
from version import code_version

from talksplat.report.figures import AVATAR

ABLATIONS = {
    "talking-gaussian": {
        "complete": (),
        "without face/mouth decomposition": ("decompose=false",),
        "without incremental sampling": ("sampling=none",),
        "without fusion": ("fuse_steps=0",),
        "published fusion: colours alone, tiles": ("fuse_rate=0", "patch=0", "fuse_perceptual=0.5"),
        "published grid of the face's motion": ("face_finest=38.4",),
        "published limits of opacity and size": ("faintest=0.05", "faintest_end=0.3", "max_radius=20"),
        "published key colour, green": ("key=green",),
        "published weight of the offsets' size": ("motion=1e-5",),
        "published upper-face units": ("rest_units=zero",),
        "published start of attention to the upper face": ("upper_face_start=0",),
        "attention loss in every step": ("attention_every=1",),
        "without L1 of the eyes' squares": ("eyes=0",),
        "without L1 of the lips' square": ("lips=0",),
    },
    "gaussian-talker": {
        "complete": (),
        "structure alone follows speech": ("offsets=structure",),
        "appearance alone follows speech": ("offsets=appearance",),
        "without eye, viewpoint and null": ("tokens=speech",),
        "one stage instead of two": ("static_steps=0",),
        "opacity and harmonics alone decoded, as released": ("decoded=appearance",),
        "the paper's lips loss": ("lips=0.8", "lips_stages=deformation"),
        "published inputs of tokens": ("token_inputs=published",),
    },
    "gstalker": {
        "complete": (),
        "without perceptual loss": ("perceptual=0",),
        "without lips loss": ("lips=0",),
        "a speech net that goes on learning": ("speech_rate_factor=1",),
        "without the joint finish": ("joint_steps=0",),
    },
}
COLUMNS = ("PSNR", "perceptual", "mouth PSNR", "mouth perceptual", "lips r", "LMD %", "silence", "shut eyes", "train s")


def figures(cell: Cell) -> dict[str, float | None]:
    """A row's figures by column."""
    lips = lip(cell, AVATAR)
    return {
        "PSNR": score(cell, AVATAR, "frame", "psnr"),
        "perceptual": score(cell, AVATAR, "frame", "perceptual"),
        "mouth PSNR": score(cell, AVATAR, "mouth", "psnr"),
        "mouth perceptual": score(cell, AVATAR, "mouth", "perceptual"),
        "lips r": lips["correlation"]["value"],
        "LMD %": lips["relative_distance"]["value"],
        "silence": cell["report"]["silence"]["silent"],
        "shut eyes": cell["report"]["eyes"]["shut"],
        "train s": cell["stages"]["train"]["seconds"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--method", default="talking-gaussian", choices=sorted(ABLATIONS))
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--set", action="append", default=[], help="a setting of all rows, name=value")
    parser.add_argument("--out", type=Path, required=True, help="folder for portraits, avatars, videos and reports")
    parser.add_argument("--portraits", type=Path, help="folder of clips that are prepared already, CLIP/portrait")
    parser.add_argument("--size", type=int, default=USUAL_SIZE, help="edge of the portrait's pictures, pixels")
    parser.add_argument("--speech", type=Path, default=SPEECH, help="sound to speak")
    parser.add_argument("--features", default=DEFAULT_FEATURES, help="speech features that drive the avatar")
    parser.add_argument("--people", type=Path, default=PEOPLE, help="pool of speech and lips for the prior")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of kept cells")
    chosen = parser.parse_args()
    rows = {}
    for name, settings in ABLATIONS[chosen.method].items():
        job = Job(
            clip=chosen.clip,
            method=chosen.method,
            preset=chosen.preset,
            settings=(*chosen.set, *settings),
            version=code_version(),
            size=chosen.size,
            consent="published clip, used for measuring",
            speech=chosen.speech,
            folder=chosen.out,
            features=chosen.features,
            people=chosen.people,
            portraits=chosen.portraits,
        )
        rows[name] = figures(fill(job, chosen.results))
    print("| | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (len(COLUMNS) + 1))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join("–" if row[c] is None else f"{row[c]:.3f}" for c in COLUMNS) + " |")
    about = {"clip": chosen.clip.stem, "size": chosen.size, "method": chosen.method, "features": chosen.features}
    about["settings"] = chosen.set
    print(json.dumps({"benchmark": "ablations", **about, "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
