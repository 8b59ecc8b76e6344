"""The face's actions: what must shut shuts exactly, vowels differ, and speech moves the lips when it should."""

from itertools import combinations

import numpy as np
import pytest

from talksplat.synthetic.articulation import ACTIONS, TARGETS
from talksplat.synthetic.expression import Expression, face_rig
from talksplat.synthetic.face import (
    EYE_CENTERS,
    EYE_RADIUS,
    LOWER_INNER,
    LOWER_LIDS,
    UPPER_INNER,
    UPPER_LIDS,
    face_topology,
)
from talksplat.synthetic.head import Head
from talksplat.synthetic.speaker import SyntheticSpeaker
from talksplat.synthetic.speech import VOICES, closures, speech_of


def gap(expression: Expression) -> float:
    """The widest distance, centimetres, between facing points of the lips' inner rims."""
    shape = face_rig().coarse(expression)
    return float(np.linalg.norm(shape[list(UPPER_INNER)] - shape[list(LOWER_INNER)], axis=1).max())


@pytest.mark.parametrize("voice", VOICES)
def test_lips_are_exactly_closed_within_a_frame_of_every_p_b_and_m(voice):
    speaker = SyntheticSpeaker(voice=voice, size=64)
    gaps = np.array([gap(speaker.scene(frame).expression) for frame in range(len(speaker))])
    for span in closures(voice):
        assert gaps[max(0, span[0] - 1) : span[-1] + 2].min() == 0.0, span
    # Not by never opening: three frames in ten are wide open, and every long open vowel has one.
    assert np.mean(gaps > 0.5) > 0.3
    for phoneme in speech_of(voice).phonemes:
        if phoneme.symbol[0] in "ɑæ" and phoneme.end_s - phoneme.start_s > 0.08:
            assert gaps[int(25 * phoneme.start_s) : int(25 * phoneme.end_s) + 1].max() > 0.6, phoneme


def test_any_mouth_is_closed_by_the_seal_and_any_eye_by_the_blink():
    rng = np.random.default_rng(5)
    for _ in range(20):
        actions = {name: float(rng.uniform(0, 1)) for name in ACTIONS}
        shape = face_rig().fine(Expression(**{**actions, "seal": 1.0}, blink=1.0, brows=float(rng.uniform())))
        assert np.array_equal(shape[list(UPPER_INNER)], shape[list(LOWER_INNER)])
        for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
            assert np.abs(shape[list(upper)] - shape[list(lower)]).max() < 1e-4


def test_skin_never_enters_the_eyeballs():
    for blink in np.linspace(0, 1, 6):
        shape = face_rig().fine(Expression(blink=float(blink)))
        for center in EYE_CENTERS:
            front = shape[shape[:, 2] > center[2]]
            assert np.linalg.norm(front - center, axis=1).min() > EYE_RADIUS


def test_vowels_have_distinct_mouths():
    shapes = {}
    for vowel in ("ɑ", "i", "u", "ɛ", "o"):
        shape = face_rig().coarse(Expression(**dict(zip(ACTIONS, TARGETS[vowel].values, strict=True))))
        opening = np.linalg.norm(shape[13] - shape[14])
        width, protrusion = np.linalg.norm(shape[61] - shape[291]), shape[0, 2] + shape[17, 2]
        shapes[vowel] = np.array([opening, width, protrusion])
    for first, second in combinations(shapes, 2):
        # Centimetres; a pixel is about a millimetre wide in a picture of 512.
        assert np.linalg.norm(shapes[first] - shapes[second]) > 0.3, (first, second)
    assert shapes["u"][1] < shapes["ɑ"][1] < shapes["i"][1]
    assert shapes["ɑ"][0] > shapes["ɛ"][0] > shapes["i"][0]
    assert shapes["u"][2] > shapes["i"][2]


def test_the_jaw_takes_the_chin_along_and_leaves_the_nose():
    rest, wide = (face_rig().coarse(Expression(jaw=jaw, seal=0.0)) for jaw in (0.0, 1.0))
    moved = np.linalg.norm(wide - rest, axis=1)
    assert moved[152] > 1.5
    assert moved[[1, 4, 33, 263, 10]].max() < 1e-6


def test_movements_are_smooth():
    speaker = SyntheticSpeaker(size=64)
    lip = np.array([face_rig().coarse(speaker.scene(frame).expression)[17] for frame in range(len(speaker))])
    steps = np.linalg.norm(np.diff(lip, axis=0), axis=1)
    # A lower lip moves at up to 25 cm/s after a plosive: a centimetre in a frame.
    assert steps.max() < 1.0
    assert np.quantile(steps, 0.95) < 0.6


def test_landmarks_are_the_first_vertices_and_the_rest_face_keeps_the_gauge():
    expression = Expression(jaw=0.4, seal=0.0, rounding=0.3)
    apart = np.linalg.norm(Head().shape(expression)[:468] - face_rig().coarse(expression), axis=1)
    # Only what the eyeballs push out differs from the rig: some of the skin of the lids, by under two millimetres.
    assert np.mean(apart > 2e-5) < 0.06
    assert apart.max() < 0.2
    rest = face_topology().vertices
    assert np.linalg.norm(rest[33] - rest[263]) == pytest.approx(8.89, abs=0.01)
    mirrored = face_rig().coarse(Expression(jaw=0.5, seal=0.2))
    assert np.allclose(mirrored[61] * (-1, 1, 1), mirrored[291], atol=0.02)
