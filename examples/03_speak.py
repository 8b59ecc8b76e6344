"""An avatar says something new.

python examples/03_speak.py anna.avatar new.wav new.mp4
"""

import sys
from pathlib import Path

from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.speak import SpeakConfig, speak


def main(avatar: Path, audio: Path, out: Path) -> None:
    """Write the video ``out`` and print how fast that went."""
    result = speak(avatar, audio, out, SpeakConfig(), choose_rasterizer("cpu"), Reporter())
    print(f"{result.video}: {result.seconds:.2f} s in {result.wall_seconds:.1f} s")
    print(f"drawing a picture takes {result.draw_ms:.1f} ms, encoding it {result.encode_ms:.1f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
