"""Training: one loop that serves every stage of every method."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talksplat.dataset import PortraitDataset
from talksplat.errors import InputError, RunError
from talksplat.methods.avatar_file import SavedAvatar, read_avatar_file, save_avatar
from talksplat.methods.catalogue import find_method, find_preset
from talksplat.methods.method import Stage
from talksplat.portrait import Portrait
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import Rasterizer
from talksplat.speech.encoders import find_encoder
from talksplat.speech.prior import ArticulationPrior, load_prior
from talksplat.storage import sha256_of_file
from talksplat.train import lanes
from talksplat.train.lane import Lane
from talksplat.train.options import TrainOptions, with_settings
from talksplat.train.perception import find_perception
from talksplat.train.run import Run
from talksplat.train.run_folder import RunFolder

LanePlace = tuple[int, int, dict[str, Tensor]]
"""Stage of a lane, step within it, and Adam's moments there."""


def train(
    portrait_folder: Path, out: Path, options: TrainOptions, rasterize: Rasterizer, reporter: Reporter
) -> dict[str, Any]:
    """Train an avatar from a portrait and write it to ``out``; returns figures of the run.

    An interrupted run leaves a checkpoint in ``out``'s run folder, which is itself an avatar that can speak.

    Raises:
        PortraitError, InputError, RunError: see their leaves.
        TrainingDiverged: a loss is not finite; the last checkpoint is kept.
    """
    run = open_run(portrait_folder, out, options, rasterize, reporter)
    started = time.monotonic()
    settings = {
        "portrait": run.dataset.portrait.info.steps,
        "method": options.method,
        "preset": options.preset,
        "config": dataclasses.asdict(run.config),
        "speech": options.speech,
        "prior": options.prior and sha256_of_file(options.prior),
        "seed": options.seed,
    }
    resumed = run.folder.begin(settings, resume=options.resume, restart=options.restart)
    phases = lanes.phases(run.method.stages(run.config))
    first, begun = _take_up(run) if resumed else (0, {})
    if not resumed:
        figures = run.method.warm_start(run.config, run.avatar, run.dataset, options.seed)
        run.folder.log({"stage": "warm-start", **figures})
        _announce(run, phases)
    threads, moments = torch.get_num_threads(), dict[str, Tensor]()
    for number in range(first, len(phases)):
        courses = lanes.courses(phases[number], threads, side_by_side=options.side_by_side and run.is_on_processor)
        opened = [[Lane(run, stages, share) for stages, share in course] for course in courses]
        moments = _run_phase(run, number, opened, begun if number == first else {}, moments)
    save_avatar(out, _saved(run))
    run.folder.finish()
    clouds = {name: len(cloud) for name, cloud in run.clouds().items()}
    return {"seconds": time.monotonic() - started, "gaussians": clouds, "resumed": resumed, "avatar": str(out)}


def open_run(portrait_folder: Path, out: Path, options: TrainOptions, rasterize: Rasterizer, reporter: Reporter) -> Run:
    """Everything a run works on, untrained; raises what :func:`train` raises."""
    method = find_method(options.method)
    config = with_settings(find_preset(method, options.preset), options.settings)
    portrait = Portrait(portrait_folder)
    dataset = PortraitDataset(portrait, options.speech, prior=_chosen_prior(options))
    torch.manual_seed(options.seed)  # networks' own initialisation draws from torch's generator
    clouds = method.seeds(config, dataset, options.seed)
    avatar = method.build(config, dataset.channels, portrait.reference_camera, clouds)
    perception = find_perception(reporter)
    background = torch.from_numpy(portrait.background().copy()).float() / 255
    device = "cuda" if options.device == "cuda" else "cpu"
    return Run(
        method=method,
        config=config,
        options=options,
        dataset=dataset,
        avatar=avatar.to(device).train(),
        background=background.to(device),
        reference_camera=portrait.reference_camera.to(device),
        rasterize=rasterize,
        perception=perception,
        folder=RunFolder(out),
        reporter=reporter,
    )


def _chosen_prior(options: TrainOptions) -> ArticulationPrior | None:
    if options.prior is None:
        return None
    if not find_encoder(options.speech).articulates:
        raise InputError(
            f"a prior was given, but the speech features `{options.speech}` do not use one",
            hint="train with --speech articulation, or without --prior",
        )
    return load_prior(options.prior)


