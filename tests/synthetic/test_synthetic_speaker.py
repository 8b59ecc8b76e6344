"""Pictures of the synthetic speaker against the geometry they show, and against what trackers make of them."""

from dataclasses import replace

import numpy as np
import pytest

from talksplat.clock import FRAME_RATE, SAMPLES_PER_FRAME
from talksplat.frame import Label
from talksplat.synthetic.expression import Expression
from talksplat.synthetic.speaker import SyntheticSpeaker

SIZE = 192


@pytest.fixture(scope="module")
def speaker() -> SyntheticSpeaker:
    return SyntheticSpeaker(size=SIZE)


def at(labels: np.ndarray, point: np.ndarray) -> Label:
    return Label(int(labels[int(point[1]), int(point[0])]))


def test_labels_and_picture_agree(speaker):
    frame = speaker.render(50)
    assert set(np.unique(frame.labels)) >= {0, 1, 2, 3, 4, 5}
    outside = frame.labels == Label.BACKGROUND
    # A pixel of the room may be covered by a person's edge for at most half.
    assert np.mean(np.any(frame.image[outside] != speaker.background[outside], axis=-1)) < 0.02
    inside = ~outside
    assert np.mean(np.any(frame.image[inside] != speaker.background[inside], axis=-1)) > 0.99


def test_landmarks_lie_on_what_they_name(speaker):
    for index in (10, 77, 130):
        frame = speaker.render(index)
        points = frame.landmarks
        assert ((points > 0) & (points < SIZE)).all()
        for landmark in (4, 152 - 1, 50, 280, 197):
            assert at(frame.labels, points[landmark]) == Label.FACE
        for landmark in (0, 17):
            middle = (points[landmark] + points[[12, 15][landmark == 17]]) / 2
            assert at(frame.labels, middle) == Label.LIPS
        found = np.argwhere(np.isin(frame.labels, (Label.LIPS, Label.MOUTH, Label.TEETH)))[:, ::-1] + 0.5
        lips = points[[61, 291, 0, 17]]
        assert np.abs(found.min(0) - lips.min(0)).max() < 2
        assert np.abs(found.max(0) - lips.max(0)).max() < 2


def test_landmarks_follow_from_the_pose(speaker):
    frame = speaker.render(33)
    rotation, shift = frame.head_to_camera[:3, :3], frame.head_to_camera[:3, 3]
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    in_head = (frame.landmarks_in_camera - shift) @ rotation
    assert np.linalg.norm(in_head[33] - in_head[263]) == pytest.approx(0.0889, abs=1e-4)
    # Right of the person is left in the picture, the nose towards the camera, the chin below.
    assert in_head[33, 0] < 0 < in_head[263, 0]
    assert in_head[4, 2] < in_head[33, 2]
    assert in_head[152, 1] > in_head[10, 1]
    projected = frame.landmarks_in_camera @ speaker.intrinsics.T
    assert np.allclose(projected[:, :2] / projected[:, 2:], frame.landmarks)


def test_open_mouths_show_teeth_and_dark_and_shut_ones_do_not(speaker):
    scene = speaker.scene(0)
    shut = speaker.draw(scene)
    wide = speaker.draw(replace(scene, expression=Expression(jaw=0.8, seal=0.0, upper_lip=0.4, lower_lip=0.4)))
    inner = (int(Label.MOUTH), int(Label.TEETH))
    assert shut.mouth_opening == 0.0
    assert np.isin(shut.labels, inner).sum() == 0
    assert wide.mouth_opening > 0.01
    assert all((wide.labels == label).sum() > 20 for label in inner)


def test_eyes_close(speaker):
    scene = speaker.scene(0)
    wide = speaker.draw(replace(scene, expression=Expression()))
    shut = speaker.draw(replace(scene, expression=Expression(blink=1.0)))
    assert wide.eye_opening > 0.006
    assert shut.eye_opening < 1e-5


def test_the_same_seed_draws_the_same_and_another_seed_another_person(speaker):
    again = SyntheticSpeaker(size=SIZE).render(40)
    first = speaker.render(40)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.labels, again.labels)
    assert np.array_equal(first.landmarks, again.landmarks)
    other = SyntheticSpeaker(size=SIZE, seed=1)
    assert np.abs(other.render(40).image.astype(float) - first.image).mean() > 10
    assert not np.allclose(other.motion.head_to_camera, speaker.motion.head_to_camera)


def test_motion_is_natural(speaker):
    from talksplat.synthetic.motion import move

    times = np.arange(60 * FRAME_RATE) / FRAME_RATE
    motion = move(3, speaker.speech, times)
    turned = np.degrees(np.arctan2(motion.head_to_camera[:, 0, 2], motion.head_to_camera[:, 2, 2]))
    assert 12 < np.ptp(turned) < 26
    assert np.abs(np.diff(turned)).max() < 2.5
    shut = np.flatnonzero(np.diff((motion.blink > 0.5).astype(int)) == 1) / FRAME_RATE
    assert 12 <= len(shut) <= 30
    assert np.diff(shut).min() >= 2.0
    assert np.diff(shut).max() <= 5.4


def test_frames_beyond_the_speech_are_refused(speaker):
    with pytest.raises(IndexError, match="frame 100000 of a speech of"):
        speaker.scene(100_000)


def test_video_is_as_long_as_its_sound(tmp_path):
    import av

    path = tmp_path / "speaker.mp4"
    SyntheticSpeaker(size=96, voice="b").write_video(path, seconds=1.6)
    with av.open(str(path)) as container:
        pictures = sum(1 for _ in container.decode(video=0))
    with av.open(str(path)) as container:
        sound = container.streams.audio[0]
        seconds = sum(block.samples for block in container.decode(sound)) / sound.rate
    assert pictures == 40
    assert seconds == pytest.approx(pictures / FRAME_RATE, abs=1 / FRAME_RATE)


def test_the_speech_is_whole_frames(speaker):
    assert len(speaker.speech.samples) == len(speaker) * SAMPLES_PER_FRAME


def test_truth_is_what_frames_say(tmp_path, speaker):
    path = tmp_path / "truth.npz"
    speaker.write_truth(path, [5, 60])
    truth = np.load(path)
    frame = speaker.render(60)
    assert truth["index"].tolist() == [5, 60]
    assert np.array_equal(truth["labels"][1], frame.labels)
    assert np.array_equal(truth["landmarks"][1], frame.landmarks)
    assert np.array_equal(truth["head_to_camera"][1], frame.head_to_camera)
    assert truth["mouth_opening"][1] == frame.mouth_opening
    assert truth["expression"][1][list(truth["actions"]).index("jaw")] == frame.expression.jaw
