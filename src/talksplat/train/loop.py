"""Training: one loop that serves every stage of every method."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talksplat.camera import Camera
from talksplat.dataset import Drawn, PortraitDataset, draws, prefetched, seeded
from talksplat.errors import TrainingDiverged
from talksplat.frame import Frame
from talksplat.methods.avatar_file import SavedAvatar, read_avatar_file, save_avatar
from talksplat.methods.catalogue import find_method, find_preset
from talksplat.methods.method import DensifyPolicy, LossContext, Method, Stage
from talksplat.model.avatar import Avatar, Layer
from talksplat.model.cloud import GaussianCloud
from talksplat.portrait import Portrait
from talksplat.progress import Bar, Reporter
from talksplat.rasterize.rasterizer import Rasterizer, Rendered
from talksplat.train.densify import ScreenStatistics, density_plan
from talksplat.train.optimizers import Optimizer
from talksplat.train.options import TrainOptions, with_settings
from talksplat.train.perception import Perception, find_perception
from talksplat.train.run_folder import RunFolder

JOURNAL_EVERY = 50
"""Steps between two lines of the journal."""


@dataclass
class Run:
    """What one training run works on."""

    method: Method
    config: Any
    options: TrainOptions
    dataset: PortraitDataset
    avatar: Avatar
    background: Tensor
    reference_camera: Camera
    rasterize: Rasterizer
    perception: Perception | None
    folder: RunFolder
    reporter: Reporter
    statistics: dict[str, ScreenStatistics] = field(default_factory=dict)

    def draw(self, frame: Frame, drawn: dict[str, Rendered]) -> Callable[[Layer], Rendered]:
        """A function that rasterizes layers for ``frame`` and remembers them in ``drawn``."""

        def draw_layer(layer: Layer) -> Rendered:
            camera = self.reference_camera if layer.fixed_view else frame.camera
            rendered = self.rasterize(layer.gaussians, camera)
            if rendered.screen_means.requires_grad:
                rendered.screen_means.retain_grad()
            drawn[layer.name] = rendered
            return rendered

        return draw_layer

    def losses(self, stage: Stage, step: int, frame: Frame, drawn: dict[str, Rendered]) -> dict[str, Tensor]:
        """Weighted terms of one step."""
        perceptual = self.perception.distance if self.perception else None
        context = LossContext(background=self.background, step=step, perceptual=perceptual, seed=self.options.seed)
        return self.method.losses(self.config, self.avatar, frame, self.draw(frame, drawn), stage, context)


def train(
    portrait_folder: Path, out: Path, options: TrainOptions, rasterize: Rasterizer, reporter: Reporter
) -> dict[str, Any]:
    """Train an avatar from a portrait and write it to ``out``; returns figures of the run.

    An interrupted run leaves a checkpoint in ``out``'s run folder, which is itself an avatar that can speak.

    Raises:
        PortraitError, InputError, RunError: see their leaves.
        TrainingDiverged: a loss is not finite; the last checkpoint is kept.
    """
    run = _open(portrait_folder, out, options, rasterize, reporter)
    started = time.monotonic()
    settings = {
        "portrait": run.dataset.portrait.info.steps,
        "method": options.method,
        "preset": options.preset,
        "config": dataclasses.asdict(run.config),
        "speech": options.speech,
        "seed": options.seed,
    }
    resumed = run.folder.begin(settings, resume=options.resume, restart=options.restart)
    stages = run.method.stages(run.config)
    first, step, moments = _take_up(run) if resumed else (0, 0, {})
    if not resumed:
        figures = run.method.warm_start(run.config, run.avatar, run.dataset, options.seed)
        run.folder.log({"stage": "warm-start", **figures})
        _announce(run, stages)
    for place in range(first, len(stages)):
        moments = _run_stage(run, place, stages[place], step if place == first else 0, moments)
    save_avatar(out, _saved(run))
    run.folder.finish()
    clouds = {name: len(module) for name, module in run.avatar.named_modules() if isinstance(module, GaussianCloud)}
    return {"seconds": time.monotonic() - started, "gaussians": clouds, "resumed": resumed, "avatar": str(out)}


def _open(portrait_folder: Path, out: Path, options: TrainOptions, rasterize: Rasterizer, reporter: Reporter) -> Run:
    method = find_method(options.method)
    config = with_settings(find_preset(method, options.preset), options.settings)
    portrait = Portrait(portrait_folder)
    dataset = PortraitDataset(portrait, options.speech)
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


def _run_stage(run: Run, place: int, stage: Stage, first: int, moments: dict[str, Tensor]) -> dict[str, Tensor]:
    """All steps of one stage from ``first``; checkpoints as time goes by and when interrupted.

    Takes the moments of the stage before, where a group goes on under the same name, and returns its own.
    """
    clouds = _clouds(run.avatar)
    optimizer = Optimizer(run.method.groups(run.config, run.avatar, stage), stage.steps)
    optimizer.restore(moments)
    run.statistics = {policy.cloud: _statistics(policy, clouds, moments) for policy in stage.densify}
    indices = _draws(run, stage, first)
    saved = time.monotonic()
    done = first
    with run.reporter.bar(f"{run.method.title}: {stage.name}", stage.steps) as bar:
        bar.advance(first)
        try:
            for frame in prefetched(run.dataset, indices):
                terms = _step(run, stage, done, frame.to(run.background.device), optimizer, clouds)
                done += 1
                _report(run, stage, done, terms, bar)
                if time.monotonic() - saved > run.options.checkpoint_seconds:
                    _checkpoint(run, place, done, optimizer)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            _checkpoint(run, place, done, optimizer)
            run.reporter.note(f"interrupted; `{run.folder.checkpoint}` holds the run: go on with --resume")
            raise
    return optimizer.tensors()


def _draws(run: Run, stage: Stage, first: int) -> Iterator[Drawn]:
    """The stage's examples from step ``first``; says so where its sampling window holds no frame."""
    eligible = stage.eligible(run.dataset) if stage.eligible else None
    if eligible is not None and first == 0:
        allowed = [eligible(step) for step in range(stage.steps)]
        restricted = [frames for frames in allowed if frames is not None]
        empty = sum(not bool(frames.any()) for frames in restricted)
        if empty:
            run.reporter.note(
                f"{stage.name}: {100 * empty / len(restricted):.0f} % of its sampling windows hold no frame of this "
                "clip; those steps draw from all frames"
            )
    return draws(
        run.dataset,
        run.options.seed,
        stage.name,
        first,
        stage.steps,
        resting=stage.deformed,
        eligible=eligible,
    )


