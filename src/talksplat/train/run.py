"""What one training run works on; its lanes share it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from talksplat.camera import Camera
from talksplat.dataset import PortraitDataset
from talksplat.frame import Frame
from talksplat.methods.method import LossContext, Method, Stage
from talksplat.model.avatar import Avatar, Layer
from talksplat.model.cloud import GaussianCloud
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import Rasterizer, Rendered
from talksplat.recorded import recorded_torso
from talksplat.train.options import TrainOptions
from talksplat.train.perception import Perception
from talksplat.train.run_folder import RunFolder


@dataclass
class Run:
    """Method, data, avatar and the means to draw it."""

    method: Method
    config: Any
    options: TrainOptions
    dataset: PortraitDataset
    avatar: Avatar
    background: Tensor
    reference_camera: Camera
    rasterize: Rasterizer
    perception: Perception | None
    folder: RunFolder
    reporter: Reporter

    @property
    def is_on_processor(self) -> bool:
        """Whether it computes on the CPU."""
        return self.background.device.type == "cpu"

    def draw(self, frame: Frame, drawn: dict[str, Rendered]) -> Callable[[Layer], Rendered]:
        """A function that rasterizes layers for ``frame`` and remembers them in ``drawn``."""

        def draw_layer(layer: Layer) -> Rendered:
            camera = self.reference_camera if layer.fixed_view else frame.camera
            rendered = self.rasterize(layer.gaussians, camera)
            if rendered.screen_means.requires_grad:
                rendered.screen_means.retain_grad()
            drawn[layer.name] = rendered
            return rendered

        return draw_layer

    def losses(self, stage: Stage, step: int, frame: Frame, drawn: dict[str, Rendered]) -> dict[str, Tensor]:
        """Weighted terms of one step."""
        perceptual = self.perception.distance if self.perception else None
        background = self.background if self.config.torso == "own" else self._recorded(frame)
        context = LossContext(background=background, step=step, perceptual=perceptual, seed=self.options.seed)
        return self.method.losses(self.config, self.avatar, frame, self.draw(frame, drawn), stage, context)

    def _recorded(self, frame: Frame) -> Tensor:
        behind = recorded_torso(*(value.cpu().numpy() for value in (frame.image, frame.labels, self.background)))
        return torch.from_numpy(behind).to(self.background)

    def clouds(self) -> dict[str, GaussianCloud]:
        """Clouds by layer: a module's own name, or its owner's when it is called ``cloud``."""
        found = {}
        for name, module in self.avatar.named_modules():
            if isinstance(module, GaussianCloud):
                found[name.removesuffix(".cloud")] = module
        return found
