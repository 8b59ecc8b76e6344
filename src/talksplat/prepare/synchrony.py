"""Whether sound and picture belong together in time, what is done about it, and what the user is told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from talksplat.prior.offset import REACH, AvOffset, av_offset
from talksplat.speech.encoders import find_encoder
from talksplat.speech.prior import ENCODER, ArticulationPrior
from talksplat.speech.standardization import Standardization
from talksplat.storage import write_json

LEAST = 0.5
"""Frames: smaller offsets are left as they are."""


@dataclass(frozen=True)
class Synchrony:
    """An offset as found in a recording, and the one that was taken out."""

    found: AvOffset
    delay: float
    """Frames by which the sound was delayed (negative: advanced)."""
    forced: bool
    """Whether the user said by how much."""

    def save(self, path: Path) -> None:
        """Write as JSON; figures that are not known are null."""
        found = {name: value if np.isfinite(value) else None for name, value in vars(self.found).items()}
        write_json(path, {"found": found, "delay": self.delay, "forced": self.forced})

    @classmethod
    def load(cls, path: Path) -> Synchrony:
        """Read what :meth:`save` wrote."""
        value = json.loads(path.read_text())
        found = {name: float("nan") if number is None else number for name, number in value["found"].items()}
        return cls(AvOffset(**found), value["delay"], value["forced"])

    def figures(self) -> dict[str, float | None]:
        """For the quality report."""
        known = {name: round(value, 3) if np.isfinite(value) else None for name, value in vars(self.found).items()}
        return {
            "lips_late_frames": known["lips_late_frames"],
            "lip_agreement": known["agreement"],
            "lip_agreement_as_recorded": known["as_recorded"],
            "lip_prominence": known["prominence"],
            "sound_delayed_frames": round(self.delay, 3),
        }

    def line(self) -> str:
        """One line of the quality report."""
        if not np.isfinite(self.found.agreement):
            return "no offset between sound and picture to be found: the lips or the sound never move"
        late = self.found.lips_late_frames
        side = "late" if late >= 0 else "early"
        said = f"lips {abs(late):.1f} frames {side} against the sound (agreement {self.found.agreement:.2f})"
        if self.forced:
            return f"{said}; sound delayed by {self.delay:+.2f} frames, as you asked"
        return f"{said}; sound delayed by {self.delay:+.2f} frames" if self.delay else f"{said}; left as it is"

    def warnings(self) -> list[str]:
        """What the user should know."""
        found = self.found
        if not np.isfinite(found.agreement):
            return []  # Nothing moves: `line` says so.
        if found.is_foreign:
            return [
                f"this sound does not seem to belong to these lips (agreement {found.agreement:.2f}; own sounds reach "
                "0.4 and more): dubbed, music, or no speech?"
            ]
        if not found.is_certain and not self.forced:
            return [
                f"the offset between sound and picture is uncertain ({found.lips_late_frames:+.1f} frames, hardly "
                "better than others): it is left as it is; force one with --av-offset"
            ]
        if abs(found.lips_late_frames) > REACH - 1:
            return [f"sound and picture may be more than {REACH} frames apart: check them, and use --av-offset"]
        return []


def synchrony_of(
    samples: Float32[np.ndarray, " samples"],
    mouth: Float32[np.ndarray, "T 3"],
    seen: Bool[np.ndarray, " T"],
    prior: ArticulationPrior,
    forced: float | None,
) -> Synchrony:
    """The offset of a recording and what is to be taken out: ``forced`` frames, or what is found and certain."""
    raw = find_encoder(ENCODER).encode(samples)
    features = Standardization.of(raw).apply(raw)
    found = av_offset(features, np.where(seen[:, None], mouth, np.nan), prior)
    if forced is not None:
        return Synchrony(found, forced, True)
    wanted = found.is_certain and abs(found.lips_late_frames) >= LEAST
    return Synchrony(found, found.lips_late_frames if wanted else 0.0, False)
