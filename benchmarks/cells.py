"""Finished cells of benchmarks/clips.py: one clip, method, preset and code version each, read and judged.

A cell is what `talksplat evaluate` reported, every series included, beside the time and memory of each stage.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from talksplat.metrics.sync import Interval, difference_interval
from talksplat.report.figures import AVATAR, LINEAR, NEAREST_POSE, NEAREST_SPEECH, TRUTH, UNDEFORMED

RESULTS = Path(__file__).parent / "results" / "clips"
STAGES = ("prepare", "train", "speak", "evaluate")
LIP_CLIPS = ("may-13s", "lieu-45s", "presenter-71s")
"""Clips whose lips must follow the speech, each by itself and all three together."""
USUAL_SIZE = 512
LEAST_CORRELATION = 0.5
LEAST_CLOSED = 0.5
"""Share of the way from the usual opening to the person's own closed eyes that the avatar's must go."""
MOST_OPEN = 0.02
"""How much wider than the own closed mouth it may stand open in silence, distances of the outer eye corners."""
LEAST_POOLED_DIFFERENCE = -0.1
"""Lower bound of the pooled correlation less that of the linear baseline."""

Cell = dict[str, Any]


def score(cell: Cell, candidate: str, area: str, metric: str) -> float | None:
    """Mean of a picture metric over the judged frames; None where it was not measured."""
    found = score_interval(cell, candidate, area, metric)
    return None if found is None else found["value"]


def score_interval(cell: Cell, candidate: str, area: str, metric: str) -> dict[str, float] | None:
    """The same as value, low and high."""
    for found in cell["report"]["scores"]:
        if (found["candidate"], found["area"], found["metric"]) == (candidate, area, metric):
            return found["interval"]
    return None


def lip(cell: Cell, candidate: str) -> dict[str, Any]:
    """Lip figures of one candidate."""
    return next(found for found in cell["report"]["lips"] if found["candidate"] == candidate)


def verdicts(cell: Cell) -> dict[str, bool]:
    """Whether each bar is met on one clip; a figure that was not measured meets none."""
    found = {}
    for area, metric, baselines in (
        ("frame", "psnr", (NEAREST_POSE, NEAREST_SPEECH)),
        ("frame", "perceptual", (NEAREST_POSE, NEAREST_SPEECH)),
        ("mouth", "psnr", (UNDEFORMED,)),
        ("mouth", "perceptual", (UNDEFORMED,)),
    ):
        sign = 1 if metric == "psnr" else -1
        own = score(cell, AVATAR, area, metric)
        rivals = [score(cell, baseline, area, metric) for baseline in baselines]
        found[f"{area}_{metric}"] = own is not None and all(r is not None and sign * (own - r) > 0 for r in rivals)
    eyes = cell["report"].get("eyes")  # Older cells have no figure of eyes.
    if eyes is not None:
        shut, recorded = eyes["shut"], eyes["recorded"]
        found["eyes"] = None not in (shut, recorded) and 1 - shut >= LEAST_CLOSED * (1 - recorded)
    silent, closed = cell["report"]["silence"]["silent"], cell["report"]["silence"]["closed"]
    found["silence"] = silent is not None and silent <= closed + MOST_OPEN
    if cell["clip"] in LIP_CLIPS:
        reached = lip(cell, AVATAR)["correlation"]["value"]
        found["lip_correlation"] = reached is not None and reached >= LEAST_CORRELATION
    return found


def pooled_difference(cells: list[Cell]) -> Interval | None:
    """Lip correlation less that of the linear baseline over the three lip clips together; None until all are there."""
    chosen = [cell for cell in cells if cell["clip"] in LIP_CLIPS]
    if {cell["clip"] for cell in chosen} != set(LIP_CLIPS):
        return None
    avatar, linear, truth = ([opening(cell, name) for cell in chosen] for name in (AVATAR, LINEAR, TRUTH))
    return difference_interval(avatar, linear, truth)


def opening(cell: Cell, name: str) -> np.ndarray:
    """Lip opening on the held-out frames, drawn by a candidate; NaN where no face was found."""
    return _numbers(cell["report"]["series"]["openings"][name])


def by_frame(cell: Cell, what: str, name: str) -> np.ndarray | None:
    """One series of the held-out frames, NaN where there is no figure; None where an older cell does not keep it."""
    values = cell["report"]["series"].get(what, {}).get(name)
    return None if values is None else _numbers(values)


def _numbers(values: list[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values])


COLUMNS = (
    *("clip", "prepare s", "train s", "speak s", "evaluate s", "peak MB", "FPS"),
    *("PSNR / pose / speech", "perceptual / pose / speech", "mouth PSNR / off", "mouth perceptual / off"),
    *("lips r / linear", "lag", "LMD %", "silent / closed", "shut eyes / true", "jitter / true", "missed"),
)


def row(cell: Cell) -> list[str]:
    """A clip's line of the table."""
    stages, report = cell["stages"], cell["report"]
    own = lip(cell, AVATAR)
    eyes = report.get("eyes", {"shut": None, "recorded": None})

    def several(area: str, metric: str, digits: int, *candidates: str) -> str:
        return " / ".join(_text(score(cell, name, area, metric), digits) for name in (AVATAR, *candidates))

    return [
        cell["clip"],
        *(_text(stages[stage]["seconds"] if stage in stages else None, 0) for stage in STAGES),
        _text(max(stage["peak_memory_mb"] for stage in stages.values()), 0),
        _text(report["speed"]["frames_per_second"], 1),
        several("frame", "psnr", 2, NEAREST_POSE, NEAREST_SPEECH),
        several("frame", "perceptual", 3, NEAREST_POSE, NEAREST_SPEECH),
        several("mouth", "psnr", 2, UNDEFORMED),
        several("mouth", "perceptual", 3, UNDEFORMED),
        f"{_text(own['correlation']['value'], 2)} / {_text(lip(cell, LINEAR)['correlation']['value'], 2)}",
        str(own["lag"]),
        _text(own["relative_distance"]["value"], 1),
        f"{_text(report['silence']['silent'], 3)} / {_text(report['silence']['closed'], 3)}",
        f"{_text(eyes['shut'], 2)} / {_text(eyes['recorded'], 2)}",
        f"{_text(report['head']['rendered']['jitter'], 2)} / {_text(report['head']['true']['jitter'], 2)}",
        ", ".join(name for name, met in verdicts(cell).items() if not met) or "none",
    ]


