"""``talksplat evaluate``: an avatar and its portrait in, a report out."""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from talksplat.dataset import PortraitDataset, split_frames
from talksplat.errors import PortraitError
from talksplat.evaluate import summary
from talksplat.evaluate.areas import squares
from talksplat.evaluate.baselines import nearest_poses, nearest_speech
from talksplat.evaluate.faces import FaceReader, Tracker
from talksplat.evaluate.foreign import foreign_voices, open_foreign
from talksplat.evaluate.judges import Judge, find_judges
from talksplat.evaluate.machine import describe_machine
from talksplat.evaluate.observations import Observations, Plan, observe
from talksplat.evaluate.painter import AvatarPainter, Painter
from talksplat.methods.avatar_file import SavedAvatar, load_avatar, refuse_strangers
from talksplat.portrait import Portrait
from talksplat.prepare.face import FaceTracker
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import Rasterizer
from talksplat.report import EvaluationReport, write_page, write_report
from talksplat.report.figures import (
    AVATAR,
    BASELINES,
    LINEAR,
    PERCEPTUAL,
    PSNR,
    TRUTH,
    HeldOut,
    SpeedScore,
    Subject,
)
from talksplat.report.gallery import Gallery, contact_sheet
from talksplat.speech.baseline import fit_lip_baseline
from talksplat.speech.encoders import find_encoder
from talksplat.speech.windows import WINDOWS_BEFORE, windows_of
from talksplat.storage import replacing

LEAST_TESTED = 10
"""Fewer usable test frames give no figures worth a name."""


@dataclass(frozen=True)
class EvaluationOptions:
    """How thoroughly an avatar is evaluated."""

    judged: int = 100
    """Most test frames whose pictures are compared, evenly spread; lips and head are read in all of them."""
    shown: int = 6
    """Frames of the contact sheet, from closed lips to the widest."""
    silent: int = 50
    """Frames drawn in silence."""
    blinks: int = 10
    """Frames drawn with closed eyes."""
    workers: int = 2
    """Threads that read landmarks."""
    seed: int = 0
    """Seed of the bootstrap."""
    device: str = "cpu"
    """Where the rasterizer draws."""
    torso: Literal["own", "recorded"] = "own"
    """Recorded: the frames' own torso lies behind the head, as in the published figures."""
    foreign: tuple[Path, ...] = ()
    """Portraits of other people whose speech the avatar is made to say."""


def evaluate(
    avatar: Path,
    portrait: Path,
    out: Path,
    rasterizer: Rasterizer,
    reporter: Reporter,
    options: EvaluationOptions | None = None,
) -> dict[str, Any]:
    """Measure an avatar on the held-out part of its portrait; write ``report.json``, ``report.html``, ``report.jpg``.

    Returns:
        The headline figures (:func:`headline`).

    Raises:
        MissingInput, AvatarError, PortraitError: an artefact is missing or does not hold together.
        InputError: the avatar was made from another video, or a foreign portrait is its own.
    """
    start = time.perf_counter()
    options = options or EvaluationOptions()
    saved, opened = load_avatar(avatar), Portrait(portrait)
    refuse_strangers(saved, opened, avatar)
    foreign = open_foreign(saved, options.foreign)
    dataset = PortraitDataset(opened, saved.speech_encoder, saved.articulator)
    recorded = "recorded" in (options.torso, saved.config.torso)
    painter = AvatarPainter(saved, dataset, rasterizer, options.device, recorded=recorded)
    judges, notes = find_judges()
    if recorded:
        notes = ["Torso and background are the recorded ones, as in the published figures.", *notes]
    trial = Trial(dataset, saved.closed_mouth, painter, (judges, notes), FaceTracker, options)
    report, gallery = run_trial(trial, subject_of(saved, dataset, avatar, options), reporter, start)
    voices = foreign_voices(saved, foreign, rasterizer, reporter, options.device, options.seed)
    report = dataclasses.replace(report, foreign=voices)
    write_everything(Path(out), report, gallery)
    return {"report": str(Path(out) / "report.html"), **headline(report)}


@dataclass(frozen=True)
class Trial:
    """What an evaluation needs; every part can be another's in a test."""

    dataset: PortraitDataset
    closed_mouth: float
    painter: Painter
    judges: tuple[dict[str, Judge], list[str]]
    """Metrics by name, and notes on those that are missing."""
    tracker: Callable[[], Tracker]
    options: EvaluationOptions


