"""The figures of one evaluation, and their form in ``report.json``: every number, nothing but numbers and names."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from talksplat.errors import ArtefactError
from talksplat.metrics.steadiness import Steadiness
from talksplat.metrics.sync import Interval
from talksplat.storage import existing_file, write_json

FORMAT = 1

AVATAR = "avatar"
UNDEFORMED = "deformation off"
NEAREST_POSE = "nearest pose"
NEAREST_SPEECH = "nearest speech"
LINEAR = "linear baseline"
TRUTH = "truth"
BASELINES = (UNDEFORMED, NEAREST_POSE, NEAREST_SPEECH)
"""Pictures that need no learning to speak; each is shown for the frame that the avatar was drawn for."""

AREAS = ("frame", "face", "mouth")


@dataclass(frozen=True)
class Metric:
    """A figure of picture quality."""

    name: str
    title: str
    higher_is_better: bool


PSNR = Metric("psnr", "PSNR, dB", True)
SSIM = Metric("ssim", "SSIM", True)
LPIPS = Metric("lpips", "LPIPS", False)
PERCEPTUAL = Metric("perceptual", "perceptual distance (EfficientNet-Lite0)", False)
METRICS = (PSNR, SSIM, LPIPS, PERCEPTUAL)


@dataclass(frozen=True)
class Subject:
    """What was evaluated, on what."""

    avatar: str
    """File name of the avatar."""
    portrait: str
    """Name of the portrait folder."""
    source: str
    """File name of the video."""
    consent: str
    method: str
    preset: str
    speech_encoder: str
    size: int
    """Edge of the pictures, pixels."""
    train_frames: int
    test_frames: int
    """Frames of the test part."""
    tested: int
    """Usable ones among them, that were drawn and read for lips."""
    judged: int
    """Those among them whose pictures were compared."""


@dataclass(frozen=True)
class Score:
    """Mean of a picture metric over the judged frames."""

    candidate: str
    area: str
    metric: str
    interval: Interval


@dataclass(frozen=True)
class Gain:
    """By how much the avatar beats a baseline on the same frames; positive is better whatever the metric."""

    baseline: str
    area: str
    metric: str
    interval: Interval


@dataclass(frozen=True)
class LipScore:
    """How the lips of one candidate follow the truth."""

    candidate: str
    correlation: Interval
    """Of lip openings, without a shift."""
    best: float
    """The same at the best lag."""
    lag: int
    """Frames by which the candidate is late there."""
    distance: Interval
    """LMD, pixels; NaN for the linear baseline, which has no picture."""
    relative_distance: Interval
    """LMD in percent of the distance of the outer eye corners."""
    faces_missing: int
    """HeldOut frames in whose picture no face was found; they enter no figure of lips or head."""


@dataclass(frozen=True)
class ForeignVoice:
    """How the lips follow another person's speech, by that person's own lips (cross-driven lip correlation)."""

    portrait: str
    """Name of the other person's portrait folder."""
    source: str
    frames: int
    correlation: Interval
    """Of the rendered lip opening with the one that was filmed with this sound."""
    best: float
    lag: int
    """As in :class:`LipScore`."""


@dataclass(frozen=True)
class HeadScore:
    """Steadiness of the head, read by the same tracker."""

    rendered: Steadiness
    true: Steadiness
    added: Steadiness
    """Jitter of the landmarks' error and pulse of the ratio of sizes; the tracker's own tremble is in it twice."""


@dataclass(frozen=True)
class SilenceScore:
    """What the mouth does when nothing is said; openings in distances of the outer eye corners."""

    silent: float
    """Median opening of the avatar driven by silence."""
    closed: float
    """The person's own opening at rest."""
    speaking: float
    """Median true opening in the test part."""
    wide: float
    """95th percentile of the true opening in the test part."""
    frames: int
    """Frames drawn in silence."""
    faces_missing: int


