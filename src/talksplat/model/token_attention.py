"""Spatial-audio attention: every Gaussian asks four tokens of the instant, speech, eye, viewpoint and null.

(GaussianTalker, Sec. 3.3.) The tokens are few and the same for all Gaussians. So a head's scores are one product of
the points with a matrix of four columns, and what it answers is a mix of four vectors: projections of queries and of
answers are folded into those, once an instant, and no matrix of 64 x 64 ever meets the points.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from talksplat import native
from talksplat.model.conditioning import SPEECH_CODE
from talksplat.model.decoder import linear, named_outputs, two_layers

WIDTH = 64
"""Width of tokens and of the points' features."""
TOKENS = ("speech", "eye", "viewpoint", "null")
VIEWPOINT = 12
"""Numbers of a viewpoint: rotation row by row, then translation."""
EYE_CODE = 32
"""Width of the eye feature's sinusoidal code."""


class TokenNets(nn.Module):
    """The four tokens of an instant. Networks of two layers with ReLU between, without biases (fact sheet A4)."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.speech = _mlp(SPEECH_CODE, width)
        self.eye = _mlp(EYE_CODE, width)
        self.viewpoint = _mlp(VIEWPOINT, width)
        self.null = nn.Parameter(torch.randn(width))

    def forward(
        self, speech: Float[Tensor, " code"], eye: Float[Tensor, " eye"], viewpoint: Float[Tensor, "12"]
    ) -> Float[Tensor, "4 width"]:
        """Tokens in the order of :data:`TOKENS`."""
        return torch.stack([self.speech(speech), self.eye(eye), self.viewpoint(viewpoint), self.null])


def eye_code(eye: Float[Tensor, ""], *, rising: bool) -> Float[Tensor, "32"]:
    """Sinusoidal code: element j is sin (even j) or cos (odd j) of eye * 10000^(-+2 floor(j/2)/32).

    ``rising`` is the released code's sign, whose frequencies rise to 5,623 radians a unit; the classic form divides.
    """
    pair = torch.arange(EYE_CODE, device=eye.device) // 2
    exponent = 2.0 * pair / EYE_CODE
    angle = eye * 10_000.0 ** (exponent if rising else -exponent)
    return torch.where(torch.arange(EYE_CODE, device=eye.device) % 2 == 0, angle.sin(), angle.cos())


class TokenAttention(nn.Module):
    """One layer: cross-attention to the tokens, then a network on each point; both added and normalised (post-norm).

    Two heads, width of the network twice that of the points, layer norms with epsilon 1e-12 (fact sheet A4).
    """

    def __init__(self, width: int = WIDTH, heads: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.answer = (nn.Linear(width, width) for _ in range(4))
        self.first_norm, self.last_norm = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)
        self.spread, self.gather = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(
        self,
        points: Float[Tensor, "N width"],
        tokens: Float[Tensor, "T width"],
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "N width"], Float[Tensor, "N heads T"]]:
        """The points' features after the layer, and how much each head of each point attends to each token.

        Dropout acts where a ``generator`` is given, and draws from it. The shares are for looking at:
        they carry gradients on torch's path alone.
        """
        fits = points.shape[1] % 16 == 0 and self.heads * len(tokens) <= native.MOST_SCORES
        if (generator is None or not self.dropout) and native.takes(points, tokens) and fits:
            return self._native(points, tokens)
        return self.plain(points, tokens, generator)

    def plain(
        self,
        points: Float[Tensor, "N width"],
        tokens: Float[Tensor, "T width"],
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "N width"], Float[Tensor, "N heads T"]]:
        """The same in torch, on any device: the native passes' specification."""
        questions, bias, answers = self.folded(tokens)
        scores = (points @ questions + bias).unflatten(1, (self.heads, len(tokens)))
        shares = scores.softmax(-1)
        heard = shares.flatten(1) @ answers + self.answer.bias
        points = self.first_norm(points + self._dropped(heard, generator))
        return self.last_norm(points + self._dropped(self._network(points, generator), generator)), shares

    def _native(
        self, points: Float[Tensor, "N width"], tokens: Float[Tensor, "T width"]
    ) -> tuple[Float[Tensor, "N width"], Float[Tensor, "N heads T"]]:
        """The same without dropout: what torch does in ten passes over the points, natively in three each way."""
        questions, bias, answers = self.folded(tokens)
        first, last = self.first_norm, self.last_norm
        folded = questions, bias, answers, self.answer.bias
        heard, shares = _Attend.apply(self.heads, first.eps, points, *folded, first.weight, first.bias)
        values = two_layers(heard, self.spread.weight, self.spread.bias, self.gather.weight)
        found = _AddNorm.apply(last.eps, heard, values, self.gather.bias, last.weight, last.bias)
        return found, shares.unflatten(1, (self.heads, len(tokens)))

    def _network(self, points: Float[Tensor, "N width"], generator: torch.Generator | None) -> Tensor:
        """The network on each point, with dropout inside."""
        if generator is None or not self.dropout:
            weights = (self.spread.weight, self.spread.bias, self.gather.weight, self.gather.bias)
            return two_layers(points, *weights)
        return self.gather(self._dropped(torch.relu(self.spread(points)), generator))

    def folded(
        self, tokens: Float[Tensor, "T width"]
    ) -> tuple[Float[Tensor, "width rows"], Float[Tensor, " rows"], Float[Tensor, "rows width"]]:
        """Matrix and bias that turn points into scores, and the rows that answers mix; rows are heads x tokens.

        softmax(q K' / sqrt(d)) V W = softmax(x (Wq' K' / sqrt(d)) + bq' K' / sqrt(d)) (V W).
        """
        size = self.query.out_features // self.heads
        keys, values = (
            part(tokens).unflatten(1, (self.heads, size)).transpose(0, 1) / divisor
            for part, divisor in ((self.key, math.sqrt(size)), (self.value, 1.0))
        )
        of_query = self.query.weight.unflatten(0, (self.heads, size))
        questions = torch.einsum("hsw,hts->wht", of_query, keys).flatten(1)
        bias = torch.einsum("hs,hts->ht", self.query.bias.unflatten(0, (self.heads, size)), keys).flatten()
        of_answer = self.answer.weight.unflatten(1, (self.heads, size))
        answers = torch.einsum("hts,whs->htw", values, of_answer).flatten(0, 1)
        return questions, bias, answers

    def _dropped(self, values: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None or not self.dropout:
            return values
        kept = torch.empty(values.shape).bernoulli_(1 - self.dropout, generator=generator).to(values)
        return values * kept / (1 - self.dropout)


class OffsetHeads(nn.Module):
    """From a point's attended feature to the offsets of its attributes, one network each, side by side.

    Each is ReLU, width -> hidden, ReLU, hidden -> out. Last layers start at zero (the original: Xavier with gain 0.1).
    """

    def __init__(self, outs: dict[str, int], width: int = WIDTH, hidden: int = 128) -> None:
        super().__init__()
        self.outs, self.hidden = dict(outs), hidden
        self.first = nn.Linear(width, hidden * len(outs))
        self.last = nn.ModuleDict({name: nn.Linear(hidden, out) for name, out in outs.items()})
        for layer in self.last.values():
            nn.init.zeros_(linear(layer).weight)
            nn.init.zeros_(linear(layer).bias)

    def forward(self, points: Float[Tensor, "N width"], wanted: tuple[str, ...]) -> dict[str, Tensor]:
        """Offsets of the attributes ``wanted``, "N out" each."""
        places = [place for place, name in enumerate(self.outs) if name in wanted]
        first, bias = self.first.weight, self.first.bias
        if len(places) < len(self.outs):
            first, bias = (
                torch.cat([part[place * self.hidden : (place + 1) * self.hidden] for place in places] or [part[:0]])
                for part in (first, bias)
            )
        return named_outputs(
            points, first, bias, {name: linear(self.last[name]) for name in self.outs if name in wanted}
        )


class _Attend(torch.autograd.Function):
    """norm(points + shares answers + bias) and the shares, natively; these carry no gradient."""

    @staticmethod
    def forward(ctx: Any, heads: int, epsilon: float, points: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        points = points.contiguous()
        questions, bias, answers, answer_bias, gain, shift = (weight.contiguous() for weight in weights)
        heard, shares = torch.empty_like(points), points.new_empty(len(points), len(answers))
        folded = questions, bias, answers, answer_bias
        native.attend(points, folded, (gain, shift), epsilon, heads, heard, shares)
        ctx.heads, ctx.epsilon = heads, epsilon
        ctx.save_for_backward(points, shares, questions, answers, answer_bias, gain)
        ctx.mark_non_differentiable(shares)
        return heard, shares

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        points, shares, *weights = ctx.saved_tensors
        questions, answers, answer_bias, gain = weights
        by_points = torch.empty_like(points) if ctx.needs_input_grad[2] else None
        likes = questions, shares.new_empty(len(answers)), answers, answer_bias, gain, gain
        by = (by_points, *(torch.empty_like(like) for like in likes))
        native.attend_backward(points, tuple(weights), ctx.epsilon, ctx.heads, shares, slopes[0].contiguous(), by)
        return None, None, *by


class _AddNorm(torch.autograd.Function):
    """norm(points + values + bias), natively."""

    @staticmethod
    def forward(ctx: Any, epsilon: float, points: Tensor, values: Tensor, *weights: Tensor) -> Tensor:
        bias, gain, shift = weights
        result = torch.empty_like(values)
        native.add_norm(points, values, bias, (gain, shift), epsilon, result)
        ctx.epsilon = epsilon
        ctx.save_for_backward(points, values, bias, gain)
        return result

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        points, values, bias, gain = ctx.saved_tensors
        by = tuple(torch.empty_like(like) for like in (values, bias, gain, gain))
        native.add_norm_backward(points, values, (bias, gain), ctx.epsilon, slopes[0].contiguous(), by)
        return None, by[0], *by  # The sum's gradient is that of the points and that of the values.


def _mlp(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, out, bias=False), nn.ReLU(), nn.Linear(out, out, bias=False))
