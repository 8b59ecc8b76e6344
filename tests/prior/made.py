"""Pools of people who never lived: their lips follow two bands of the spectrum, each in a manner of their own."""

import json
from pathlib import Path

import numpy as np

from talksplat.landmarks import BLENDSHAPES

LATE = {"ann": 0, "bob": 2, "cyd": -1, "dan": 0}
PEOPLE = tuple(LATE)


def make_pool(folder: Path, people: tuple[str, ...] = PEOPLE, frames: int = 160) -> Path:
    """Write a pool in which lips of frame n follow the sound of frame n - ``LATE``."""
    folder.mkdir()
    rows = []
    for order, name in enumerate(people):
        chance = np.random.default_rng(order + 1)
        np.savez(folder / f"{name}.npz", **arrays(chance, frames, LATE[name]))
        rows.append({"file": name, "seconds": frames / 25, "lips_late_frames": LATE[name], "source": "made"})
    (folder / "index.json").write_text(json.dumps(rows))
    return folder


def arrays(chance: np.random.Generator, frames: int, late: int) -> dict[str, np.ndarray]:
    """One clip's arrays, before half precision."""
    rows = 4 * frames + 117
    slow = np.stack([np.convolve(chance.normal(size=rows + 40), np.hanning(23), "same")[20:-20] for _ in range(2)], 1)
    mel = chance.normal(size=(rows, 32)) * 0.3 + 8
    mel[:, :8] += slow[:, :1]
    mel[:, 20:28] += slow[:, 1:]
    heard = slow[60 + 4 * np.clip(np.arange(frames) - late, 0, frames - 1)] / slow.std(0)
    size = chance.uniform(0.02, 0.06)
    noise = chance.normal(size=(frames, 3)) * 0.5
    mouth = np.stack([heard[:, 0], heard[:, 1], heard[:, 0] + 0.3 * heard[:, 1]], 1) + noise
    axes = np.random.default_rng(0).normal(size=(3, 80))
    shapes = np.zeros((frames, 52))
    shapes[:, [BLENDSHAPES.index("jawOpen"), BLENDSHAPES.index("mouthPucker")]] = 0.3 + 0.1 * mouth[:, :2]
    return {
        "mel": mel.astype(np.float16),
        "embedding": chance.normal(size=(frames, 96)).astype(np.float16),
        "mouth": (0.2 + size * mouth).astype(np.float16),
        "lips": (size * mouth @ axes).astype(np.float16),
        "blendshapes": shapes.astype(np.float16),
        "names": np.array(BLENDSHAPES),
    }
