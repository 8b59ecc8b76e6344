"""The matrix of clips: it resumes, keeps no paths, and its verdicts can fail."""

import dataclasses
import json
import resource
import sys
from pathlib import Path

import cells
import clips
import numpy as np
import pytest
import speech_features
from version import code_version

from talksplat.portrait import FORMAT, PortraitInfo, Provenance


def report(correlation: float = 0.7, psnr: float = 30.0, linear_noise: float = 0.5) -> dict:
    """A report.json with the fields that are judged."""
    chance = np.random.default_rng(0)
    true = np.convolve(chance.normal(size=130), np.ones(5), "valid")[:120]
    values = {"avatar": psnr, "deformation off": 28.0, "nearest pose": 25.0, "nearest speech": 24.0}
    scores = [
        {
            "candidate": name,
            "area": area,
            "metric": metric,
            "interval": dict.fromkeys(("value", "low", "high"), value if metric == "psnr" else -value),
        }
        for name, value in values.items()
        for area in ("frame", "face", "mouth")
        for metric in ("psnr", "perceptual")
    ]
    noisy = true + linear_noise * chance.normal(size=120)
    own = {"correlation": {"value": correlation}, "lag": 0, "relative_distance": {"value": 2.0}}
    return {
        "scores": scores,
        "lips": [{"candidate": "avatar", **own}, {"candidate": "linear baseline", **own}],
        "silence": {"silent": 0.02, "closed": 0.01},
        "eyes": {"shut": 0.2, "recorded": 0.1},
        "head": {"rendered": {"jitter": 0.5}, "true": {"jitter": None}},
        "speed": {"frames_per_second": 30.0},
        "series": {"openings": {"truth": [*true[:-1], None], "avatar": list(true), "linear baseline": list(noisy)}},
        "subject": {},
        "machine": {"processor": "a processor", "command": "talksplat evaluate /home/anna/x"},
    }


class Runner:
    """Stands for the command line: counts, and leaves the report that ``evaluate`` would."""

    def __init__(self, found: dict, fail_at: str = "") -> None:
        self.found, self.fail_at, self.ran = found, fail_at, []

    def __call__(self, command: list[str]) -> dict:
        self.ran.append(command[0])
        if command[0] == self.fail_at:
            raise RuntimeError("killed")
        if command[0] == "evaluate":
            folder = Path(command[command.index("--out") + 1])
            folder.mkdir(parents=True)
            (folder / "report.json").write_text(json.dumps(self.found))
        return {"seconds": 1.5, "peak_memory_mb": 100.0, "result": {}}


@pytest.fixture
def job(tmp_path: Path):
    return clips.Job(
        clip=Path("/videos/may-13s.mp4"),
        method="gstalker",
        preset="quick",
        settings=("points=5",),
        version="0123456789ab",
        size=512,
        consent="a test",
        speech=Path("/sounds/new.wav"),
        features="embedding",
        folder=tmp_path / "work",
    )


def test_an_interrupted_cell_goes_on_and_a_finished_one_is_read(job, tmp_path: Path):
    first = Runner(report(), fail_at="speak")
    with pytest.raises(RuntimeError):
        clips.fill(job, tmp_path / "kept", first)
    assert first.ran == ["prepare", "train", "speak"]
    assert not (tmp_path / "kept").exists()
    second = Runner(report())
    cell = clips.fill(job, tmp_path / "kept", second)
    assert second.ran == ["speak", "evaluate"]
    assert [cell["stages"][stage]["resumed"] for stage in cells.STAGES] == [False, False, True, False]
    third = Runner(report())
    assert clips.fill(job, tmp_path / "kept", third) == cell
    assert third.ran == []
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.name == "may-13s-gstalker-quick-points_5-0123456789ab.json"


def keep_portrait(folder: Path, size: int) -> None:
    """What is read of a portrait before it is used."""
    folder.mkdir(parents=True, exist_ok=True)
    about = Provenance("a test", "may-13s.mp4", "0" * 64, "2026-01-01T00:00:00Z", "talksplat")
    camera = np.eye(3).tolist()
    PortraitInfo(FORMAT, about, 331, size, camera, np.eye(4).tolist(), 1.0).save(folder)


