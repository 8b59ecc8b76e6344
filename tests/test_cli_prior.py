"""`talksplat prior ...`: from portraits to a pool, from a pool to a prior, from a prior to figures."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from drawn import draw_portrait
from talksplat.cli import main
from talksplat.cli_prior import PriorTrain
from talksplat.prior.fit import Recipe
from talksplat.synthetic.speech import speech_of
from talksplat.verb import Verb


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three portraits, added one after the other."""
    folder = tmp_path_factory.mktemp("portraits")
    for order, name in enumerate(("ann", "bob", "cyd")):
        drawn = draw_portrait(folder / name, frames=150)
        samples = speech_of("a").samples[order * 96_000 :][: 150 * 640]
        soundfile.write(drawn.folder / "audio.wav", samples, 16_000, subtype="PCM_16")
        assert main(["prior", "add", str(folder / name), "--to", str(folder / "pool"), "--quiet"]) == 0
    return folder / "pool"


def test_a_pool_grows_by_portraits_and_their_consent(pool: Path) -> None:
    rows = json.loads((pool / "index.json").read_text())
    assert [row["file"] for row in rows] == ["ann", "bob", "cyd"]
    assert {row["consent"] for row in rows} == {"a drawing"}
    assert {row["lips_late_frames"] for row in rows} == {0}  # drawn lips that do not say what is heard
    assert np.load(pool / "bob.npz")["mel"].shape == (4 * 150 + 117, 32)


def test_a_prior_is_trained_and_judged(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("talksplat.prior.fit.Recipe", lambda: Recipe(networks=1, hidden=8, steps=20))
    out = tmp_path / "p.safetensors"
    assert main(["prior", "train", str(pool), "--out", str(out), "--seed", "4", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["bytes"] == out.stat().st_size
    assert made["seed"] == 4
    assert [clip["consent"] for clip in made["clips"]] == ["a drawing"] * 3
    assert main(["prior", "evaluate", str(out), str(pool), "--json"]) == 0
    judged = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert set(judged["mean"]) >= {"opening", "width", "outer"}
    assert [row["file"] for row in judged["clips"]] == ["ann", "bob", "cyd"]
    assert main(["prior", "evaluate", str(out), str(pool)]) == 0
    assert "made from ann, bob, cyd" in capsys.readouterr().out
    assert main(["prior", "train", str(pool), "--out", str(out)]) == 0
    assert "people left out: opening" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prior", "evaluate", "none.safetensors", "pool"], "found nothing"),
        (["prior", "train", "nowhere", "--out", "p.safetensors"], "not the list of a pool's clips"),
        (["prior", "add", "nowhere", "--to", "pool"], "no such folder"),
    ],
)
def test_wrong_paths_are_refused(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_its_verbs_are_like_all_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert issubclass(PriorTrain, Verb)
    with pytest.raises(SystemExit) as ended:
        main(["prior", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(verb in said for verb in ("add", "train", "evaluate"))