def _step(
    run: Run, stage: Stage, step: int, frame: Frame, optimizer: Optimizer, clouds: dict[str, GaussianCloud]
) -> dict[str, Tensor]:
    """One frame: losses, gradients, Adam, density control."""
    drawn: dict[str, Rendered] = {}
    terms = run.losses(stage, step, frame, drawn)
    total = torch.stack(list(terms.values())).sum()
    if not bool(total.isfinite()):
        raise TrainingDiverged(
            f"the loss of stage {stage.name}, step {step}, is {total.item()}; terms: "
            + ", ".join(f"{name} {value.item():.3g}" for name, value in terms.items()),
            hint=f"the last checkpoint is kept in `{run.folder.folder}`; try another --seed or lower rates",
        )
    total.backward()
    for policy in stage.densify:
        gradient = drawn[policy.cloud].screen_means.grad
        if gradient is not None and step < policy.stop:
            run.statistics[policy.cloud].add(gradient, frame.camera.height, frame.camera.width)
    optimizer.step(step)
    for policy in stage.densify:
        if policy.start <= step < policy.stop and (step + 1) % policy.every == 0:
            _densify(run, stage, step, policy, optimizer, clouds[policy.cloud])
    return terms


def _densify(
    run: Run, stage: Stage, step: int, policy: DensifyPolicy, optimizer: Optimizer, cloud: GaussianCloud
) -> None:
    generator = seeded(run.options.seed, "densify", stage.name, step)
    view = run.reference_camera
    pixel = float(view.head_to_camera[2, 3] / view.intrinsics[0, 0])
    gradient = run.statistics[policy.cloud].mean()
    plan = density_plan(cloud.raw(), gradient, policy, generator, step=step, pixel=pixel)
    optimizer.rearrange(policy.cloud, cloud, plan)
    run.statistics[policy.cloud] = ScreenStatistics(len(cloud), cloud.means.device)


