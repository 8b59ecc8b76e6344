"""A step of several frames has the mean of their gradients, and one frame's density statistics."""

from pathlib import Path

import pytest
import torch

from drawn import draw_portrait
from talksplat.portrait import Portrait
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.train.lane import Lane
from talksplat.train.loop import open_run
from talksplat.train.options import TrainOptions

SETTINGS = ("points=200", "levels=4", "static_steps=9", "densify_static_from=8", "densify_every=8", "densify_until=9")


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Portrait:
    return draw_portrait(tmp_path_factory.mktemp("drawn") / "portrait", frames=40, size=48)


def after(portrait: Portrait, folder: Path, frames: list[list[int]]) -> tuple[dict[str, torch.Tensor], Lane]:
    """Parameters after steps of ``frames`` each, and the lane that took them."""
    options = TrainOptions(settings=SETTINGS)
    run = open_run(portrait.folder, folder / "a.avatar", options, choose_rasterizer("cpu"), Reporter(quiet=True))
    stage = next(stage for stage in run.method.stages(run.config) if stage.name == "head-static")
    lane = Lane(run, [stage], lambda _: 1)
    lane.begin()
    for step in frames:
        lane.learn([run.dataset.frame(index) for index in step])
    return {name: value.detach().clone() for name, value in run.avatar.named_parameters()}, lane


def test_equal_frames_count_as_one(portrait: Portrait, tmp_path: Path) -> None:
    one, first = after(portrait, tmp_path, [[3], [9]])
    two, second = after(portrait, tmp_path, [[3, 3], [9, 9]])
    assert all(torch.allclose(one[name], two[name], atol=1e-7) for name in one)
    for name in ("statistics/head/total", "statistics/head/seen"):
        assert torch.allclose(2 * first.tensors()[name], second.tensors()[name]), name


def test_a_step_of_two_frames_is_of_both(portrait: Portrait, tmp_path: Path) -> None:
    (both, _), (swapped, _) = (after(portrait, tmp_path, [step]) for step in ([3, 9], [9, 3]))
    lone = [after(portrait, tmp_path, [[index]])[0] for index in (3, 9)]
    assert all(torch.allclose(both[name], swapped[name], atol=1e-5) for name in both)
    assert not any(torch.allclose(both["head.means"], other["head.means"], atol=1e-6) for other in lone)
