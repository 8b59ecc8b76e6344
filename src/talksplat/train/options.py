"""What a user may choose of a training run. Free of heavy imports: it is the command line's --help."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from talksplat.errors import InputError


@dataclass(frozen=True)
class TrainOptions:
    """Options of ``talksplat train``."""

    method: str = "gstalker"
    """Published method to train."""
    preset: str = "quick"
    """`quick` takes about ten minutes on two cores, `full` the paper's iterations."""
    speech: str = "articulation"
    """Speech encoder whose features drive the avatar; `prepare` must have run it (for articulation, embedding)."""
    prior: Path | None = None
    """Prior of speech and lips that `articulation` adapts to the person; the shipped one by default."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to compute; the caller hands over the rasterizer that fits."""
    seed: int = 0
    """Seed of everything random; the same seed on the same machine gives the same avatar."""
    resume: bool = False
    """Go on with the interrupted run beside the avatar."""
    restart: bool = False
    """Throw an interrupted run away and begin again."""
    settings: tuple[str, ...] = ()
    """Settings of the method that differ from the preset, as name=value."""
    side_by_side: bool = True
    """On the processor: train layers that do not depend on each other at the same time."""
    checkpoint_seconds: float = 60.0
    """Seconds between two checkpoints."""


def with_settings(config: Any, settings: tuple[str, ...]) -> Any:
    """``config`` with ``name=value`` settings applied; values take the type of the field.

    Raises:
        InputError: an unknown name, or a value that does not fit.
    """
    changes: dict[str, Any] = {}
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in fields:
            raise InputError(
                f"setting `{name}` is unknown; known settings: {', '.join(fields)}", hint="write --set name=value"
            )
        changes[name] = _parsed(name, text, type(fields[name]), get_type_hints(type(config))[name])
    return dataclasses.replace(config, **changes)


def _parsed(name: str, text: str, kind: type, hint: Any) -> Any:
    """``text`` as a value of the field's type."""
    choices = get_args(hint) if get_origin(hint) is Literal else None
    try:
        value = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        if choices is not None and value not in choices:
            raise ValueError(text)
    except (ValueError, KeyError) as error:
        expected = f"one of {', '.join(map(str, choices))}" if choices else kind.__name__
        raise InputError(f"setting `{name}` is `{text}`; expected {expected}", hint="write --set name=value") from error
    return value
