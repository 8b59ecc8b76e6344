"""Articulation told live: early enough, as from stored features, and as offline once the moments are known."""

import dataclasses

import numpy as np
import pytest

from talksplat.errors import PriorError
from talksplat.speech.encoders import EmbeddingEncoder
from talksplat.speech.live import LIVE_LAGS, LOOKAHEAD, LiveArticulation, LiveTeller, live_features, tell_live
from talksplat.speech.prior import MEASURES, ArticulationPrior, LiveForm, told_by
from talksplat.speech.ridge import lip_inputs
from talksplat.speech.standardization import Standardization
from talksplat.synthetic.speech import speech_of

SOUND = speech_of("a").samples[:80_100]
"""Five seconds and a part of a frame."""


@pytest.fixture(scope="module")
def raw() -> np.ndarray:
    encoder, frames = EmbeddingEncoder(1), -(-len(SOUND) // 640)
    margin = np.zeros(15 * 640, np.float32)
    rows = encoder.rows(np.concatenate([margin, SOUND, np.zeros(frames * 640 - len(SOUND), np.float32), margin]))
    return live_features(encoder, rows, 4 * 15, frames)


@pytest.fixture(scope="module")
def prior(raw: np.ndarray) -> ArticulationPrior:
    """Any linear map, with the moments of another recording."""
    chance = np.random.default_rng(0)
    weights = chance.normal(size=(10 * 32 + 5 * 96, 3)).astype(np.float32) / 30
    typical = Standardization.of(raw[: len(raw) // 2])
    members = (((weights, np.ones(3, np.float32)),),)
    return ArticulationPrior(members, MEASURES, np.zeros((0, 80), np.float32), 32, live=LiveForm(members, typical))


def test_frames_are_told_within_a_third_of_a_second(prior: ArticulationPrior) -> None:
    assert LOOKAHEAD / 16_000 < 0.3
    live, told = LiveArticulation(prior), 0
    for end in range(160, 32_000, 160):
        told += len(live.push(SOUND[end - 160 : end]))
        due = max(0, (end - LOOKAHEAD) // 640)
        assert told == due


def test_sound_in_pieces_tells_what_stored_features_tell(prior: ArticulationPrior, raw: np.ndarray) -> None:
    wanted = tell_live(prior, raw)
    assert len(wanted) == len(raw) // 2 == 126
    for size in (160, 1000, 80_100):
        live = LiveArticulation(prior)
        parts = [live.push(SOUND[at : at + size]) for at in range(0, len(SOUND), size)]
        told = np.concatenate([*parts, live.finish()])
        assert told.shape == wanted.shape
        assert np.abs(told - wanted).max() < 2e-2 * wanted.std()


def test_what_comes_later_than_the_lookahead_does_not_matter(prior: ArticulationPrior) -> None:
    changed = SOUND.copy()
    changed[30 * 640 + LOOKAHEAD :] *= -3
    told, other = (LiveArticulation(prior).push(sound) for sound in (SOUND, changed))
    assert np.array_equal(told[:30], other[:30])
    assert not np.array_equal(told[40:60], other[40:60])


def test_moments_go_from_the_pools_to_the_speakers(prior: ArticulationPrior, raw: np.ndarray) -> None:
    assert prior.live is not None
    frames = np.arange(len(raw) // 2)

    def offline(standardization: Standardization) -> np.ndarray:
        window = lip_inputs(standardization.apply(raw), frames, 32, LIVE_LAGS)
        return told_by(prior.live.members, window.astype(np.float32))

    told = tell_live(prior, raw)
    assert np.abs(told[0] - offline(prior.live.typical)[0]).max() < 0.3 * told.std()
    long = np.concatenate([raw] * 8)
    settled = tell_live(prior, long)[-len(frames) : -20]
    own = offline(Standardization.of(raw))[:-20]
    typical = offline(prior.live.typical)[:-20]
    middle = slice(20, None)
    assert np.abs(settled - own)[middle].mean() < 0.2 * np.abs(settled - typical)[middle].mean()


def test_a_prior_without_a_live_form_is_refused(prior: ArticulationPrior) -> None:
    with pytest.raises(PriorError, match="no live form"):
        LiveTeller(dataclasses.replace(prior, live=None))
