"""A training run that is killed outright goes on from its last checkpoint and ends as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from drawn import draw_portrait
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.train.loop import train
from talksplat.train.options import TrainOptions

SETTINGS = (
    *("points=200", "static_steps=60", "head_steps=150", "torso_static_steps=10", "torso_steps=10", "joint_steps=10"),
    *("levels=4", "max_points=400", "warm_speech_steps=0", "perceptual=0", "perceptual_from=2", "patch=32"),
)
PROGRAM = """
import sys
import torch
from pathlib import Path
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.train.loop import train
from talksplat.train.options import TrainOptions
torch.set_num_threads(2)  # last digits depend on it
options = TrainOptions(settings=tuple(sys.argv[3:]), checkpoint_seconds=0.2)
train(Path(sys.argv[1]), Path(sys.argv[2]), options, choose_rasterizer("cpu"), Reporter(quiet=True))
"""


def test_kill_and_resume(tmp_path: Path) -> None:
    portrait = draw_portrait(tmp_path / "portrait", frames=40, size=48)
    torch.set_num_threads(2)
    quiet, rasterizer = Reporter(quiet=True), choose_rasterizer("cpu")
    train(portrait.folder, tmp_path / "whole.avatar", TrainOptions(settings=SETTINGS), rasterizer, quiet)

    avatar = tmp_path / "killed.avatar"
    run = subprocess.Popen([sys.executable, "-c", PROGRAM, str(portrait.folder), str(avatar), *SETTINGS])
    checkpoint = avatar.with_name("killed.avatar.run") / "checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert run.poll() is None, "the run ended before it could be killed"
    time.sleep(0.3)  # into a later step, or into the writing of the next checkpoint
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert not avatar.exists()

    figures = train(portrait.folder, avatar, TrainOptions(settings=SETTINGS, resume=True), rasterizer, quiet)
    assert figures["resumed"]
    whole, killed = load_file(tmp_path / "whole.avatar"), load_file(avatar)
    assert whole.keys() == killed.keys()
    assert all(torch.equal(tensor, killed[name]) for name, tensor in whole.items())
    assert not checkpoint.exists()