def test_a_clip_that_is_prepared_already_is_not_prepared_again(job, tmp_path: Path):
    runner = Runner(report())
    prepared = dataclasses.replace(job, portraits=tmp_path / "portraits")
    keep_portrait(prepared.portrait, size=256)
    with pytest.raises(RuntimeError, match="of 256 pixels, expected 512"):
        clips.fill(prepared, tmp_path / "kept", runner)
    assert runner.ran == []
    keep_portrait(prepared.portrait, size=512)
    cell = clips.fill(prepared, tmp_path / "kept", runner)
    assert runner.ran == list(cell["stages"]) == ["train", "speak", "evaluate"]
    assert str(tmp_path / "portraits" / "may-13s" / "portrait") in prepared.commands()["train"]
    assert cells.row(cell)[1] == "–"


def test_a_kept_cell_names_no_path(job, tmp_path: Path):
    clips.fill(job, tmp_path / "kept", Runner(report()))
    (kept,) = (tmp_path / "kept").iterdir()
    assert "/" not in kept.read_text()
    result = {"avatar": "/home/anna/x.avatar", "frames": 12, "notes": ["fine", "see /tmp/y"], "inner": {"a": "b\\c"}}
    assert clips.named(result) == {"frames": 12, "notes": ["fine"], "inner": {}}


def test_the_code_version_follows_sources_and_nothing_else(tmp_path: Path):
    (tmp_path / "src" / "p" / "__pycache__").mkdir(parents=True)
    (tmp_path / "native").mkdir()
    (tmp_path / "src" / "p" / "a.py").write_text("1")
    (tmp_path / "native" / "b.cpp").write_text("2")
    version = code_version(tmp_path)
    (tmp_path / "src" / "p" / "__pycache__" / "a.pyc").write_text("x")
    (tmp_path / "src" / "p" / "b.so").write_text("x")
    (tmp_path / "tests.py").write_text("x")
    assert code_version(tmp_path) == version
    (tmp_path / "native" / "b.cpp").write_text("3")
    assert code_version(tmp_path) != version


def cell(clip: str, **changes) -> dict:
    return {
        "clip": clip,
        "method": "gstalker",
        "preset": "quick",
        "settings": [],
        "size": 512,
        "version": "v",
        "date": "2026-01-01",
        "stages": {stage: {"seconds": 1.0, "peak_memory_mb": 5.0} for stage in cells.STAGES},
        "report": report(**changes),
    }


def test_verdicts_hold_and_fail_by_the_bars():
    assert all(cells.verdicts(cell("may-13s")).values())
    weak = cells.verdicts(cell("may-13s", correlation=0.49))
    assert [name for name, met in weak.items() if not met] == ["lip_correlation"]
    assert "lip_correlation" not in cells.verdicts(cell("another", correlation=0.1))
    blurred = cells.verdicts(cell("may-13s", psnr=26.0))
    assert [name for name, met in blurred.items() if not met] == ["mouth_psnr", "mouth_perceptual"]
    unmeasured = cell("may-13s")
    unmeasured["report"]["scores"] = [s for s in unmeasured["report"]["scores"] if s["metric"] == "psnr"]
    assert not cells.verdicts(unmeasured)["frame_perceptual"]
    staring, unread, older = cell("may-13s"), cell("may-13s"), cell("may-13s")
    staring["report"]["eyes"] = {"shut": 0.6, "recorded": 0.1}
    unread["report"]["eyes"] = {"shut": None, "recorded": 0.1}
    del older["report"]["eyes"]
    gaping = cell("may-13s")
    gaping["report"]["silence"] = {"silent": 0.031, "closed": 0.01}
    assert [name for name, met in cells.verdicts(gaping).items() if not met] == ["silence"]
    assert not cells.verdicts(staring)["eyes"]
    assert not cells.verdicts(unread)["eyes"]
    assert "eyes" not in cells.verdicts(older)


def test_the_lips_are_pooled_once_all_three_clips_are_there():
    judged = [cell(name) for name in cells.LIP_CLIPS]
    assert cells.pooled_difference(judged[:2]) is None
    found = cells.pooled_difference(judged)
    assert found.low > 0  # The avatar of these reports follows the truth exactly, the baseline with noise.
    for one in judged:
        openings = one["report"]["series"]["openings"]
        openings["avatar"], openings["linear baseline"] = openings["linear baseline"], openings["avatar"]
    found = cells.pooled_difference(judged)
    assert cells.summary(judged, [])["passed"] == (found.low >= -0.1)


