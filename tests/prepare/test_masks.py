"""Label maps against painted people whose every pixel is known."""

import threading

import cv2
import numpy as np
import pytest
from painted import BLOND, DARK, GROUND, NAVY, Looks, Painting, clip, paint

from talksplat.frame import Label
from talksplat.prepare import masks
from talksplat.prepare.masks import Labeler, encode_labels, label_map, mouth_of, teeth_threshold, write_masks
from talksplat.prepare.matte import GRID, coarse
from talksplat.prepare.outline import HeadFrame, below_jaw, filled

FRAMES = 8


class ColorKey:
    """A segmenter for painted people: whatever has not the ground's color is a person."""

    name = "color-key"

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        light = 1.06 - 0.12 * (np.arange(GRID) + 0.5)[None, :, None] / GRID
        distance = np.abs(coarse(picture) - GROUND * light).max(-1)
        return cv2.GaussianBlur((distance > 12).astype(np.float32), (5, 5), 1)[..., None]


@pytest.fixture(autouse=True)
def color_key(monkeypatch):
    monkeypatch.setattr(masks, "_own", threading.local())
    monkeypatch.setattr(masks, "read_segmenter", ColorKey)


def labels_of(paintings: list[Painting], folder, workers: int = 2) -> list[np.ndarray]:
    landmarks = np.stack([painting.landmarks for painting in paintings])
    write_masks(lambda n: paintings[n].picture, landmarks, folder, workers=workers)
    return [cv2.imread(str(folder / f"{n:06d}.png"), cv2.IMREAD_UNCHANGED) for n in range(len(paintings))]


def overlap(paintings: list[Painting], found: list[np.ndarray], *parts: Label) -> float:
    """Intersection over union of some classes, over the clip."""
    exact = np.isin([painting.labels for painting in paintings], parts)
    drawn = np.isin(found, parts)
    return (exact & drawn).sum() / (exact | drawn).sum()


def share(paintings: list[Painting], found: list[np.ndarray], exact: Label, *taken: Label) -> float:
    """Part of what is ``exact`` that was taken for one of ``taken``."""
    where = np.stack([painting.labels for painting in paintings]) == exact
    return float(np.isin(np.stack(found)[where], taken).mean())


def test_every_part_of_a_short_haired_speaker(tmp_path):
    paintings = clip(Looks(teeth=True), FRAMES)
    found = labels_of(paintings, tmp_path)
    assert overlap(paintings, found, *[label for label in Label if label != Label.BACKGROUND]) > 0.97
    bars = {Label.HAIR: 0.85, Label.FACE: 0.93, Label.NECK: 0.75, Label.TORSO: 0.95}
    bars |= {Label.LIPS: 0.95, Label.MOUTH: 0.8, Label.TEETH: 0.8}
    for label, bar in bars.items():
        assert overlap(paintings, found, label) > bar, label.name


@pytest.mark.parametrize("hair", [DARK, BLOND])
def test_long_hair_over_the_shoulders_belongs_to_the_head(hair, tmp_path):
    paintings = clip(Looks(hair=hair, long=True), FRAMES)
    found = labels_of(paintings, tmp_path)
    assert share(paintings, found, Label.HAIR, Label.NECK, Label.TORSO) < 0.08
    assert overlap(paintings, found, Label.HAIR) > 0.8
    assert overlap(paintings, found, Label.TORSO) > 0.7


def test_a_dark_suit_is_not_hair(tmp_path):
    paintings = clip(Looks(hair=DARK, clothes=NAVY), FRAMES)
    found = labels_of(paintings, tmp_path)
    assert share(paintings, found, Label.TORSO, Label.HAIR) < 0.01
    assert overlap(paintings, found, Label.TORSO) > 0.9


def test_a_bald_head_is_face(tmp_path):
    paintings = clip(Looks(hair=None), FRAMES)
    found = labels_of(paintings, tmp_path)
    assert overlap(paintings, found, Label.FACE, Label.HAIR, Label.LIPS, Label.MOUTH) > 0.93
    assert share(paintings, found, Label.FACE, Label.HAIR) < 0.25


def test_a_head_without_torso(tmp_path):
    paintings = clip(Looks(clothes=None), FRAMES)
    found = labels_of(paintings, tmp_path)
    assert overlap(paintings, found, Label.NECK, Label.TORSO) > 0.85


def test_nothing_but_landmarks_does_not_crash(tmp_path):
    """The segmenter sees no person at all: all is background but the lips, which the landmarks draw."""
    painting = paint(Looks())
    empty = Painting(
        np.broadcast_to(GROUND, (256, 256, 3)).astype(np.uint8).copy(), painting.labels, painting.landmarks
    )
    (found, *_) = labels_of([empty] * 3, tmp_path)
    assert set(np.unique(found)) <= {Label.BACKGROUND, Label.LIPS, Label.MOUTH, Label.TEETH}


