"""A preparation skips what is done, redoes what changed, and touches no folder of somebody else's."""

from pathlib import Path

import pytest

from talksplat.errors import PortraitError
from talksplat.prepare.record import StepRecord


def test_steps_are_remembered_by_their_key(tmp_path: Path) -> None:
    record = StepRecord(tmp_path / "anna", "video")
    key, other = record.key("frames", 512), record.key("frames", 256)
    assert key != other
    record.begin("frames", key)
    assert not record.is_done("frames", key)
    record.finish("frames", key)
    again = StepRecord(tmp_path / "anna", "video")
    assert again.is_done("frames", key)
    assert not again.is_done("frames", other)
    assert again.finished == {"frames": key}


def test_what_an_interrupted_step_left_is_kept_and_what_another_left_goes(tmp_path: Path) -> None:
    record = StepRecord(tmp_path / "anna", "video")
    folder = tmp_path / "anna" / "frames"
    record.begin("frames", "one", folder)
    folder.mkdir()
    (folder / "000000.jpg").write_bytes(b"x")
    StepRecord(tmp_path / "anna", "video").begin("frames", "one", folder)
    assert (folder / "000000.jpg").exists()
    StepRecord(tmp_path / "anna", "video").begin("frames", "two", folder)
    assert not folder.exists()


def test_foreign_folders_and_other_videos_are_refused(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mother.txt").write_text("Dear")
    with pytest.raises(PortraitError, match="is no portrait"):
        StepRecord(tmp_path / "letters", "video")
    assert (tmp_path / "letters" / "mother.txt").read_text() == "Dear"
    StepRecord(tmp_path / "anna", "video")
    with pytest.raises(PortraitError, match="another video"):
        StepRecord(tmp_path / "anna", "other")
