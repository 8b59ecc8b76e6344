"""A video becomes a portrait folder; then look at what was measured in it.

python examples/01_prepare_a_video.py clip.mp4 anna "own recording"
"""

import sys
from pathlib import Path

from talksplat.camera import euler_of_rotations
from talksplat.prepare.pipeline import PrepareConfig, prepare
from talksplat.progress import Reporter


def main(video: Path, out: Path, consent: str, size: int = 512) -> None:
    """Prepare ``video`` and print how far the head turns and the mouth opens."""
    portrait = prepare(video, out, PrepareConfig(consent=consent, size=size), Reporter())
    tracks = portrait.tracks
    degrees = euler_of_rotations(tracks.head_to_camera[:, :3, :3]).rad2deg()
    left, right = degrees[:, 1].min(), degrees[:, 1].max()
    print(f"{len(portrait)} frames, {int(tracks.usable.sum())} of them usable")
    print(f"the head turns from {left:.0f} to {right:.0f} degrees")
    print(f"the mouth opens up to {float(tracks.mouth[:, 0].max()):.2f} distances between the eye corners")
    print(f"fitted landmarks lie within {float(tracks.reprojection.median()):.2f} pixels of the tracked ones")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
