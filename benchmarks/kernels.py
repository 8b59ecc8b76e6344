"""How long each kernel takes beside the same computation in plain torch, in one run on one machine.

    python benchmarks/kernels.py [--points 30000] [--size 512] [--threads 2] [--rounds 21] [--only WORD]

``TALKSPLAT_NATIVE=v4`` and the like choose the library (`talksplat doctor` lists them). Prints a table of medians and
fastest rounds in milliseconds and, as the last line, everything as JSON. On a machine that is busy otherwise the
fastest rounds say more: a thread that waits for its sibling loses whole scheduler slices.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from talksplat import native
from talksplat.gaussians import morton_order
from talksplat.metrics import perceptual
from talksplat.metrics.image import l1_and_ssim, plain_l1_and_ssim
from talksplat.model.decoder import PointDecoder
from talksplat.model.fields import TriPlaneEncoder
from talksplat.model.gaussian_talker import CHANNELS, RESOLUTIONS, widths
from talksplat.model.patches import tiled_distance
from talksplat.model.planes import PlaneField
from talksplat.model.token_attention import OffsetHeads, TokenAttention

Case = tuple[str, Callable[[], object], Callable[[], object] | None]
"""Name, the kernel, its twin in torch (None where there is none)."""


def milliseconds(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median and fastest milliseconds of ``work`` after two rounds of warming up."""
    taken = []
    for index in range(rounds + 2):
        start = time.perf_counter()
        work()
        if index >= 2:
            taken.append((time.perf_counter() - start) * 1e3)
    return round(statistics.median(taken), 3), round(min(taken), 3)


def head_points(count: int) -> torch.Tensor:
    """Points near an ellipsoid inside the unit cube, in Morton order as training keeps them."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    points = directions * torch.tensor([0.5, 0.7, 0.6]) + 0.02 * torch.randn(count, 3, generator=generator)
    return points[morton_order(points)]


def loss_cases(size: int) -> list[Case]:
    """The pixel loss with value and gradient."""
    target = torch.rand(size, size, 3)
    picture = (target + 0.1 * torch.randn_like(target)).clamp(0, 1).requires_grad_()
    return [
        (
            f"L1 + SSIM {size}x{size} value and gradient",
            lambda: l1_and_ssim(picture, target, 0.8, 0.2).backward(),
            lambda: plain_l1_and_ssim(picture, target, 0.8, 0.2).backward(),
        ),
        (
            f"L1 + SSIM {size}x{size} value",
            lambda: l1_and_ssim(picture.detach(), target, 0.8, 0.2),
            lambda: plain_l1_and_ssim(picture.detach(), target, 0.8, 0.2),
        ),
    ]


def field_cases(count: int) -> list[Case]:
    """Tri-plane features: TalkingGaussian's dense face and GSTalker's hashed head."""
    cases: list[Case] = []
    shapes = {
        "dense, 12 levels": {"levels": 12, "base": 16, "finest": 38.4, "log2_table": 17},
        "hashed, 14 levels": {"levels": 14, "base": 64, "finest": 512, "log2_table": 14},
    }
    fixed, moving = head_points(count), head_points(count).requires_grad_()
    for name, shape in shapes.items():
        encoder = TriPlaneEncoder(**shape)
        slopes = torch.randn(count, encoder.width)
        kinds = {"tables": fixed, "tables and points": moving}
        cases.append((f"tri-plane {name} forward", *_pair(torch.no_grad()(encoder), encoder.plain, fixed)))
        for kind, points in kinds.items():
            cases.append(
                (
                    f"tri-plane {name} forward and gradient of {kind}",
                    lambda encoder=encoder, points=points, slopes=slopes: _step(encoder, encoder, points, slopes),
                    lambda encoder=encoder, points=points, slopes=slopes: _step(encoder, encoder.plain, points, slopes),
                )
            )
    return cases


def _pair(kernel: Callable, twin: Callable, points: torch.Tensor) -> tuple[Callable, Callable]:
    return lambda: kernel(points), lambda: torch.no_grad()(twin)(points)


def _step(module: torch.nn.Module, forward: Callable, points: torch.Tensor, slopes: torch.Tensor) -> None:
    module.zero_grad()
    points.grad = None
    forward(points).backward(slopes)


def decoder_cases(count: int) -> list[Case]:
    """GSTalker's head decoder, 42 + 33 -> 64 -> 64 -> 10."""
    decoder = PointDecoder(42, 33, 64, 10)
    torch.nn.init.normal_(decoder.last)
    features, condition, slopes = torch.randn(count, 42, requires_grad=True), torch.randn(33), torch.randn(count, 10)
    products = decoder.first_layer(features).detach()

    def twin() -> torch.Tensor:
        hidden = torch.relu(features @ decoder.of_features.T + decoder.of_condition @ condition)
        return torch.relu(hidden @ decoder.second.T) @ decoder.last.T

    def step(forward: Callable[[], torch.Tensor]) -> None:
        decoder.zero_grad()
        features.grad = None
        forward().backward(slopes)

    no_grad = torch.no_grad()
    return [
        ("decoder forward", no_grad(lambda: decoder(features, condition)), no_grad(twin)),
        ("decoder forward, first layer cached", no_grad(lambda: decoder.forward_cached(products, condition)), None),
        ("decoder forward and all gradients", lambda: step(lambda: decoder(features, condition)), lambda: step(twin)),
    ]


