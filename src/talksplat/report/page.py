"""``report.html``: one file with everything in it, which opens anywhere, in ten years too."""

from __future__ import annotations

import math
from html import escape
from importlib import resources
from pathlib import Path

from talksplat.clock import FRAME_RATE
from talksplat.metrics.sync import Interval
from talksplat.report.figures import (
    AREAS,
    AVATAR,
    BASELINES,
    LINEAR,
    LPIPS,
    METRICS,
    PERCEPTUAL,
    PSNR,
    SSIM,
    TRUTH,
    EvaluationReport,
    Metric,
)
from talksplat.report.gallery import Gallery, cut, data_uri
from talksplat.report.plots import heat_strip, line_plot
from talksplat.report.published import TABLES
from talksplat.storage import write_bytes

PICTURE_EDGE = 320
MOUTH_EDGE = 256
DIGITS = {PSNR.name: 2, SSIM.name: 3, LPIPS.name: 4, PERCEPTUAL.name: 3}


def write_page(path: Path, report: EvaluationReport, gallery: Gallery) -> None:
    """Write the whole page to ``path``; it refers to nothing outside itself."""
    style = (resources.files("talksplat.report") / "page.css").read_text()
    subject = report.subject
    title = f"{subject.avatar} on {subject.portrait}"
    sections = (
        _opening(report),
        _cards(report),
        _contact_sheet(gallery),
        _pictures(report),
        _lips(report),
        _head_and_silence(report, gallery),
        _cost(report),
        _published(report),
        _about(report),
    )
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style></head>'
        f"<body>{''.join(sections)}</body></html>\n"
    )
    write_bytes(path, page.encode())


