"""What makes a prior of speech and lips better: recipes side by side, each judged on people left out.

    python benchmarks/prior.py POOL [--out FILE]

Every row is nested leave-people-out: the penalty is chosen, and all is fitted, without the person judged. Takes some
minutes. Ends with one line of JSON: mean correlations by recipe.
"""

import argparse
import json
from pathlib import Path

from talksplat.prior.fit import Recipe
from talksplat.prior.judge import judge_on_people_left_out
from talksplat.prior.pool import read_pool
from talksplat.progress import Reporter
from talksplat.speech.prior import MEASURES
from talksplat.storage import write_json

RECIPES = {
    "ridge alone": Recipe(networks=0),
    "ridge + 1 network": Recipe(networks=1),
    "ridge + 2 networks (shipped)": Recipe(),
    "ridge + 4 networks": Recipe(networks=4),
    "networks of half the width": Recipe(hidden=48),
    "without noise on speech": Recipe(noise=0.0),
    "without dropout": Recipe(drop_inputs=0.0, drop_hidden=0.0),
}


def main() -> None:
    """Print a row a recipe and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    clips, found = read_pool(given.pool), {}
    print(f"{'recipe':<30} " + " ".join(f"{name:>8}" for name in MEASURES))
    for name, recipe in RECIPES.items():
        found[name] = judge_on_people_left_out(clips, 0, Reporter(quiet=True), recipe)["mean"]
        print(f"{name:<30} " + " ".join(f"{found[name][measure]:8.3f}" for measure in MEASURES), flush=True)
    if given.out:
        write_json(given.out, found)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
