"""Laws of the guided filter and of the person's outline."""

import numpy as np
import pytest

from talksplat import weights
from talksplat.prepare.matte import EDGE_VARIANCE, GRID, RADIUS, GuidedFilter, class_maps, read_segmenter, speaker_only


@pytest.fixture
def picture() -> np.ndarray:
    """A red disk on a green ground, 512 pixels, with a little noise."""
    rows, columns = np.mgrid[:512, :512]
    disk = (rows - 250) ** 2 + (columns - 260) ** 2 < 150**2
    colors = np.where(disk[..., None], [200, 60, 50], [70, 150, 90])
    return (colors + np.random.default_rng(0).normal(0, 2, colors.shape)).clip(0, 255).astype(np.uint8)


def test_constants_pass_the_filter(picture):
    out = GuidedFilter(picture).refine([np.full((GRID, GRID), 0.3, np.float32)])
    np.testing.assert_allclose(out, 0.3, atol=1e-4)


def test_filter_is_linear(picture):
    chance = np.random.default_rng(1)
    first, second = chance.random((2, GRID, GRID), np.float32)
    guided = GuidedFilter(picture)
    parts = guided.refine([first, second, 2 * first - second])
    np.testing.assert_allclose(parts[2], 2 * parts[0] - parts[1], atol=1e-3)


def test_filter_agrees_with_its_definition_in_float64():
    """At the guide's own size the filter is He et al.'s, eq. 19 to 21, here window by window in float64."""
    chance = np.random.default_rng(2)
    guide = chance.integers(0, 256, (GRID, GRID, 3)).astype(np.uint8)
    values = chance.random((GRID, GRID), np.float32)
    found = GuidedFilter(guide).refine([values])[0]
    colors = guide / 255.0
    slopes, offsets = np.zeros((2 * RADIUS + 1, 2 * RADIUS + 1, 3)), np.zeros((2 * RADIUS + 1, 2 * RADIUS + 1))
    row, column = 100, 140
    for i in range(-RADIUS, RADIUS + 1):
        for j in range(-RADIUS, RADIUS + 1):
            window = (
                slice(row + i - RADIUS, row + i + RADIUS + 1),
                slice(column + j - RADIUS, column + j + RADIUS + 1),
            )
            x, y = colors[window].reshape(-1, 3), values[window].ravel().astype(np.float64)
            covariance = np.cov(x.T, bias=True) + EDGE_VARIANCE * np.eye(3)
            slope = np.linalg.solve(covariance, ((x - x.mean(0)) * (y - y.mean())[:, None]).mean(0))
            slopes[i, j], offsets[i, j] = slope, y.mean() - slope @ x.mean(0)
    expected = slopes.mean((0, 1)) @ colors[row, column] + offsets.mean()
    assert found[row, column] == pytest.approx(expected, abs=2e-4)


def test_a_coarse_outline_follows_the_pictures_edge(picture):
    """A mask that is 4 pixels too large, blurred on the grid, comes back to the disk it stands for."""
    rows, columns = np.mgrid[:GRID, :GRID]
    distance = np.hypot(rows - 125, columns - 130) - 77
    vague = (1 / (1 + np.exp(distance / 2))).astype(np.float32)
    rows, columns = np.mgrid[:512, :512]
    exact = np.hypot(rows - 250, columns - 260) < 150
    import cv2

    plain = cv2.resize(vague, (512, 512)) > 0.5
    refined = GuidedFilter(picture).refine([vague])[0] > 0.5
    assert (refined != exact).mean() < 0.5 * (plain != exact).mean()


def test_islands_go_and_arms_stay():
    person = np.zeros((GRID, GRID), np.float32)
    person[60:256, 90:170] = 1
    person[20:40, 10:30] = 0.9  # a vase
    person[200:256, 200:240] = 1  # an arm from below
    kept = speaker_only(person, (128.0, 100.0))
    assert kept[30, 20] == 0
    assert kept[230, 220] == 1
    np.testing.assert_array_equal(kept[60:, 90:170], 1)


def test_the_landmarks_nose_may_miss_the_person():
    person = np.zeros((GRID, GRID), np.float32)
    person[60:256, 90:170] = 1
    assert speaker_only(person, (5.0, -20.0))[100, 128] == 1
    assert speaker_only(np.zeros_like(person), (5.0, 20.0)).sum() == 0


def test_class_maps_sum_to_one():
    class Mask:
        def __init__(self, value):
            self.value = value

        def numpy_view(self):
            return np.full((GRID, GRID, 1), self.value, np.float32)

    maps = class_maps([Mask(value) for value in (0.2, 0.4, 0.0, 0.2, 0.0, 0.2)])
    np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(maps[0, 0], [0.2, 0.4, 0, 0.2, 0, 0.2], atol=1e-5)


def test_the_shipped_segmenter_finds_no_person_in_noise():
    if weights.available("selfie-multiclass"):
        pytest.skip("the multi-class segmenter is installed and preferred")
    noise = np.random.default_rng(3).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    person = read_segmenter()(noise)
    assert person.shape == (GRID, GRID, 1)
    assert 0 <= person.min() <= person.max() <= 1
    assert person.mean() < 0.2
