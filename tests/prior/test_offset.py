"""Offsets that were put in come out; foreign sounds are known as such. On the synthetic voices and their own lips."""

import numpy as np
import pytest

from talksplat.clock import FRAME_RATE
from talksplat.prior.offset import av_offset
from talksplat.speech.encoders import EmbeddingEncoder
from talksplat.speech.prior import shipped_prior
from talksplat.speech.standardization import Standardization
from talksplat.synthetic.articulation import articulate
from talksplat.synthetic.speech import Voice, speech_of


@pytest.fixture(scope="module")
def features() -> dict[Voice, np.ndarray]:
    found: dict[Voice, np.ndarray] = {}
    for voice in ("a", "b"):
        raw = EmbeddingEncoder().encode(speech_of(voice).samples)
        found[voice] = Standardization.of(raw).apply(raw)
    return found


def mouth(voice: Voice, late: float = 0.0) -> np.ndarray:
    speech = speech_of(voice)
    actions = articulate(speech, (np.arange(speech.frames) + 0.5 - late) / FRAME_RATE)
    opening = (actions["jaw"] + 0.5 * actions["lower_lip"]) * (1 - actions["seal"])
    return np.stack([opening, actions["spreading"] - actions["rounding"], opening], 1)


@pytest.mark.parametrize("voice", ["a", "b"])
def test_drawn_lips_are_late_by_what_people_run_ahead(features: dict[Voice, np.ndarray], voice: Voice) -> None:
    found = av_offset(features[voice], mouth(voice), shipped_prior())
    assert 0.5 < found.lips_late_frames < 1.2  # People's lips take their shape before they are heard.
    assert found.is_certain


@pytest.mark.parametrize("late", [-5.0, -1.4, 0.6, 3.0, 6.0])
def test_shifts_are_found_to_a_fraction(features: dict[Voice, np.ndarray], late: float) -> None:
    at_rest = av_offset(features["a"], mouth("a"), shipped_prior()).lips_late_frames
    found = av_offset(features["a"], mouth("a", late), shipped_prior())
    assert found.lips_late_frames - at_rest == pytest.approx(late, abs=0.3)
    assert found.is_certain


def test_another_voices_lips_are_foreign(features: dict[Voice, np.ndarray]) -> None:
    lips = mouth("b")
    heard = features["a"][: 2 * len(lips)]
    found = av_offset(heard, lips[: len(heard) // 2], shipped_prior())
    assert found.is_foreign
    assert not found.is_certain


def test_frames_in_which_no_face_was_seen_do_not_matter(features: dict[Voice, np.ndarray]) -> None:
    lips = mouth("a", 2.0)
    whole = av_offset(features["a"], lips, shipped_prior())
    lips[100:160] = np.nan
    assert av_offset(features["a"], lips, shipped_prior()).lips_late_frames == pytest.approx(
        whole.lips_late_frames, abs=0.3
    )


def test_lips_that_never_move_have_no_offset(features: dict[Voice, np.ndarray]) -> None:
    still = np.ones((len(features["a"]) // 2, 3))
    found = av_offset(features["a"], still, shipped_prior())
    assert found.is_foreign
    assert found.lips_late_frames == 0
