"""PSNR, SSIM and the pixel loss: L1 and 1 - SSIM with a value and gradient from one native pass.

SSIM after Wang et al. 2004 as 3DGS trains with it: 11 x 11 Gaussian window of sigma 1.5, zeros outside the picture,
C1 = 0.01^2, C2 = 0.03^2 for pictures in [0, 1]. Pixels may count more or less, or not at all: a pixel of count 0 is
taken as right, so that neither it nor its neighbours' windows feel what is drawn there.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from talksplat import native

REACH = 5
"""Pixels from the middle of SSIM's window to its edge."""
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2


def psnr(
    picture: Float[Tensor, "H W C"], target: Float[Tensor, "H W C"], counts: Float[Tensor, "H W"] | None = None
) -> Float[Tensor, ""]:
    """Peak signal-to-noise ratio, dB, of pictures in [0, 1]; infinite where they are equal."""
    return -10 * torch.log10(_weighted_mean((picture - target).square(), counts))


def ssim(
    picture: Float[Tensor, "H W C"], target: Float[Tensor, "H W C"], counts: Float[Tensor, "H W"] | None = None
) -> Float[Tensor, ""]:
    """Mean structural similarity over pixels and channels, 1 where pictures are equal."""
    return 1 - l1_and_ssim(picture, target, 0.0, 1.0, counts)


def l1_and_ssim(
    picture: Float[Tensor, "H W C"],
    target: Float[Tensor, "H W C"],
    l1_weight: float,
    ssim_weight: float,
    counts: Float[Tensor, "H W"] | None = None,
) -> Float[Tensor, ""]:
    """l1_weight mean |x - y| + ssim_weight (1 - mean SSIM), means over pixels by ``counts`` (3DGS, Eq. 7).

    Differentiable in ``picture``. 32-bit pictures on the CPU take the native pass; the rest plain torch. A sum of
    counts of 0 leaves nothing to compare: the value is 0.
    """
    if counts is not None and not bool(counts.any()):
        return (picture * 0).sum()
    tensors = [picture, target] if counts is None else [picture, target, counts]
    plain = any(t.device.type != "cpu" or t.dtype != torch.float32 for t in tensors)
    if plain or any(t.requires_grad for t in tensors[1:]):
        return plain_l1_and_ssim(picture, target, l1_weight, ssim_weight, counts)
    wanted = picture.requires_grad and torch.is_grad_enabled()
    return _PixelLoss.apply(picture, target, counts, l1_weight, ssim_weight, wanted)


def plain_l1_and_ssim(
    picture: Float[Tensor, "H W C"],
    target: Float[Tensor, "H W C"],
    l1_weight: float,
    ssim_weight: float,
    counts: Float[Tensor, "H W"] | None = None,
) -> Float[Tensor, ""]:
    """The same in torch alone, on any device and in any float type: the native pass's specification."""
    if counts is not None:
        picture = torch.where(counts[..., None] > 0, picture, target)
    value = l1_weight * _weighted_mean((picture - target).abs(), counts)
    if ssim_weight:
        value = value + ssim_weight * (1 - _weighted_mean(ssim_map(picture, target), counts))
    return value


def ssim_map(picture: Float[Tensor, "H W C"], target: Float[Tensor, "H W C"]) -> Float[Tensor, "H W C"]:
    """SSIM of every pixel and channel, in torch."""
    x, y = (p.permute(2, 0, 1)[:, None] for p in (picture, target))
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x = _blurred(x * x) - mean_x.square()
    variance_y = _blurred(y * y) - mean_y.square()
    covariance = _blurred(x * y) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    denominator = (mean_x.square() + mean_y.square() + C1) * (variance_x + variance_y + C2)
    return (numerator / denominator)[:, 0].permute(1, 2, 0)


def _blurred(planes: Float[Tensor, "C 1 H W"]) -> Float[Tensor, "C 1 H W"]:
    distance = torch.arange(-REACH, REACH + 1, dtype=planes.dtype, device=planes.device)
    taps = torch.exp(-distance.square() / (2 * SIGMA**2))
    taps = taps / taps.sum()
    down = F.conv2d(planes, taps.view(1, 1, -1, 1), padding=(REACH, 0))
    return F.conv2d(down, taps.view(1, 1, 1, -1), padding=(0, REACH))


def _weighted_mean(values: Float[Tensor, "H W C"], counts: Float[Tensor, "H W"] | None) -> Float[Tensor, ""]:
    if counts is None:
        return values.mean()
    return (values * counts[..., None]).sum() / (counts.sum() * values.shape[-1])


class _PixelLoss(torch.autograd.Function):
    """Value and gradient are computed together; the backward pass only scales the gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        picture: Tensor,
        target: Tensor,
        counts: Tensor | None,
        l1_weight: float,
        ssim_weight: float,
        wanted: bool,
    ) -> Tensor:
        pixels = float(picture[..., 0].numel() if counts is None else counts.sum())
        total = max(pixels * picture.shape[-1], 1e-30)
        factors = (l1_weight / total, ssim_weight / total)
        x, y = picture.contiguous(), target.contiguous()
        counts = None if counts is None else counts.contiguous()
        gradient = torch.empty_like(x) if wanted else None
        l1, similarity = native.l1_ssim(x, y, counts, ssim_weight != 0, factors, gradient)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return picture.new_tensor(factors[0] * l1 + ssim_weight - factors[1] * similarity)

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Tensor | None, ...]:
        return ctx.saved_tensors[0] * slopes[0], None, None, None, None, None
