"""What makes a prior of speech and lips better: recipes side by side, each judged on people left out.

    python benchmarks/prior.py POOL --out benchmarks/results/prior.json [--nested]

Every row is leave-people-out: the ridge penalty is chosen, and all is fitted, without the person judged; copies are of
the other people alone. With ``--nested`` the recipe is chosen as well, for every person anew, among ``FINALISTS``: by
the lip opening of the other people in three groups, each told by what was fitted on the rest of them.

Takes half an hour and more on one core; what is finished is kept in ``--out``, and a second run goes on from there.
Ends with one line of JSON: mean correlations by recipe.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from copies import CHANGES, changed
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from temporal import by_frame, fit_temporal, tell_temporal

from talksplat.metrics.sync import correlation
from talksplat.prior.fit import Recipe, fit_members, joined, lesson_of, lip_components
from talksplat.prior.pool import PoolClip, read_pool
from talksplat.progress import Reporter
from talksplat.speech.encoders import EmbeddingEncoder
from talksplat.speech.prior import MEASURES, told_by
from talksplat.storage import write_json

QUIET = Reporter(quiet=True)
GROUPS = 3
"""Of the other people, for the inner comparison."""
Copies = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Trial:
    """One way of making a prior."""

    recipe: Recipe = field(default_factory=Recipe)
    copies: Copies = ()
    """Every clip is there once more for each of these, changed by all it names."""
    rank: int = 0
    """Outputs are told as so many combinations of them; 0: each by itself."""
    smoothed: float = 0.0
    """Standard deviation, frames, of the Gaussian that runs over what is told."""
    temporal: int = 0
    """So many networks of convolutions over time are averaged with the rest."""


SOUNDS = tuple((name,) for name in (*CHANGES, "tempo"))
ANY = ("vocal tract", "tempo", "tilt", "reverberation", "noise")
TRIALS = {
    "ridge alone": Trial(Recipe(networks=0)),
    "ridge + 1 network": Trial(Recipe(networks=1)),
    "ridge + 2 networks (shipped)": Trial(),
    "ridge + 4 networks": Trial(Recipe(networks=4)),
    "networks of half the width": Trial(Recipe(hidden=48)),
    "without noise on speech": Trial(Recipe(noise=0.0)),
    "without dropout": Trial(Recipe(drop_inputs=0.0, drop_hidden=0.0)),
    "told as 4 combinations": Trial(rank=4),
    "told as 8 combinations": Trial(rank=8),
    "smoothed over 1 frame": Trial(smoothed=1.0),
    **{f"copies: {what[0]}": Trial(copies=(what,)) for what in SOUNDS},
    "copies: all of them together": Trial(copies=(ANY,)),
    "ridge + 2 over time": Trial(Recipe(networks=0), temporal=2),
    "ridge + 2 networks + 2 over time": Trial(temporal=2),
    "the same, copies together": Trial(temporal=2, copies=(ANY,)),
}
FINALISTS = (
    "ridge alone",
    "ridge + 2 networks (shipped)",
    "told as 8 combinations",
    "copies: all of them together",
    "ridge + 2 networks + 2 over time",
)


class Teller:
    """What a trial made of some people's clips."""

    def __init__(self, trial: Trial, clips: Sequence[PoolClip], copied: dict[tuple[str, tuple[str, ...]], PoolClip]):
        self.trial, self.components = trial, lip_components(clips)
        clips = [*clips, *(copied[clip.name, names] for names in trial.copies for clip in clips)]
        lessons = [lesson_of(clip, self.components) for clip in clips]
        self.members, _ = fit_members(lessons, trial.recipe, 0, QUIET)
        heard = [by_frame(clip.features)[clip.together()[1]] for clip in clips]
        self.nets = [
            fit_temporal(heard, [lesson.targets for lesson in lessons], trial.recipe, seed)
            for seed in range(trial.temporal)
        ]
        inputs = joined(lessons)[0].astype(np.float32)
        self.axes = None
        if trial.rank:
            told = told_by(self.members, inputs)
            self.axes = np.linalg.svd(told - told.mean(0), full_matrices=False)[2][: trial.rank]

    def judge(self, clip: PoolClip) -> list[float]:
        """Correlations of opening, width and outer opening at the stated offset."""
        lesson = lesson_of(clip, self.components)
        told = self._told(lesson.inputs.astype(np.float32), clip)
        return [correlation(told[:, column], lesson.targets[:, column]) for column in range(len(MEASURES))]

    def _told(self, inputs: Float[np.ndarray, "n inputs"], clip: PoolClip) -> Float[np.ndarray, "n outputs"]:
        """The mean over all members and networks, each counting for one."""
        told = told_by(self.members, inputs) * len(self.members)
        for net in self.nets:
            told = told + tell_temporal(net, by_frame(clip.features)[clip.together()[1]])
        told = told / (len(self.members) + len(self.nets))
        if self.axes is not None:
            told = told @ self.axes.T @ self.axes
        return gaussian_filter1d(told, self.trial.smoothed, axis=0) if self.trial.smoothed else told