def talker_cases(count: int) -> list[Case]:
    """GaussianTalker's passes over the points, as in its presets: planes, an attention layer, the offsets' networks."""
    points = head_points(count).requires_grad_()
    field = PlaneField(-torch.ones(3), torch.ones(3), RESOLUTIONS, CHANNELS)
    layer, heads, outs = TokenAttention(dropout=0.0), OffsetHeads(widths(1)), widths(1)
    features, tokens = torch.randn(count, field.width, requires_grad=True), torch.randn(4, field.width)

    def each_by_itself() -> torch.Tensor:
        shown = torch.relu(features)
        hidden = torch.relu(shown @ heads.first.weight.T + heads.first.bias).unflatten(1, (len(outs), -1))
        return torch.cat([heads.last[name](hidden[:, place]) for place, name in enumerate(outs)], 1)

    def together() -> torch.Tensor:
        return torch.cat(list(heads(features, tuple(outs)).values()), 1)

    forms: dict[str, tuple[nn.Module, Callable[[], torch.Tensor], Callable[[], torch.Tensor]]] = {
        "products of planes": (field, lambda: field(points), lambda: field.plain((points + 1) / 2)),
        "attention layer": (layer, lambda: layer(features, tokens)[0], lambda: layer.plain(features, tokens)[0]),
        "offsets' networks": (heads, together, each_by_itself),
    }
    cases: list[Case] = []
    for name, (module, kernel, twin) in forms.items():
        slopes = torch.randn_like(kernel().detach())

        def step(form: Callable[[], torch.Tensor], module: nn.Module = module, slopes: torch.Tensor = slopes) -> None:
            module.zero_grad()
            points.grad = features.grad = None
            form().backward(slopes)

        no_grad = torch.no_grad()
        cases.append((f"GaussianTalker's {name} forward", no_grad(kernel), no_grad(twin)))
        cases.append(
            (
                f"GaussianTalker's {name} forward and all gradients",
                lambda step=step, kernel=kernel: step(kernel),
                lambda step=step, twin=twin: step(twin),
            )
        )
    return cases


def perceptual_cases(edge: int = 128) -> list[Case]:
    """The perceptual distance of a patch; torch runs it either way."""
    if not perceptual.available():
        return []
    cases: list[Case] = []
    for name, layers in (("training", perceptual.TRAINING_LAYERS), ("judging", perceptual.JUDGING_LAYERS)):
        metric = perceptual.PerceptualDistance(layers)
        target = torch.rand(edge, edge, 3)
        picture = (target + 0.05 * torch.randn_like(target)).requires_grad_()
        work = lambda metric=metric, picture=picture, target=target: metric(picture, target).backward()  # noqa: E731
        cases.append((f"perceptual distance, {name} layers, {edge}x{edge} value and gradient", work, None))
    return [*cases, *tile_cases(perceptual.PerceptualDistance())]


def tile_cases(metric: perceptual.PerceptualDistance, size: int = 512) -> list[Case]:
    """TalkingGaussian's tiles in one batch, beside the same tiles one after the other."""
    target = torch.rand(size, size, 3)
    picture = (target + 0.05 * torch.randn_like(target)).requires_grad_()

    def singly(edge: int) -> None:
        corners = [(y, x) for y in range(0, size - edge + 1, edge) for x in range(0, size - edge + 1, edge)]
        tiles = [(slice(y, y + edge), slice(x, x + edge)) for y, x in corners]
        torch.stack([metric(picture[tile], target[tile]) for tile in tiles]).mean().backward()

    def together(edge: int) -> None:
        tiled_distance(metric, picture, target, edge, 0, torch.Generator()).backward()

    return [
        (
            f"perceptual tiles of {edge} in {size}x{size} together, beside singly",
            lambda edge=edge: together(edge),
            lambda edge=edge: singly(edge),
        )
        for edge in (32, 80)
    ]


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=30_000, help="points of fields and decoder")
    parser.add_argument("--size", type=int, default=512, help="edge of the pictures, pixels")
    parser.add_argument("--threads", type=int, default=2, help="threads of both torch and the kernels")
    parser.add_argument("--only", default="", help="cases whose name holds this word")
    parser.add_argument("--rounds", type=int, default=21, help="repetitions that the median is taken of")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    count = options.points
    cases = loss_cases(options.size) + field_cases(count) + decoder_cases(count) + talker_cases(count)
    cases = [case for case in cases + perceptual_cases() if options.only in case[0]]
    figures: dict[str, dict[str, tuple[float, float] | None]] = {}
    print(f"{'median and fastest, ms':>72} {'kernel':>15} {'torch':>15}")
    for name, kernel, twin in cases:
        mine = milliseconds(kernel, options.rounds)
        theirs = milliseconds(twin, max(3, options.rounds // 4)) if twin else None
        figures[name] = {"kernel_ms": mine, "torch_ms": theirs}
        columns = [f"{times[0]:7.2f} {times[1]:7.2f}" if times else "-" for times in (mine, theirs)]
        print(f"{name:>72} {columns[0]:>15} {columns[1]:>15}", flush=True)
    machine = {
        "processor": platform.processor(),
        "library": os.environ.get(native.CHOICE) or native.runnable()[0],
        "torch": torch.__version__,
    }
    print(json.dumps({"benchmark": "kernels", **vars(options), **machine, "figures": figures}))


if __name__ == "__main__":
    main()
