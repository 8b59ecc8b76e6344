"""AdamW over named groups whose rates fall log-linearly, and moments that follow their rows."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from talksplat.methods.method import ParameterGroup
from talksplat.model.cloud import GaussianCloud, RowPlan


class Optimizer:
    """One stage's Adam."""

    def __init__(self, groups: Sequence[ParameterGroup], steps: int) -> None:
        self.groups = list(groups)
        self.steps = steps
        settings = [
            {
                "params": group.parameters,
                "lr": group.rate,
                "name": group.name,
                "weight_decay": group.decay,
                "betas": group.betas,
                "eps": group.epsilon,
            }
            for group in groups
        ]
        self.adam = torch.optim.AdamW(settings, fused=True)
        self.adam.zero_grad(set_to_none=True)  # Nothing that went before may move the first step.

    def step(self, step: int) -> None:
        """One update with the rates of ``step``; gradients are cleared."""
        progress = step / max(1, self.steps)
        for group, settings in zip(self.groups, self.adam.param_groups, strict=True):
            settings["lr"] = group.rate * (group.rate_end / group.rate) ** progress if group.rate else 0.0
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def rearrange(self, layer: str, cloud: GaussianCloud, plan: RowPlan) -> None:
        """Apply ``plan`` to the cloud's parameters and their moments alike; fresh rows start without moments."""
        for name, value in cloud.rearranged(plan).items():
            old: nn.Parameter = getattr(cloud, name)
            state = self.adam.state.pop(old, None)
            new = nn.Parameter(value)
            setattr(cloud, name, new)
            for settings in self.adam.param_groups:
                if settings["name"] == f"{layer}.{name}":
                    settings["params"] = [new]
            if state:
                for moment in ("exp_avg", "exp_avg_sq"):
                    rows = state[moment][plan.source]
                    rows[plan.fresh] = 0
                    state[moment] = rows
                self.adam.state[new] = state

    def tensors(self) -> dict[str, Tensor]:
        """Moments and step counts by group, for a checkpoint."""
        found: dict[str, Tensor] = {}
        for settings in self.adam.param_groups:
            for place, parameter in enumerate(settings["params"]):
                for key, value in self.adam.state.get(parameter, {}).items():
                    found[f"{settings['name']}/{place}/{key}"] = value
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take up the moments that :meth:`tensors` gave."""
        for settings in self.adam.param_groups:
            for place, parameter in enumerate(settings["params"]):
                prefix = f"{settings['name']}/{place}/"
                state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
                if state:
                    self.adam.state[parameter] = state
