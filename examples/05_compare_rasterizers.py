"""The same Gaussians drawn by the native rasterizer and by the exact one: how far apart they are, how long each takes.

The exact one looks at every Gaussian in every pixel, so it gets a part of the avatar and a small picture.

python examples/05_compare_rasterizers.py anna.avatar
"""

import sys
import time
from pathlib import Path

import torch

from talksplat.camera import Camera
from talksplat.methods.avatar_file import load_avatar
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.rasterize.reference import rasterize_exactly


def shrunk(camera: Camera, edge: int) -> Camera:
    """The same view on a picture ``edge`` pixels wide and high."""
    scale = torch.tensor([edge / camera.width, edge / camera.height, 1.0])
    return camera.replace(intrinsics=camera.intrinsics * scale[:, None], height=edge, width=edge)


def main(avatar: Path, count: int = 2000, edge: int = 64) -> None:
    """Print the largest difference of every layer, in levels of 8 bits, and both times."""
    saved = load_avatar(avatar)
    native, camera = choose_rasterizer("cpu"), shrunk(saved.reference_camera, edge)
    with torch.no_grad():
        for layer in saved.avatar.canonical():
            part = layer.gaussians.rows(slice(None, count))
            began = time.perf_counter()
            fast = native(part, camera)
            middle = time.perf_counter()
            exact = rasterize_exactly(part.to(torch.float64), camera.to(torch.float64))
            end = time.perf_counter()
            apart = float((fast.colors - exact.colors).abs().max()) * 255
            times = f"native {1000 * (middle - began):.1f} ms, exact {1000 * (end - middle):.1f} ms"
            print(f"{layer.name}: {len(part.means)} Gaussians, {apart:.3f} levels apart, {times}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
