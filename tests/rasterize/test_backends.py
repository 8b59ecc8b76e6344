"""Every backend against the float64 specification, and the laws that hold without it."""

import math
import os

import pytest
import torch
from scattered import FIELDS, gradients, scattered_crowd, scattered_view

from talksplat import native
from talksplat.camera import Camera
from talksplat.errors import InvalidGaussians
from talksplat.gaussians import Gaussians
from talksplat.rasterize.cpu import rasterize_on_cpu
from talksplat.rasterize.rasterizer import Rasterizer, Rendered, choose_rasterizer
from talksplat.rasterize.reference import rasterize_exactly

LIBRARIES = list(native.LANES)


class Backend:
    """A rasterizer in float32 on its own device; takes and gives tensors of the processor."""

    def __init__(self, rasterize: Rasterizer, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.rasterize, self.device, self.dtype = rasterize, device, dtype

    def __call__(self, gaussians: Gaussians, camera: Camera) -> Rendered:
        drawn = self.rasterize(gaussians.to(self.dtype).to(self.device), camera.to(self.dtype).to(self.device))
        drawn.screen_means.retain_grad() if drawn.screen_means.requires_grad else None
        return drawn


@pytest.fixture(params=[*LIBRARIES, pytest.param("cuda", marks=pytest.mark.gpu)])
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """The compiled backends: the processor's, once for each vector width, and the GPU's."""
    if request.param == "cuda":
        return Backend(choose_rasterizer("cuda"), "cuda")
    if request.param not in native.runnable():
        pytest.skip(f"this processor does not run {request.param}")
    monkeypatch.setenv(native.CHOICE, request.param)
    return Backend(rasterize_on_cpu)


@pytest.fixture(params=["compiled", "reference"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """The processor's backend, and the specification itself."""
    return Backend(rasterize_on_cpu) if request.param == "compiled" else Backend(rasterize_exactly)


@pytest.fixture(autouse=True)
def two_threads():
    """Two threads, whatever the machine has, so that sharing work is tested."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def assert_same_picture(found: Rendered, expected: Rendered) -> None:
    """Equal to float32 rounding, but for few pixels where an alpha crosses 1/255 the other way."""
    for name in ("colors", "alpha"):
        off = (getattr(found, name).cpu().double() - getattr(expected, name)).abs()
        assert off.max() < 2.0 / 255, name
        assert (off > 2e-5).double().mean() < 1e-3, name


@pytest.mark.parametrize("size", [(75, 101), (16, 16), (7, 130)])
@pytest.mark.parametrize("degree", [0, 3])
def test_picture_agrees_with_the_specification(compiled: Backend, degree: int, size: tuple[int, int]):
    crowd, camera = scattered_crowd(600, degree, seed=degree), scattered_view(*size)
    expected = rasterize_exactly(crowd, camera)
    assert expected.alpha.mean() > 0.3
    found = compiled(crowd, camera)
    assert_same_picture(found, expected)
    inside = (expected.screen_means > 0).all(1) & (expected.screen_means < torch.tensor([size[1], size[0]])).all(1)
    torch.testing.assert_close(
        found.screen_means.cpu().double()[inside], expected.screen_means[inside], rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gradients_agree_with_the_specification(compiled: Backend, degree: int, threads: int):
    torch.set_num_threads(threads)
    crowd, camera = scattered_crowd(200, degree, seed=degree), scattered_view()
    _, expected = gradients(rasterize_exactly, crowd, camera)
    _, found = gradients(compiled, crowd, camera)
    for name, truth in expected.items():
        assert (found[name].cpu().double() - truth).abs().max() < 2e-5 * truth.abs().max(), name


def test_gradients_of_five_channels_agree_with_the_specification(compiled: Backend):
    crowd, camera = scattered_crowd(150, 0, channels=5), scattered_view()
    expected, truths = gradients(rasterize_exactly, crowd, camera)
    drawn, found = gradients(compiled, crowd, camera)
    assert drawn.colors.shape[2] == 5
    assert_same_picture(drawn, expected)
    for name, truth in truths.items():
        assert (found[name].cpu().double() - truth).abs().max() < 2e-5 * truth.abs().max(), name


def test_specification_agrees_with_finite_differences():
    crowd, camera = scattered_crowd(8, 3, seed=5), scattered_view(9, 14)
    weights = torch.randn(9, 14, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def loss(*fields: torch.Tensor) -> torch.Tensor:
        drawn = rasterize_exactly(Gaussians(**dict(zip(FIELDS, fields, strict=True))), camera)
        return (drawn.colors * weights).sum() + (drawn.alpha * weights[..., :1]).sum()

    fields = [getattr(crowd, name).clone().requires_grad_() for name in FIELDS]
    assert torch.autograd.gradcheck(loss, fields, eps=1e-7, atol=1e-5, fast_mode=True)


def test_screen_gradients_sum_to_that_of_the_principal_point(compiled: Backend):
    crowd, camera = scattered_crowd(150, 1, seed=3), scattered_view()
    center = torch.tensor([camera.intrinsics[0, 2], camera.intrinsics[1, 2]], dtype=torch.float64, requires_grad=True)
    moved = torch.zeros(3, 3, dtype=torch.float64)
    moved[:2, 2] = 1
    seen = Camera(
        head_to_camera=camera.head_to_camera,
        intrinsics=camera.intrinsics * (1 - moved) + torch.nn.functional.pad(center[:, None], (2, 0, 0, 1)),
        height=camera.height,
        width=camera.width,
    )
    # Near the middle only: elsewhere the clamped direction moves with the principal point too.
    crowd = crowd.replace(means=crowd.means * 0.5)
    gradients(rasterize_exactly, crowd, seen)
    _, found = gradients(compiled, crowd, camera)
    torch.testing.assert_close(found["screen_means"].sum(0).cpu().double(), center.grad, rtol=1e-3, atol=1e-3)


def test_one_gaussian_has_the_alpha_of_the_equation(compiled: Backend):
    opacity, scale, distance, focal = 0.7, 0.01, 0.5, 200.0
    camera = Camera(
        head_to_camera=torch.eye(4, dtype=torch.float64),
        intrinsics=torch.tensor([[focal, 0, 20.5], [0, focal, 12.5], [0, 0, 1]], dtype=torch.float64),
        height=25,
        width=41,
    )
    lone = Gaussians(
        means=torch.tensor([[0.0, 0.0, distance]], dtype=torch.float64),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64),
        scales=torch.full((1, 3), scale, dtype=torch.float64),
        opacities=torch.tensor([opacity], dtype=torch.float64),
        harmonics=torch.zeros(1, 1, 3, dtype=torch.float64),
    )
    drawn = compiled(lone, camera)
    variance = (focal * scale / distance) ** 2 + 0.3
    for offset in range(9):
        expected = opacity * math.exp(-(offset**2) / 2 / variance)
        assert drawn.alpha[12, 20 + offset, 0].item() == pytest.approx(expected, rel=1e-5)
        assert drawn.colors[12, 20 + offset, 1].item() == pytest.approx(expected / 2, rel=1e-5)
    reach = math.sqrt(2 * variance * math.log(255 * opacity))
    assert drawn.alpha[12, 20 + math.floor(reach) :, 0][1:].max() == 0


def test_a_deep_stack_stops_without_a_visible_difference(compiled: Backend):
    crowd, camera = scattered_crowd(400, 0, seed=9), scattered_view(40, 40)
    stack = crowd.replace(means=crowd.means * 0.2, opacities=crowd.opacities * 0 + 0.95, scales=crowd.scales * 3)
    expected = rasterize_exactly(stack, camera)
    assert expected.alpha.max() > 0.9999
    found = compiled(stack, camera)
    assert (found.colors.cpu().double() - expected.colors).abs().max() < 5e-4


def test_order_of_gaussians_does_not_matter(backend: Backend):
    crowd, camera = scattered_crowd(300, 1), scattered_view()
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    first, by_first = gradients(backend, crowd, camera)
    second, by_second = gradients(backend, crowd.rows(order), camera)
    torch.testing.assert_close(first.colors, second.colors, rtol=0, atol=1e-6)
    for name, gradient in by_first.items():
        close = 1e-5 * gradient.abs().max().item()
        torch.testing.assert_close(gradient[order], by_second[name], rtol=0, atol=close, msg=name)


def test_runs_are_reproducible_to_the_bit(compiled: Backend):
    crowd, camera = scattered_crowd(500, 2), scattered_view(120, 130)
    (first, by_first), (second, by_second) = (gradients(compiled, crowd, camera) for _ in range(2))
    assert torch.equal(first.colors, second.colors)
    if compiled.device == "cpu":
        assert all(torch.equal(by_first[name], by_second[name]) for name in by_first)


def test_nothing_to_draw_is_transparent(compiled: Backend):
    drawn = compiled(scattered_crowd(0, 1), scattered_view(20, 30))
    assert drawn.colors.shape == (20, 30, 3)
    assert drawn.alpha.shape == (20, 30, 1)
    assert drawn.screen_means.shape == (0, 2)
    assert not drawn.colors.any()
    assert not drawn.alpha.any()


def test_gaussians_behind_the_camera_are_left_out(compiled: Backend):
    crowd, camera = scattered_crowd(100, 1), scattered_view()
    turned = camera.head_to_camera.clone()
    turned[2, 3] = -0.6
    behind = camera.replace(head_to_camera=turned)
    drawn, found = gradients(compiled, crowd, behind)
    assert not drawn.alpha.any()
    assert not drawn.screen_means.any()
    assert all(not gradient.any() for gradient in found.values())


def test_gaussians_behind_do_not_change_those_in_front(compiled: Backend):
    crowd, camera = scattered_crowd(150, 1), scattered_view()
    away = crowd.means + camera.head_to_camera[2, :3] * -2.0
    both = crowd.map(lambda values: torch.cat([values, values])).replace(means=torch.cat([away, crowd.means]))
    alone, by_alone = gradients(compiled, crowd, camera)
    drawn, found = gradients(compiled, both, camera)
    assert torch.equal(drawn.colors, alone.colors)
    for name, gradient in by_alone.items():
        close = 1e-5 * gradient.abs().max().item()
        torch.testing.assert_close(found[name][150:], gradient, rtol=0, atol=close, msg=name)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(backend: Backend, name: str, value: float):
    crowd = scattered_crowd(40, 1)
    getattr(crowd, name)[17].view(-1)[-1] = value
    with pytest.raises(InvalidGaussians, match=f"{name} of 1 of 40 Gaussians") as refused:
        backend(crowd, scattered_view())
    assert refused.value.hint


def test_two_drawings_in_flight_keep_apart(backend: Backend):
    camera = scattered_view()
    crowds = [scattered_crowd(120, 1, seed) for seed in (1, 2)]
    alone = [gradients(backend, crowd, camera)[1]["means"] for crowd in crowds]
    leaves = [crowd.map(lambda values: values.detach().clone().requires_grad_()) for crowd in crowds]
    drawn = [backend(leaf, camera) for leaf in leaves]
    for picture in drawn:
        chance = torch.Generator().manual_seed(0)
        by_color = torch.randn(picture.colors.shape, generator=chance, dtype=torch.float64).to(picture.colors)
        by_alpha = torch.randn(picture.alpha.shape, generator=chance, dtype=torch.float64).to(picture.alpha)
        ((picture.colors * by_color).sum() + (picture.alpha * by_alpha).sum()).backward()
    for leaf, expected in zip(leaves, alone, strict=True):
        torch.testing.assert_close(leaf.means.grad, expected)


def test_inputs_changed_before_the_backward_pass_are_noticed():
    crowd, camera = scattered_crowd(50, 0), scattered_view()
    leaves = crowd.to(torch.float32).map(lambda values: values.requires_grad_())
    drawn = rasterize_on_cpu(leaves, camera)
    with torch.no_grad():
        leaves.scales.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        drawn.colors.sum().backward()


def test_gaussians_elsewhere_are_refused():
    crowd = scattered_crowd(3, 0).map(lambda values: values.to("meta"))
    with pytest.raises(ValueError, match="lie on meta; expected the cpu"):
        rasterize_on_cpu(crowd, scattered_view())


def test_backends_are_rasterizers():
    assert isinstance(rasterize_on_cpu, Rasterizer)
    assert isinstance(rasterize_exactly, Rasterizer)
    assert os.environ.get(native.CHOICE, "") in ("", *LIBRARIES)


def test_pixels_opaque_long_before_their_neighbors_keep_their_gradients(compiled: Backend):
    """A wall covers half of each microtile; hundreds of Gaussians behind it go on in the other half."""
    chance = torch.Generator().manual_seed(5)
    camera = scattered_view(16, 16).replace(head_to_camera=torch.eye(4, dtype=torch.float64))
    walls, behind = 60, 400
    count = walls + behind
    means = torch.rand(count, 3, generator=chance, dtype=torch.float64) * 0.1 - 0.05
    means[:walls, 0] = -0.04
    means[:, 2] = torch.linspace(0.5, 1.5, count, dtype=torch.float64)
    scales = torch.full((count, 3), 0.02, dtype=torch.float64)
    scales[:walls, 0] = 0.006
    opacities = torch.full((count,), 0.3, dtype=torch.float64)
    opacities[:walls] = 0.985
    crowd = Gaussians(
        means=means,
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64).repeat(count, 1),
        scales=scales,
        opacities=opacities,
        harmonics=torch.rand(count, 1, 3, generator=chance, dtype=torch.float64),
    )
    _, expected = gradients(rasterize_exactly, crowd, camera)
    _, found = gradients(compiled, crowd, camera)
    for name, slopes in expected.items():
        assert found[name].isfinite().all(), name
        # A finished microtile leaves out what is behind a transmittance of 1e-4, at most 1 % behind such a wall.
        assert (found[name].cpu().double() - slopes).abs().max() < 1e-2 * slopes.abs().max(), name
