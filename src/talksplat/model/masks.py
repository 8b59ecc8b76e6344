"""Parts of pictures: masks from label maps, and pictures put together by masks."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor


def is_any(labels: UInt8[Tensor, "H W"], wanted: tuple[int, ...]) -> Bool[Tensor, "H W"]:
    """Where the label map holds one of ``wanted``."""
    table = torch.zeros(256, dtype=torch.bool, device=labels.device)
    table[list(wanted)] = True
    return table[labels.long()]


def closed(mask: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """Morphological closing by 3 x 3."""
    grown = F.max_pool2d(mask.float()[None, None], 3, stride=1, padding=1)
    return (-F.max_pool2d(-grown, 3, stride=1, padding=1))[0, 0] > 0.5


def picked(
    mask: Bool[Tensor, "H W"], inside: Float[Tensor, "H W 3"], outside: Float[Tensor, "H W 3"]
) -> Float[Tensor, "H W 3"]:
    """``inside`` where ``mask`` holds, else ``outside``.

    Exactly torch.where, whose forward and backward passes are several times slower for want of vector code (torch 2.13
    on the CPU); both pictures must be finite.
    """
    weight = mask.to(inside.dtype).unsqueeze(-1).expand_as(inside).contiguous()
    return torch.lerp(outside, inside, weight)


def mean_within(values: Float[Tensor, "H W"], mask: Bool[Tensor, "H W"]) -> Float[Tensor, ""]:
    """Mean of ``values`` over ``mask``; zero where it is empty."""
    counted = mask.to(values.dtype)
    return (values * counted).sum() / counted.sum().clamp_min(1)
