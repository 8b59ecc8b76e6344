"""A portrait folder becomes an avatar, with one setting of the method changed.

python examples/02_train_an_avatar.py anna anna.avatar max_points=15000
"""

import sys
from pathlib import Path

from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.train.loop import train
from talksplat.train.options import TrainOptions


def main(portrait: Path, out: Path, settings: tuple[str, ...]) -> None:
    """Train ``portrait`` with the quick preset and print the run's figures."""
    options = TrainOptions(method="gstalker", preset="quick", resume=True, settings=settings)
    for name, figure in train(portrait, out, options, choose_rasterizer("cpu"), Reporter()).items():
        print(f"{name}: {figure}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), tuple(sys.argv[3:]))
