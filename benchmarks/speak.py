"""Frames per second of speaking, with its breakdown.

    python benchmarks/speak.py AVATAR [--frames 200]

Every part of a frame is timed on its own: the deformation (networks), drawing the layers, composing and rounding,
encoding to H.264. ``frames_per_second`` is that of the whole, encoding included, one frame after the other.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from talksplat.frame import Condition
from talksplat.heap import keep_freed_memory
from talksplat.media.audio import Waveform
from talksplat.media.encode import VideoWriter
from talksplat.methods.avatar_file import load_avatar
from talksplat.rasterize.composition import compose
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.render import DrivingTrack

PARTS = ("animate", "draw", "compose", "encode")


def measure(avatar: Path, frames: int) -> dict[str, np.ndarray]:
    """Milliseconds of every part of every frame; the speech features are noise, which costs what speech costs."""
    saved, rasterize = load_avatar(avatar), choose_rasterizer("cpu")
    background = saved.background.float() / 255
    track = DrivingTrack(saved.head_to_camera, saved.expression)
    generator = torch.Generator().manual_seed(0)
    times: dict[str, list[float]] = {part: [] for part in PARTS}
    size = saved.reference_camera.width
    sound = Waveform(samples=np.zeros(frames * 640, np.float32), rate=16_000)
    with (
        tempfile.TemporaryDirectory() as folder,
        torch.no_grad(),
        VideoWriter(Path(folder) / "x.mp4", (size, size), sound, {}) as writer,
    ):
        for index in range(frames):
            pose, expression = track.at(index)
            speech = torch.randn(8, saved.channels.total, 16, generator=generator)
            condition = Condition(speech=speech, expression=expression, head_pose=pose)
            clock = [time.perf_counter()]
            layers = saved.avatar.animate(condition)
            clock.append(time.perf_counter())
            moving = saved.reference_camera.replace(head_to_camera=pose)
            views = [saved.reference_camera if layer.fixed_view else moving for layer in layers]
            drawn = [rasterize(layer.gaussians, view) for layer, view in zip(layers, views, strict=True)]
            clock.append(time.perf_counter())
            picture = compose(drawn, background).clamp_(0, 1).mul_(255).round_().to(torch.uint8).numpy()
            clock.append(time.perf_counter())
            writer.write(picture)
            clock.append(time.perf_counter())
            for part, took in zip(PARTS, np.diff(clock), strict=True):
                times[part].append(1000 * float(took))
    return {part: np.array(values[5:]) for part, values in times.items()}


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--frames", type=int, default=200)
    options = parser.parse_args()
    keep_freed_memory()  # As the command line does.
    times = measure(options.avatar, options.frames)
    whole = np.sum(list(times.values()), 0)
    for part, values in [*times.items(), ("whole", whole)]:
        print(f"{part:8s} median {np.median(values):6.2f} ms   p95 {np.percentile(values, 95):6.2f} ms")
    figures = {f"{part}_ms": round(float(np.median(values)), 3) for part, values in times.items()}
    figures |= {"frames_per_second": round(1000 / float(np.median(whole)), 2)}
    figures |= {"p95_ms": round(float(np.percentile(whole, 95)), 3), "threads": torch.get_num_threads()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
