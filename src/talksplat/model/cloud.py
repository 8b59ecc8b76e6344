"""The Gaussians of one layer as trainable parameters, and the gather that grows or prunes them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from talksplat.gaussians import RawGaussians


@dataclass(frozen=True)
class RowPlan:
    """Densification as one gather: row i of the result comes from row ``source[i]``.

    ``fresh`` rows start without optimizer history. ``changed`` holds values that replace the gathered ones.
    """

    source: Int[Tensor, " M"]
    fresh: Bool[Tensor, " M"]
    changed: RawGaussians


class GaussianCloud(nn.Module):
    """Optimised Gaussians of one layer. The harmonics' base colour and rest are apart: they learn at other rates."""

    def __init__(self, raw: RawGaussians) -> None:
        super().__init__()
        self.means = nn.Parameter(raw.means)
        self.quats = nn.Parameter(raw.quats)
        self.log_scales = nn.Parameter(raw.log_scales)
        self.logit_opacities = nn.Parameter(raw.logit_opacities)
        self.base_color = nn.Parameter(raw.harmonics[:, :1].clone())
        self.rest_harmonics = nn.Parameter(raw.harmonics[:, 1:].clone())

    def __len__(self) -> int:
        return len(self.means)

    def raw(self, degree: int | None = None) -> RawGaussians:
        """The numbers before activation, with harmonics up to ``degree`` (all of them by default)."""
        rest = self.rest_harmonics if degree is None else self.rest_harmonics[:, : (degree + 1) ** 2 - 1]
        return RawGaussians(
            means=self.means,
            quats=self.quats,
            log_scales=self.log_scales,
            logit_opacities=self.logit_opacities,
            harmonics=torch.cat([self.base_color, rest], 1) if rest.shape[1] else self.base_color,
        )

    def rearranged(self, plan: RowPlan) -> dict[str, Tensor]:
        """The value of every parameter after ``plan``, by parameter name."""
        changed = plan.changed
        return {
            "means": changed.means,
            "quats": changed.quats,
            "log_scales": changed.log_scales,
            "logit_opacities": changed.logit_opacities,
            "base_color": changed.harmonics[:, :1].contiguous(),
            "rest_harmonics": changed.harmonics[:, 1:].contiguous(),
        }

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        """Take whatever number of Gaussians the state holds: it differs after densification."""
        for name, parameter in self.named_parameters(recurse=False):
            stored = state_dict.get(prefix + name)
            if stored is not None and stored.shape != parameter.shape:
                parameter.data = parameter.data.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
