"""LPIPS 0.1 (Zhang et al. 2018): the distance of two pictures in AlexNet's or VGG-16's features.

Each channel is weighted by what people's choices taught. Written from the paper's Eq. 1 and the published weights'
layout, since the published package needs torchvision. The backbone's file is torchvision's. Without it there is no
LPIPS: a random backbone's number means nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from talksplat import weights
from talksplat.errors import MissingWeights

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""Pictures in [-1, 1] enter as (x - SHIFT) / SCALE."""


@dataclass(frozen=True)
class Convolution:
    """One layer of a backbone: perhaps pooling, then convolution and ReLU; ``tapped`` where LPIPS reads it."""

    index: int
    """Number of the layer in torchvision's ``features``."""
    stride: int = 1
    padding: int = 1
    pooled: int = 0
    """Edge of the max pooling of stride 2 before it, 0 for none."""
    tapped: bool = False


@dataclass(frozen=True)
class Backbone:
    """A network that LPIPS reads, the file of its weights and that of its layers' weights."""

    title: str
    trunk: str
    linear: str
    convolutions: tuple[Convolution, ...]


BACKBONES = {
    "alex": Backbone(
        title="AlexNet",
        trunk="alexnet",
        linear="lpips-alex-linear",
        convolutions=(
            Convolution(0, stride=4, padding=2, tapped=True),
            Convolution(3, padding=2, pooled=3, tapped=True),
            Convolution(6, pooled=3, tapped=True),
            Convolution(8, tapped=True),
            Convolution(10, tapped=True),
        ),
    ),
    "vgg": Backbone(
        title="VGG-16",
        trunk="vgg16",
        linear="lpips-vgg-linear",
        convolutions=(
            Convolution(0),
            Convolution(2, tapped=True),
            Convolution(5, pooled=2),
            Convolution(7, tapped=True),
            Convolution(10, pooled=2),
            Convolution(12),
            Convolution(14, tapped=True),
            Convolution(17, pooled=2),
            Convolution(19),
            Convolution(21, tapped=True),
            Convolution(24, pooled=2),
            Convolution(26),
            Convolution(28, tapped=True),
        ),
    ),
}


def available(backbone: str = "alex") -> bool:
    """Whether both files that LPIPS on ``backbone`` needs are found."""
    row = BACKBONES[backbone]
    return weights.available(row.trunk) is not None and weights.available(row.linear) is not None


def load(backbone: str = "alex") -> "Lpips":
    """LPIPS with the pretrained files of ``backbone`` ("alex" or "vgg").

    Raises:
        MissingWeights: one of the two files is missing or is another file.
    """
    row = BACKBONES[backbone]
    return Lpips(backbone, trunk=weights.find(row.trunk), linear=weights.find(row.linear))


class Lpips(nn.Module):
    """The distance with given files: ``trunk`` as torchvision saves the backbone, ``linear`` as LPIPS 0.1 is published.

    Pictures are in [0, 1] and at least 32 pixels wide and high. Differentiable in both.

    Raises:
        MissingWeights: a file is not what its place asks for.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: str, *, trunk: Path, linear: Path) -> None:
        super().__init__()
        self.backbone = BACKBONES[backbone]
        trunk_state, linear_state = _state_of(trunk), _state_of(linear)
        tapped = 0
        for layer in self.backbone.convolutions:
            for part in ("weight", "bias"):
                values = _entry(
                    trunk_state, f"features.{layer.index}.{part}", trunk, f"torchvision {self.backbone.title}"
                )
                self.register_buffer(f"{part}_{layer.index}", values.clone())
            if layer.tapped:
                values = _entry(linear_state, f"lin{tapped}.model.1.weight", linear, f"LPIPS 0.1 {self.backbone.title}")
                self.register_buffer(f"linear_{layer.index}", values.clone())
                tapped += 1
        self.register_buffer("shift", torch.tensor(SHIFT))
        self.register_buffer("scale", torch.tensor(SCALE))

    def forward(self, picture: Float[Tensor, "*B H W 3"], target: Float[Tensor, "*B H W 3"]) -> Float[Tensor, ""]:
        """The published number: the mean over pixels of each layer's distance, summed over layers.

        The mean number of two batches of pictures.
        """
        return torch.stack([layer.mean() for layer in self._layer_distances(picture, target)]).sum()

    def map(self, picture: Float[Tensor, "H W 3"], target: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W"]:
        """The distance around every pixel (the published ``spatial`` form), for means over a region."""
        size = picture.shape[:2]
        layers = self._layer_distances(picture, target)
        whole = [F.interpolate(layer, size=size, mode="bilinear", align_corners=False) for layer in layers]
        return torch.stack(whole).sum(0)[0, 0]

    def _layer_distances(self, picture: Tensor, target: Tensor) -> list[Float[Tensor, "B 1 h w"]]:
        both = torch.stack([picture, target]).reshape(-1, *picture.shape[-3:])
        x = ((2 * both - 1 - self.shift) / self.scale).permute(0, 3, 1, 2)
        distances = []
        for layer in self.backbone.convolutions:
            if layer.pooled:
                x = F.max_pool2d(x, layer.pooled, 2)
            kernel, bias = self.get_buffer(f"weight_{layer.index}"), self.get_buffer(f"bias_{layer.index}")
            x = F.relu(F.conv2d(x, kernel, bias, layer.stride, layer.padding))
            if layer.tapped:
                # The clamp keeps the root differentiable where no channel responds.
                unit = x / (x.square().sum(1, keepdim=True).clamp_min(1e-30).sqrt() + 1e-10)
                mine, theirs = unit.chunk(2)
                difference = (mine - theirs).square()
                distances.append(F.conv2d(difference, self.get_buffer(f"linear_{layer.index}")))
        return distances


def _state_of(path: Path) -> Mapping[str, Tensor]:
    try:
        # The published files were saved on a GPU.
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are not its own
        raise MissingWeights(
            f"`{path}` is not a file of PyTorch weights: {error}", hint="delete it and take the official file again"
        ) from error


def _entry(state: Mapping[str, Tensor], name: str, path: Path, what: str) -> Tensor:
    if name in state:
        return state[name].float()
    raise MissingWeights(
        f"`{path}` holds no `{name}`; expected the weights of {what}", hint="delete it and take the official file again"
    )
