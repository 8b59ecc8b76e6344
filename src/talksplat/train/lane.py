"""One lane of a run: stages that train the same layers, one after the other, on a thread of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from talksplat.dataset import Drawn, draws, prefetched, seeded
from talksplat.errors import TrainingDiverged
from talksplat.frame import Frame
from talksplat.methods.method import DensifyPolicy, Stage
from talksplat.progress import Bar
from talksplat.rasterize.rasterizer import Rendered
from talksplat.train.densify import ScreenStatistics, density_plan
from talksplat.train.optimizers import Optimizer
from talksplat.train.run import Run

JOURNAL_EVERY = 50
"""Steps between two lines of the journal."""


class Lane:
    """Stages, the place reached in them, and the optimizer; no other lane touches the layers that it trains."""

    def __init__(self, run: Run, stages: Sequence[Stage], threads: Callable[[float], int]) -> None:
        """A lane at its beginning; ``threads`` tells from the cost of what is done how many threads a step may use.

        That is a function of the place alone: the last digits of a sum depend on the number of threads.
        """
        self.run, self.stages, self._threads = run, tuple(stages), threads
        self.name = "+".join(stages[0].layers)
        self.place, self.step = 0, 0
        """Stage of the lane, and step within it, that comes next."""
        self.gate = threading.Lock()
        """Held during a step, and by whoever wants to see the lane between two steps."""
        self.moments: dict[str, Tensor] = {}
        """Adam's, as the last stage left them (or a checkpoint holds them, with the density statistics)."""
        self._optimizer: Optimizer | None = None
        self._statistics: dict[str, ScreenStatistics] = {}

    def work(self, turnstile: threading.Lock, stop: threading.Event) -> None:
        """Do all that is left, or stop after a step when asked; nobody passes a ``turnstile`` that is held."""
        while self.place < len(self.stages) and not stop.is_set():
            self._run_stage(self.stages[self.place], turnstile, stop)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of the lane beside the avatar; ask with its gate held."""
        if self._optimizer is None:
            return self.moments
        tensors = self._optimizer.tensors()
        for name, statistics in self._statistics.items():
            tensors[f"statistics/{name}/total"] = statistics.total
            tensors[f"statistics/{name}/seen"] = statistics.seen
        return tensors

    def _run_stage(self, stage: Stage, turnstile: threading.Lock, stop: threading.Event) -> None:
        with self.gate:
            self.begin()
        with self.run.reporter.bar(f"{self.run.method.title}: {stage.name}", stage.steps) as bar:
            bar.advance(self.step)
            examples = prefetched(self.run.dataset, self._draws(stage), ahead=2 + stage.frames)
            while frames := [frame.to(self.run.background.device) for frame in islice(examples, stage.frames)]:
                with turnstile:
                    self.gate.acquire()
                try:
                    terms = self.learn(frames)
                finally:
                    self.gate.release()
                self._report(stage, terms, bar)
                if stop.is_set():
                    return
        with self.gate:
            assert self._optimizer is not None
            self.moments = self._optimizer.tensors()
            self.place, self.step, self._optimizer, self._statistics = self.place + 1, 0, None, {}

    def begin(self) -> None:
        """Make the optimizer of the stage that comes next, with the moments that were left or loaded."""
        stage = self.stages[self.place]
        self._optimizer = Optimizer(self.run.method.groups(self.run.config, self.run.avatar, stage), stage.steps)
        self._optimizer.restore(self.moments)
        self._statistics = {policy.cloud: self._statistics_of(policy) for policy in stage.densify}

    def _statistics_of(self, policy: DensifyPolicy) -> ScreenStatistics:
        cloud = self.run.clouds()[policy.cloud]
        statistics = ScreenStatistics(len(cloud), cloud.means.device)
        prefix = f"statistics/{policy.cloud}"
        if self.step and f"{prefix}/total" in self.moments:
            statistics.total, statistics.seen = self.moments[f"{prefix}/total"], self.moments[f"{prefix}/seen"]
        return statistics

    def _draws(self, stage: Stage) -> Iterator[Drawn]:
        """The stage's examples from the next step on; says so where its sampling window holds no frame."""
        run = self.run
        eligible = stage.eligible(run.dataset) if stage.eligible else None
        if eligible is not None and self.step == 0:
            allowed = [eligible(step) for step in range(stage.steps)]
            restricted = [frames for frames in allowed if frames is not None]
            empty = sum(not bool(frames.any()) for frames in restricted)
            if empty:
                run.reporter.note(
                    f"{stage.name}: {100 * empty / len(restricted):.0f} % of its sampling windows hold no frame of "
                    "this clip; those steps draw from all frames"
                )
        seed = run.options.seed
        count = stage.frames
        by_draw = (lambda draw: eligible(draw // count)) if eligible else None
        first, stop = self.step * count, stage.steps * count
        return draws(run.dataset, seed, stage.name, first, stop, resting=stage.deformed, eligible=by_draw)

    def learn(self, frames: Sequence[Frame]) -> dict[str, Tensor]:
        """One step of the stage that was begun: losses, gradients, Adam, density control.

        Gradients are the mean over ``frames``, drawn one after the other; returned are the last one's loss terms.
        """
        assert self._optimizer is not None
        stage = self.stages[self.place]
        done = sum(s.cost * s.steps for s in self.stages[: self.place]) + stage.cost * self.step
        threads = self._threads(float(done))
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)  # of this Python thread alone
        step, terms = self.step, dict[str, Tensor]()
        for frame in frames:
            terms = self._backward(stage, frame, 1 / len(frames))
        self._optimizer.step(step)
        for policy in stage.densify:
            if policy.start <= step < policy.stop and (step + 1) % policy.every == 0:
                self._densify(stage, policy)
        self.step += 1
        return terms

    def _backward(self, stage: Stage, frame: Frame, share: float) -> dict[str, Tensor]:
        """Losses of one frame, and ``share`` of their gradients."""
        drawn = dict[str, Rendered]()
        terms = self.run.losses(stage, self.step, frame, drawn)
        total = torch.stack(list(terms.values())).sum()
        if not bool(total.isfinite()):
            raise TrainingDiverged(
                f"the loss of stage {stage.name}, step {self.step}, is {total.item()}; terms: "
                + ", ".join(f"{name} {value.item():.3g}" for name, value in terms.items()),
                hint=f"the last checkpoint is kept in `{self.run.folder.folder}`; try another --seed or lower rates",
            )
        (total * share).backward()
        for cloud in {policy.cloud for policy in stage.densify if self.step < policy.stop}:
            gradient = drawn[cloud].screen_means.grad
            if gradient is not None:  # Thresholds are of one frame's gradient.
                self._statistics[cloud].add(gradient / share, frame.camera.height, frame.camera.width)
        return terms

    def _densify(self, stage: Stage, policy: DensifyPolicy) -> None:
        assert self._optimizer is not None
        cloud, view = self.run.clouds()[policy.cloud], self.run.reference_camera
        generator = seeded(self.run.options.seed, "densify", stage.name, self.step)
        pixel = float(view.head_to_camera[2, 3] / view.intrinsics[0, 0])
        gradient = self._statistics[policy.cloud].mean()
        plan = density_plan(cloud.raw(), gradient, policy, generator, step=self.step, pixel=pixel)
        self._optimizer.rearrange(policy.cloud, cloud, plan)
        self._statistics[policy.cloud] = ScreenStatistics(len(cloud), cloud.means.device)

    def _report(self, stage: Stage, terms: dict[str, Tensor], bar: Bar) -> None:
        done = self.step
        if done % 10 and done != stage.steps:
            bar.advance()
            return
        values = {name: float(value.detach()) for name, value in terms.items()}
        bar.advance(status=" ".join(f"{name} {value:.4f}" for name, value in values.items()))
        if done % JOURNAL_EVERY == 0 or done == stage.steps:
            counts = {name: len(cloud) for name, cloud in self.run.clouds().items()}
            entry = {"stage": stage.name, "step": done, "time": time.time(), "losses": values, "gaussians": counts}
            self.run.folder.log(entry)
