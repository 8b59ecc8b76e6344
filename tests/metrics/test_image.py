"""The native pixel loss against plain torch in 64-bit, its laws, and PSNR against its definition."""

import math

import pytest
import torch

from talksplat import native
from talksplat.metrics.image import l1_and_ssim, plain_l1_and_ssim, psnr, ssim, ssim_map

LIBRARIES = native.runnable()
SIZES = [(37, 29), (64, 53), (5, 3), (11, 170)]


def _pair(height: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(height, width, 3, generator=generator)
    noise = 0.1 * torch.randn(height, width, 3, generator=generator)
    return (target + noise).clamp(0, 1), target


def _counts(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.rand(height, width, generator=generator) * (torch.rand(height, width, generator=generator) > 0.3)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.8, 0.2), (0.0, 1.0)])
@pytest.mark.parametrize("counted", [False, True])
def test_value_and_gradient_agree_with_double_torch(library, size, weights, counted, monkeypatch):
    monkeypatch.setenv(native.CHOICE, library)
    picture, target = _pair(*size)
    counts = _counts(*size) if counted else None
    exact = picture.double().requires_grad_()
    expected = plain_l1_and_ssim(exact, target.double(), *weights, None if counts is None else counts.double())
    expected.backward()
    found = picture.clone().requires_grad_()
    value = l1_and_ssim(found, target, *weights, counts)
    (3 * value).backward()
    assert value.item() == pytest.approx(expected.item(), abs=1e-6)
    assert exact.grad is not None
    scale = exact.grad.abs().max()
    torch.testing.assert_close(found.grad, 3 * exact.grad.float(), rtol=0, atol=5e-6 * 3 * scale.item())


def test_gradient_on_smooth_pictures_stays_within_the_bar():
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 96), torch.linspace(0, 1, 80), indexing="ij")
    target = torch.stack([rows, columns, rows * columns], -1)
    picture = (target + 0.02 * torch.sin(20 * rows)[..., None]).clamp(0, 1)
    exact = picture.double().requires_grad_()
    plain_l1_and_ssim(exact, target.double(), 0.8, 0.2).backward()
    found = picture.clone().requires_grad_()
    l1_and_ssim(found, target, 0.8, 0.2).backward()
    assert exact.grad is not None
    assert found.grad is not None
    assert (found.grad - exact.grad).abs().max() < 5e-5 * exact.grad.abs().max()


def test_ssim_agrees_with_its_definition_in_one_window():
    """At the middle of an 11 x 11 picture the window holds every pixel: the formula can be written out."""
    picture, target = (p[:, :, 0].double() for p in _pair(11, 11))
    distance = torch.arange(-5, 6).double()
    taps = torch.exp(-(distance**2) / 4.5)
    window = torch.outer(taps, taps) / taps.sum() ** 2

    def mean(values: torch.Tensor) -> torch.Tensor:
        return (window * values).sum()

    x, y = mean(picture), mean(target)
    covariance = mean((picture - x) * (target - y))
    spread = mean((picture - x) ** 2) + mean((target - y) ** 2)
    expected = (2 * x * y + 1e-4) * (2 * covariance + 9e-4) / ((x * x + y * y + 1e-4) * (spread + 9e-4))
    values = ssim_map(picture[..., None], target[..., None])
    assert values[5, 5, 0].item() == pytest.approx(expected.item(), abs=1e-12)
    whole = ssim(picture.float()[..., None], target.float()[..., None])
    assert whole.item() == pytest.approx(values.mean().item(), abs=1e-6)


def test_equal_pictures_are_perfect():
    picture, _ = _pair(40, 40)
    assert ssim(picture, picture).item() == pytest.approx(1, abs=1e-6)
    assert l1_and_ssim(picture, picture.clone(), 0.8, 0.2).item() == pytest.approx(0, abs=1e-6)
    assert math.isinf(psnr(picture, picture).item())


def test_pixels_that_do_not_count_change_nothing():
    picture, target = _pair(48, 40)
    counts = torch.ones(48, 40)
    counts[10:30, 5:25] = 0
    other = picture.clone()
    other[12:28, 7:23] = 0.123
    both = [p.clone().requires_grad_() for p in (picture, other)]
    values = [l1_and_ssim(p, target, 0.8, 0.2, counts) for p in both]
    for value in values:
        value.backward()
    assert values[0].item() == values[1].item()
    assert all(p.grad is not None and not p.grad[10:30, 5:25].any() for p in both)
    assert torch.equal(*(p.grad for p in both if p.grad is not None))


def test_nothing_counted_is_no_loss():
    picture, target = _pair(16, 16)
    picture.requires_grad_()
    value = l1_and_ssim(picture, target, 0.8, 0.2, torch.zeros(16, 16))
    value.backward()
    assert value.item() == 0
    assert picture.grad is not None
    assert not picture.grad.any()


def test_result_does_not_depend_on_the_number_of_threads():
    picture, target = _pair(70, 33)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            leaf = picture.clone().requires_grad_()
            value = l1_and_ssim(leaf, target, 0.8, 0.2)
            value.backward()
            results.append((value.item(), leaf.grad))
    finally:
        torch.set_num_threads(threads)
    assert all(value == results[0][0] and torch.equal(grad, results[0][1]) for value, grad in results)


def test_views_and_targets_with_gradient_are_served():
    picture, target = _pair(30, 20)
    crop = picture[5:25, 3:17]
    expected = l1_and_ssim(crop.contiguous(), target[5:25, 3:17].contiguous(), 0.8, 0.2)
    assert l1_and_ssim(crop, target[5:25, 3:17], 0.8, 0.2).item() == expected.item()
    target.requires_grad_()
    l1_and_ssim(picture, target, 0.8, 0.2).backward()
    assert target.grad is not None
    assert target.grad.abs().sum() > 0


def test_psnr_is_its_definition():
    target = torch.zeros(8, 8, 3)
    assert psnr(target + 0.1, target).item() == pytest.approx(20, abs=1e-4)
    counts = torch.zeros(8, 8)
    counts[0, 0] = 1
    picture = target + 0.1
    picture[0, 0] = 0.01
    assert psnr(picture, target, counts).item() == pytest.approx(40, abs=1e-3)