def test_pooling_prints_a_table_and_ends_with_one_json_line(tmp_path: Path, capsys):
    for name in cells.LIP_CLIPS:
        for date, version in (("2026-01-01", "old"), ("2026-01-02", "new")):
            kept = {**cell(name), "date": date, "version": version}
            (tmp_path / f"{name}-{version}.json").write_text(json.dumps(kept))
        smaller = {**cell(name, correlation=0.1), "size": 256, "date": "2026-01-03", "version": "small"}
        (tmp_path / f"{name}-small.json").write_text(json.dumps(smaller))
    assert clips.main(["--pool", "--features", "embedding", "--results", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([text for text in lines if text.startswith("| ")]) == 1 + 3
    last = json.loads(lines[-1])
    assert last["passed"]
    assert last["versions"] == ["new"]
    assert [json.loads(text)["clip"] for text in lines[-4:-1]] == sorted(cells.LIP_CLIPS)
    assert "series" not in json.loads(lines[-2])["report"]


def test_a_stage_reports_time_and_memory_and_an_error_is_raised(monkeypatch: pytest.MonkeyPatch):
    script = (
        "import sys, json; held = b'x' * 80_000_000; print('note'); "
        "print(json.dumps({'frames': 7})) if {ok} else sys.exit(2)"
    )
    real = clips.subprocess.Popen

    def popen(ok: bool):
        return lambda command, **options: real([sys.executable, "-c", script.replace("{ok}", str(ok))], **options)

    monkeypatch.setattr(clips.subprocess, "Popen", popen(True))
    found = clips.run_stage(["prepare"])
    assert found["result"] == {"frames": 7}
    # A child counts as large as the process that forked it until it becomes another program.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    assert 80 < found["peak_memory_mb"] < 400 + 1.1 * own
    monkeypatch.setattr(clips.subprocess, "Popen", popen(False))
    with pytest.raises(RuntimeError, match="`talksplat prepare` exited with 2"):
        clips.run_stage(["prepare"])


def test_two_kinds_of_features_are_paired_by_clip_and_pooled(tmp_path: Path):
    for clip, length in (("short", 300), ("longer", 900)):
        for features, distance, noise in (("embedding", 2.0, "linear baseline"), ("articulation", 1.5, "avatar")):
            kept = {**cell(clip), "features": features}
            openings = kept["report"]["series"]["openings"]
            openings["avatar"] = openings[noise]
            spread = {"value": distance, "low": distance - 0.3, "high": distance + 0.3}
            kept["report"]["lips"][0]["relative_distance"] = spread
            kept["report"]["subject"] = {"train_frames": length, "test_frames": 50}
            (tmp_path / f"{clip}-{features}.json").write_text(json.dumps(kept))
    (tmp_path / "alone.json").write_text(json.dumps({**cell("alone"), "features": "embedding"}))
    found = speech_features.compared(speech_features.pairs_of(tmp_path, "gstalker", "quick"))
    assert set(found["clips"]) == {"short", "longer"}
    for which in ("up to 20 s", "longer"):
        value, low, _high = found[which]["lip correlation"]
        assert value > low > 0
        # Half the width of two independent figures of +-0.3 each.
        half = 0.3 * 2**0.5
        assert found[which]["LMD %"] == pytest.approx([-0.5, -0.5 - half, -0.5 + half])


def test_distances_are_paired_by_frame_where_every_cell_keeps_them():
    jumping = np.random.default_rng(0).normal(2.0, 0.5, 120)

    def one(values: np.ndarray) -> dict:
        kept = json.loads(json.dumps(cell("short")))
        kept["report"]["series"] |= {"distances": {"avatar": [*values.tolist(), None]}}
        kept["report"]["series"]["mouth_errors"] = {"perceptual": [None, *(values / 2).tolist()]}
        return kept

    found = speech_features.pooled([(one(jumping), one(jumping - 0.5))])
    assert found["LMD %"] == pytest.approx([-0.5] * 3)
    assert found["mouth perceptual"] == pytest.approx([-0.25] * 3)
