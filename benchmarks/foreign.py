"""Foreign voices: avatars say what other people said, and their lips are judged by those people's own.

    python benchmarks/foreign.py AVATAR... --voices PORTRAIT... [--out FILE]

The figure that `talksplat evaluate --foreign` gives, for every avatar with every voice but its own, without the rest of
an evaluation: correlation of the drawn lip opening with that of whoever spoke (first 20 s, block bootstrap). Voices
whose people are in the prior that an avatar was trained with would be told too well: give those of others. Ends with
one line of JSON.
"""

import argparse
import json
import sys
from pathlib import Path

from talksplat.evaluate.foreign import foreign_voices
from talksplat.methods.avatar_file import load_avatar
from talksplat.portrait import Portrait
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.storage import write_json


def main() -> int:
    """Print a row an avatar and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatars", nargs="+", type=Path)
    parser.add_argument("--voices", nargs="+", type=Path, required=True, help="portraits of whoever speaks")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args()
    voices = [Portrait(folder) for folder in given.voices]
    rows = []
    for path in given.avatars:
        saved = load_avatar(path)
        others = [voice for voice in voices if voice.info.provenance.source_sha256 != saved.provenance.source_sha256]
        found = foreign_voices(saved, others, choose_rasterizer("cpu"), Reporter(quiet=True), "cpu", seed=0)
        for voice in found:
            told = voice.correlation
            row = {"avatar": Path(saved.provenance.source).stem, "voice": Path(voice.source).stem}
            row |= {"method": saved.method, "frames": voice.frames, "lag": voice.lag}
            rows.append({**row, "correlation": [told.value, told.low, told.high]})
            print(f"{row['method']:<20} {row['avatar']:<24} says {row['voice']:<24} {told.value:.2f}", flush=True)
    if given.out:
        write_json(given.out, rows)
    print(json.dumps({"benchmark": "foreign", "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
