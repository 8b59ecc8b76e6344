"""Trackers made for people find the synthetic person, and see the mouth and the eyes do what they do."""

import numpy as np
import pytest

from talksplat.landmarks import BLENDSHAPES
from talksplat.prepare.face import FaceTracker
from talksplat.synthetic.speaker import SyntheticSpeaker

SIZE = 256
FRAMES = range(4, 200, 8)


@pytest.fixture(scope="module")
def frames():
    return list(SyntheticSpeaker(size=SIZE).frames(FRAMES))


@pytest.fixture(scope="module")
def faces(frames):
    with FaceTracker() as tracker:
        found = [tracker.detect(frame.image) for frame in frames]
    assert all(len(one) == 1 for one in found)
    return [one[0] for one in found]


def test_landmarks_are_where_they_should_be(frames, faces):
    exact = np.array([frame.landmarks for frame in frames])
    found = np.array([face.landmarks[:468, :2] for face in faces])
    between_eyes = np.linalg.norm(exact[:, 33] - exact[:, 263], axis=-1)
    error = np.linalg.norm(found - exact, axis=-1) / between_eyes[:, None]
    assert error.mean() < 0.04
    assert error[:, [33, 133, 362, 263]].mean() < 0.035
    assert error[:, [61, 291]].mean() < 0.03


def test_the_opening_of_the_lips_is_seen(frames, faces):
    exact = np.array([frame.mouth_opening for frame in frames])
    found = np.array([np.linalg.norm(face.landmarks[13, :2] - face.landmarks[14, :2]) for face in faces])
    assert np.ptp(exact) > 0.01
    assert np.corrcoef(exact, found)[0, 1] > 0.9


def test_blinks_are_seen():
    from dataclasses import replace

    from talksplat.synthetic.expression import Expression

    speaker = SyntheticSpeaker(size=SIZE)
    scene = speaker.scene(0)
    scores = []
    with FaceTracker() as tracker:
        for blink in (0.0, 1.0):
            frame = speaker.draw(replace(scene, expression=Expression(blink=blink)))
            (face,) = tracker.detect(frame.image)
            scores.append([face.blendshapes[BLENDSHAPES.index(name)] for name in ("eyeBlinkLeft", "eyeBlinkRight")])
    assert max(scores[0]) < 0.15
    assert min(scores[1]) > 0.4


def test_the_person_segmenter_sees_the_person(frames):
    from importlib.resources import files

    from ai_edge_litert.interpreter import Interpreter

    model = (files("talksplat") / "assets" / "weights" / "selfie_segmentation.tflite").read_bytes()
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    for frame in frames[::8]:
        interpreter.set_tensor(source, frame.image[None].astype(np.float32) / 255)
        interpreter.invoke()
        found, exact = interpreter.get_tensor(result).reshape(SIZE, SIZE) > 0.5, frame.labels > 0
        assert (found & exact).sum() / (found | exact).sum() > 0.95