def run_trial(trial: Trial, subject: Subject, reporter: Reporter, start: float) -> tuple[EvaluationReport, Gallery]:
    """Draw, compare, read and sum up; ``start`` is the clock's reading when the evaluation began, seconds."""
    dataset, options = trial.dataset, trial.options
    judges, notes = trial.judges
    chosen = plan(dataset, options)
    with FaceReader(options.workers, trial.tracker) as reader:
        seen, gallery = observe(chosen, trial.painter, dataset.portrait.image, judges, reader, reporter)
    openings = summary.openings(seen, linear_openings(dataset, chosen.test))
    return EvaluationReport(
        subject=subject,
        scores=summary.scores(seen.judgments, options.seed),
        gains=summary.gains(seen.judgments, options.seed),
        lips=summary.lips(seen, openings, options.seed),
        lip_gain=summary.lip_gain(openings, options.seed),
        head=summary.head(seen),
        silence=summary.silence(seen, openings[TRUTH], trial.closed_mouth),
        eyes=summary.eyes(seen, dataset.portrait.tracks.landmarks[[dataset.blink_frame]].numpy(), options.seed),
        speed=_speed(seen.seconds, start),
        series=_series(chosen.test, seen, openings, trial.closed_mouth),
        notes=notes + _notes(chosen, openings),
        machine=describe_machine(),
    ), gallery


def plan(dataset: PortraitDataset, options: EvaluationOptions) -> Plan:
    """Which test frames are drawn, judged and shown, and the training frames they are compared with.

    Raises:
        PortraitError: fewer than ten usable test frames.
    """
    tracks, drawn = dataset.portrait.tracks, dataset.test_frames
    if len(drawn) < LEAST_TESTED:
        raise PortraitError(
            f"portrait `{dataset.portrait.folder}`: {len(drawn)} usable test frames; expected at least {LEAST_TESTED}",
            hint="use a longer clip, or one in which the face is seen to the end",
        )
    boxes = squares(tracks.landmarks[drawn, :, :2].double().numpy(), dataset.portrait.size)
    poses = nearest_poses(tracks.head_to_camera, dataset.train_frames, drawn)
    heard = dataset.heard  # What is told of lips is not part of the sound.
    sounds = nearest_speech(lambda frame: windows_of(heard, frame)[WINDOWS_BEFORE], dataset.train_frames, drawn)
    return Plan(
        test=split_frames(len(dataset.portrait))[1],
        drawn=drawn,
        judged=[drawn[row] for row in _spread(len(drawn), options.judged)],
        shown=_exhibits(drawn, tracks.mouth[drawn, 0].numpy(), options.shown),
        silent=[drawn[row] for row in range(min(options.silent, len(drawn)))],
        blinks=[drawn[row] for row in _spread(len(drawn), options.blinks)],
        nearest_pose=dict(zip(drawn, poses.tolist(), strict=True)),
        nearest_speech=dict(zip(drawn, sounds.tolist(), strict=True)),
        squares=dict(zip(drawn, boxes, strict=True)),
    )


def linear_openings(dataset: PortraitDataset, test: range) -> Float[np.ndarray, " T"]:
    """Lip openings of the test part as ridge regression from the encoder's features tells, from the same frames."""
    features, opening = dataset.heard.numpy(), dataset.portrait.tracks.mouth[:, :1].numpy()
    spectral = find_encoder(dataset.encoder).spectral_channels
    baseline = fit_lip_baseline(features, opening, np.array(dataset.train_frames), spectral_channels=spectral)
    return baseline.predict(features, np.arange(test.start, test.stop))[:, 0]


