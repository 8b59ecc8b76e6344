"""How long a schedule takes on this machine: its own steps, evenly spread over it, and the projected whole.

    python benchmarks/schedule.py PORTRAIT [--method talking-gaussian] [--preset full] [--steps 1000] [--avatar FILE]

Every stage has its share of ``--steps``, spread over its length so that losses which begin late count as they should,
with density control left out. Speed follows the number of Gaussians: give an ``--avatar`` of the same method that was
trained at a faster pace (``--set pace=25``) and its Gaussians are used, else the first ones. Stages run one after the
other on all threads; what side by side gains is benchmarks/lanes.py's. Ends with one line of JSON.
"""

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path

import torch

from talksplat.heap import keep_freed_memory
from talksplat.methods.avatar_file import load_avatar
from talksplat.methods.method import Stage
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.train.lane import Lane
from talksplat.train.loop import open_run
from talksplat.train.options import TrainOptions
from talksplat.train.run import Run

FEWEST = 8
"""Steps of any stage: the first is warming up and is not counted."""


def seconds_of_steps(run: Run, stage: Stage, count: int) -> list[float]:
    """Times of ``count`` steps spread evenly over a stage."""
    lane = Lane(run, [dataclasses.replace(stage, densify=())], lambda _: torch.get_num_threads())
    lane.begin()
    train = run.dataset.train_frames
    times = []
    for number in range(count):
        lane.step = int((number + 0.5) / count * stage.steps)
        indices = [train[(number * stage.frames + k) * 7 % len(train)] for k in range(stage.frames)]
        frames = [run.dataset.frame(index) for index in indices]
        began = time.perf_counter()
        lane.learn(frames)
        times.append(time.perf_counter() - began)
    return times[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portrait", type=Path)
    parser.add_argument("--method", default="talking-gaussian")
    parser.add_argument("--preset", default="full")
    parser.add_argument("--set", action="append", default=[], help="a setting, name=value")
    parser.add_argument("--steps", type=int, default=1_000)
    parser.add_argument("--avatar", type=Path, help="whose Gaussians and networks to start from")
    parser.add_argument("--out", type=Path, help="file for the JSON")
    chosen = parser.parse_args()
    keep_freed_memory()  # As the command line does.
    options = TrainOptions(method=chosen.method, preset=chosen.preset, settings=tuple(chosen.set))
    run = open_run(chosen.portrait, Path("none.avatar"), options, choose_rasterizer("cpu"), Reporter(quiet=True))
    if chosen.avatar:
        run = dataclasses.replace(run, avatar=load_avatar(chosen.avatar).avatar.train())
    stages = run.method.stages(run.config)
    whole = sum(stage.steps for stage in stages)
    rows, taken, projected = {}, 0, 0.0
    for stage in stages:
        count = max(FEWEST, round(chosen.steps * stage.steps / whole))
        times = seconds_of_steps(run, stage, count)
        mean = statistics.mean(times)  # Not the median: losses that enter every few steps belong to the cost.
        taken, projected = taken + count, projected + mean * stage.steps
        rows[stage.name] = {"steps": stage.steps, "steps_per_second": 1 / mean, "seconds": mean * stage.steps}
        print(f"{stage.name:<18} {stage.steps:>7} steps  {1 / mean:6.1f} a second  {mean * stage.steps / 60:7.1f} min")
    print(f"{whole} steps, {projected / 3600:.2f} h one after the other on {torch.get_num_threads()} threads")
    result = {
        "benchmark": "schedule",
        "source": run.dataset.portrait.info.provenance.source,
        "method": chosen.method,
        "preset": chosen.preset,
        "settings": chosen.set,
        "size": run.dataset.portrait.info.size,
        "gaussians": {name: len(cloud) for name, cloud in run.clouds().items()},
        "threads": torch.get_num_threads(),
        "steps_taken": taken,
        "projected_hours": projected / 3600,
        "stages": rows,
    }
    print(json.dumps(result))
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
