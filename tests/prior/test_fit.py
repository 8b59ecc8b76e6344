"""A prior learns what people have in common, is repeatable, and comes back from its file."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from made import make_pool

from talksplat.errors import InputError, MissingInput, PriorError
from talksplat.prior.fit import Recipe, fit_prior
from talksplat.prior.judge import carded_prior, judge_on_people_left_out, judge_prior, table
from talksplat.prior.pool import PoolClip, read_pool
from talksplat.progress import Reporter
from talksplat.speech.live import tell_live
from talksplat.speech.prior import SHIPPED, ArticulationPrior, load_prior

QUIET = Reporter(quiet=True)
SHORT = Recipe(networks=1, hidden=16, steps=60)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> list[PoolClip]:
    return read_pool(make_pool(tmp_path_factory.mktemp("made") / "pool"))


@pytest.fixture(scope="module")
def prior(pool: list[PoolClip]) -> ArticulationPrior:
    return fit_prior(pool[:3], 0, QUIET, SHORT)


def test_it_tells_the_lips_of_a_person_it_has_not_seen(prior: ArticulationPrior, pool: list[PoolClip]) -> None:
    judged = judge_prior(prior, pool[3:])
    assert judged["mean"]["opening"] > 0.6
    assert judged["mean"]["jawOpen"] > 0.6
    assert abs(judged["clips"][0]["estimated"]) < 0.7


def test_offsets_are_taken_the_right_way_round(prior: ArticulationPrior, pool: list[PoolClip]) -> None:
    bob = judge_prior(prior, [clip for clip in pool if clip.name == "bob"])["clips"][0]  # 2 frames late
    assert bob["stated"]["opening"] > bob["zero"]["opening"] + 0.1
    assert bob["estimated"] == pytest.approx(2, abs=0.6)


def test_people_left_out_are_judged_by_others(pool: list[PoolClip]) -> None:
    judged = judge_on_people_left_out(pool, 0, QUIET, SHORT)
    assert {row["file"] for row in judged["clips"]} == {clip.name for clip in pool}
    known = judge_prior(fit_prior(pool, 0, QUIET, SHORT), pool)
    assert 0.5 < judged["mean"]["opening"] < known["mean"]["opening"]


def test_the_same_seed_gives_the_same_prior(prior: ArticulationPrior, pool: list[PoolClip]) -> None:
    features = pool[3].features
    again, other = (fit_prior(pool[:3], seed, QUIET, SHORT) for seed in (0, 1))
    assert np.array_equal(prior.tell(features), again.tell(features))
    assert not np.array_equal(prior.tell(features), other.tell(features))


def test_files_hold_all_of_it(prior: ArticulationPrior, pool: list[PoolClip], tmp_path: Path) -> None:
    prior.save(tmp_path / "p.safetensors")
    read = load_prior(tmp_path / "p.safetensors")
    assert (read.outputs, read.card) == (prior.outputs, prior.card)
    told, wanted = read.tell(pool[3].features), prior.tell(pool[3].features)
    assert np.abs(told - wanted).max() < 0.02
    part = read.tell(pool[3].features, np.array([5, 70]))
    assert np.allclose(part, told[[5, 70]], atol=1e-5)


def test_the_live_form_comes_along(prior: ArticulationPrior, pool: list[PoolClip], tmp_path: Path) -> None:
    judged = judge_prior(prior, pool[3:])
    assert judged["mean_live"]["opening"] > judged["mean"]["opening"] - 0.15
    prior.save(tmp_path / "p.safetensors")
    read = load_prior(tmp_path / "p.safetensors")
    told, wanted = tell_live(read, pool[3].heard_live), tell_live(prior, pool[3].heard_live)
    assert told.shape == (len(pool[3]), 3 + len(prior.components))
    assert np.abs(told - wanted).max() < 0.02
    assert "live" in table(judged).splitlines()[0]


def test_damaged_files_are_refused(prior: ArticulationPrior, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    prior.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PriorError, match="not a whole prior"):
        load_prior(path)
    path.write_bytes(whole.replace(b'\\"format\\": 1', b'\\"format\\": 9', 1))
    with pytest.raises(PriorError, match="format 9"):
        load_prior(path)
    with pytest.raises(MissingInput, match="found nothing"):
        load_prior(tmp_path / "none.safetensors")


def test_too_few_people_are_refused(pool: list[PoolClip]) -> None:
    with pytest.raises(InputError, match="1 people; expected at least 2"):
        fit_prior(pool[:1], 0, QUIET, SHORT)
    with pytest.raises(InputError, match="2 people; expected at least 3"):
        carded_prior(pool[:2], 0, QUIET, judged=True)


def test_cards_name_clips_and_figures(pool: list[PoolClip], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("talksplat.prior.fit.Recipe", lambda: SHORT)
    card = carded_prior(pool, 3, QUIET, judged=True).card
    assert [clip["file"] for clip in card["clips"]] == [clip.name for clip in pool]
    assert card["people left out"]["mean"]["opening"] > 0.5
    assert "--seed 3" in card["command"]
    assert "consent" not in card["clips"][0]  # these people were made up, and nobody asked them
    agreed = [dataclasses.replace(clip, person="anna", consent="she said yes") for clip in pool[:1]] + pool[1:]
    (anna, *_) = carded_prior(agreed, 3, QUIET, judged=False).card["clips"]
    assert (anna["person"], anna["consent"]) == ("anna", "she said yes")
    assert "people left out" not in carded_prior(pool, 3, QUIET, judged=False).card


def test_tables_have_a_line_a_clip(prior: ArticulationPrior, pool: list[PoolClip]) -> None:
    lines = table(judge_prior(prior, pool)).splitlines()
    assert [line.split()[0] for line in lines] == ["clip", *(clip.name for clip in pool), "mean"]
    known = dataclasses.replace(prior, card={"clips": [{"file": pool[1].name}]})
    assert f"was made from {pool[1].name}:" in table(judge_prior(known, pool)).splitlines()[-1]


def test_a_pool_of_other_blendshapes_is_not_judged(prior: ArticulationPrior, pool: list[PoolClip]) -> None:
    turned = dataclasses.replace(pool[0], names=pool[0].names[::-1])
    with pytest.raises(PriorError, match="other blendshapes"):
        judge_prior(prior, [turned])


def test_the_shipped_prior_is_small_and_tells_strangers_lips() -> None:
    assert SHIPPED.stat().st_size < 500_000
    card = load_prior(SHIPPED).card
    assert card["people left out"]["mean"]["opening"] >= 0.63
    assert all(clip["source"] for clip in card["clips"])
