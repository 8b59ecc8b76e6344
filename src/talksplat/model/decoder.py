"""The small network that turns a point's features and the instant's condition into the point's offsets.

Both GSTalker's decoders (head and torso, Sec. 3.3-3.4) have this form; without bias, as in TalkingGaussian.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from talksplat import native


class PointDecoder(nn.Module):
    """[point features | condition] -> hidden -> hidden -> out with ReLU between, no biases.

    All points share the condition, so its product with the first layer is one vector added to every point, not a
    concatenation. The last layer starts at zero: an untrained deformation is the identity.
    """

    def __init__(self, features: int, condition: int, hidden: int, out: int) -> None:
        super().__init__()
        self.of_features = nn.Parameter(_uniform(hidden, features, features + condition))
        self.of_condition = nn.Parameter(_uniform(hidden, condition, features + condition))
        self.second = nn.Parameter(_uniform(hidden, hidden, hidden))
        self.last = nn.Parameter(torch.zeros(out, hidden))

    def forward(self, features: Float[Tensor, "N Fp"], condition: Float[Tensor, " Fc"]) -> Float[Tensor, "N out"]:
        """Offsets of all points at one instant. Differentiable in everything."""
        shared = self.of_condition @ condition
        weights = (self.of_features, shared, self.second, self.last)
        if native.takes(features, *weights):
            return _Decoder.apply(features, None, *weights)
        return self._upper_layers(features @ self.of_features.T + shared)

    def gated(self, inputs: Float[Tensor, "N inputs"], condition: Float[Tensor, " Fc"]) -> Float[Tensor, "N out"]:
        """Offsets where every point lets the condition through in its own measure.

        ``inputs`` are a point's features and its gates, one a number of the condition; the condition scales the
        gates' columns of the first layer.
        """
        first = torch.cat([self.of_features, self.of_condition * condition], 1)
        weights = (first, first.new_zeros(len(first)), self.second, self.last)
        if native.takes(inputs, *weights):
            return _Decoder.apply(inputs, None, *weights)
        return self._upper_layers(inputs @ first.T)

    def first_layer(self, features: Float[Tensor, "N Fp"]) -> Float[Tensor, "N hidden"]:
        """The features' part of the first layer, before ReLU: fixed while points and weights are."""
        return features @ self.of_features.T

    def forward_cached(
        self, products: Float[Tensor, "N hidden"], condition: Float[Tensor, " Fc"]
    ) -> Float[Tensor, "N out"]:
        """Offsets from :meth:`first_layer`'s products, for inference."""
        shared = self.of_condition @ condition
        weights = (self.of_features, shared, self.second, self.last)
        if torch.is_grad_enabled() or not native.takes(products, *weights):
            return self._upper_layers(products + shared)
        result = products.new_empty(len(products), len(self.last))
        native.mlp_forward(None, products.contiguous(), _contiguous(weights), (result.shape[1],), False, result)
        return result

    def _upper_layers(self, first: Float[Tensor, "N hidden"]) -> Float[Tensor, "N out"]:
        return torch.relu(torch.relu(first) @ self.second.T) @ self.last.T


def two_layers(
    points: Float[Tensor, "N inputs"],
    first: Float[Tensor, "hidden inputs"],
    bias: Float[Tensor, " hidden"],
    last: Float[Tensor, "out hidden"],
    last_bias: Float[Tensor, " out"] | None = None,
) -> Float[Tensor, "N out"]:
    """last relu(first x + bias) + last_bias for every point. Differentiable in everything."""
    if native.takes(points, first, bias, last):
        found = _Decoder.apply(points, None, first, bias, None, last)
    else:
        found = torch.relu(points @ first.T + bias) @ last.T
    return found if last_bias is None else found + last_bias


def side_by_side(
    points: Float[Tensor, "N inputs"],
    first: Float[Tensor, "rows inputs"],
    bias: Float[Tensor, " rows"],
    lasts: tuple[Float[Tensor, "_ hidden"], ...],
) -> Float[Tensor, "N outs"]:
    """last_g relu(first_g relu(x) + bias_g) of several networks, one after the other in the columns.

    ``first`` and ``bias`` hold the networks' rows one after the other. Differentiable in everything.
    """
    hidden = lasts[0].shape[1]
    if native.takes(points, first, bias, *lasts):
        outs = tuple(len(last) for last in lasts)
        return _Decoder.apply(points, outs, first, bias, None, torch.cat(lasts))
    shown = torch.relu(torch.relu(points) @ first.T + bias).unflatten(1, (len(lasts), hidden))
    return torch.cat([shown[:, place] @ last.T for place, last in enumerate(lasts)], 1)


def named_outputs(
    points: Float[Tensor, "N inputs"],
    first: Float[Tensor, "rows inputs"],
    bias: Float[Tensor, " rows"],
    lasts: Mapping[str, nn.Linear],
) -> dict[str, Tensor]:
    """What networks side by side answer, by name, "N out" each: :func:`side_by_side` with the biases of ``lasts``."""
    if not lasts:
        return {}
    layers = list(lasts.values())
    values = side_by_side(points, first, bias, tuple(layer.weight for layer in layers))
    values = values + torch.cat([layer.bias for layer in layers])
    return dict(zip(lasts, values.split([layer.out_features for layer in layers], 1), strict=True))


def linear(module: nn.Module) -> nn.Linear:
    """``module``, which is known to be a linear layer."""
    assert isinstance(module, nn.Linear)
    return module


def _uniform(rows: int, columns: int, fan_in: int) -> Tensor:
    """torch.nn.Linear's start."""
    return torch.empty(rows, columns).uniform_(-1, 1) / fan_in**0.5


def _contiguous(tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(t if t is None else t.contiguous() for t in tensors)


class _Decoder(torch.autograd.Function):
    """The native networks; their backward pass computes the hidden values again instead of keeping them."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, outs: tuple[int, ...] | None, *weights: Any) -> Tensor:
        """Of networks side by side, with ``outs`` outputs each, or (None) of one whose features pass no ReLU first."""
        features, weights = features.contiguous(), _contiguous(weights)
        result = features.new_empty(len(features), len(weights[-1]))
        ctx.outs, ctx.rectified = outs or (result.shape[1],), outs is not None
        native.mlp_forward(features, None, weights, ctx.outs, ctx.rectified, result)
        ctx.save_for_backward(features, *weights)
        return result

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Tensor | None, ...]:
        features, *weights = ctx.saved_tensors
        by_features = torch.empty_like(features) if ctx.needs_input_grad[0] else None
        by_weights = tuple(w if w is None else torch.empty_like(w) for w in weights)
        shape = ctx.outs, ctx.rectified
        native.mlp_backward(features, tuple(weights), *shape, slopes[0].contiguous(), (by_features, *by_weights))
        return by_features, None, *by_weights
