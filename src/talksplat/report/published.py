"""What the papers report of their own avatars on their own data: a column for orientation, never a comparison."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One row of a published table of self-driven reconstruction; dashes stand for what a paper does not give."""

    method: str
    psnr: str = "–"
    ssim: str = "–"
    lpips: str = "–"
    lmd: str = "–"
    training: str = "–"
    frames_per_second: str = "–"


@dataclass(frozen=True)
class Table:
    """Rows that one paper measured on the same data."""

    title: str
    data: str
    rows: tuple[Published, ...]


TABLES = (
    Table(
        "GSTalker (2024, arXiv:2404.19040)",
        "the AD-NeRF videos",
        (
            Published("AD-NeRF", "31.39", lpips="0.0857", lmd="2.917", training="36 h", frames_per_second="0.08"),
            Published("RAD-NeRF", "34.00", lpips="0.0387", lmd="2.696", training="7 h", frames_per_second="40"),
            Published("ER-NeRF", "33.10", lpips="0.0291", lmd="2.740", training="2 h", frames_per_second="34"),
            Published("GSTalker", "34.65", lpips="0.0151", lmd="2.695", training="40 min", frames_per_second="125"),
        ),
    ),
    Table(
        "TalkingGaussian (ECCV 2024)",
        "four portraits (Macron, Lieu, Obama, May), about 6,500 frames each, RTX 3080 Ti; "
        "torso and background are pasted from the recording, which raises PSNR of the whole frame",
        (
            Published("AD-NeRF", "31.87", "0.877", "0.0942", "2.791", "18.7 h", "0.11"),
            Published("RAD-NeRF", "33.07", "0.887", "0.0530", "2.761", "5.3 h", "28.7"),
            Published("ER-NeRF", "32.83", "0.889", "0.0289", "2.676", "2.1 h", "31.2"),
            Published("TalkingGaussian", "33.61", "0.910", "0.0259", "2.586", "0.5 h", "108"),
        ),
    ),
    Table(
        "GaussianTalker (ACM MM 2024)",
        "the talking portraits of its authors; GaussianTalker* is its faster variant",
        (
            Published("AD-NeRF", "30.341", "0.906", "0.026", "5.692", "13 h", "0.13"),
            Published("RAD-NeRF", "30.703", "0.915", "0.026", "3.142", "3 h", "32"),
            Published("ER-NeRF", "31.673", "0.919", "0.014", "3.003", "1 h", "34"),
            Published("GaussianTalker*", "32.269", "0.930", "0.016", "2.711", "1 h", "121"),
            Published("GaussianTalker", "32.423", "0.931", "0.018", "2.928", "1.5 h", "98"),
        ),
    ),
)
