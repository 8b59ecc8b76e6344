"""GaussianTalker's stages: what is decoded is kept, schedules are the released ones, ablations leave out parts."""

import pytest
import torch

from drawn import draw_portrait
from talksplat.dataset import PortraitDataset
from talksplat.methods.gaussian_talker import FULL, METHOD, GaussianTalkerConfig
from talksplat.methods.method import LossContext
from talksplat.model.gaussian_talker import BLINK, DECODED_SIZE, STRONGEST_BLINK, GaussianTalker
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.train.options import with_settings

TINY = ("start=carved", "points=200", "torso_points=100", "degree=1")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PortraitDataset:
    return PortraitDataset(draw_portrait(tmp_path_factory.mktemp("drawn") / "portrait"), "embedding")


def made(dataset: PortraitDataset, *settings: str) -> tuple[GaussianTalkerConfig, GaussianTalker]:
    config = with_settings(FULL, (*TINY, *settings))
    torch.manual_seed(0)
    seeds = METHOD.seeds(config, dataset, 0)
    avatar = METHOD.build(config, dataset.channels, dataset.portrait.reference_camera, seeds)
    assert isinstance(avatar, GaussianTalker)
    return config, avatar


@pytest.mark.parametrize("decoded", ["appearance", "all"])
def test_the_cloud_keeps_what_is_decoded_and_does_not_learn_it_twice(dataset: PortraitDataset, decoded: str) -> None:
    config, avatar = made(dataset, f"decoded={decoded}")
    before = {name: value.clone() for name, value in avatar.head.named_parameters()}
    stage = METHOD.stages(config)[0]
    wanted = ("logit_opacities", "harmonics") + (("log_scales", "quats") if decoded == "all" else ())
    layer = avatar.decoded_layer(wanted, degree=1)
    told = {"base_color", "rest_harmonics", "logit_opacities"} | (
        {"log_scales", "quats"} if decoded == "all" else set()
    )
    for name, value in avatar.head.named_parameters():
        assert torch.equal(value, before[name]) == (name not in told), name
    kept = avatar.still_layer().gaussians
    for part in ("means", "quats", "scales", "opacities", "harmonics"):
        assert torch.allclose(getattr(layer.gaussians, part), getattr(kept, part), atol=1e-6)
    if decoded == "all":
        assert 0.5 * DECODED_SIZE < float(kept.scales.detach().median()) < 2 * DECODED_SIZE
    layer.gaussians.harmonics.sum().backward()
    assert float(avatar.planes.table.grad.abs().max()) > 0  # type: ignore[union-attr]
    names = {group.name for group in METHOD.groups(config, avatar, stage)}
    assert not names & {f"head.{name}" for name in told}
    assert {"head.means", "head.planes", "head.canonical_decoder"} <= names


def test_rates_fall_as_released_and_begin_anew_with_the_stage(dataset: PortraitDataset) -> None:
    config, avatar = made(dataset)
    static, moving = METHOD.stages(config)[:2]
    assert (static.steps, moving.steps, moving.frames) == (7_999, 10_000, 32)
    for stage in (static, moving):
        groups = {group.name: group for group in METHOD.groups(config, avatar, stage)}
        fall = stage.steps / 20_000
        assert groups["head.means"].rate == pytest.approx(3.2e-5)
        assert groups["head.means"].rate_end == pytest.approx(3.2e-5 * 0.01**fall)
        assert groups["head.planes"].rate_end == pytest.approx(3.2e-3 * 0.1**fall)


def test_density_control_prunes_then_grows_then_bounds(dataset: PortraitDataset) -> None:
    rounds = METHOD.stages(made(dataset)[0])[0].densify
    assert [(policy.start, policy.stop) for policy in rounds] == [(500, 1000), (1000, 3000), (3000, 7000), (7000, 7999)]
    assert [policy.gradient_threshold for policy in rounds] == [float("inf"), 0.001, 0.001, float("inf")]
    assert [policy.max_radius_px for policy in rounds] == [float("inf"), float("inf"), 20.0, 20.0]


def test_ablations_leave_out_what_they_say(dataset: PortraitDataset) -> None:
    condition = dataset.condition(3)
    _, whole = made(dataset, "offsets=structure", "tokens=speech")
    for layer in whole.offset_heads.last.values():
        torch.nn.init.normal_(layer.weight)  # type: ignore[arg-type]
    moved, still = whole.head_layer(condition).gaussians, whole.still_layer().gaussians
    assert torch.equal(moved.opacities, still.opacities)
    assert torch.equal(moved.harmonics, still.harmonics)
    assert not torch.equal(moved.means, still.means)
    other = condition.replace(expression=condition.expression + 1)
    assert torch.equal(whole.head_layer(other).gaussians.means, moved.means)  # the eye is not heard
    colors = whole.attention(condition)[0].gaussians.harmonics[..., 1:]
    assert torch.equal(colors, colors[:1].expand_as(colors))  # nor seen


def test_centered_tokens_hear_what_differs_from_open_eyes_and_the_reference_view(dataset: PortraitDataset) -> None:
    """Tokens have no biases: what is as usual is silent, and a blink is louder than in the published code."""
    condition, changes = dataset.condition(3), {}
    for inputs in ("published", "centered"):
        avatar = made(dataset, f"token_inputs={inputs}")[1]
        pose = avatar.torso.reference_pose
        usual = condition.replace(head_pose=pose, expression=torch.zeros_like(condition.expression))
        shut = usual.expression.index_fill(0, torch.tensor(BLINK), STRONGEST_BLINK)
        turned = pose @ torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
        heard = [
            avatar._tokens(c).detach() for c in (usual, usual.replace(expression=shut), usual.replace(head_pose=turned))
        ]
        silent = [float(token.norm()) == 0 for token in heard[0]]
        assert silent == [False, inputs == "centered", inputs == "centered", False]
        assert float((heard[2] - heard[0])[2].norm()) > 0
        changes[inputs] = float((heard[1] - heard[0])[1].norm())
    assert changes["centered"] > 3 * changes["published"]


@pytest.mark.parametrize(("stages", "looking"), [("both", [True, True]), ("deformation", [False, True])])
def test_the_papers_lips_loss_begins_with_the_deformation(
    dataset: PortraitDataset, stages: str, looking: list[bool]
) -> None:
    config, avatar = made(dataset, f"lips_stages={stages}", "dropout=0")
    frame, rasterize = dataset.frame(3), choose_rasterizer("cpu")
    background = torch.from_numpy(dataset.portrait.background().copy()).float() / 255
    context = LossContext(background=background, step=1, perceptual=None, seed=0)
    found = [
        METHOD.losses(config, avatar, frame, lambda layer: rasterize(layer.gaussians, frame.camera), stage, context)
        for stage in METHOD.stages(config)[:2]
    ]
    assert ["lips" in terms for terms in found] == looking