class Kept:
    """Correlations by trial and by people left out, in a file."""

    def __init__(self, clips: Sequence[PoolClip], path: Path) -> None:
        self.clips, self.path = clips, path
        self.found = json.loads(path.read_text())["scores"] if path.is_file() else {}
        self.copied: dict[tuple[str, tuple[str, ...]], PoolClip] = {}
        self.encoder = EmbeddingEncoder(1)

    def scores(self, name: str, out: Sequence[str]) -> dict[str, list[float]]:
        """What the trial ``name``, fitted without the people ``out``, tells of their clips."""
        place = self.found.setdefault(name, {})
        key = " ".join(sorted(out))
        if key not in place:
            trial = TRIALS[name]
            self._copy(trial.copies)
            teller = Teller(trial, [clip for clip in self.clips if clip.person not in out], self.copied)
            place[key] = {
                clip.name: [round(value, 4) for value in teller.judge(clip)]
                for clip in self.clips
                if clip.person in out
            }
            write_json(self.path, {"mean": {}, "scores": self.found})
        return place[key]

    def _copy(self, wanted: Copies) -> None:
        for names in wanted:
            for clip in self.clips:
                if (clip.name, names) not in self.copied:
                    self.copied[clip.name, names] = changed(clip, names, self.encoder)

    def chosen(self, person: str, people: Sequence[str]) -> str:
        """The finalist that tells the other people's opening best, in groups left out together with ``person``."""
        others = [other for other in people if other != person]
        groups = [others[start::GROUPS] for start in range(GROUPS)]

        def opening(name: str) -> float:
            rows = [self.scores(name, [person, *group]) for group in groups]
            mine = {clip.name for clip in self.clips if clip.person == person}
            return float(np.mean([row[clip][0] for row in rows for clip in row if clip not in mine]))

        return max(FINALISTS, key=opening)


def main() -> None:
    """Print a row a recipe and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nested", action="store_true", help="choose the recipe as well without the person judged")
    given = parser.parse_args()
    clips = read_pool(given.pool)
    people, kept, means = list(dict.fromkeys(clip.person for clip in clips)), Kept(clips, given.out), {}

    def row(name: str, figures: list[list[float]]) -> None:
        means[name] = dict(zip(MEASURES, np.mean(figures, axis=0).round(4).tolist(), strict=True))
        print(f"{name:<34} " + " ".join(f"{value:8.3f}" for value in means[name].values()), flush=True)

    print(f"{'recipe':<34} " + " ".join(f"{name:>8}" for name in MEASURES))
    for name in TRIALS:
        row(name, [figures for person in people for figures in kept.scores(name, [person]).values()])
    if given.nested:
        chosen = {person: kept.chosen(person, people) for person in people}
        row(
            "chosen anew for each person",
            [f for who, name in chosen.items() for f in kept.scores(name, [who]).values()],
        )
        means["choices"] = chosen
    write_json(given.out, {"mean": means, "scores": kept.found})
    print(json.dumps(means))


if __name__ == "__main__":
    main()
