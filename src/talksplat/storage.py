"""Files written whole or not at all, and the hashes that name their content."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from talksplat.errors import DiskFull, MissingInput


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes the place of ``path``, on failure it goes.

    The temporary name keeps the suffix, since writers choose their format by it.

    Raises:
        DiskFull: the device ran out of space while writing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(path.parent).free
            raise DiskFull(
                f"no space left while writing `{path}`: {free / 1e6:.0f} MB are free",
                hint="free some space or choose another --out, then run the same command again",
            ) from error
        raise
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` as a whole."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON; NaN and infinity are refused, since other readers refuse them."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def existing_file(path: Path, what: str) -> Path:
    """``path`` when it is a file.

    Raises:
        MissingInput: it does not exist or is a folder; ``what`` names its part in the command.
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise MissingInput(
            f"{what} `{path}`: expected a file, found {found}",
            hint="check the path; it is taken relative to the folder you are in",
        )
    return path


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_value(value: Any) -> str:
    """SHA-256 of a JSON-able value, hexadecimal; equal values have equal hashes."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
