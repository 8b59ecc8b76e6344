import errno
import hashlib
import json
from pathlib import Path

import pytest

from talksplat.errors import DiskFull, MissingInput
from talksplat.storage import (
    existing_file,
    replacing,
    sha256_of_file,
    sha256_of_value,
    write_bytes,
    write_json,
)


def failing_write(path: Path, failure: BaseException) -> None:
    """Fail when half of the file is written."""
    with replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise failure


def write_into_a_full_device(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"x" * 10)


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.bin"
    with replacing(path) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists()
        assert temporary.suffix == path.suffix
        assert temporary.parent == path.parent
    assert path.read_bytes() == b"half"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_what_was_there_survives_a_failure(failure: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_bytes(path, b"yesterday")
    with pytest.raises(failure):
        failing_write(path, failure())
    assert path.read_bytes() == b"yesterday"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_and_leaves_nothing(code: int, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(DiskFull, match="no space left while writing") as failure:
        failing_write(path, OSError(code, "no space"))
    assert str(path) in failure.value.message
    assert failure.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_really_full_is_named(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(DiskFull):
        write_into_a_full_device(tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_of_the_system_are_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="broken disk"):
        failing_write(tmp_path / "a.bin", OSError(errno.EIO, "broken disk"))


def test_json_is_what_other_readers_take(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 2.5], "a": None})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, 2.5], "a": None}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", {"a": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_a_missing_file_is_named_with_its_part(tmp_path: Path) -> None:
    assert existing_file(Path(__file__), "test") == Path(__file__)
    with pytest.raises(MissingInput, match="expected a file, found nothing"):
        existing_file(tmp_path / "nobody.wav", "sound")
    with pytest.raises(MissingInput, match="expected a file, found a folder"):
        existing_file(tmp_path, "sound")


def test_equal_content_has_equal_hashes(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"same")
    assert sha256_of_file(tmp_path / "a") == hashlib.sha256(b"same").hexdigest()
    assert sha256_of_value({"a": 1, "b": [2]}) == sha256_of_value({"b": [2], "a": 1})
    assert sha256_of_value({"a": 1}) != sha256_of_value({"a": 2})
