"""Two kinds of speech features side by side, from kept cells of benchmarks/clips.py: does articulation speak better?

    python benchmarks/speech_features.py [--methods gstalker gaussian-talker] [--preset quick]

Rows are the clips of which cells with both features are kept (the newest of each). Lip correlation, mouth landmark
distance and perceptual distance of the mouth crop on held-out frames; the differences of lip correlation are pooled
over clips up to 20 s and over longer ones (paired block bootstrap in blocks of 12 frames), those of the two distances
are averaged over clips, paired as well, or with the interval of unpaired figures where an older cell keeps no distance
by frame. Nothing is trained. Ends with one line of JSON.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cells import RESULTS, Cell, by_frame, kept_cells, lip, opening, score, score_interval

from talksplat.clock import FRAME_RATE
from talksplat.metrics.sync import difference_interval, mean_difference_interval
from talksplat.report.figures import AVATAR, PERCEPTUAL, TRUTH

FEATURES = ("embedding", "articulation")
SHORT = 20.5
"""Seconds of the longest clip that counts as short."""


def figures(cell: Cell) -> dict[str, float | None]:
    """What is compared of a cell."""
    lips = lip(cell, AVATAR)
    return {
        "lip correlation": lips["correlation"]["value"],
        "LMD %": lips["relative_distance"]["value"],
        "mouth perceptual": score(cell, AVATAR, "mouth", PERCEPTUAL.name),
    }


def seconds(cell: Cell) -> float:
    """Length of the clip."""
    subject = cell["report"]["subject"]
    return (subject["train_frames"] + subject["test_frames"]) / FRAME_RATE


def pairs_of(results: Path, method: str, preset: str) -> dict[str, tuple[Cell, Cell]]:
    """The newest cells of a method with either features, for clips that have both."""
    plain, told = (kept_cells(results, method=method, preset=preset, features=features) for features in FEATURES)
    return {clip: (plain[clip], told[clip]) for clip in plain if clip in told}


def gain(pairs: list[tuple[Cell, Cell]]) -> list[float] | None:
    """Pooled lip correlation with articulation less that with the embedding alone, and its interval."""
    if not pairs:
        return None
    plain, told = ([opening(pair[n], AVATAR) for pair in pairs] for n in (0, 1))
    found = difference_interval(told, plain, [opening(pair[0], TRUTH) for pair in pairs])
    return [found.value, found.low, found.high]


def change(
    pairs: list[tuple[Cell, Cell]],
    series: Callable[[Cell], np.ndarray | None],
    interval: Callable[[Cell], dict[str, float] | None],
) -> list[float] | None:
    """Mean over clips of a distance with articulation less that with the embedding alone, and its interval.

    Paired by frame where every cell keeps the distance by frame; else of independent figures, which is wider.
    """
    plain, told = ([kept for pair in pairs if (kept := series(pair[n])) is not None] for n in (0, 1))
    if pairs and len(plain) == len(told) == len(pairs):
        paired = mean_difference_interval(told, plain)
        return [paired.value, paired.low, paired.high]
    found = [(before, after) for before, after in (map(interval, pair) for pair in pairs) if before and after]
    if not found:
        return None
    mean = sum(after["value"] - before["value"] for before, after in found) / len(found)
    half = math.hypot(*((each["high"] - each["low"]) / 2 for pair in found for each in pair)) / len(found)
    return [mean, mean - half, mean + half]


def pooled(pairs: list[tuple[Cell, Cell]]) -> dict[str, list[float] | None]:
    """Differences over several clips together."""
    return {
        "lip correlation": gain(pairs),
        "LMD %": change(
            pairs,
            lambda cell: by_frame(cell, "distances", AVATAR),
            lambda cell: lip(cell, AVATAR)["relative_distance"],
        ),
        "mouth perceptual": change(
            pairs,
            lambda cell: by_frame(cell, "mouth_errors", PERCEPTUAL.name),
            lambda cell: score_interval(cell, AVATAR, "mouth", PERCEPTUAL.name),
        ),
    }


def compared(pairs: dict[str, tuple[Cell, Cell]]) -> dict[str, Any]:
    """Figures by clip and the pooled differences."""
    short = {clip: seconds(pair[0]) <= SHORT for clip, pair in pairs.items()}
    return {
        "clips": {clip: dict(zip(FEATURES, map(figures, pair), strict=True)) for clip, pair in pairs.items()},
        "up to 20 s": pooled([pair for clip, pair in pairs.items() if short[clip]]),
        "longer": pooled([pair for clip, pair in pairs.items() if not short[clip]]),
    }


def _text(row: dict[str, dict[str, float | None]], name: str) -> str:
    values = (row[features][name] for features in FEATURES)
    return " / ".join("–" if value is None else f"{value:.3f}" for value in values)


def _difference(found: list[float] | None) -> str:
    return "–" if found is None else f"{found[0]:+.3f} ({found[1]:+.3f} to {found[2]:+.3f})"


def main() -> int:
    """Print a table a method and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["gstalker", "gaussian-talker"])
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of kept cells")
    given = parser.parse_args()
    found = {method: compared(pairs_of(given.results, method, given.preset)) for method in given.methods}
    for method, result in found.items():
        for clip, row in result["clips"].items():
            told = "   ".join(f"{name} {_text(row, name)}" for name in row[FEATURES[0]])
            print(f"{method:<18} {clip:<26} {told}")
        for which in ("up to 20 s", "longer"):
            told = "   ".join(f"{name} {_difference(found)}" for name, found in result[which].items())
            print(f"{method:<18} {which + ', difference':<26} {told}")
    print(json.dumps({"benchmark": "speech_features", "features": FEATURES, "methods": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
