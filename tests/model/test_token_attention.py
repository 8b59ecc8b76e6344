"""The folded attention is the textbook's; the planes are bilinear samples multiplied; counts are the published ones."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from talksplat import native
from talksplat.model.decoder import two_layers
from talksplat.model.gaussian_talker import CanonicalDecoder, widths
from talksplat.model.planes import PLANES, PlaneField
from talksplat.model.token_attention import OffsetHeads, TokenAttention, TokenNets, eye_code


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def textbook(layer: TokenAttention, points: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same layer around torch's own attention (Vaswani et al., 2017, post-norm)."""
    attention = nn.MultiheadAttention(64, layer.heads, batch_first=True).double()
    parts = (layer.query, layer.key, layer.value)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        attention.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    attention.out_proj = layer.answer
    heard, shares = attention(points[None], tokens[None], tokens[None], average_attn_weights=False)
    y = layer.first_norm(points + heard[0])
    return layer.last_norm(y + layer.gather(torch.relu(layer.spread(y)))), shares[0].transpose(0, 1)


def test_folded_attention_equals_the_textbook_form_with_its_gradients() -> None:
    torch.manual_seed(0)
    layer = TokenAttention().double()
    points, tokens = torch.randn(50, 64).double(), torch.randn(4, 64).double()
    found = []
    for form in (layer, lambda p, t: textbook(layer, p, t)):
        inputs = points.clone().requires_grad_(), tokens.clone().requires_grad_()
        layer.zero_grad()
        out, shares = form(*inputs)
        (out * torch.arange(out.numel()).reshape(out.shape).sin()).sum().backward()
        feed = [p.grad.clone() for p in (layer.spread.weight, layer.answer.weight) if p.grad is not None]
        found.append((out, shares, *(x.grad for x in inputs), *feed))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-9)
    assert torch.allclose(found[0][1].sum(-1), torch.ones(50, 2).double())


def layer_with_inputs(count: int, heard: int) -> tuple[TokenAttention, torch.Tensor, torch.Tensor]:
    """A layer whose parameters all matter, points and tokens."""
    torch.manual_seed(count)
    layer = TokenAttention()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    return layer, torch.randn(count, 64), torch.randn(heard, 64)


