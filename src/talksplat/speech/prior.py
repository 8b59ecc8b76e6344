"""What lips do when somebody speaks: a regression from speech that is shared by people.

A prior tells, frame by frame, articulation in standard deviations of whoever speaks: the three mouth measures, the
first principal components of lip shape, and the mouth's blendshapes. It is the mean of ridge regression and of small
networks, all of which see the window of :func:`talksplat.speech.ridge.lip_inputs`. Nobody's footage is in it, only
what the people of its pool have in common; see the card in its file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int64
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from talksplat.clock import STEPS_PER_FRAME
from talksplat.errors import MissingInput, PriorError
from talksplat.speech.ridge import lip_inputs
from talksplat.speech.standardization import Standardization
from talksplat.storage import replacing

FORMAT = 1
MEASURES = ("opening", "width", "outer")
"""Inner-lip opening (13-14), width (78-308), outer opening (0-17): the first outputs of every prior."""
ENCODER = "embedding"
"""Speech features that a prior hears, standardised by recording."""
SHIPPED = Path(__file__).parents[1] / "assets" / "speech" / "prior.safetensors"
"""The prior that is part of the package."""
TRAIN_AGAIN = "make it again with `talksplat prior train DIR --out FILE`"

Layer = tuple[Float[np.ndarray, "_ _"], Float[np.ndarray, " _"]]


Members = tuple[tuple[Layer, ...], ...]
"""Layers of several regressions, ReLU between them; a single layer is ridge regression. Their mean is what is told."""


@dataclass(frozen=True)
class LiveForm:
    """What tells the first outputs from little more than what has been heard (:mod:`talksplat.speech.live`)."""

    members: Members
    typical: Standardization
    """Moments of raw features over the pool: what standardises speech until enough of it was heard."""


@dataclass(frozen=True)
class ArticulationPrior:
    """A trained prior."""

    members: Members
    outputs: tuple[str, ...]
    """What is told, :data:`MEASURES` first."""
    components: Float32[np.ndarray, "K 80"]
    """Axes of lip shape (x, y of the 40 landmarks, about a person's mean) behind the outputs called `lips`."""
    spectral_channels: int
    """How many of the first speech channels are a spectrum."""
    card: dict[str, Any] = field(default_factory=dict)
    """Which clips it was made from, under which licences, how, and how well it does on people it has not seen."""
    live: LiveForm | None = None

    def tell(
        self, features: Float[np.ndarray, "steps channels"], frames: Int64[np.ndarray, " batch"] | None = None
    ) -> Float32[np.ndarray, "batch outputs"]:
        """Articulation of ``frames`` (all of them where none are named), in standard deviations about the mean.

        Args:
            features: standardised features of the encoder :data:`ENCODER`, two steps a frame.
        """
        if frames is None:
            frames = np.arange(len(features) // STEPS_PER_FRAME)
        window = lip_inputs(features, frames, self.spectral_channels).astype(np.float32)
        return told_by(self.members, window)

    def tensors(self) -> dict[str, np.ndarray]:
        """All numbers, in half precision."""
        found = {"components": self.components, **_named("", self.members)}
        if self.live:
            found |= _named("live/", self.live.members)
            found |= {"live/mean": self.live.typical.mean, "live/deviation": self.live.typical.deviation}
        return {name: value.astype(np.float16) for name, value in found.items()}

    def about(self) -> dict[str, Any]:
        """All that is no number of the regressions, JSON-able."""
        return {
            "format": FORMAT,
            "outputs": self.outputs,
            "spectral_channels": self.spectral_channels,
            "layers": [len(layers) for layers in self.members],
            "live_layers": [len(layers) for layers in self.live.members] if self.live else None,
            "card": self.card,
        }

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, np.ndarray], about: dict[str, Any]) -> ArticulationPrior:
        """What :meth:`tensors` and :meth:`about` gave."""
        single = {name: value.astype(np.float32) for name, value in tensors.items()}
        live = None
        if depths := about.get("live_layers"):
            typical = Standardization(mean=single["live/mean"], deviation=single["live/deviation"])
            live = LiveForm(_members("live/", single, depths), typical)
        return cls(
            members=_members("", single, about["layers"]),
            live=live,
            outputs=tuple(about["outputs"]),
            components=single["components"],
            spectral_channels=about["spectral_channels"],
            card=about["card"],
        )

    def save(self, path: Path) -> None:
        """Write the prior as one safetensors file."""
        with replacing(Path(path)) as temporary:
            save_file(self.tensors(), temporary, {"talksplat": json.dumps(self.about())})


def load_prior(path: Path) -> ArticulationPrior:
    """Read a prior.

    Raises:
        MissingInput: no such file.
        PriorError: not a prior, damaged, or of another format number.
    """
    if not Path(path).is_file():
        raise MissingInput(
            f"prior `{path}`: expected a file, found nothing",
            hint="make one with `talksplat prior train DIR --out FILE`; one is shipped in the package",
        )
    try:
        with safe_open(path, "np") as file:
            about = json.loads((file.metadata() or {}).get("talksplat", "{}"))
            found = about.get("format")
            if found == FORMAT:
                return ArticulationPrior.of_tensors({name: file.get_tensor(name) for name in file.keys()}, about)  # noqa: SIM118
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise PriorError(f"`{path}` is not a whole prior: {error}", hint=TRAIN_AGAIN) from error
    raise PriorError(f"prior `{path}` has format {found}; this version reads format {FORMAT}", hint=TRAIN_AGAIN)


@lru_cache(maxsize=1)
def shipped_prior() -> ArticulationPrior:
    """The prior that is part of the package."""
    return load_prior(SHIPPED)


def told_by(members: Members, window: Float32[np.ndarray, "batch inputs"]) -> Float32[np.ndarray, "batch outputs"]:
    """The mean of what every member tells."""
    return np.stack([_through(layers, window) for layers in members]).mean(axis=0)


def _named(place: str, members: Members) -> dict[str, np.ndarray]:
    found = {}
    for number, layers in enumerate(members):
        for depth, (weights, bias) in enumerate(layers):
            found[f"{place}member{number}/layer{depth}/weights"] = weights
            found[f"{place}member{number}/layer{depth}/bias"] = bias
    return found


def _members(place: str, tensors: Mapping[str, np.ndarray], depths: list[int]) -> Members:
    def layer(number: int, depth: int) -> Layer:
        name = f"{place}member{number}/layer{depth}"
        return tensors[f"{name}/weights"], tensors[f"{name}/bias"]

    return tuple(tuple(layer(number, depth) for depth in range(layers)) for number, layers in enumerate(depths))


def _through(layers: tuple[Layer, ...], values: Float32[np.ndarray, "batch inputs"]) -> Float32[np.ndarray, "batch _"]:
    for depth, (weights, bias) in enumerate(layers):
        values = values @ weights + bias
        if depth < len(layers) - 1:
            values = np.maximum(values, 0)
    return values
