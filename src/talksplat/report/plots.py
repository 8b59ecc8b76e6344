"""Plots of series over time as inline SVG; colours come from the page's style, so they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from talksplat.clock import FRAME_RATE

WIDTH, HEIGHT = 960.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 8.0, 10.0, 26.0
STRIP_HEIGHT = 28.0
Values = Sequence[float]
"""One number a frame; NaN breaks the line."""


def line_plot(series: Mapping[str, Values], first: int, unit: str, guides: Mapping[str, float] | None = None) -> str:
    """Lines over time, one a name, each with the class ``line-N`` and a legend below; guides are dashed levels.

    ``first`` is the number of the first frame in the clip; time is written in seconds of the clip.
    """
    guides = guides or {}
    known = [value for values in (*series.values(), list(guides.values())) for value in values if math.isfinite(value)]
    if not known:
        return "<p>nothing to plot</p>"
    low, high = min(*known, 0.0), max(known) * 1.05 or 1.0
    count = max(len(values) for values in series.values())
    place = _Place(low, high, count)
    parts = [_value_axis(place, unit), _time_axis(place, first, HEIGHT - BOTTOM)]
    for name, level in guides.items():
        y = place.y(level)
        parts.append(f'<line class="guide" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{y - 3:.1f}" text-anchor="end">{name}</text>')
    parts += [f'<path class="line line-{n}" d="{_path(place, values)}"/>' for n, values in enumerate(series.values())]
    names = "".join(f'<span><i class="key key-{n}"></i>{name}</span>' for n, name in enumerate(series))
    return (
        f'<figure><svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{", ".join(series)} over time">'
        f"{''.join(parts)}</svg><figcaption>{names}</figcaption></figure>"
    )


def heat_strip(name: str, values: Values, first: int, higher_is_better: bool) -> str:
    """One cell a judged frame, the darker the worse; cells tell frame and value when pointed at.

    A cell reaches to the next judged frame. The scale ends at the 2nd and 98th percentile, so that one bad frame does
    not hide the others.
    """
    known = [frame for frame, value in enumerate(values) if math.isfinite(value)]
    if not known:
        return ""
    ordered = sorted(values[frame] for frame in known)
    low, high = ordered[round(0.02 * (len(known) - 1))], ordered[round(0.98 * (len(known) - 1))]
    scale = (WIDTH - LEFT - RIGHT) / len(values)
    cells = []
    for frame, following in zip(known, [*known[1:], len(values)], strict=True):
        part = min(max((values[frame] - low) / (high - low), 0.0), 1.0) if high > low else 0.0
        badness = 1 - part if higher_is_better else part
        cells.append(
            f'<rect class="heat" x="{LEFT + frame * scale:.2f}" y="2" width="{(following - frame) * scale + 0.3:.2f}" '
            f'height="{STRIP_HEIGHT:.0f}" fill-opacity="{0.04 + 0.96 * badness:.3f}">'
            f"<title>frame {first + frame}: {values[frame]:.3f}</title></rect>"
        )
    place = _Place(0.0, 1.0, len(values))
    height = STRIP_HEIGHT + 24
    return (
        f'<figure><svg viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" aria-label="{name} by frame">{"".join(cells)}'
        f"{_time_axis(place, first, STRIP_HEIGHT + 4)}</svg>"
        f"<figcaption>{name} over time, {ordered[0]:.2f} to {ordered[-1]:.2f}; darker is worse</figcaption></figure>"
    )


class _Place:
    """Where frames and values lie in the drawing."""

    def __init__(self, low: float, high: float, count: int) -> None:
        self.low, self.high, self.count = low, high, count

    def x(self, frame: float | int) -> float:
        return LEFT + (frame + 0.5) / self.count * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def _path(place: _Place, values: Values) -> str:
    commands, pen = [], "M"
    for frame, value in enumerate(values):
        if math.isfinite(value):
            commands.append(f"{pen}{place.x(frame):.1f} {place.y(value):.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(commands)


def _value_axis(place: _Place, unit: str) -> str:
    step = _round_step((place.high - place.low) / 4)
    lines = []
    for n in range(math.ceil(place.low / step), math.floor(place.high / step) + 1):
        y = place.y(n * step)
        lines.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{n * step:.3g}</text>'
        )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return (
        "".join(lines)
        + f'<text class="tick" text-anchor="middle" transform="translate(11 {middle}) rotate(-90)">{unit}</text>'
    )


def _time_axis(place: _Place, first: int, y: float) -> str:
    step = _round_step(place.count / FRAME_RATE / 8)
    start, stop = first / FRAME_RATE, (first + place.count) / FRAME_RATE
    labels = []
    for n in range(math.ceil(start / step), math.floor(stop / step) + 1):
        x = place.x(n * step * FRAME_RATE - first - 0.5)
        labels.append(f'<text class="tick" x="{x:.1f}" y="{y + 17:.1f}" text-anchor="middle">{n * step:.4g} s</text>')
    return "".join(labels)


def _round_step(rough: float) -> float:
    """The least of 1, 2, 5 times a power of ten that is not below ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