@dataclass(frozen=True)
class EyeScore:
    """How the eyes follow the recorded ones; openings by the person's own median on the test part."""

    correlation: Interval
    """Of the openings on the test part; low where nobody blinks in it."""
    shut: float
    """Median opening of the avatar made to close its eyes as far as the person ever did in the training part."""
    recorded: float
    """The person's own opening in that frame."""
    frames: int
    """Frames drawn with closed eyes."""


@dataclass(frozen=True)
class SpeedScore:
    """What it cost."""

    frames_per_second: float
    """Of drawing (animate, rasterize, compose), from the median time of a frame."""
    median_ms: float
    p95_ms: float
    seconds: float
    """Wall time of the whole evaluation."""
    peak_memory_mb: float
    """Largest resident size of the process."""


@dataclass(frozen=True)
class HeldOut:
    """Per-frame figures of the test part, on its own clock; None where there is no figure."""

    frames: list[int]
    openings: dict[str, list[float]]
    """By candidate, and of the truth."""
    errors: dict[str, list[float]]
    """Of the avatar on the whole frame, by metric; NaN on frames that were not judged."""
    mouth_errors: dict[str, list[float]]
    """The same on the mouth crop."""
    distances: dict[str, list[float]]
    """LMD in percent of the distance of the outer eye corners, by candidate."""
    closed_mouth: float


@dataclass(frozen=True)
class EvaluationReport:
    """Everything that ``report.json`` holds."""

    subject: Subject
    scores: list[Score]
    gains: list[Gain]
    lips: list[LipScore]
    lip_gain: Interval
    """Lip correlation of the avatar less that of the linear baseline, on the same frames."""
    head: HeadScore
    silence: SilenceScore
    eyes: EyeScore
    speed: SpeedScore
    series: HeldOut
    notes: list[str]
    """What could not be measured, and why."""
    machine: dict[str, Any]
    """Versions, processor and command."""
    foreign: list[ForeignVoice] = field(default_factory=list)
    """Other people's speech, where portraits of them were given."""
    format: int = FORMAT

    def score(self, candidate: str, area: str, metric: str) -> Interval | None:
        """One mean, or None where it was not measured."""
        found = [s for s in self.scores if (s.candidate, s.area, s.metric) == (candidate, area, metric)]
        return found[0].interval if found else None

    def gain(self, baseline: str, area: str, metric: str) -> Interval | None:
        """One advantage, or None where it was not measured."""
        found = [g for g in self.gains if (g.baseline, g.area, g.metric) == (baseline, area, metric)]
        return found[0].interval if found else None

    @property
    def foreign_correlation(self) -> float:
        """Mean cross-driven lip correlation; NaN where no other portraits were given."""
        known = [voice.correlation.value for voice in self.foreign if math.isfinite(voice.correlation.value)]
        return sum(known) / len(known) if known else math.nan

    def lip(self, candidate: str) -> LipScore:
        """The lips of one candidate."""
        return next(score for score in self.lips if score.candidate == candidate)


def plain(value: Any) -> Any:
    """A report or a part of it as JSON values; what is not a finite number becomes None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def write_report(path: Path, report: EvaluationReport) -> None:
    """Write ``report.json``."""
    write_json(path, plain(report))


def read_report(path: Path) -> dict[str, Any]:
    """The contents of a ``report.json``.

    Raises:
        MissingInput: no such file.
        ArtefactError: not a report, or of another format number.
    """
    existing_file(path, "report")
    try:
        value = json.loads(Path(path).read_text())
        found = value["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(
            f"`{path}` is not a report: {error!r}",
            hint="make one with `talksplat evaluate AVATAR PORTRAIT --out FOLDER`",
        ) from error
    if found != FORMAT:
        raise ArtefactError(
            f"report `{path}` has format {found}; this version reads format {FORMAT}",
            hint="evaluate the avatar again with this version",
        )
    return value
