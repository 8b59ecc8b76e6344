"""Times the compiled rasterizer at 512 x 512 with 30,000 Gaussians, beside plain torch working from the same lists.

Run as ``python benchmarks/raster.py [--out FILE]``; ``--out benchmarks/results/raster.json`` keeps what was found.
The last line is JSON. ``normalised_ms`` is forward plus backward as it would be on cores that do 201 GFLOP/s of
multiply-adds each (two operations; 16 lanes), by the rate measured between the repetitions.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from talksplat import native
from talksplat.camera import Camera
from talksplat.gaussians import Gaussians, morton_order
from talksplat.rasterize.drawing import Drawing, RasterInputs
from talksplat.rasterize.reference import ALPHA_LEAST, ALPHA_MOST, screen_covariances, view_colors

REFERENCE_RATE = 201.0
"""GFLOP/s of multiply-adds of one core that times are scaled to."""
EXPECTED_PAIRS = {"tile_pairs": 123_000, "micro_pairs": 684_000}
FIELDS = ("means", "quats", "scales", "opacities", "harmonics")
TILE = 16


def head_like_scene(count: int, size: int, seed: int = 0) -> tuple[Gaussians, Camera]:
    """An ellipsoid that covers 60 % of the picture, four fifths of its Gaussians on the near side, in Morton order.

    Widths on the screen are log-normal with a median of 2.2 px at 512 x 512 and 5 to 95 % between about 1 and 5.1 px;
    opacities are uniform in 0.1 to 0.99.
    """
    chance = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=chance)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=chance)

    distance, focal, extent, tall = 0.8, 2.0 * size, 0.4, 1.3
    directions = torch.nn.functional.normalize(normal(count, 3), dim=-1)
    near = uniform(count) < 0.8
    directions[:, 2] = torch.where(near, -directions[:, 2].abs(), directions[:, 2].abs())
    radius = extent * math.sqrt(0.6 / math.pi / tall)
    means = directions * torch.tensor([radius, tall * radius, radius])
    widths = 2.1 * size / 512 * (0.5 * normal(count, 1) + 0.1 * normal(count, 3)).exp()
    gaussians = Gaussians(
        means=means,
        quats=torch.nn.functional.normalize(normal(count, 4), dim=-1),
        scales=widths * distance / focal,
        opacities=0.1 + 0.89 * uniform(count),
        harmonics=0.5 * normal(count, 1, 3),
    )
    pose = torch.eye(4)
    pose[2, 3] = distance
    intrinsics = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])
    return gaussians.rows(morton_order(means)), Camera(
        head_to_camera=pose, intrinsics=intrinsics, height=size, width=size
    )


class Timed:
    """The compiled rasterizer on one scene, with a fixed random gradient of the picture."""

    def __init__(self, gaussians: Gaussians, camera: Camera, threads: int) -> None:
        inputs = RasterInputs(*(getattr(gaussians, name) for name in FIELDS))
        size = (camera.height, camera.width)
        self.drawing = Drawing(inputs, camera.head_to_camera.tolist(), camera.intrinsics.tolist(), size, threads)
        self.colors, self.alpha = torch.empty(*size, 3), torch.empty(*size, 1)
        chance = torch.Generator().manual_seed(1)
        self.d_colors, self.d_alpha = (torch.randn(v.shape, generator=chance) for v in (self.colors, self.alpha))
        self.screen_means = torch.empty(len(gaussians.means), 2)
        self.found = [torch.empty_like(self.screen_means), *(torch.empty_like(getattr(gaussians, n)) for n in FIELDS)]
        self.targets = native.RasterGradients(*(native.address(tensor).value for tensor in self.found))

    def repeat(self, count: int) -> tuple[list[float], list[float]]:
        """Milliseconds of ``count`` forward and backward passes, after three that are not counted."""
        forward, backward = [], []
        for _ in range(count + 3):
            start = time.perf_counter()
            self.drawing.forward(self.colors, self.alpha, self.screen_means)
            middle = time.perf_counter()
            self.drawing.backward(self.d_colors, self.d_alpha, self.targets)
            backward.append(1e3 * (time.perf_counter() - middle))
            forward.append(1e3 * (middle - start))
        return forward[3:], backward[3:]

    def tile_lists(self) -> tuple[Tensor, Tensor]:
        """Where each tile's list starts, and the Gaussians of all lists, nearest first."""
        tiles = -(-self.colors.shape[0] // TILE) * -(-self.colors.shape[1] // TILE)
        starts = torch.empty(tiles + 1, dtype=torch.int32)
        pairs = torch.empty(self.drawing.counts().tile_pairs, dtype=torch.int32)
        self.drawing.lists(starts, pairs)
        return starts.long(), pairs.long()


def torch_tiles(fields: list[Tensor], starts: Tensor, pairs: Tensor, tiles: Tensor, across: int) -> Tensor:
    """Colours and alpha of some tiles (t, 256, 4) from centres, conics, opacities and colours, in plain torch."""
    counts = starts[tiles + 1] - starts[tiles]
    places = torch.arange(int(counts.max()))
    present = places < counts[:, None]
    numbers = pairs[(starts[tiles][:, None] + places).clamp(max=len(pairs) - 1)]
    centers, conics, opacities, colors = (field[numbers] for field in fields)
    corners = torch.stack([tiles % across, tiles // across], -1) * TILE
    inside = torch.arange(TILE * TILE)
    pixels = corners[:, None] + torch.stack([inside % TILE, inside // TILE], -1) + 0.5
    dx, dy = (pixels[:, None] - centers[:, :, None]).unbind(-1)
    a, b, c = (conics[..., k, None] for k in range(3))
    powers = -0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy
    alphas = (opacities[..., None] * powers.exp()).clamp(max=ALPHA_MOST)
    alphas = torch.where((alphas >= ALPHA_LEAST) & present[..., None], alphas, 0)
    passed = torch.cat([torch.ones_like(alphas[:, :1]), (1 - alphas).cumprod(1)], 1)
    picture = torch.einsum("tnp,tnc->tpc", alphas * passed[:, :-1], colors)
    return torch.cat([picture, 1 - passed[:, -1, :, None]], -1)


def tile_groups(starts: Tensor, elements: int) -> list[Tensor]:
    """Tiles that have Gaussians, longest lists first, in groups whose padded arrays hold about ``elements`` numbers."""
    counts = starts[1:] - starts[:-1]
    order = counts.argsort(descending=True)
    order = order[counts[order] > 0]
    groups, first = [], 0
    while first < len(order):
        size = max(1, elements // (int(counts[order[first]]) * TILE * TILE))
        groups.append(order[first : first + size])
        first += size
    return groups


def time_torch(gaussians: Gaussians, camera: Camera, timed: Timed, elements: int) -> tuple[float, float, float]:
    """Forward and backward milliseconds of plain torch down to 2D quantities, and the greatest difference in colour."""
    seen = gaussians.means @ camera.head_to_camera[:3, :3].T + camera.head_to_camera[:3, 3]
    inverse = torch.linalg.inv(screen_covariances(gaussians, camera, seen))
    conics = torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], -1)
    fields = [timed.screen_means, conics, gaussians.opacities, view_colors(gaussians, camera)]
    fields = [field.clone().requires_grad_() for field in fields]
    starts, pairs = timed.tile_lists()
    across, forward, backward, difference = camera.width // TILE, 0.0, 0.0, 0.0

    def as_tiles(picture: Tensor) -> Tensor:
        blocks = picture.reshape(camera.height // TILE, TILE, across, TILE, -1).transpose(1, 2)
        return blocks.reshape(-1, TILE * TILE, picture.shape[2])

    picture = as_tiles(torch.cat([timed.colors, timed.alpha], -1))
    d_picture = as_tiles(torch.cat([timed.d_colors, timed.d_alpha], -1))
    for tiles in tile_groups(starts, elements):
        start = time.perf_counter()
        drawn = torch_tiles(fields, starts, pairs, tiles, across)
        middle = time.perf_counter()
        torch.autograd.backward(drawn, d_picture[tiles])
        backward += 1e3 * (time.perf_counter() - middle)
        forward += 1e3 * (middle - start)
        difference = max(difference, (drawn.detach() - picture[tiles]).abs().max().item())
    return forward, backward, difference


def median_torch(gaussians: Gaussians, camera: Camera, timed: Timed) -> dict[str, float]:
    """The median of five runs with the size of groups of tiles that a first run found fastest."""

    def total(run: tuple[float, float, float]) -> float:
        return run[0] + run[1]

    first = {bits: total(time_torch(gaussians, camera, timed, 1 << bits)) for bits in (17, 18, 19, 21, 23)}
    best = min(first, key=lambda bits: first[bits])
    runs = sorted((time_torch(gaussians, camera, timed, 1 << best) for _ in range(5)), key=total)
    forward, backward, difference = runs[2]
    return {"torch_forward_ms": forward, "torch_backward_ms": backward, "torch_difference": difference}


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """All figures of one run."""
    torch.set_num_threads(arguments.threads)
    gaussians, camera = head_like_scene(arguments.count, arguments.size)
    timed = Timed(gaussians, camera, arguments.threads)
    forward, backward, rates = [], [], []
    for _ in range(arguments.rounds):
        rates.append(native.multiply_add_rate(0.05))
        first, second = timed.repeat(arguments.repetitions)
        forward, backward = forward + first, backward + second
    rate = max(rates)
    both = [a + b for a, b in zip(forward, backward, strict=True)]
    torch_times = median_torch(gaussians, camera, timed)
    total = statistics.median(both)
    found: dict[str, object] = {
        "lanes": native.library().ts_lanes(),
        "threads": arguments.threads,
        "forward_ms": round(statistics.median(forward), 3),
        "backward_ms": round(statistics.median(backward), 3),
        "least_ms": round(min(both), 3),
        "multiply_add_gflops": round(rate, 1),
        "normalised_ms": round(total * rate / REFERENCE_RATE, 3),
        **{name: round(value, 4) for name, value in torch_times.items()},
        "reference_ratio": round((torch_times["torch_forward_ms"] + torch_times["torch_backward_ms"]) / total, 1),
        **vars(timed.drawing.counts()),
    }
    return found


def machine() -> dict[str, str]:
    """Processor, versions and the state of the checkout."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
        "command": " ".join(["python", *sys.argv]),
    }


def main() -> None:
    """Measure, print, and keep the figures when ``--out`` is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=512, help="pixels along one side, a multiple of 16")
    parser.add_argument("--count", type=int, default=30_000, help="Gaussians")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=20, help="timed passes in one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    found = measure(arguments)
    for name, expected in EXPECTED_PAIRS.items():
        pairs = found[name]
        assert isinstance(pairs, int)
        print(f"{name}: {pairs}, {100 * (pairs / expected - 1):+.1f} % of the {expected} of the design")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps({**machine(), **found}, indent=2) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
