"""What every verb of the command line has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tyro.conf import FlagCreatePairsOff

from talksplat.progress import Reporter

Switch = FlagCreatePairsOff[bool]


@dataclass(frozen=True, kw_only=True)
class Verb:
    """What every verb has."""

    quiet: Switch = False
    """Print nothing but errors (and the result, with --json)."""
    json: Switch = False
    """Print the result as one JSON object on standard output."""

    def run(self, reporter: Reporter) -> dict[str, Any]:
        """Do it; returns the result's figures."""
        raise TypeError(f"{type(self).__name__} is not a verb by itself")

    def summary(self, result: dict[str, Any]) -> str:
        """What is said at the end when nothing else was asked for."""
        return "\n".join(f"{name}: {value}" for name, value in result.items() if not isinstance(value, dict | list))
