"""A run folder lets nobody lose an interrupted run by accident."""

from pathlib import Path

import pytest

from talksplat.errors import RunError
from talksplat.train.run_folder import RunFolder


def test_interrupted_runs_are_resumed_or_restarted_on_purpose(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "anna.avatar")
    assert folder.begin({"seed": 1}, resume=True, restart=False) is False
    with pytest.raises(RunError, match="interrupted run"):
        folder.begin({"seed": 1}, resume=False, restart=False)
    folder.checkpoint.write_bytes(b"state")
    assert folder.begin({"seed": 1}, resume=True, restart=False) is True
    with pytest.raises(RunError, match="other settings: seed"):
        folder.begin({"seed": 2}, resume=True, restart=False)
    assert folder.begin({"seed": 2}, resume=False, restart=True) is False
    assert not folder.checkpoint.exists()


def test_finished_runs_make_way(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "anna.avatar")
    folder.begin({}, resume=False, restart=False)
    folder.log({"step": 1})
    folder.finish()
    assert folder.begin({}, resume=False, restart=False) is False
    assert not (folder.folder / "journal.jsonl").exists()
