"""The rasterizer for processors: compiled drawing as a differentiable torch operation.

Two nodes of the graph share one drawing: the first gives the projected centres, the second the picture, so that
``screen_means`` lies between the means and the picture and its gradient can be kept with ``retain_grad()``.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from talksplat.camera import Camera
from talksplat.gaussians import Gaussians
from talksplat.native import RasterGradients, address, centers_backward
from talksplat.rasterize.drawing import Drawing, RasterInputs
from talksplat.rasterize.rasterizer import Rendered, refuse_invalid

CHANNELS = 3
"""Colour channels that the compiled code draws in one pass."""


def rasterize_on_cpu(gaussians: Gaussians, camera: Camera) -> Rendered:
    """Draw on the processor in float32, with as many threads as torch uses.

    Colours of other than three channels are drawn in passes of three. The gradient of ``screen_means`` is that of
    the whole loss with respect to the projected centres, in pixels.

    Raises:
        InvalidGaussians: a field holds NaN or infinity.
        MissingNative: the compiled part is not built.
        ValueError: the Gaussians lie on another device, or their fields do not fit together.
    """
    if gaussians.means.device.type != "cpu":
        raise ValueError(f"the Gaussians lie on {gaussians.means.device}; expected the cpu")
    drawn = gaussians.map(lambda values: values.float().contiguous())
    channels = drawn.harmonics.shape[2]
    screen_means, layers = None, []
    for start in range(0, channels, CHANNELS):
        part = drawn.harmonics if channels == CHANNELS else _three_channels(drawn.harmonics, start)
        outputs = _Outputs(drawn.replace(harmonics=part), camera)
        if screen_means is None:
            screen_means = _Centers.apply(drawn.means, outputs)
        layers.append(
            _Picture.apply(drawn.means, drawn.quats, drawn.scales, drawn.opacities, part, screen_means, outputs)
        )
    colors, alpha = layers[0]
    if channels != CHANNELS:
        colors = torch.cat([colors for colors, _ in layers], -1)[..., :channels]
    assert screen_means is not None
    return Rendered(colors=colors, alpha=alpha, screen_means=screen_means)


def _three_channels(harmonics: Tensor, start: int) -> Tensor:
    part = harmonics[:, :, start : start + CHANNELS]
    return torch.nn.functional.pad(part, (0, CHANNELS - part.shape[2])).contiguous()


class _Outputs:
    """A finished forward pass. The nodes of the graph take its tensors, and keep the drawing for the way back."""

    def __init__(self, gaussians: Gaussians, camera: Camera) -> None:
        fields = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.opacities, gaussians.harmonics)
        self.drawing = Drawing(
            RasterInputs(*(values.detach() for values in fields)),
            camera.head_to_camera.tolist(),
            camera.intrinsics.tolist(),
            (camera.height, camera.width),
            torch.get_num_threads(),
        )
        self.colors = torch.empty(camera.height, camera.width, CHANNELS)
        self.alpha = torch.empty(camera.height, camera.width, 1)
        self.screen_means = torch.empty(len(gaussians.means), 2)
        if not self.drawing.forward(self.colors, self.alpha, self.screen_means):
            refuse_invalid(gaussians)


class _Centers(Function):
    """From means to projected centres."""

    @staticmethod
    def forward(ctx: Any, means: Tensor, outputs: _Outputs) -> Tensor:
        ctx.save_for_backward(means)
        ctx.drawing = outputs.drawing
        return outputs.screen_means

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_screen_means: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (means,) = ctx.saved_tensors  # Refuses means that were changed in place.
        d_means = torch.empty_like(means)
        centers_backward(ctx.drawing.arguments, d_screen_means.contiguous(), d_means)
        return d_means, None


class _Picture(Function):
    """From everything to colours and alpha."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        *tensors, outputs = inputs
        ctx.save_for_backward(*tensors)
        ctx.drawing = outputs.drawing
        return outputs.colors, outputs.alpha

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_colors: Tensor, d_alpha: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients = [torch.empty_like(tensor) for tensor in ctx.saved_tensors]
        means, quats, scales, opacities, harmonics, screen_means = gradients
        targets = RasterGradients(
            *(address(g).value for g in (screen_means, means, quats, scales, opacities, harmonics))
        )
        ctx.drawing.backward(d_colors.contiguous(), d_alpha.contiguous(), targets)
        return (*gradients, None)
