"""`talksplat prior ...`: the prior of speech and lips that people share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg, subcommand

from talksplat.progress import Reporter
from talksplat.verb import Switch, Verb


@dataclass(frozen=True, kw_only=True)
class PriorAdd(Verb):
    """Add what a portrait tells of speech and lips to a pool: features alone, no picture and no sound."""

    portrait: Positional[Annotated[Path, arg(metavar="PORTRAIT")]]
    """Portrait folder made by `prepare`."""
    to: Path
    """Pool folder; made if it is missing."""
    name: str = ""
    """Name of the clip in the pool; without one, that of the portrait's folder."""
    person: str = ""
    """Who speaks; give clips of one person the same. Without one, the clip's name."""

    def run(self, reporter: Reporter) -> dict[str, Any]:
        from talksplat.portrait import Portrait
        from talksplat.prior.pool import add_to_pool
        from talksplat.speech.prior import shipped_prior

        name = self.name or self.portrait.resolve().name
        clip = add_to_pool(Portrait(self.portrait), self.to, name, self.person or name, shipped_prior())
        return {
            "pool": str(self.to),
            "clip": clip.name,
            "frames": len(clip),
            "lips late, frames": round(clip.lips_late_frames, 2),
        }


@dataclass(frozen=True, kw_only=True)
class PriorTrain(Verb):
    """Train a prior from a pool; repeatable from its seed."""

    pool: Positional[Annotated[Path, arg(metavar="DIR")]]
    """Pool folder made by `prior add`."""
    out: Path
    """Prior to write, .safetensors."""
    seed: int = 0
    """Seed of everything random."""
    unjudged: Switch = False
    """Do not judge it by leaving out one person after the other, which takes most of the time."""

    def run(self, reporter: Reporter) -> dict[str, Any]:
        from talksplat.prior.judge import carded_prior
        from talksplat.prior.pool import read_pool

        prior = carded_prior(read_pool(self.pool), self.seed, reporter, judged=not self.unjudged)
        prior.save(self.out)
        return {"prior": str(self.out), "bytes": self.out.stat().st_size, **prior.card}

    def summary(self, result: dict[str, Any]) -> str:
        from talksplat.prior.judge import means

        judged = result.get("people left out")
        told = "not judged" if judged is None else means(judged["mean"])
        made = f"prior: {result['prior']} ({result['bytes']} bytes, {len(result['clips'])} clips)"
        return f"{made}\ncorrelation with the lips of people left out: {told}"


@dataclass(frozen=True, kw_only=True)
class PriorEvaluate(Verb):
    """Measure how well a prior tells the lips of a pool's people."""

    prior: Positional[Annotated[Path, arg(metavar="PRIOR")]]
    """Prior made by `prior train`."""
    pool: Positional[Annotated[Path, arg(metavar="DIR")]]
    """Pool folder of people that the prior was not made from."""

    def run(self, reporter: Reporter) -> dict[str, Any]:
        from talksplat.prior.judge import judge_prior
        from talksplat.prior.pool import read_pool
        from talksplat.speech.prior import load_prior

        prior = load_prior(self.prior)
        return judge_prior(prior, read_pool(self.pool))

    def summary(self, result: dict[str, Any]) -> str:
        from talksplat.prior.judge import table

        return table(result)


@dataclass(frozen=True, kw_only=True)
class Prior:
    """The prior of speech and lips that people share: its pool, its training, its figures."""

    action: (
        Annotated[PriorAdd, subcommand("add")]
        | Annotated[PriorTrain, subcommand("train")]
        | Annotated[PriorEvaluate, subcommand("evaluate")]
    )
