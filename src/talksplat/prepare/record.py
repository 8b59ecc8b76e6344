"""Which steps of a preparation are done: a step is skipped when its key, the hash of all it depends on, is known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from talksplat.errors import PortraitError
from talksplat.storage import sha256_of_value, write_json


class StepRecord:
    """The hidden folder ``.prepare`` of a portrait in the making."""

    def __init__(self, portrait: Path, video_sha256: str) -> None:
        """Open the record of ``portrait``, or begin one.

        Raises:
            PortraitError: the folder holds something else, or the portrait of another video.
        """
        self.folder = portrait / ".prepare"
        self._file = self.folder / "steps.json"
        known: dict[str, Any] = {}
        if portrait.exists() and not portrait.is_dir():
            raise PortraitError(f"`{portrait}` is a file; expected a folder to make", hint="choose another --out")
        if self._file.is_file():
            known = _read(self._file, portrait)
        elif portrait.is_dir() and any(path for path in portrait.iterdir() if path.name != ".prepare"):
            raise PortraitError(
                f"`{portrait}` exists and is no portrait that `talksplat prepare` made",
                hint="choose another --out, or empty that folder",
            )
        if known.get("video", video_sha256) != video_sha256:
            raise PortraitError(
                f"`{portrait}` is the portrait of another video (hash {known['video'][:12]}, this one has "
                f"{video_sha256[:12]})",
                hint="choose another --out, or delete that folder to make it anew",
            )
        self._keys: dict[str, str] = known.get("steps", {})
        self._video = video_sha256
        self.folder.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(portrait)
        self._save()

    def key(self, step: str, *depends: Any) -> str:
        """The key of ``step`` for what it depends on (JSON-able values, keys of other steps among them)."""
        return sha256_of_value([step, *depends])

    def is_done(self, step: str, key: str) -> bool:
        """Whether ``step`` was finished with this key."""
        return self._keys.get(step) == key

    def begin(self, step: str, key: str, *outputs: Path) -> None:
        """Forget the step and, where it was begun with another key, delete what it left."""
        if self._keys.get(f"begun {step}") != key:
            for path in outputs:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        self._keys.pop(step, None)
        self._keys[f"begun {step}"] = key
        self._save()

    def finish(self, step: str, key: str) -> None:
        """Remember that ``step`` is done."""
        self._keys[step] = key
        self._save()

    @property
    def finished(self) -> dict[str, str]:
        """Keys of the finished steps."""
        return {name: key for name, key in self._keys.items() if not name.startswith("begun ")}

    def _save(self) -> None:
        write_json(self._file, {"video": self._video, "steps": self._keys})


def _read(file: Path, portrait: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_text())
        dict(known["steps"])
        return known
    except (ValueError, KeyError, TypeError) as error:
        raise PortraitError(
            f"the record of `{portrait}` is damaged: {error}",
            hint="choose another --out, or delete that folder to make it anew",
        ) from error


def _remove_unfinished(portrait: Path) -> None:
    """Remove temporary files that a killed run left."""
    for path in portrait.rglob(".*.tmp*"):
        path.unlink(missing_ok=True)