def _run_phase(
    run: Run, number: int, courses: list[list[Lane]], begun: dict[str, LanePlace], moments: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Lanes side by side from where they were ``begun``; checkpoints as time goes by and when interrupted.

    Takes the moments of the phase before, where a group goes on under the same name, and returns its own.
    """
    all_lanes = [lane for course in courses for lane in course]
    for lane in all_lanes:
        lane.place, lane.step, lane.moments = begun.get(lane.name, (0, 0, moments))
    if len(courses) > 1:
        names = " | ".join(", then ".join(lane.name for lane in course) for course in courses)
        run.reporter.note(f"side by side, as they do not depend on each other: {names}")

    def save() -> None:
        tensors = {
            f"optimizer/{lane.name}/{name}": value for lane in all_lanes for name, value in lane.tensors().items()
        }
        places = {lane.name: [lane.place, lane.step] for lane in all_lanes}
        save_avatar(run.folder.checkpoint, _saved(run), extra=tensors, note={"phase": number, "lanes": places})

    try:
        lanes.work_through(courses, run.options.checkpoint_seconds, save)
    except KeyboardInterrupt:
        run.reporter.note(f"interrupted; `{run.folder.checkpoint}` holds the run: go on with --resume")
        raise
    return {name: value for lane in all_lanes for name, value in lane.tensors().items()}


def _take_up(run: Run) -> tuple[int, dict[str, LanePlace]]:
    """Load the checkpoint: its phase, and the places of the lanes in it."""
    tensors, about = read_avatar_file(run.folder.checkpoint)
    note = about["note"]
    if "phase" not in note:
        raise RunError(
            f"the run in `{run.folder.folder}` was interrupted in another version of talksplat",
            hint="go on with that version, or add --restart to begin again",
        )
    state = {name.removeprefix("avatar/"): value for name, value in tensors.items() if name.startswith("avatar/")}
    run.avatar.load_state_dict(state)
    begun: dict[str, LanePlace] = {}
    for lane, (place, step) in note["lanes"].items():
        prefix = f"optimizer/{lane}/"
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        begun[lane] = place, step, own
    places = ", ".join(f"{name} in its stage {stage + 1}, step {step}" for name, (stage, step) in note["lanes"].items())
    run.reporter.note(f"resuming: {places}")
    return note["phase"], begun


def _saved(run: Run) -> SavedAvatar:
    portrait = run.dataset.portrait
    return SavedAvatar(
        avatar=run.avatar,
        method=run.method.name,
        preset=run.options.preset,
        config=run.config,
        speech_encoder=run.options.speech,
        channels=run.dataset.channels,
        provenance=portrait.info.provenance,
        reference_camera=portrait.reference_camera,
        background=torch.from_numpy(portrait.background().copy()),
        head_to_camera=portrait.tracks.head_to_camera[run.dataset.train_frames],
        expression=run.dataset.expression[run.dataset.train_frames],
        rest_speech=run.dataset.rest_speech,
        closed_mouth=run.dataset.closed_mouth,
        articulator=run.dataset.articulator,
    )


def projected_seconds(stages: Sequence[Stage], of_one_frame: Sequence[float]) -> float:
    """How long stages take, from the seconds that a step of each takes with one frame: a batch's follow each other."""
    return sum(one * stage.frames * stage.steps for one, stage in zip(of_one_frame, stages, strict=True))


def _announce(run: Run, phases: list[list[list[Stage]]], sample: int = 3) -> None:
    """Say how long the run will take, from a few untaken steps of every stage."""
    trial = dataclasses.replace(run, avatar=copy.deepcopy(run.avatar))
    frame = run.dataset.frame(run.dataset.train_frames[0]).to(run.background.device)
    stages = [stage for phase in phases for lane in phase for stage in lane]
    fastest = []
    for stage in stages:
        times = []
        for step in range(sample):
            begun = time.perf_counter()
            terms = trial.losses(stage, max(0, stage.steps - 1 - step), frame, {})
            torch.stack(list(terms.values())).sum().backward()
            times.append(time.perf_counter() - begun)
        fastest.append(min(times))
    total, steps = projected_seconds(stages, fastest), sum(stage.steps for stage in stages)
    run.reporter.note(
        f"{steps} steps in {len(stages)} stages; projected {total / 60:.0f} min at the initial number of Gaussians"
    )