def _text(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def line(cell: Cell) -> dict[str, Any]:
    """A clip's JSON line: every figure of its cell, without the series."""
    figures = {name: value for name, value in cell["report"].items() if name not in ("series", "subject")}
    return {**cell, "report": figures, "verdicts": verdicts(cell)}


def summary(cells: list[Cell], failed: list[str]) -> dict[str, Any]:
    """The last line: bars by clip, the pooled one, and whether all that could be judged are met."""
    pooled = pooled_difference(cells)
    bars = {cell["clip"]: verdicts(cell) for cell in cells}
    met = [all(found.values()) for found in bars.values()]
    if pooled is not None:
        met.append(pooled.low >= LEAST_POOLED_DIFFERENCE)
    return {
        "benchmark": "clips",
        "clips": [cell["clip"] for cell in cells],
        "versions": sorted({cell["version"] for cell in cells}),
        "verdicts": bars,
        "pooled_lip_difference": None if pooled is None else [pooled.value, pooled.low, pooled.high],
        "failed": failed,
        "passed": bool(met) and all(met) and not failed,
    }


def kept_cells(
    results: Path,
    *,
    method: str,
    preset: str,
    features: str,
    settings: Iterable[str] = (),
    size: int = USUAL_SIZE,
    version: str = "",
) -> dict[str, Cell]:
    """Kept cells of one method, preset and settings by clip: of this code version, else the newest."""
    newest: dict[str, Cell] = {}
    wanted = method, preset, features, list(settings), size
    for path in sorted(results.glob("*.json")):
        cell = json.loads(path.read_text())
        found = cell["method"], cell["preset"], cell.get("features", "embedding"), cell["settings"], cell["size"]
        if found == wanted:
            rank = (cell["version"] == version, cell["date"])
            other = newest.get(cell["clip"])
            if other is None or rank > (other["version"] == version, other["date"]):
                newest[cell["clip"]] = cell
    return {clip: newest[clip] for clip in sorted(newest)}


def show(cells: list[Cell], failed: list[str]) -> int:
    """Print the table, a JSON line a clip and the last JSON line; the exit code is 1 when a clip failed."""
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for cell in cells:
        print("| " + " | ".join(row(cell)) + " |")
    for cell in cells:
        print(json.dumps(line(cell)))
    print(json.dumps(summary(cells, failed)))
    return 1 if failed else 0
