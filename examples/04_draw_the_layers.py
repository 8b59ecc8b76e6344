"""Look inside an avatar: its layers one by one, and all of them composed, at one instant of its recorded track.

python examples/04_draw_the_layers.py anna.avatar layers.png 100
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from talksplat.frame import Condition
from talksplat.methods.avatar_file import load_avatar
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.render import Renderer


def main(avatar: Path, out: Path, instant: int = 0) -> None:
    """Write one picture: every layer over grey, then the composed picture."""
    saved = load_avatar(avatar)
    renderer = Renderer(saved, choose_rasterizer("cpu"))
    condition = Condition(
        speech=saved.rest_speech[None, :, None].repeat(8, 1, 16),
        expression=saved.expression[instant],
        head_pose=saved.head_to_camera[instant],
    )
    pictures = []
    for name, layer in renderer.layers(condition).items():
        print(f"{name}: covers {float(layer.alpha.mean()):.0%} of the picture")
        pictures.append(((layer.colors + (1 - layer.alpha) * 0.5).clamp(0, 1) * 255).byte().numpy())
    pictures.append(renderer.draw(condition))
    Image.fromarray(np.concatenate(pictures, axis=1)).save(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
