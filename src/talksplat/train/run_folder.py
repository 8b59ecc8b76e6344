"""The run folder beside an avatar: its settings, journal and last checkpoint.

run.json                  method, preset, config, seed, portrait; what a resumed run must agree with
journal.jsonl             a line every so many steps: stage, step, losses, rate, Gaussians
checkpoint.safetensors    an avatar file with optimizer moments and the place in the run
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from talksplat.errors import RunError
from talksplat.storage import write_json


class RunFolder:
    """``ANNA.avatar.run`` beside ``ANNA.avatar``."""

    def __init__(self, avatar: Path) -> None:
        self.folder = avatar.with_name(avatar.name + ".run")
        self.checkpoint = self.folder / "checkpoint.safetensors"

    def begin(self, settings: dict[str, Any], *, resume: bool, restart: bool) -> bool:
        """Open the folder; True when a checkpoint is to be gone on from.

        Raises:
            RunError: an interrupted run is there and neither was asked for, or it was made with other settings.
        """
        record = self.folder / "run.json"
        found = json.loads(record.read_text()) if record.is_file() else None
        if found is not None and not found["finished"] and not restart:
            if not resume:
                raise RunError(
                    f"an interrupted run lies in `{self.folder}`",
                    hint="add --resume to go on with it, or --restart to throw it away",
                )
            if found["settings"] != settings:
                differing = sorted(k for k in settings if found["settings"].get(k) != settings[k])
                raise RunError(
                    f"the run in `{self.folder}` was started with other settings: {', '.join(differing)}",
                    hint="resume with the same options, or add --restart to begin again",
                )
            if self.checkpoint.is_file():
                return True
        shutil.rmtree(self.folder, ignore_errors=True)
        write_json(record, {"finished": False, "settings": settings})
        return False

    def log(self, entry: dict[str, Any]) -> None:
        """Append one line to the journal."""
        with open(self.folder / "journal.jsonl", "a") as journal:
            journal.write(json.dumps(entry) + "\n")

    def finish(self) -> None:
        """Mark the run as done; its checkpoint is no longer needed."""
        record = self.folder / "run.json"
        write_json(record, {**json.loads(record.read_text()), "finished": True})
        self.checkpoint.unlink(missing_ok=True)