def answers_of(layer: TokenAttention, points: torch.Tensor, tokens: torch.Tensor) -> list[torch.Tensor]:
    """What the layer makes of points and tokens, then gradients of both and of every parameter."""
    inputs = points.clone().requires_grad_(), tokens.clone().requires_grad_()
    out, shares = layer(*inputs)
    slopes = torch.arange(out.numel()).reshape(out.shape).sin().to(out)
    return [out.detach(), shares.detach(), *torch.autograd.grad(out, [*inputs, *layer.parameters()], slopes)]


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets torch's threads until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("library", native.runnable())
@pytest.mark.parametrize(("count", "heard", "used"), [(1, 4, 1), (7, 1, 1), (203, 4, 1), (203, 4, 3)])
def test_native_layer_is_torchs_in_double_precision(
    library: str, count: int, heard: int, used: int, threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and every gradient; counts that leave part of a block, and one token."""
    monkeypatch.setenv(native.CHOICE, library)
    threads(used)
    layer, points, tokens = layer_with_inputs(count, heard)
    found = answers_of(layer, points, tokens)
    with torch.no_grad():
        assert torch.equal(layer(points, tokens)[0], found[0])
    expected = answers_of(layer.double(), points.double(), tokens.double())
    names = ["out", "shares", "points", "tokens", *(name for name, _ in layer.named_parameters())]
    for name, one, other in zip(names, found, expected, strict=True):
        # The keys' bias moves all scores of a head alike: its gradient is 0.
        if library == "amx":  # Rounded hidden values that are near 0 fall on the other side of their ReLU now and then.
            assert (one.double() - other).norm() < 0.1 * (1 + other.norm()), name
        else:
            assert (one.double() - other).abs().max() < 1e-5 * (1 + other.abs().max()), name


@pytest.mark.parametrize("used", [1, 3])
def test_native_gradients_repeat_bit_for_bit(used: int, threads: Callable[[int], None]) -> None:
    threads(used)
    inputs = layer_with_inputs(203, 4)
    for one, other in zip(answers_of(*inputs), answers_of(*inputs), strict=True):
        assert torch.equal(one, other)


def test_no_points_have_gradients_of_zero() -> None:
    out, shares, by_points, *rest = answers_of(*layer_with_inputs(0, 4))
    assert [len(part) for part in (out, shares, by_points)] == [0, 0, 0]
    assert not any(part.any() for part in rest)


def test_dropout_draws_from_its_generator_alone() -> None:
    torch.manual_seed(0)
    layer, points, tokens = TokenAttention(), torch.randn(20, 64), torch.randn(4, 64)

    def drawn(seed: int) -> torch.Tensor:
        return layer(points, tokens, torch.Generator().manual_seed(seed))[0]

    still = layer(points, tokens)[0]
    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert not torch.equal(drawn(1), still)


def test_planes_are_bilinear_samples_multiplied_and_held_at_the_border() -> None:
    torch.manual_seed(1)
    low, high = torch.tensor([-0.1, -0.2, 0.0]), torch.tensor([0.1, 0.1, 0.2])
    field = PlaneField(low, high, (4, 8), 5).double()
    points = (torch.rand(40, 3).double() * 1.4 - 0.2) * (high - low) + low
    points.requires_grad_()
    place, first, parts = 2 * ((points - low) / (high - low)) - 1, 0, []
    for edge in (4, 8):
        product = torch.ones(40, 5).double()
        for plane in PLANES:
            picture = field.table[first : first + edge * edge].T.reshape(1, 5, edge, edge)
            grid = place[None, None, :, list(plane)]
            sampled = F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=True)
            product = product * sampled[0, :, 0].T
            first += edge * edge
        parts.append(product)
    expected, found = torch.cat(parts, 1), field(points)
    assert torch.allclose(found, expected, atol=1e-9)
    slopes = torch.randn_like(found)
    ours = torch.autograd.grad((found * slopes).sum(), (points, field.table))
    theirs = torch.autograd.grad((expected * slopes).sum(), (points, field.table))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-5)  # embedding_bag's slopes are of single precision


def test_native_planes_equal_their_specification() -> None:
    torch.manual_seed(4)
    low, high = torch.tensor([-0.1, -0.2, 0.0]), torch.tensor([0.1, 0.1, 0.2])
    field = PlaneField(low, high, (6, 9), 32)  # native: 32-bit, many channels
    points = (torch.rand(203, 3) * 1.2 - 0.1) * (high - low) + low
    points = torch.cat([points, low[None], high[None]]).requires_grad_()
    place = ((points - low) / (high - low)).clamp(0, 1)
    found, expected = field(points), field.plain(place)
    assert torch.allclose(found, expected, atol=1e-6)
    slopes = torch.randn_like(found)
    ours = torch.autograd.grad((found * slopes).sum(), (points, field.table))
    theirs = torch.autograd.grad((expected * slopes).sum(), (points, field.table))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(other.detach().abs().max()))


def test_numbers_of_parameters_are_the_published_ones() -> None:
    assert count(PlaneField(-torch.ones(3), torch.ones(3), (64, 128), 32)) == 1_966_080
    outs = widths(3)
    assert count(CanonicalDecoder(64, {name: out for name, out in outs.items() if name != "means"})) == 98_104
    tokens = TokenNets()
    assert [count(net) for net in (tokens.speech, tokens.eye, tokens.viewpoint)] == [6_144, 6_144, 4_864]
    assert count(tokens) == 6_144 * 2 + 4_864 + 64
    assert count(TokenAttention()) == 33_472
    assert count(OffsetHeads(outs)) == 49_211


@pytest.mark.usefixtures("single_precision")
def test_two_layers_are_the_same_network_natively_and_in_double_precision() -> None:
    torch.manual_seed(3)
    found = []
    inputs = [torch.randn(*shape) for shape in ((101, 64), (128, 64), (128,), (12, 128), (12,))]
    slopes = torch.randn(101, 12)
    for dtype in (torch.float32, torch.float64):
        leaves = [value.to(dtype, copy=True).requires_grad_() for value in inputs]
        out = two_layers(*leaves)
        (out * slopes.to(dtype)).sum().backward()
        found.append((out, *(leaf.grad for leaf in leaves)))
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert other is not None
        assert torch.allclose(one.double(), other, rtol=1e-4, atol=2e-4 * float(other.detach().abs().max()))


@pytest.mark.usefixtures("single_precision")
def test_offset_heads_answer_alone_as_together() -> None:
    torch.manual_seed(2)
    heads = OffsetHeads(widths(1))
    for layer in heads.last.values():
        nn.init.normal_(layer.weight)
    points = torch.randn(30, 64)
    together = heads(points, tuple(heads.outs))
    assert [value.shape[1] for value in together.values()] == [3, 3, 4, 1, 12]
    for name, value in together.items():
        alone = heads(points, (name,))
        assert list(alone) == [name]
        assert torch.allclose(alone[name], value, atol=1e-5)
    assert heads(points, ()) == {}
    assert CanonicalDecoder(64, widths(1))(points, ()) == {}


@pytest.mark.parametrize("rising", [False, True])
def test_eye_code(rising: bool) -> None:
    code = eye_code(torch.tensor(0.7), rising=rising)
    frequency = 10_000 ** (-4 / 32 if not rising else 4 / 32)
    assert code[4] == pytest.approx(math.sin(0.7 * frequency), abs=1e-5)
    assert code[5] == pytest.approx(math.cos(0.7 * frequency), abs=1e-5)