def headline(report: EvaluationReport) -> dict[str, Any]:
    """The figures that a reader looks at first, by name; None where one could not be measured."""
    found: dict[str, Any] = {}
    for area in ("frame", "mouth"):
        for metric in (PSNR, PERCEPTUAL):
            for candidate in (AVATAR, *BASELINES):
                score = report.score(candidate, area, metric.name)
                found[f"{area}_{metric.name}_{candidate.replace(' ', '_')}"] = score.value if score else None
    own = report.lip(AVATAR)
    found |= {
        "lip_correlation": own.correlation.value,
        "lip_correlation_linear": report.lip(LINEAR).correlation.value,
        "lip_best_correlation": own.best,
        "lip_lag_frames": own.lag,
        "lmd_px": own.distance.value,
        "lmd_percent": own.relative_distance.value,
        "faces_missing": own.faces_missing,
        "cross_driven_lip_correlation": report.foreign_correlation,
        "head_jitter_px": report.head.rendered.jitter,
        "head_jitter_true_px": report.head.true.jitter,
        "size_pulse_percent": report.head.rendered.pulse,
        "size_pulse_true_percent": report.head.true.pulse,
        "silent_opening": report.silence.silent,
        "closed_opening": report.silence.closed,
        "eye_correlation": report.eyes.correlation.value,
        "shut_eyes": report.eyes.shut,
        "shut_eyes_true": report.eyes.recorded,
        "frames_per_second": report.speed.frames_per_second,
        "evaluation_seconds": report.speed.seconds,
        "peak_memory_mb": report.speed.peak_memory_mb,
    }
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}
    return {name: None if value != value else value for name, value in rounded.items()}


def subject_of(saved: SavedAvatar, dataset: PortraitDataset, avatar: Path, options: EvaluationOptions) -> Subject:
    """What is evaluated, on what."""
    test = split_frames(len(dataset.portrait))[1]
    return Subject(
        avatar=Path(avatar).name,
        portrait=dataset.portrait.folder.resolve().name,
        source=saved.provenance.source,
        consent=saved.provenance.consent,
        method=saved.method,
        preset=saved.preset,
        speech_encoder=saved.speech_encoder,
        size=dataset.portrait.size,
        train_frames=test.start,
        test_frames=len(test),
        tested=len(dataset.test_frames),
        judged=len(_spread(len(dataset.test_frames), options.judged)),
    )


def write_everything(out: Path, report: EvaluationReport, gallery: Gallery) -> None:
    """Write the report's files into ``out``, each whole; ``report.json`` last, as the sign that all are there."""
    from PIL import Image

    out.mkdir(parents=True, exist_ok=True)
    names = (TRUTH, AVATAR, *BASELINES)
    with replacing(out / "report.jpg") as temporary:
        Image.fromarray(contact_sheet(gallery, names)).save(temporary, quality=90)
    write_page(out / "report.html", report, gallery)
    write_report(out / "report.json", report)


def _spread(count: int, most: int) -> list[int]:
    """Up to ``most`` of ``count`` rows, evenly spread."""
    return list(range(0, count, -(-count // most)))


def _exhibits(drawn: list[int], opening: Float[np.ndarray, " N"], count: int) -> dict[int, str]:
    """Frames from the most closed to the widest open mouth, with their captions."""
    order = np.argsort(opening, kind="stable")
    rows = np.unique(order[np.linspace(0, len(order) - 1, count).round().astype(int)])
    return {drawn[row]: f"lips {opening[row]:.2f} eye distances apart" for row in rows}


def _speed(seconds: list[float], start: float) -> SpeedScore:
    median, p95 = np.percentile(seconds, [50, 95])
    return SpeedScore(
        frames_per_second=float(1 / median),
        median_ms=float(1000 * median),
        p95_ms=float(1000 * p95),
        seconds=time.perf_counter() - start,
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def _series(test: range, seen: Observations, openings: dict[str, Float[np.ndarray, " T"]], closed: float) -> HeldOut:
    def rounded(by_name: dict[str, Float[np.ndarray, " T"]]) -> dict[str, list[float]]:
        return {name: np.round(series, 5).tolist() for name, series in by_name.items()}

    def errors(where: str) -> dict[str, list[float]]:
        known = seen.judgments.items()
        return rounded({metric: own for (name, area, metric), own in known if (name, area) == (AVATAR, where)})

    return HeldOut(
        frames=list(test),
        openings=rounded(openings),
        errors=errors("frame"),
        mouth_errors=errors("mouth"),
        distances=rounded(summary.mouth_distances(seen)),
        closed_mouth=closed,
    )


def _notes(chosen: Plan, openings: dict[str, Float[np.ndarray, " T"]]) -> list[str]:
    notes = []
    unusable = len(chosen.test) - len(chosen.drawn)
    if unusable:
        notes.append(f"{unusable} test frames could not be tracked in the recording; they are left out.")
    lost = int(np.isnan(openings[TRUTH]).sum()) - unusable
    if lost:
        notes.append(f"In {lost} recorded test frames no face was found; they enter no figure of lips or head.")
    return notes