def number(value: float | None, digits: int = 2) -> str:
    """A figure for reading; a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(found: Interval | None, digits: int = 2) -> str:
    """A figure with its 95 % interval."""
    if found is None or not math.isfinite(found.value):
        return "–"
    if not math.isfinite(found.low):
        return number(found.value, digits)
    return f"{number(found.value, digits)} <small>{number(found.low, digits)} … {number(found.high, digits)}</small>"


def _opening(report: EvaluationReport) -> str:
    subject = report.subject
    seconds = subject.test_frames / FRAME_RATE
    notes = "".join(f"<p>{escape(note)}</p>" for note in report.notes)
    return (
        f"<h1>{escape(subject.avatar)}</h1>"
        f'<p class="quiet">{escape(subject.method)}, preset {escape(subject.preset)}, speech features '
        f"{escape(subject.speech_encoder)}; made from {escape(subject.source)} (consent: {escape(subject.consent)})</p>"
        f"<p>Every figure below is of the last {seconds:.1f} s of the clip ({subject.test_frames} frames), which took "
        f"no part in training on the first {subject.train_frames} frames. {subject.tested} of them could be tracked "
        f"and were drawn; the pictures of {subject.judged} were compared. The lips are driven by the recorded speech, "
        "head and eyes by the recorded track. Small figures are 95 % intervals (block bootstrap, half-second blocks), "
        "figures in parentheses the advantage of the avatar, coloured where its interval leaves no doubt."
        f"</p>{notes}"
    )


def _cards(report: EvaluationReport) -> str:
    own = report.lip(AVATAR)
    cards = (
        (number(_value(report, AVATAR, "frame", PSNR)), "PSNR of the frame, dB"),
        (number(_value(report, AVATAR, "mouth", PSNR)), "PSNR of the mouth, dB"),
        (number(_value(report, AVATAR, "frame", PERCEPTUAL), 3), "perceptual distance of the frame"),
        (
            number(own.correlation.value),
            f"lip correlation (linear baseline {number(report.lip(LINEAR).correlation.value)})",
        ),
        (number(own.relative_distance.value, 1) + " %", "lip distance (LMD) by eye distance"),
        (number(report.speed.frames_per_second, 1), "frames drawn a second"),
    )
    return (
        '<div class="cards">'
        + "".join(f'<div class="card"><b>{a}</b><span>{b}</span></div>' for a, b in cards)
        + "</div>"
    )


def _value(report: EvaluationReport, candidate: str, area: str, metric: Metric) -> float | None:
    found = report.score(candidate, area, metric.name)
    return found.value if found else None


def _contact_sheet(gallery: Gallery) -> str:
    if not gallery.exhibits:
        return ""
    names = [name for name in (TRUTH, AVATAR, *BASELINES) if name in gallery.exhibits[0].pictures]
    cells = [f'<div class="head">{escape(name)}</div>' for name in names]
    for exhibit in gallery.exhibits:
        cells.append(f'<div class="about">frame {exhibit.index}: {escape(exhibit.caption)}</div>')
        for name in names:
            picture = exhibit.pictures[name]
            whole, mouth = data_uri(picture, PICTURE_EDGE), data_uri(cut(picture, exhibit.mouth), MOUTH_EDGE, 90)
            about = f"{name}, frame {exhibit.index}"
            cells.append(f'<figure><img src="{whole}" alt="{about}"><img src="{mouth}" alt="{about}, mouth"></figure>')
    return (
        "<h2>Contact sheet</h2>"
        '<p class="quiet">Held-out frames with the mouth enlarged below. <b>Deformation off</b> is the same avatar '
        "with nothing moved by speech; <b>nearest pose</b> and <b>nearest speech</b> are training frames looked up by "
        "head pose and by sound.</p>"
        f'<div class="sheet" style="grid-template-columns: repeat({len(names)}, 1fr)">{"".join(cells)}</div>'
    )


def _pictures(report: EvaluationReport) -> str:
    measured = [metric for metric in METRICS if report.score(AVATAR, AREAS[0], metric.name)]
    tables = "".join(_area_table(report, area, measured) for area in AREAS)
    strips = "".join(
        heat_strip(metric.title, report.series.errors[metric.name], report.series.frames[0], metric.higher_is_better)
        for metric in measured
        if metric.name in report.series.errors
    )
    return f"<h2>Pictures</h2>{tables}<h3>Where it is worst (whole frame)</h3>{strips}"


def _area_table(report: EvaluationReport, area: str, measured: list[Metric]) -> str:
    head = "".join(f"<th>{metric.title} {'↑' if metric.higher_is_better else '↓'}</th>" for metric in measured)
    rows = []
    for candidate in (AVATAR, *BASELINES):
        cells = "".join(
            f"<td>{interval(report.score(candidate, area, metric.name), DIGITS[metric.name])}"
            f"{_verdict(report.gain(candidate, area, metric.name), DIGITS[metric.name])}</td>"
            for metric in measured
        )
        rows.append(f"{_row(candidate)}<td>{candidate}</td>{cells}</tr>")
    title = {"frame": "Whole frame", "face": "Face", "mouth": "Mouth"}[area]
    return f'<h3>{title}</h3><div class="wide"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'


def _row(candidate: str) -> str:
    return '<tr class="own">' if candidate == AVATAR else "<tr>"


def _verdict(gain: Interval | None, digits: int) -> str:
    """By how much the avatar is better, coloured when the interval leaves no doubt."""
    if gain is None or not math.isfinite(gain.value):
        return ""
    sure = "good" if gain.low > 0 else "bad" if gain.high < 0 else "quiet"
    sign = "+" if gain.value > 0 else ""
    return f' <small class="{sure}" title="advantage of the avatar">({sign}{number(gain.value, digits)})</small>'


def _lips(report: EvaluationReport) -> str:
    rows = []
    for lip in report.lips:
        width = f"{number(lip.distance.value)} px" if math.isfinite(lip.distance.value) else "–"
        late = f"{lip.lag:+d}" if lip.lag else "0"
        rows.append(
            f"{_row(lip.candidate)}<td>{lip.candidate}</td>"
            f"<td>{interval(lip.correlation)}</td><td>{number(lip.best)} at {late}</td><td>{width}</td>"
            f"<td>{interval(lip.relative_distance, 1)}</td><td>{lip.faces_missing}</td></tr>"
        )
    openings, first = report.series.openings, report.series.frames[0]
    shown = {name: openings[name] for name in (TRUTH, AVATAR, LINEAR) if name in openings}
    plot = line_plot(shown, first, "lip opening", {"closed": report.series.closed_mouth})
    return (
        "<h2>Lips</h2>"
        "<p>Correlation of the inner-lip opening with the truth, read from the pictures by the same landmarker. The "
        "linear baseline is ridge regression from the same speech features, fitted on the same training frames: an "
        f"avatar below it has not learned to speak. Difference to it: <b>{interval(report.lip_gain)}</b>.</p>"
        '<div class="wide"><table><tr><th></th><th>correlation ↑</th><th>best, frames late</th><th>LMD ↓</th>'
        f"<th>LMD, % of eye distance ↓</th><th>faces missing</th></tr>{''.join(rows)}</table></div>"
        f"<h3>Lip opening over time, in distances of the outer eye corners</h3>{plot}{_foreign(report)}"
    )


def _foreign(report: EvaluationReport) -> str:
    if not report.foreign:
        return ""
    rows = "".join(
        f"<tr><td>{escape(voice.portrait)} ({escape(voice.source)})</td><td>{interval(voice.correlation)}</td>"
        f"<td>{number(voice.best)} at {voice.lag:+d}</td><td>{voice.frames}</td></tr>"
        for voice in report.foreign
    )
    return (
        "<h3>Other people's speech</h3>"
        "<p>The avatar says what others said; its lip opening is correlated with that of whoever was filmed saying "
        "it. Mean: <b>" + number(report.foreign_correlation) + "</b>.</p>"
        '<div class="wide"><table><tr><th>speech of</th><th>cross-driven lip correlation ↑</th>'
        f"<th>best, frames late</th><th>frames</th></tr>{rows}</table></div>"
    )


def _head_and_silence(report: EvaluationReport, gallery: Gallery) -> str:
    head, silence = report.head, report.silence
    rows = "".join(
        f"<tr><td>{name}</td><td>{number(value.jitter)}</td><td>{number(value.pulse)}</td></tr>"
        for name, value in (("rendered", head.rendered), ("true", head.true), ("of their difference", head.added))
    )
    mouths = "".join(f'<img src="{data_uri(picture, 160, 90)}" alt="mouth in silence">' for picture in gallery.silent)
    return (
        "<h2>Steadiness of the head</h2>"
        '<div class="wide"><table><tr><th></th><th>jitter, px ↓</th><th>size pulse, % ↓</th></tr>'
        f"{rows}</table></div>"
        "<h2>Silence</h2>"
        f"<p>Driven by silence, the median lip opening is <b>{number(silence.silent, 3)}</b>; this person's own at "
        f"rest is {number(silence.closed, 3)}, while speaking {number(silence.speaking, 3)} (95th percentile "
        f"{number(silence.wide, 3)}). {silence.frames} frames, {silence.faces_missing} of them without a face.</p>"
        f'<div class="silent">{mouths}</div>'
        "<h2>Eyes</h2>"
        "<p>The opening of the eyes correlates with the recorded one by "
        f"<b>{number(report.eyes.correlation.value)}</b> (low where nobody blinks). Told to close them as far as this "
        f"person did in the training part, {number(100 * report.eyes.recorded, 0)} % of the usual opening, the avatar "
        f"leaves <b>{number(100 * report.eyes.shut, 0)} %</b>. {report.eyes.frames} frames.</p>"
    )


def _cost(report: EvaluationReport) -> str:
    speed = report.speed
    return (
        "<h2>Cost</h2>"
        f"<p>Drawing a frame takes {number(speed.median_ms, 1)} ms (95th percentile {number(speed.p95_ms, 1)} ms), "
        f"{number(speed.frames_per_second, 1)} frames a second. This evaluation took {number(speed.seconds, 0)} s "
        f"and at most {number(speed.peak_memory_mb, 0)} MB.</p>"
    )


def _published(report: EvaluationReport) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("", "PSNR ↑", "SSIM ↑", "LPIPS ↓", "LMD, px ↓", "training", "FPS ↑"))
    own = (
        f'<tr class="own"><td>this avatar, on this clip</td><td>{number(_value(report, AVATAR, "frame", PSNR))}</td>'
        f"<td>{number(_value(report, AVATAR, 'frame', SSIM), 3)}</td>"
        f"<td>{number(_value(report, AVATAR, 'frame', LPIPS), 4)}</td>"
        f"<td>{number(report.lip(AVATAR).distance.value)}</td><td>–</td>"
        f"<td>{number(report.speed.frames_per_second, 1)}</td></tr>"
    )
    tables = []
    for table in TABLES:
        rows = "".join(
            f"<tr><td>{row.method}</td><td>{row.psnr}</td><td>{row.ssim}</td><td>{row.lpips}</td><td>{row.lmd}</td>"
            f"<td>{row.training}</td><td>{row.frames_per_second}</td></tr>"
            for row in table.rows
        )
        tables.append(
            f'<h3>{table.title}</h3><p class="quiet">{table.data}</p>'
            f'<div class="wide"><table><tr>{head}</tr>{own}{rows}</table></div>'
        )
    return (
        "<h2>Published figures: other data</h2>"
        '<p class="quiet">Copied from the papers, for orientation only: other people, longer videos, graphics cards '
        "and other landmarks (the papers' LMD has 20 mouth points, ours 40). They are no comparison with the figures "
        "above.</p>" + "".join(tables)
    )


def _about(report: EvaluationReport) -> str:
    rows = "".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>" for name, value in report.machine.items()
    )
    return f"<h2>How this was made</h2><dl>{rows}</dl>"
