"""Masks, and pictures put together by them."""

import torch

from talksplat.model.masks import mean_within, picked


def test_picked_is_where_with_its_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(9, 7, generator=generator) > 0.4
    slope = torch.rand(9, 7, 3, generator=generator)
    pictures = [torch.randn(9, 7, 3, generator=generator) for _ in range(2)]
    results = []
    for choose in (picked, lambda m, a, b: torch.where(m[..., None], a, b)):
        inside, outside = (picture.clone().requires_grad_() for picture in pictures)
        chosen = choose(mask, inside, outside)
        chosen.backward(slope)
        results.append((chosen.detach(), inside.grad, outside.grad))
    for ours, theirs in zip(*results, strict=True):
        assert ours is not None
        assert theirs is not None
        assert torch.equal(ours, theirs)


def test_mean_within_a_mask() -> None:
    values = torch.arange(12.0).reshape(3, 4)
    mask = values > 8
    assert float(mean_within(values, mask)) == 10.0
    assert float(mean_within(values, torch.zeros_like(mask))) == 0.0
