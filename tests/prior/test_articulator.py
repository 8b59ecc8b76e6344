"""A person's articulation: prior where little is known, own data where they tell more, the same in a stream."""

import numpy as np
import pytest

from talksplat.speech.articulator import MARGIN, Articulator, fit_articulator
from talksplat.speech.prior import MEASURES, ArticulationPrior, shipped_prior

FRAMES = 400
TRAIN = np.arange(320)
TEST = np.arange(330, FRAMES)


@pytest.fixture(scope="module")
def prior() -> ArticulationPrior:
    return shipped_prior()


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    """As smooth in time as speech features are, and standardised."""
    chance = np.random.default_rng(4)
    rough = chance.normal(size=(2 * FRAMES + 20, 128))
    smooth = np.apply_along_axis(lambda column: np.convolve(column, np.hanning(13), "same"), 0, rough)[10:-10]
    return ((smooth - smooth.mean(0)) / smooth.std(0)).astype(np.float32)


def standardized(values: np.ndarray) -> np.ndarray:
    return (values - values[TRAIN].mean(0)) / values[TRAIN].std(0)


@pytest.fixture(scope="module")
def told(prior: ArticulationPrior, features: np.ndarray) -> np.ndarray:
    return prior.tell(features)[:, : len(MEASURES) + len(prior.components)]


def alike(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(first.T, second.T, strict=True)]))


def test_who_speaks_as_the_prior_tells_is_told_by_the_prior(
    prior: ArticulationPrior, features: np.ndarray, told: np.ndarray
) -> None:
    noise = np.random.default_rng(5).normal(size=told.shape)
    lips = standardized(told / told.std(0) + 0.7 * noise)
    found = fit_articulator(prior, features, lips, TRAIN)
    assert (found.shares > 0.5).all()
    window = np.abs(found.weights).sum(0)
    assert alike(found.tell(features, TEST), told[TEST]) > 0.95
    assert np.median(window) < 0.05 * np.abs(found.shares).mean() * 768


def test_who_speaks_otherwise_is_told_by_the_own_recording(prior: ArticulationPrior, features: np.ndarray) -> None:
    own = (features[0::2] + features[1::2])[:, 5:12]
    lips = standardized(own + 0.3 * np.random.default_rng(6).normal(size=own.shape))
    found = fit_articulator(prior, features, lips, TRAIN)
    assert alike(found.tell(features, TEST), lips[TEST]) > 0.3 + abs(alike(prior.tell(features)[TEST, :7], lips[TEST]))


def test_the_prior_alone_stays_where_own_data_are_no_clear_gain(
    prior: ArticulationPrior, features: np.ndarray, told: np.ndarray
) -> None:
    taught = alone = 0
    for seed in range(4):
        rough = np.random.default_rng(seed).normal(size=(FRAMES + 20, told.shape[1]))
        noise = np.apply_along_axis(lambda column: np.convolve(column, np.hanning(9), "same"), 0, rough)[10:-10]
        lips = told / told.std(0) + noise / noise.std(0)
        few = TRAIN[seed : seed + 100]
        found = fit_articulator(prior, features, (lips - lips[few].mean(0)) / lips[few].std(0), few)
        alone += int((np.abs(found.weights).max(0) == 0).sum())
        taught += found.channels
    assert alone >= 0.7 * taught


def test_channels_move_by_the_root_of_how_well_lips_are_told(
    prior: ArticulationPrior, features: np.ndarray, told: np.ndarray
) -> None:
    noise = np.random.default_rng(5).normal(size=told.shape)
    for loud in (0.3, 1.0, 2.0):
        lips = standardized(told / told.std(0) + loud * noise)
        moved = fit_articulator(prior, features, lips, TRAIN).channels_of(features, TRAIN)
        agreement = (1 + loud**2) ** -0.5
        assert np.sqrt(moved.var(0).mean()) == pytest.approx(agreement**0.5, rel=0.1)


def test_channels_are_of_one_mouth(prior: ArticulationPrior, features: np.ndarray, told: np.ndarray) -> None:
    """Where lips move in two ways only, what is told of seven measures by themselves is of no mouth."""
    chance = np.random.default_rng(7)
    ways = np.linalg.qr(chance.normal(size=(told.shape[1], 2)))[0]
    shown = told / told.std(0) @ ways
    lips = standardized((shown + chance.normal(size=shown.shape)) @ ways.T)
    found = fit_articulator(prior, features, lips, TRAIN)

    plane = np.linalg.svd(lips[TRAIN], full_matrices=False)[2][:2]
    apart, together = (
        np.square(values - values @ plane.T @ plane).sum() / np.square(values).sum()
        for values in (found.tell(features, TEST), found.channels_of(features, TEST))
    )
    assert together < 1e-4 < 0.01 < apart
    assert alike(found.channels_of(features, TEST), lips[TEST]) > alike(found.tell(features, TEST), lips[TEST]) - 0.02


def test_what_does_not_move_is_told_as_still(prior: ArticulationPrior, features: np.ndarray, told: np.ndarray) -> None:
    lips = standardized(told)
    lips[:, 1] = 0
    channels = fit_articulator(prior, features, lips, TRAIN).channels_of(features, TEST)
    assert np.abs(channels[:, 1]).max() < 1e-5 < channels[:, 0].std()


@pytest.mark.parametrize("frames", [10, 12, 20])
def test_a_recording_too_short_to_be_judged_is_told_by_the_prior(
    prior: ArticulationPrior, features: np.ndarray, told: np.ndarray, frames: int
) -> None:
    noise = np.random.default_rng(5).normal(size=told.shape)
    lips = told / told.std(0) + noise
    few = np.arange(frames)
    lips = (lips - lips[few].mean(0)) / lips[few].std(0)
    found = fit_articulator(prior, features, lips, few)
    assert np.abs(found.weights).max() == 0
    assert np.abs(found.channels_of(features, TEST)).max() < 12


@pytest.mark.parametrize("block", [2, 14, 100, 2 * FRAMES])
def test_a_stream_equals_the_whole(
    prior: ArticulationPrior, features: np.ndarray, told: np.ndarray, block: int
) -> None:
    found = fit_articulator(prior, features, standardized(told + 0.1 * features[0::2, :7]), TRAIN)
    whole = found.extended(features)
    parts = list(found.stream(features[start : start + block] for start in range(0, len(features), block)))
    assert np.allclose(np.concatenate(parts), whole, atol=1e-5)
    assert np.array_equal(whole[:, :128], features)
    assert whole.shape[1] == 128 + found.channels
    short = features[: 2 * MARGIN - 4]
    assert np.allclose(np.concatenate(list(found.stream([short]))), found.extended(short), atol=1e-5)
    assert not list(found.stream([]))


def test_it_comes_back_from_its_tensors(prior: ArticulationPrior, features: np.ndarray, told: np.ndarray) -> None:
    found = fit_articulator(prior, features, standardized(told), TRAIN)
    again = Articulator.of_tensors(found.tensors(), found.prior.about())
    assert np.array_equal(again.extended(features), found.extended(features))


def test_what_older_versions_kept_is_read(prior: ArticulationPrior, features: np.ndarray, told: np.ndarray) -> None:
    found = fit_articulator(prior, features, standardized(told), TRAIN)
    shyness = np.linspace(0.5, 1.0, found.channels, dtype=np.float32)
    kept = {name: value for name, value in found.tensors().items() if name not in ("mixing", "offset")}
    again = Articulator.of_tensors(kept | {"shyness": shyness}, found.prior.about())
    expected = found.tell(features, TEST) / shyness
    assert np.allclose(again.channels_of(features, TEST), expected, atol=1e-5)
