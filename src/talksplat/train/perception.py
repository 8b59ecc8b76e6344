"""Which perceptual distance a run trains with: LPIPS where its files are, else EfficientNet-Lite0's, else none."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from talksplat.progress import Reporter


@dataclass(frozen=True)
class Perception:
    """A differentiable distance of two pictures "*B H W 3" in [0, 1], a batch's mean, and its name in reports."""

    name: str
    distance: Callable[[Tensor, Tensor], Tensor]


def find_perception(reporter: Reporter) -> Perception | None:
    """The best distance that this machine has the files for; says which one is used, and when there is none."""
    from talksplat.metrics import lpips, perceptual

    if lpips.available("alex"):
        return Perception("LPIPS (AlexNet)", lpips.load("alex"))
    if perceptual.available():
        network = perceptual.PerceptualDistance(perceptual.TRAINING_LAYERS)
        return Perception(perceptual.NAME, network)
    reporter.note(
        "no perceptual network found: training without a perceptual loss (pip install 'talksplat[perceptual]' adds one)"
    )
    return None
