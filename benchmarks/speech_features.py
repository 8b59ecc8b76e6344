"""Two kinds of speech features side by side, from kept cells of benchmarks/clips.py: does articulation speak better?

    python benchmarks/speech_features.py [--methods gstalker gaussian-talker] [--preset quick]

Rows are the clips of which cells with both features are kept (the newest of each). Lip correlation, mouth landmark
distance and perceptual distance of the mouth crop on held-out frames; the differences of lip correlation are pooled
over clips up to 20 s and over longer ones (paired block bootstrap in blocks of 12 frames). Nothing is trained. Ends
with one line of JSON.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import clips

from talksplat.clock import FRAME_RATE
from talksplat.metrics.sync import difference_interval
from talksplat.report.figures import AVATAR, TRUTH

FEATURES = ("embedding", "articulation")
SHORT = 20.5
"""Seconds of the longest clip that counts as short."""


def figures(cell: clips.Cell) -> dict[str, float | None]:
    """What is compared of a cell."""
    lips = clips.lip(cell, AVATAR)
    return {
        "lip correlation": lips["correlation"]["value"],
        "LMD %": lips["relative_distance"]["value"],
        "mouth perceptual": clips.score(cell, AVATAR, "mouth", "perceptual"),
    }


def seconds(cell: clips.Cell) -> float:
    """Length of the clip."""
    subject = cell["report"]["subject"]
    return (subject["train_frames"] + subject["test_frames"]) / FRAME_RATE


def pairs_of(results: Path, method: str, preset: str) -> dict[str, tuple[clips.Cell, clips.Cell]]:
    """The newest cells of a method with either features, for clips that have both."""
    newest: dict[tuple[str, str], clips.Cell] = {}
    for path in sorted(results.glob("*.json")):
        cell = json.loads(path.read_text())
        features = cell.get("features", FEATURES[0])
        if (cell["method"], cell["preset"], cell["settings"]) == (method, preset, []) and features in FEATURES:
            other = newest.get((cell["clip"], features))
            if other is None or cell["date"] > other["date"]:
                newest[cell["clip"], features] = cell
    names = {clip for clip, _ in newest if all((clip, features) in newest for features in FEATURES)}
    return {clip: (newest[clip, FEATURES[0]], newest[clip, FEATURES[1]]) for clip in sorted(names)}


def gain(pairs: list[tuple[clips.Cell, clips.Cell]]) -> list[float] | None:
    """Pooled lip correlation with articulation less that with the embedding alone, and its interval."""
    if not pairs:
        return None
    plain, told = ([clips.opening(pair[n], AVATAR) for pair in pairs] for n in (0, 1))
    found = difference_interval(told, plain, [clips.opening(pair[0], TRUTH) for pair in pairs])
    return [found.value, found.low, found.high]


def compared(pairs: dict[str, tuple[clips.Cell, clips.Cell]]) -> dict[str, Any]:
    """Figures by clip and the pooled differences."""
    short = {clip: seconds(pair[0]) <= SHORT for clip, pair in pairs.items()}
    return {
        "clips": {clip: dict(zip(FEATURES, map(figures, pair), strict=True)) for clip, pair in pairs.items()},
        "gain_up_to_20_s": gain([pair for clip, pair in pairs.items() if short[clip]]),
        "gain_on_longer": gain([pair for clip, pair in pairs.items() if not short[clip]]),
    }


def _text(row: dict[str, dict[str, float | None]], name: str) -> str:
    values = (row[features][name] for features in FEATURES)
    return " / ".join("–" if value is None else f"{value:.3f}" for value in values)


def main() -> int:
    """Print a table a method and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["gstalker", "gaussian-talker"])
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--results", type=Path, default=clips.RESULTS, help="folder of kept cells")
    given = parser.parse_args()
    found = {method: compared(pairs_of(given.results, method, given.preset)) for method in given.methods}
    for method, result in found.items():
        for clip, row in result["clips"].items():
            told = "   ".join(f"{name} {_text(row, name)}" for name in row[FEATURES[0]])
            print(f"{method:<18} {clip:<26} {told}")
    print(json.dumps({"benchmark": "speech_features", "features": FEATURES, "methods": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