def _clouds(avatar: Avatar) -> dict[str, GaussianCloud]:
    """Clouds by layer: a module's own name, or its owner's when it is called ``cloud``."""
    found = {}
    for name, module in avatar.named_modules():
        if isinstance(module, GaussianCloud):
            found[name.removesuffix(".cloud")] = module
    return found


def _statistics(
    policy: DensifyPolicy, clouds: dict[str, GaussianCloud], moments: dict[str, Tensor]
) -> ScreenStatistics:
    statistics = ScreenStatistics(len(clouds[policy.cloud]), clouds[policy.cloud].means.device)
    if f"optimizer/statistics/{policy.cloud}/total" in moments:
        statistics.total = moments[f"optimizer/statistics/{policy.cloud}/total"]
        statistics.seen = moments[f"optimizer/statistics/{policy.cloud}/seen"]
    return statistics


def _report(run: Run, stage: Stage, done: int, terms: dict[str, Tensor], bar: Bar) -> None:
    if done % 10 and done != stage.steps:
        bar.advance()
        return
    values = {name: float(value.detach()) for name, value in terms.items()}
    bar.advance(status=" ".join(f"{name} {value:.4f}" for name, value in values.items()))
    if done % JOURNAL_EVERY == 0 or done == stage.steps:
        counts = {name: len(cloud) for name, cloud in _clouds(run.avatar).items()}
        run.folder.log({"stage": stage.name, "step": done, "time": time.time(), "losses": values, "gaussians": counts})


def _checkpoint(run: Run, place: int, step: int, optimizer: Optimizer) -> None:
    """Write the run's state whole; a Ctrl-C while writing waits for the end."""
    tensors = optimizer.tensors()
    for name, statistics in run.statistics.items():
        tensors[f"optimizer/statistics/{name}/total"] = statistics.total
        tensors[f"optimizer/statistics/{name}/seen"] = statistics.seen
    save_avatar(run.folder.checkpoint, _saved(run), extra=tensors, note={"stage": place, "step": step})


def _take_up(run: Run) -> tuple[int, int, dict[str, Tensor]]:
    """Load the checkpoint: stage, step and optimizer tensors."""
    tensors, about = read_avatar_file(run.folder.checkpoint)
    state = {name.removeprefix("avatar/"): value for name, value in tensors.items() if name.startswith("avatar/")}
    run.avatar.load_state_dict(state)
    moments = {name: value for name, value in tensors.items() if name.startswith("optimizer/")}
    run.reporter.note(f"resuming at stage {about['note']['stage'] + 1}, step {about['note']['step']}")
    return about["note"]["stage"], about["note"]["step"], moments


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
    )


def _announce(run: Run, stages: tuple[Stage, ...], sample: int = 3) -> None:
    """Say how long the run will take, from a few untaken steps of every stage."""
    trial = dataclasses.replace(run, avatar=copy.deepcopy(run.avatar))
    total = 0.0
    for stage in stages:
        frame = run.dataset.frame(run.dataset.train_frames[0]).to(run.background.device)
        times = []
        for step in range(sample):
            begun = time.perf_counter()
            terms = trial.losses(stage, max(0, stage.steps - 1 - step), frame, {})
            torch.stack(list(terms.values())).sum().backward()
            times.append(time.perf_counter() - begun)
        total += min(times) * stage.steps
    steps = sum(stage.steps for stage in stages)
    run.reporter.note(
        f"{steps} steps in {len(stages)} stages; projected {total / 60:.0f} min at the initial number of Gaussians"
    )
