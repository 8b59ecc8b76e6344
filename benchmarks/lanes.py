"""What training layers side by side is worth: steps a second of two layers one after the other, and at the same time.

    python benchmarks/lanes.py PORTRAIT [--method talking-gaussian] [--stages mouth-window,face-window] [--seconds 8]

One after the other each has all threads, side by side each has its share. Ends with one line of JSON: steps a second of
each stage alone and beside the other, and their ``gain``: the work done side by side in the time that the same work
takes one after the other.
"""

import argparse
import dataclasses
import json
import statistics
import threading
import time
from pathlib import Path

import torch

from talksplat.methods.method import Stage
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.train.lane import Lane
from talksplat.train.loop import open_run
from talksplat.train.options import TrainOptions
from talksplat.train.run import Run

STAGES = {"talking-gaussian": "mouth-window,face-window", "gstalker": "head,torso"}


def rate(run: Run, stage: Stage, threads: int, seconds: float) -> float:
    """Steps a second of ``stage`` on ``threads``, in the calling thread: the median of ten stretches."""
    lane = Lane(run, [dataclasses.replace(stage, densify=())], lambda _: threads)
    frames = [run.dataset.frame(index) for index in run.dataset.train_frames[:60:5]]
    lane.begin()
    rates, began = [], time.perf_counter()
    while time.perf_counter() - began < seconds:
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds / 10:
            lane.learn([frames[count % len(frames)]])
            count += 1
        rates.append(count / (time.perf_counter() - start))
    return statistics.median(rates)


def side_by_side(run: Run, stages: list[Stage], threads: int, seconds: float) -> dict[str, float]:
    """The same for all ``stages`` at once."""
    found: dict[str, float] = {}

    def measure(stage: Stage) -> None:
        found[stage.name] = rate(run, stage, max(1, threads // len(stages)), seconds)

    workers = [threading.Thread(target=measure, args=(stage,)) for stage in stages]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portrait", type=Path)
    parser.add_argument("--method", default="talking-gaussian", choices=sorted(STAGES))
    parser.add_argument("--stages", help="two stages of different layers")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--out", type=Path, help="file for the JSON")
    chosen = parser.parse_args()
    options = TrainOptions(method=chosen.method, preset=chosen.preset)
    run = open_run(chosen.portrait, Path("none.avatar"), options, choose_rasterizer("cpu"), Reporter(quiet=True))
    wanted = (chosen.stages or STAGES[chosen.method]).split(",")
    stages = [stage for stage in run.method.stages(run.config) if stage.name in wanted]
    threads = torch.get_num_threads()
    alone = {stage.name: rate(run, stage, threads, chosen.seconds) for stage in stages}
    beside = side_by_side(run, stages, threads, chosen.seconds)
    for name in alone:
        print(f"{name}: alone {alone[name]:.1f} steps/s, beside {beside[name]:.1f}")
    gain = sum(beside[name] / alone[name] for name in alone)
    result = {"benchmark": "lanes", "threads": threads, "alone": alone, "beside": beside, "gain": gain}
    print(json.dumps(result))
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