def test_the_result_does_not_depend_on_the_number_of_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(masks, "RUN", 3)
    paintings = clip(Looks(), FRAMES)
    folders = tmp_path / "one", tmp_path / "two"
    one, two = (labels_of(paintings, folder, workers) for folder, workers in zip(folders, (1, 2), strict=True))
    np.testing.assert_array_equal(one, two)


def test_missing_masks_are_filled_in_with_the_same_result(tmp_path):
    paintings = clip(Looks(), FRAMES)
    whole = labels_of(paintings, tmp_path)
    kept = (tmp_path / "000002.png").stat().st_mtime_ns
    (tmp_path / "000005.png").unlink()
    np.testing.assert_array_equal(labels_of(paintings, tmp_path), whole)
    assert (tmp_path / "000002.png").stat().st_mtime_ns >= kept


def test_a_single_frames_error_of_the_segmenter_passes_unseen(monkeypatch):
    """The median over neighboring frames hides a limb that is lost for one frame."""
    paintings = [paint(Looks(), seed=n) for n in range(5)]
    landmarks = np.stack([painting.landmarks for painting in paintings])
    labeler = masks.learn_labels(lambda n: paintings[n].picture, landmarks)
    steady = list(labeler.run(lambda n: paintings[n].picture, landmarks, range(5)))
    real = Labeler._coarse_maps

    def blinded(self, picture, points):
        maps = real(self, picture, points)
        return maps * np.float32(picture is not paintings[2].picture)

    monkeypatch.setattr(Labeler, "_coarse_maps", blinded)
    found = list(labeler.run(lambda n: paintings[n].picture, landmarks, range(5)))
    assert (found[2] != steady[2]).mean() < 0.01


def test_the_mouth_is_open_only_when_it_is():
    assert not mouth_of(paint(Looks(opening=0.0)).landmarks, 256).any()
    assert mouth_of(paint(Looks(opening=0.012)).landmarks, 256).sum() > 100


def test_teeth_are_told_only_where_there_are_two_kinds_of_pixels():
    chance = np.random.default_rng(0)
    tongue, teeth = chance.normal(30, 5, 500), chance.normal(150, 10, 200)
    limit = teeth_threshold(np.concatenate([tongue, teeth]).astype(np.float32))
    assert limit is not None
    assert tongue.max() < limit < teeth.min()
    assert teeth_threshold(chance.normal(30, 5, 700).astype(np.float32)) is None
    assert teeth_threshold(np.zeros(0, np.float32)) is None


def test_labels_survive_their_file():
    labels = np.random.default_rng(1).integers(0, 8, (64, 64)).astype(np.uint8)
    decoded = cv2.imdecode(np.frombuffer(encode_labels(labels), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, labels)


def test_without_a_person_the_map_is_background():
    painting = paint(Looks(opening=0.0))
    labels = label_map(painting.picture, painting.landmarks, np.zeros((4, GRID, GRID), np.float32), None)
    assert set(np.unique(labels)) == {Label.BACKGROUND, Label.LIPS}


def test_the_head_frame_moves_turns_and_scales_with_the_head():
    points = paint(Looks()).landmarks
    frame = HeadFrame.of(points)
    spot = points[1, :2]
    angle, scale, shift = 0.3, 1.4, np.array([20.0, -7.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = points.copy()
    moved[:, :2] = scale * points[:, :2] @ turn.T + shift
    moved[:, 2] *= scale
    again = HeadFrame.of(moved)
    np.testing.assert_allclose(again.to_head(moved[1, :2]), frame.to_head(spot), atol=1e-4)
    np.testing.assert_allclose(frame.from_head(frame.to_head(spot)), spot, rtol=1e-5)
    assert again.unit == pytest.approx(scale * frame.unit, rel=1e-5)


def test_the_jaw_line_parts_chin_from_throat():
    points = paint(Looks()).landmarks
    frame = HeadFrame.of(points)
    below = below_jaw(frame, points, frame.grid(256))
    x, chin = points[152, :2]
    assert below[int(chin - 6), int(x)] < 0 < below[int(chin + 6), int(x)]


def test_polygons_are_filled_by_pixel_centers():
    inside = filled(np.array([[2.0, 3.0], [6.0, 3.0], [6.0, 5.0], [2.0, 5.0]]), 8)
    assert inside[3:5, 2:6].all()
    assert inside.sum() <= 15  # the border's own pixels may count
