"""Drawing numpy arrays: the same picture as with torch, without torch."""

import gc
import subprocess
import sys

import numpy as np
import pytest
import torch
from scattered import FIELDS, scattered_crowd, scattered_view

from talksplat.errors import InvalidGaussians
from talksplat.rasterize.arrays import draw_arrays
from talksplat.rasterize.cpu import rasterize_on_cpu
from talksplat.rasterize.drawing import Drawing, RasterInputs


def as_arrays(crowd) -> RasterInputs:
    return RasterInputs(*(getattr(crowd, name).float().numpy() for name in FIELDS))


def test_arrays_are_drawn_as_tensors_are():
    crowd, camera = scattered_crowd(200, 2), scattered_view()
    expected = rasterize_on_cpu(crowd, camera)
    pose, intrinsics = camera.head_to_camera.float().numpy(), camera.intrinsics.float().numpy()
    for threads in (None, 1):
        colors, alpha = draw_arrays(as_arrays(crowd), pose, intrinsics, (75, 101), threads)
        np.testing.assert_allclose(colors, expected.colors.numpy(), atol=2e-6)
        np.testing.assert_allclose(alpha, expected.alpha.numpy(), atol=2e-6)


def test_broken_arrays_are_named():
    crowd, camera = scattered_crowd(50, 0), scattered_view()
    inputs = as_arrays(crowd)
    inputs.scales[3, 1] = np.nan
    pose, intrinsics = camera.head_to_camera.float().numpy(), camera.intrinsics.float().numpy()
    with pytest.raises(InvalidGaussians, match="scales of the Gaussians hold NaN"):
        draw_arrays(inputs, pose, intrinsics, (75, 101))


def test_wrong_harmonics_are_named():
    crowd, camera = scattered_crowd(5, 0), scattered_view()
    inputs = as_arrays(crowd.replace(harmonics=torch.zeros(5, 3, 3)))
    with pytest.raises(ValueError, match="harmonics are N x 3 x 3; expected N x"):
        Drawing(inputs, camera.head_to_camera.tolist(), camera.intrinsics.tolist(), (75, 101), 1)


@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities"])
def test_arrays_that_do_not_fit_are_named(name: str):
    crowd, camera = scattered_crowd(5, 0), scattered_view()
    short = {field: getattr(as_arrays(crowd), field) for field in FIELDS}
    short[name] = short[name][:4]
    with pytest.raises(ValueError, match=rf"{name} have shape \(4,.*expected \(5,"):
        Drawing(RasterInputs(**short), camera.head_to_camera.tolist(), camera.intrinsics.tolist(), (75, 101), 1)


def test_counts_narrow_down():
    crowd, camera = scattered_crowd(300, 0), scattered_view()
    drawing = Drawing(as_arrays(crowd), camera.head_to_camera.tolist(), camera.intrinsics.tolist(), (75, 101), 2)
    colors, alpha = np.empty((75, 101, 3), np.float32), np.empty((75, 101), np.float32)
    assert drawing.forward(colors, alpha, None)
    counts = drawing.counts()
    assert 0 < counts.visible <= 300
    assert counts.blended <= counts.micro_pairs
    starts, pairs = np.empty(5 * 7 + 1, np.uint32), np.empty(counts.tile_pairs, np.uint32)
    drawing.lists(starts, pairs)
    assert starts[0] == 0
    assert starts[-1] == counts.tile_pairs
    assert (np.diff(starts.astype(int)) >= 0).all()
    assert len(np.unique(pairs)) == counts.visible


def test_drawings_lost_in_a_cycle_give_their_memory_back():
    crowd, camera = scattered_crowd(60, 0), scattered_view()
    pose, intrinsics = camera.head_to_camera.float().numpy(), camera.intrinsics.float().numpy()
    before = draw_arrays(as_arrays(crowd), pose, intrinsics, (75, 101))
    for _ in range(3):
        cycle: list = [Drawing(as_arrays(crowd), pose.tolist(), intrinsics.tolist(), (75, 101), 1)]
        cycle.append(cycle)
    del cycle
    gc.collect()
    after = draw_arrays(as_arrays(crowd), pose, intrinsics, (75, 101))
    np.testing.assert_array_equal(before[0], after[0])


def test_arrays_need_no_torch():
    program = "import sys, talksplat.rasterize.arrays; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
