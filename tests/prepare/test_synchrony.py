"""What is done about an offset: found and certain ones are taken out, others only if asked for."""

from pathlib import Path

import numpy as np
import pytest

from talksplat.clock import FRAME_RATE
from talksplat.prepare.synchrony import Synchrony, synchrony_of
from talksplat.prior.offset import AvOffset
from talksplat.speech.prior import shipped_prior
from talksplat.synthetic.articulation import articulate
from talksplat.synthetic.speech import speech_of


def synchrony(late: float, forced: float | None = None, foreign: bool = False) -> Synchrony:
    """Of the synthetic voice and its own lips, or those of another speech."""
    speech, lips = speech_of("b"), speech_of("a" if foreign else "b")
    ahead = 0.9  # As people's lips run ahead of the sound; the drawn ones do not.
    actions = articulate(lips, (np.arange(speech.frames) + 0.5 - late + ahead) / FRAME_RATE)
    opening = (actions["jaw"] + 0.5 * actions["lower_lip"]) * (1 - actions["seal"])
    mouth = np.stack([opening, actions["spreading"] - actions["rounding"], opening], 1).astype(np.float32)
    return synchrony_of(speech.samples, mouth, np.ones(len(mouth), bool), shipped_prior(), forced)


def test_a_late_picture_has_its_sound_delayed() -> None:
    found = synchrony(3.0)
    assert found.delay == found.found.lips_late_frames == pytest.approx(3.0, abs=0.5)
    assert "late" in found.line()
    assert not found.warnings()


def test_what_is_on_time_is_left_alone() -> None:
    found = synchrony(0.0)
    assert found.delay == 0
    assert "left as it is" in found.line()


def test_what_the_user_says_is_done() -> None:
    assert synchrony(3.0, forced=-1.5).delay == -1.5
    assert synchrony(3.0, forced=0.0).delay == 0


def test_a_foreign_sound_is_said_to_be_one_and_not_moved() -> None:
    found = synchrony(0.0, foreign=True)
    assert found.delay == 0
    assert "does not seem to belong" in found.warnings()[0]


def test_an_uncertain_offset_is_not_taken_out_and_a_large_one_is_said() -> None:
    unsure = Synchrony(AvOffset(2.0, 0.4, 0.38, 0.01), 0.0, False)
    assert "uncertain" in unsure.warnings()[0]
    far = Synchrony(AvOffset(7.6, 0.6, 0.1, 0.2), 7.6, False)
    assert "more than 8 frames" in far.warnings()[0]


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    nan = float("nan")
    for kept in (
        Synchrony(AvOffset(-1.25, 0.5, 0.4, 0.2), -1.25, False),
        Synchrony(AvOffset(0.0, nan, nan, nan), 0.0, True),
    ):
        kept.save(tmp_path / "offset.json")
        assert str(Synchrony.load(tmp_path / "offset.json")) == str(kept)
        assert "nan" not in kept.line()
        assert "nan" not in " ".join(kept.warnings())
        assert None not in [value for name, value in kept.figures().items() if name.endswith("frames")]
