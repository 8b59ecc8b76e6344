"""Layers over a background: premultiplied, front to back."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from talksplat.rasterize.rasterizer import Rendered


def compose(layers: Sequence[Rendered], background: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
    """C_1 + (1 - A_1)(C_2 + (1 - A_2)(... background)); the first layer is the nearest."""
    picture = background
    for layer in reversed(layers):
        picture = layer.colors + (1 - layer.alpha) * picture
    return picture
