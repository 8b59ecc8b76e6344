"""Numbers of parameters of every method by part, beside the published ones.

    python benchmarks/parameters.py [--channels 29]

The published figures are for 29 channels of speech features (DeepSpeech). Gaussians are not counted: their number
depends on the clip. Ends with one line of JSON: totals by method and branch.
"""

import argparse
import json
import sys
from collections import defaultdict

import torch
from torch import nn

from talksplat.camera import Camera
from talksplat.methods.avatar_file import placeholder
from talksplat.methods.catalogue import METHODS
from talksplat.model.cloud import GaussianCloud
from talksplat.model.conditioning import SpeechChannels

PUBLISHED = {
    ("talking-gaussian", "face"): 73_805,
    **{
        (name, branch): value
        for name, layers in (("gaussian-talker", 2), ("gaussian-talker-fast", 1))
        for branch, value in {
            "planes": 1_966_080,
            "canonical": 98_104,
            "speech": 30_720 + 2_149,
            "tokens": 6_144 + 6_144 + 4_864 + 64,
            "attention": 33_472 * layers,
            "offset": 49_211,
        }.items()
    },
    ("talking-gaussian", "mouth"): 178_141 - 2_176,  # less the attention network that the original never uses
}


def parts(avatar: nn.Module, depth: int = 2) -> dict[str, int]:
    """Trainable numbers by module name down to ``depth``, without the Gaussians."""
    found: dict[str, int] = {}
    for module_name, module in avatar.named_modules():
        if isinstance(module, GaussianCloud):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            path = ".".join(f"{module_name}.{name}".split(".")[:depth])
            found[path] = found.get(path, 0) + parameter.numel()
    return found


def main() -> int:
    """Print a table a method and one line of JSON; the exit code is 1 where a published count is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", type=int, default=29)
    options = parser.parse_args()
    pose = torch.eye(4)
    pose[2, 3] = 0.7
    camera = Camera(
        head_to_camera=pose,
        intrinsics=torch.tensor([[1000.0, 0, 256], [0, 1000.0, 256], [0, 0, 1]]),
        height=512,
        width=512,
    )
    totals: dict[str, dict[str, int]] = {}
    different = False
    for method in METHODS:
        avatar = method.build(
            method.presets["full"], SpeechChannels(options.channels), camera, defaultdict(placeholder)
        )
        print(f"{method.name}, {options.channels} channels")
        branches = totals[method.name] = {}
        for name, count in parts(avatar).items():
            branch = name.split("_")[0].split(".")[0]
            branches[branch] = branches.get(branch, 0) + count
            print(f"  {name:40} {count:10,}")
        for branch, count in branches.items():
            known = PUBLISHED.get((method.name, branch)) if options.channels == 29 else None
            different |= known not in (None, count)
            verdict = "" if known is None else f"   published {known:,}: {'equal' if known == count else 'DIFFERENT'}"
            print(f"  = {branch:38} {count:10,}{verdict}")
    print(json.dumps({"channels": options.channels, **totals}))
    return int(different)


if __name__ == "__main__":
    sys.exit(main())
