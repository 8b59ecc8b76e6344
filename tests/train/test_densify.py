"""Density control keeps what it should, grows where the gradient is, and never passes its limit."""

import torch

from talksplat.gaussians import SH_CONSTANT, RawGaussians, scattered_gaussians
from talksplat.methods.method import DensifyPolicy, ParameterGroup
from talksplat.model.cloud import GaussianCloud
from talksplat.train.densify import ScreenStatistics, density_plan
from talksplat.train.optimizers import Optimizer


def cloud(count: int = 40, size: float = 0.002) -> RawGaussians:
    generator = torch.Generator().manual_seed(3)
    raw = scattered_gaussians(torch.rand(count, 3, generator=generator), torch.rand(count, 3, generator=generator), 1)
    return raw.replace(log_scales=torch.full((count, 3), size).log())


def plan(raw: RawGaussians, gradient: torch.Tensor, **changes: float):
    policy = DensifyPolicy(cloud="head", start=0, stop=1, **changes)  # type: ignore[arg-type]
    return density_plan(raw, gradient, policy, torch.Generator().manual_seed(0))


def test_nothing_changes_without_gradient_but_the_order() -> None:
    raw = cloud()
    result = plan(raw, torch.zeros(40))
    assert sorted(result.source.tolist()) == list(range(40))
    assert not result.fresh.any()
    assert torch.equal(result.changed.means, raw.means[result.source])


def test_small_gaussians_are_cloned_and_large_ones_split() -> None:
    gradient = torch.zeros(40)
    gradient[[4, 9]] = 1.0
    raw = cloud()
    raw.log_scales[9] = torch.tensor(0.02).log()
    result = plan(raw, gradient)
    assert len(result.source) == 42
    assert (result.source == 4).sum() == 2
    halves = result.source == 9
    assert halves.sum() == 2
    assert result.fresh[halves].all()
    assert torch.allclose(result.changed.log_scales[halves].exp(), torch.tensor(0.02 / 1.6))
    assert not torch.allclose(result.changed.means[halves][0], result.changed.means[halves][1])


def test_faint_and_huge_gaussians_go() -> None:
    raw = cloud()
    raw.logit_opacities[0] = -9.0
    raw.log_scales[1] = 0.0
    result = plan(raw, torch.zeros(40))
    assert set(result.source.tolist()) == set(range(2, 40))


def test_growth_stops_at_the_limit_with_the_largest_gradients_first() -> None:
    result = plan(cloud(), torch.arange(40.0) + 1, max_points=43)
    assert len(result.source) == 43
    assert sorted(result.source[result.fresh].tolist()) == [37, 38, 39]


def test_statistics_average_over_the_steps_that_saw_a_gaussian() -> None:
    statistics = ScreenStatistics(2)
    statistics.add(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), height=2, width=2)
    statistics.add(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), height=2, width=2)
    assert statistics.mean().tolist() == [3.0, 0.0]


def test_moments_follow_their_rows_and_fresh_rows_have_none() -> None:
    store = GaussianCloud(cloud())
    names = ("means", "quats", "log_scales", "logit_opacities", "base_color", "rest_harmonics")
    groups = [ParameterGroup(f"head.{name}", [getattr(store, name)], 1e-3, 1e-3) for name in names]
    optimizer = Optimizer(groups, 10)
    weight = torch.arange(40.0)[:, None] + 1
    (store.means * weight).sum().backward()
    optimizer.step(0)
    before = optimizer.adam.state[store.means]["exp_avg"].clone()
    gradient = torch.zeros(40)
    gradient[7] = 1.0
    result = plan(store.raw(), gradient)
    optimizer.rearrange("head", store, result)
    after = optimizer.adam.state[store.means]["exp_avg"]
    assert torch.equal(after[~result.fresh], before[result.source[~result.fresh]])
    assert (after[result.fresh] == 0).all()
    start = store.means.detach().clone()
    (store.means * 1.0).sum().backward()
    optimizer.step(1)  # the new parameters are the ones that learn
    assert not torch.equal(store.means.detach(), start)


def test_the_opacity_limit_rises_over_the_policy() -> None:
    raw = cloud()
    raw.logit_opacities[:39] = torch.logit(torch.tensor(0.2))
    raw.logit_opacities[39] = 5.0
    policy = DensifyPolicy(cloud="face", start=0, stop=100, min_opacity=0.05, min_opacity_end=0.3)
    generator = torch.Generator().manual_seed(0)
    kept = [len(density_plan(raw, torch.zeros(40), policy, generator, step=step).source) for step in (0, 50, 70, 100)]
    assert kept == [40, 40, 1, 1]


def test_gaussians_that_cover_too_many_pixels_go() -> None:
    raw = cloud(size=0.002)
    raw.log_scales[:5, 1] = torch.tensor(0.006).log()
    policy = DensifyPolicy(cloud="face", start=0, stop=1, max_radius_px=20.0)
    generator = torch.Generator().manual_seed(0)
    assert len(density_plan(raw, torch.zeros(40), policy, generator, pixel=0.0007).source) == 35
    assert len(density_plan(raw, torch.zeros(40), policy, generator, pixel=0.01).source) == 40


def test_gaussians_in_the_key_colour_go() -> None:
    raw = cloud()
    raw.harmonics[:3, 0] = (torch.tensor([0.05, 0.95, 0.1]) - 0.5) / SH_CONSTANT
    raw.harmonics[3, 0] = (torch.tensor([0.3, 0.95, 0.1]) - 0.5) / SH_CONSTANT
    result = plan(raw, torch.zeros(40), key=(0.0, 1.0, 0.0))  # type: ignore[arg-type]
    assert sorted(result.source.tolist()) == list(range(3, 40))


def test_a_layer_is_never_emptied() -> None:
    raw = cloud()
    raw.logit_opacities[:] = -9.0
    assert len(plan(raw, torch.zeros(40)).source) == 40
