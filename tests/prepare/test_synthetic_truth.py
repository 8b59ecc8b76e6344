"""The synthetic speaker's film goes through the same preparation as any other; its exact truth judges the result."""

import numpy as np
import pytest

from talksplat.frame import HEAD_LABELS, TORSO_LABELS, Label
from talksplat.portrait import Portrait
from talksplat.prepare.crop import Crop
from talksplat.prepare.pipeline import PrepareConfig, prepare
from talksplat.progress import Reporter
from talksplat.synthetic.speaker import SyntheticSpeaker

SIZE, SECONDS = 256, 6.0
JUDGED = range(0, int(SECONDS * 25), 5)


@pytest.fixture(scope="module")
def speaker() -> SyntheticSpeaker:
    return SyntheticSpeaker(size=SIZE)


@pytest.fixture(scope="module")
def truth(speaker: SyntheticSpeaker) -> list:
    return list(speaker.frames(JUDGED))


@pytest.fixture(scope="module")
def portrait(speaker: SyntheticSpeaker, tmp_path_factory: pytest.TempPathFactory) -> Portrait:
    folder = tmp_path_factory.mktemp("film")
    speaker.write_video(folder / "speaker.mp4", seconds=SECONDS)
    config = PrepareConfig(consent="a drawn speaker", size=SIZE)
    return prepare(folder / "speaker.mp4", folder / "portrait", config, Reporter(quiet=True))


@pytest.fixture(scope="module")
def crop(portrait: Portrait) -> Crop:
    left, top, edge = np.load(portrait.folder / ".prepare" / "crop.npy").tolist()
    return Crop(left=left, top=top, edge=edge)


def test_every_frame_is_usable(portrait: Portrait) -> None:
    assert len(portrait) == int(SECONDS * 25)
    assert portrait.tracks.usable.all()


def test_head_poses_follow_the_exact_ones(portrait: Portrait, truth: list, crop: Crop) -> None:
    ours = portrait.tracks.head_to_camera[list(JUDGED)].double().numpy()
    exact = np.stack([frame.head_to_camera for frame in truth]).astype(np.float64)
    cosines = (np.einsum("tij,tij->t", ours[:, :3, :3], exact[:, :3, :3]) - 1) / 2
    assert np.degrees(np.arccos(np.clip(cosines, -1, 1))).mean() < 5  # the face model's own bias is in it
    turns = [np.einsum("tji,tjk->tik", poses[:-1, :3, :3], poses[1:, :3, :3]) for poses in (ours, exact)]
    relative = (np.einsum("tij,tij->t", *turns) - 1) / 2
    assert np.degrees(np.arccos(np.clip(relative, -1, 1))).mean() < 1.3  # over a fifth of a second
    sideways = [(poses[:, :2, 3] / poses[:, 2:3, 3]) for poses in (ours, exact)]
    focal = portrait.info.intrinsics[0][0]
    drift = sideways[0] * focal - sideways[1] * _exact_focal(truth) * SIZE / crop.edge
    assert np.abs(drift - drift.mean(0)).mean() < 1.5  # pixels


def _exact_focal(truth: list) -> float:
    seen = truth[0].landmarks_in_camera[1]
    return float((truth[0].landmarks[1, 0] - SIZE / 2) * seen[2] / seen[0])


def test_landmarks_and_mouth_follow_the_exact_ones(portrait: Portrait, truth: list, crop: Crop) -> None:
    found = portrait.tracks.landmarks[list(JUDGED), :468, :2].numpy()
    exact = crop.points(np.stack([frame.landmarks for frame in truth]).astype(np.float32), SIZE)
    assert np.linalg.norm(found - exact, axis=-1).mean() < 2.0
    opening = np.array([frame.mouth_opening for frame in truth])
    assert np.corrcoef(portrait.tracks.mouth[list(JUDGED), 0].numpy(), opening)[0, 1] > 0.95


def test_masks_are_the_exact_ones_but_for_their_edges(portrait: Portrait, truth: list, crop: Crop) -> None:
    scores: dict[str, list[float]] = {"head": [], "torso": [], "background": []}
    for index, frame in zip(JUDGED, truth, strict=True):
        labels, drawn = portrait.labels(index), _cropped(frame.labels, crop)
        for name, wanted in (("head", HEAD_LABELS), ("torso", TORSO_LABELS), ("background", (Label.BACKGROUND,))):
            ours, exact = np.isin(labels, wanted), np.isin(drawn, wanted)
            scores[name].append((ours & exact).sum() / (ours | exact).sum())
    for name, values in scores.items():
        assert np.mean(values) > 0.93, name


def _cropped(labels: np.ndarray, crop: Crop) -> np.ndarray:
    """The nearest exact label of every pixel of the crop."""
    place = ((np.arange(SIZE) + 0.5) * crop.edge / SIZE).astype(int)
    return labels[crop.top + place][:, crop.left + place]
