"""The plate against grounds that are known."""

import numpy as np
import pytest

from talksplat.frame import Label
from talksplat.prepare.background import background_plate, fill_unseen

SIZE = 128


def ground() -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    checks = 30 * ((rows // 16 + columns // 16) % 2)
    return np.stack([60 + rows, 200 - columns, 90 + checks], -1).clip(0, 255).astype(np.uint8)


def scene(center: int, halo: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A magenta person at ``center``, with a spill of its color ``halo`` pixels beyond its mask."""
    columns = np.arange(SIZE)[None].repeat(SIZE, 0)
    picture, labels = ground(), np.zeros((SIZE, SIZE), np.uint8)
    picture[np.abs(columns - center) < 20 + halo] = (250, 0, 250)
    labels[np.abs(columns - center) < 20] = Label.TORSO
    return picture, labels


def plate_of(scenes) -> np.ndarray:
    return background_plate(lambda n: scenes[n][0], lambda n: scenes[n][1], len(scenes))


def test_a_person_who_moves_leaves_an_exact_plate():
    scenes = [scene(center) for center in np.linspace(25, 100, 20).astype(int)]
    np.testing.assert_array_equal(plate_of(scenes), ground())


def test_spill_beside_the_person_leaves_no_ghost():
    scenes = [scene(center, halo=2) for center in np.linspace(25, 100, 20).astype(int)]
    np.testing.assert_array_equal(plate_of(scenes), ground())


def test_the_median_forgets_what_passes():
    scenes = [scene(-100) for _ in range(15)]
    for picture, _ in scenes[:6]:
        picture[40:60] = 255
    np.testing.assert_array_equal(plate_of(scenes), ground())


def test_what_is_never_seen_is_filled_from_around_without_the_persons_color():
    plate = plate_of([scene(64) for _ in range(10)]).astype(int)
    columns = np.arange(SIZE)
    seen = np.abs(columns - 64) >= 20
    np.testing.assert_array_equal(plate[:, np.abs(columns - 64) > 24], ground()[:, np.abs(columns - 64) > 24])
    hidden = plate[:, ~seen]
    assert hidden[..., 1].min() > 80  # the person has no green, the ground has much
    assert np.abs(np.diff(plate.astype(int), axis=1)).max() < 45  # no seam harder than the ground's own checks


def test_a_hole_that_flashes_in_the_masks_leaves_no_ghost():
    scenes = [scene(64) for _ in range(40)]
    scenes[7][1][50:60, 60:70] = Label.BACKGROUND
    steady = plate_of([scene(64) for _ in range(40)])
    np.testing.assert_array_equal(plate_of(scenes), steady)


def test_a_person_who_fills_the_picture_gives_gray():
    full = np.full((SIZE, SIZE), Label.FACE, np.uint8)
    plate = background_plate(lambda n: ground(), lambda n: full, 5)
    assert np.unique(plate).tolist() == [128]


def test_filling_keeps_the_seen_and_stays_within_its_range():
    chance = np.random.default_rng(0)
    plate = chance.integers(50, 200, (97, 61, 3)).astype(np.uint8)
    seen = chance.random((97, 61)) < 0.02
    filled = fill_unseen(plate, seen)
    np.testing.assert_array_equal(filled[seen], plate[seen])
    assert filled.min() >= plate[seen].min()
    assert filled.max() <= plate[seen].max()


@pytest.mark.parametrize("size", [1, 2, 3, 64, 65])
def test_filling_works_at_any_size(size):
    seen = np.zeros((size, size), bool)
    seen[0, 0] = True
    filled = fill_unseen(np.full((size, size, 3), 77, np.uint8), seen)
    assert np.unique(filled).tolist() == [77]
