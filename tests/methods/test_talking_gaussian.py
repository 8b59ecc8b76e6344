"""TalkingGaussian's published numbers: parameters, schedules, stages, sampling windows; and what its losses look at."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch

from drawn import draw_portrait
from talksplat.dataset import PortraitDataset
from talksplat.frame import Label
from talksplat.methods.incremental import blink, face_windows, lips_apart, mouth_windows
from talksplat.methods.method import LossContext, Stage
from talksplat.methods.talking_gaussian import METHOD, network_factor
from talksplat.methods.talking_gaussian_config import TalkingGaussianConfig
from talksplat.methods.talking_gaussian_losses import key_picture, regions
from talksplat.model.avatar import Layer
from talksplat.model.conditioning import SpeechChannels
from talksplat.model.masks import closed
from talksplat.model.regions import RegionDecoder
from talksplat.model.talking_gaussian import STRONGEST_BLINK, UPPER_FACE, TalkingGaussian
from talksplat.model.torso import MOTION_UNIT
from talksplat.rasterize.rasterizer import Rendered, choose_rasterizer

FULL = METHOD.presets["full"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PortraitDataset:
    folder: Path = tmp_path_factory.mktemp("talking") / "drawn"
    return PortraitDataset(draw_portrait(folder), "embedding")


@pytest.fixture(scope="module")
def avatar(dataset: PortraitDataset) -> TalkingGaussian:
    config = dataclasses.replace(METHOD.presets["quick"], face_points=800, mouth_points=400)
    torch.manual_seed(0)
    return METHOD.build(
        config, dataset.channels, dataset.portrait.reference_camera, METHOD.seeds(config, dataset, 0)
    ).train()


def test_published_numbers_of_parameters(dataset: PortraitDataset) -> None:
    made = METHOD.build(
        FULL,
        SpeechChannels(29),
        dataset.portrait.reference_camera,
        METHOD.seeds(dataclasses.replace(FULL, mouth_points=50), dataset, 0),
    )

    def count(*parts: torch.nn.Module) -> int:
        return sum(parameter.numel() for part in parts for parameter in part.parameters())

    assert count(made.face_field, made.face_speech, made.face_decoder) == 73_805
    assert count(made.mouth_field, made.mouth_speech, made.mouth_decoder) == 178_141 - 2_176
    assert count(made.face_speech.window_net) == 30_720
    assert count(made.face_speech.attention) == 2_149


def test_published_table_lengths(dataset: PortraitDataset) -> None:
    face = [296, 368, 400, 488, 536, 632, 736, 848, 1024, 1160, 1376, 1600]
    mouth = [4232, 4232, 4096, 4096, 3976, 3976, 3848, 3728, 3728, 3600, 3600, 3488]
    seeds = METHOD.seeds(dataclasses.replace(FULL, face_points=100, mouth_points=100), dataset, 0)
    avatar = METHOD.build(FULL, dataset.channels, dataset.portrait.reference_camera, seeds)
    assert isinstance(avatar, TalkingGaussian)
    assert avatar.face_field.grid.lengths.tolist() == face
    assert avatar.mouth_field.grid.lengths.tolist() == mouth


@pytest.mark.parametrize(
    ("window", "branch", "values"),
    [
        (40_000, 50_000, {3_000: 0.949, 10_000: 0.841, 20_000: 0.707, 40_000: 0.158, 45_000: 0.126, 50_000: 0.100}),
        (39_000, 49_000, {3_000: 0.948, 10_000: 0.837, 20_000: 0.701, 39_000: 0.160, 45_000: 0.121, 50_000: 0.0954}),
    ],
)
def test_published_rate_factors(window: int, branch: int, values: dict[int, float]) -> None:
    for step, factor in values.items():
        assert network_factor(step, window, branch) == pytest.approx(factor, abs=6e-4)


def rate(stage: Stage, groups: list, name: str, step: int) -> float:
    group = next(group for group in groups if group.name == name)
    progress = (step - stage.offset) / stage.steps
    return group.rate * (group.rate_end / group.rate) ** progress


@pytest.mark.parametrize("layer", ["face", "mouth"])
def test_rates_of_the_stages_join_to_the_published_schedule(layer: str, avatar: TalkingGaussian) -> None:
    stages = [stage for stage in METHOD.stages(FULL) if stage.layers == (layer,)]
    start = 1.6e-4 / FULL.means_rate
    for step, published in {1: 1.6e-4, 10_000: 5.75e-5, 20_000: 2.07e-5, 30_000: 7.43e-6, 45_500: 1.6e-6}.items():
        stage = next(stage for stage in stages if stage.offset <= step < stage.offset + stage.steps)
        found = rate(stage, METHOD.groups(FULL, avatar, stage), f"{layer}.means", step)
        assert found * start == pytest.approx(published, rel=0.01)
    span, branch = (40_000, 50_000) if layer == "face" else (39_000, 49_000)
    for step in (4_000, 20_000, 38_999, 42_000, 46_000):
        stage = next(stage for stage in stages if stage.offset <= step < stage.offset + stage.steps)
        found = rate(stage, METHOD.groups(FULL, avatar, stage), f"{layer}.decoder", step)
        assert found == pytest.approx(5e-4 * network_factor(step, span, branch), rel=1e-3)


def test_stages_follow_one_another_and_keep_the_published_lengths() -> None:
    for pace, config in ((1, FULL), (25, dataclasses.replace(FULL, pace=25.0))):
        for layer in ("mouth", "face"):
            branch = [stage for stage in METHOD.stages(config) if stage.layers == (layer,)]
            assert [stage.offset for stage in branch] == [
                sum(before.steps for before in branch[:place]) for place in range(len(branch))
            ]
            assert sum(stage.steps for stage in branch) == 50_000 / pace
            assert not branch[0].deformed
            assert all(stage.deformed for stage in branch[1:])
        names = [stage.name for stage in METHOD.stages(config)]
        assert names[-1] == "fuse"
        assert len(names) == 13
    quick = METHOD.presets["quick"]
    lengths = {
        layer: sum(stage.steps for stage in METHOD.stages(quick) if stage.layers == (layer,))
        for layer in ("mouth", "face")
    }
    assert lengths == {"mouth": quick.at(50_000, "mouth"), "face": quick.at(50_000)}


def test_fusion_and_the_mouths_finish_train_no_geometry_and_no_motion(avatar: TalkingGaussian) -> None:
    stages = {stage.name: stage for stage in METHOD.stages(FULL)}
    fused = {group.name for group in METHOD.groups(FULL, avatar, stages["fuse"])}
    torso = {f"torso.{name}" for name in ("base_color", "rest_harmonics", "logit_opacities")}
    face = {"face.base_color", "face.rest_harmonics", "face.logit_opacities"}
    assert fused == face | {"mouth.base_color", "mouth.rest_harmonics"} | torso
    finishing = {group.name for group in METHOD.groups(FULL, avatar, stages["mouth-color"])}
    assert finishing == {"mouth.base_color", "mouth.rest_harmonics"}


def test_a_fusion_with_a_rate_trains_all_that_the_branches_trained(avatar: TalkingGaussian) -> None:
    config = dataclasses.replace(FULL, fuse_rate=0.5)
    stages = METHOD.stages(config)
    fused = {group.name: group for group in METHOD.groups(config, avatar, stages[-1])}
    for layer in ("mouth", "face", "torso"):
        branch = next(stage for stage in reversed(stages) if stage.layers == (layer,) and stage.name != "mouth-color")
        assert {group.name for group in METHOD.groups(config, avatar, branch)} - set(fused) <= {"mouth.logit_opacities"}
    assert fused["face.decoder"].rate == pytest.approx(0.5 * config.network_rate)
    assert fused["face.log_scales"].rate == pytest.approx(0.5 * config.scale_rate)


def test_opacity_limit_rises_as_published() -> None:
    def limit(layer: str, step: int) -> float:
        stage = next(s for s in METHOD.stages(FULL) if s.layers == (layer,) and s.offset <= step < s.offset + s.steps)
        (policy,) = stage.densify
        assert policy.min_opacity_end is not None
        progress = (step - stage.offset - policy.start) / (policy.stop - policy.start)
        return policy.min_opacity + (policy.min_opacity_end - policy.min_opacity) * progress

    for step, face, mouth in ((10_000, 0.101, 0.106), (20_000, 0.152, 0.161), (30_000, 0.203, 0.217)):
        assert limit("face", step) == pytest.approx(face, abs=1.5e-3)
        assert limit("mouth", step) == pytest.approx(mouth, abs=1.5e-3)


def with_tracks(dataset: PortraitDataset, units: torch.Tensor, opening: torch.Tensor) -> PortraitDataset:
    """A copy whose training frames blink, part the lips (AU25) and open the mouth as given."""
    copy = PortraitDataset(dataset.portrait, "embedding")
    frames = torch.tensor(copy.train_frames)
    copy.expression = copy.expression.clone()
    copy.expression[frames, 6], copy.expression[frames, 5] = units, units
    mouth = copy.portrait.tracks.mouth.clone()
    mouth[frames, 0] = opening
    copy.portrait.tracks = copy.portrait.tracks.replace(mouth=mouth)
    return copy


def test_a_faster_pace_leaves_as_many_rounds_of_density_control() -> None:
    def rounds(config: TalkingGaussianConfig, layer: str) -> list[int]:
        stages = [stage for stage in METHOD.stages(config) if stage.layers == (layer,)]
        return [(policy.stop - policy.start) // policy.every for stage in stages for policy in stage.densify]

    for layer in ("face", "mouth", "torso"):
        assert rounds(dataclasses.replace(FULL, pace=25.0), layer) == pytest.approx(rounds(FULL, layer), abs=1)


def test_the_faces_windows_slide_from_open_to_closed_eyes(dataset: PortraitDataset) -> None:
    count = len(dataset.train_frames)
    changed = with_tracks(dataset, torch.linspace(0, 2.4, count), torch.linspace(0, 1, count))
    eligible = face_windows("code", 3_000, 40_000, moving=True)(changed)
    assert eligible(0) is None, "only every fifteenth step is restricted"
    for total in (3_015, 20_010, 39_990):
        closing = blink(changed)[eligible(total - 3_000 - 1)]
        place = total / 40_000
        assert float(closing.min()) >= place - 0.15
        assert float(closing.max()) <= place + 0.30
    assert float(blink(changed).max()) == 1.0
    still = face_windows("code", 0, 40_000, moving=False)(changed)
    opening = torch.linspace(0, 1, count)
    for total, low, high in ((15, 0.04, 0.36), (2_985, 0.10, 0.42)):
        chosen = opening[still(total - 1)]
        assert float(chosen.min()) == pytest.approx(low, abs=0.05)
        assert float(chosen.max()) == pytest.approx(high, abs=0.05)


def test_the_mouths_window_grows_from_wide_open(dataset: PortraitDataset) -> None:
    count = len(dataset.train_frames)
    changed = with_tracks(dataset, torch.linspace(0, 5, count), torch.linspace(0, 1, count))
    changed.mouth_pixels = [100] * (count - 3) + [0] * 3
    apart = lips_apart(changed)
    static = mouth_windows("code", 0, 39_000, moving=False)(changed)
    assert bool((apart[static(7)] >= apart.amax()).all())
    moving = mouth_windows("code", 3_000, 39_000, moving=True)(changed)
    shares = [int(moving(total - 3_001).sum()) for total in (3_003, 20_006, 38_997)]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]
    assert not bool(moving(0)[-3:].any()), "closed mouths are never shown to the moving mouth"
    assert int(moving(0).sum()) == count - 3


@pytest.mark.parametrize("reading", ["paper", "none"])
def test_other_readings_of_the_sampling(reading: str, dataset: PortraitDataset) -> None:
    face = face_windows(reading, 3_000, 40_000, moving=True)
    assert (face is None) == (reading == "none")
    if face is not None:
        assert face(dataset)(0) is not None, "the paper restricts every step"
    assert mouth_windows(reading, 0, 39_000, moving=False)(dataset)(0) is None


def open_mouth(dataset: PortraitDataset) -> int:
    """The frame that shows most of the inner mouth."""
    return dataset.train_frames[int(torch.tensor(dataset.mouth_pixels).argmax())]


class Drawing:
    """Draws layers and keeps what was drawn."""

    def __init__(self, dataset: PortraitDataset, index: int) -> None:
        self.frame = dataset.frame(index)
        self.reference = dataset.portrait.reference_camera
        self.drawn: dict[str, Rendered] = {}

    def __call__(self, layer: Layer) -> Rendered:
        camera = self.reference if layer.fixed_view else self.frame.camera
        self.drawn[layer.name] = choose_rasterizer("cpu")(layer.gaussians, camera)
        self.drawn[layer.name].colors.retain_grad()
        return self.drawn[layer.name]


def context(dataset: PortraitDataset, step: int) -> LossContext:
    background = torch.from_numpy(dataset.portrait.background().copy()).float() / 255
    return LossContext(background=background, step=step, perceptual=lambda a, b: (a - b).square().mean(), seed=0)


def slopes(dataset: PortraitDataset, avatar: TalkingGaussian, name: str, step: int, layer: str) -> torch.Tensor:
    """Size of the colour loss's gradient at every pixel of a layer."""
    config = dataclasses.replace(FULL, ssim=0.0)
    stage = next(stage for stage in METHOD.stages(config) if stage.name == name)
    draw = Drawing(dataset, open_mouth(dataset))
    terms = METHOD.losses(config, avatar, draw.frame, draw, stage, context(dataset, step))
    terms["color"].backward()
    gradient = draw.drawn[layer].colors.grad
    assert gradient is not None
    return gradient.abs().sum(-1)


def test_hair_is_looked_at_every_seventh_step_only(dataset: PortraitDataset, avatar: TalkingGaussian) -> None:
    hair = dataset.frame(open_mouth(dataset)).labels == Label.HAIR
    assert float(slopes(dataset, avatar, "face-window", 0, "face")[hair].max()) == 0
    assert float(slopes(dataset, avatar, "face-window", 2, "face")[hair].max()) > 0  # step 3,003 = 7 * 429
    assert float(slopes(dataset, avatar, "face-static", 0, "face")[hair].max()) > 0


def test_the_mouth_plate_is_free_behind_lips_and_skin(dataset: PortraitDataset, avatar: TalkingGaussian) -> None:
    parts = regions(dataset.frame(open_mouth(dataset)))
    gradient = slopes(dataset, avatar, "mouth-window", 0, "mouth")
    free = parts.lips ^ parts.mouth
    assert bool(free.any())
    assert bool((parts.lips & parts.mouth).any())
    assert float(gradient[free].max()) == 0
    assert float(gradient[parts.lips & parts.mouth].max()) > 0


def test_losses_of_every_stage_are_finite_and_reach_what_they_train(
    dataset: PortraitDataset, avatar: TalkingGaussian
) -> None:
    config = dataclasses.replace(FULL, tiles=2)
    for stage in METHOD.stages(config):
        avatar.zero_grad(set_to_none=True)
        draw = Drawing(dataset, open_mouth(dataset))
        terms = METHOD.losses(config, avatar, draw.frame, draw, stage, context(dataset, stage.steps - 1))
        torch.stack(list(terms.values())).sum().backward()
        for group in METHOD.groups(config, avatar, stage):
            # The last layers start at zero, so what lies before them learns from the second step on.
            if any(part in group.name for part in ("field", "speech", "listening", "rest_harmonics")):
                continue
            gradients = [parameter.grad for parameter in group.parameters if parameter.grad is not None]
            assert gradients, f"{stage.name}: {group.name}"
            assert all(bool(gradient.isfinite().all()) for gradient in gradients)
        assert ("perceptual" in terms) == (stage.name in ("mouth-color", "face-perceptual", "fuse"))


def test_a_key_drawn_anew_leaves_a_transparent_layer_nothing_to_learn(
    dataset: PortraitDataset, avatar: TalkingGaussian
) -> None:
    config = dataclasses.replace(FULL, key="random", ssim=0.0)
    stage = next(stage for stage in METHOD.stages(config) if stage.name == "mouth-window")
    picture = dataset.frame(open_mouth(dataset)).image
    keys = [key_picture(config, stage, context(dataset, step), picture)[0, 0] for step in (0, 1, 0)]
    assert torch.equal(keys[0], keys[2])
    assert not torch.equal(keys[0], keys[1])
    published = key_picture(FULL, stage, context(dataset, 0), picture)
    assert published[0, 0].tolist() == [0.0, 1.0, 0.0]

    # Where neither layer nor target has anything, both are the key: no loss whatever it is.
    frame = dataset.frame(open_mouth(dataset))
    closed_lips = frame.replace(labels=torch.zeros_like(frame.labels))
    unseen = copy.deepcopy(avatar)
    with torch.no_grad():
        unseen.mouth.logit_opacities.fill_(-30.0)
    terms = METHOD.losses(config, unseen, closed_lips, Drawing(dataset, frame.index), stage, context(dataset, 1))
    assert float(terms["color"].detach()) < 1e-6


def test_the_face_at_rest_is_the_usual_one(dataset: PortraitDataset) -> None:
    config = dataclasses.replace(METHOD.presets["quick"], face_points=200, mouth_points=100, warm_speech_steps=0)
    seeds = METHOD.seeds(config, dataset, 0)
    avatar = METHOD.build(config, dataset.channels, dataset.portrait.reference_camera, seeds)
    assert isinstance(avatar, TalkingGaussian)
    METHOD.warm_start(config, avatar, dataset, 0)
    recorded = dataset.expression[dataset.train_frames][:, list(UPPER_FACE)]
    recorded[:, -1] = recorded[:, -1].clamp(0, STRONGEST_BLINK)
    assert torch.allclose(avatar.usual_units, recorded.quantile(0.5, 0))
    published = METHOD.build(config, dataset.channels, dataset.portrait.reference_camera, seeds)
    METHOD.warm_start(dataclasses.replace(config, rest_units="zero"), published, dataset, 0)
    assert isinstance(published, TalkingGaussian)
    assert not published.usual_units.any()
    # With what reads the upper face turned up, the usual units move nothing and others do.
    with torch.no_grad():
        for part in avatar.face_decoder.parameters():
            part.normal_(0, 0.5)
        avatar.face_field.tables.normal_()
    condition = dataset.frame(dataset.train_frames[0]).condition
    usual = condition.expression.clone()
    usual[list(UPPER_FACE)] = avatar.usual_units
    moved = usual.clone()
    moved[UPPER_FACE[0]] += 1.0
    still, other = (avatar.face_motion(condition.replace(expression=units)).means.detach() for units in (usual, moved))
    features = avatar.face_field(avatar.face.means)
    inputs = RegionDecoder.inputs(features, avatar.face_decoder.attention(features))
    unmoved = avatar.face_decoder(inputs, avatar.face_speech(condition.speech[None])[0], torch.zeros(len(UPPER_FACE)))
    assert torch.allclose(still, MOTION_UNIT * unmoved[:, :3], atol=1e-6)
    assert float((still - other).abs().max()) > 1e-4


def test_a_face_without_hair_has_finite_losses(dataset: PortraitDataset, avatar: TalkingGaussian) -> None:
    frame = dataset.frame(open_mouth(dataset))
    bald = frame.replace(labels=torch.where(frame.labels == Label.HAIR, int(Label.FACE), frame.labels).to(torch.uint8))
    stage = next(stage for stage in METHOD.stages(FULL) if stage.name == "face-window")
    draw = Drawing(dataset, open_mouth(dataset))
    terms = METHOD.losses(FULL, avatar, bald, draw, stage, context(dataset, 3))
    assert all(bool(value.isfinite()) for value in terms.values())


def test_closing_fills_cracks_and_keeps_shapes() -> None:
    mask = torch.zeros(12, 12, dtype=torch.bool)
    mask[3:9, 3:9] = True
    cracked = mask.clone()
    cracked[3:9, 5] = False
    assert torch.equal(closed(cracked), mask)


def test_without_decomposition_the_face_draws_the_mouth(dataset: PortraitDataset) -> None:
    config = dataclasses.replace(FULL, decompose=False, mouth_points=50)
    assert all("mouth" not in stage.layers for stage in METHOD.stages(config))
    whole = METHOD.build(config, dataset.channels, dataset.portrait.reference_camera, METHOD.seeds(config, dataset, 0))
    assert [layer.name for layer in whole.animate(dataset.condition(3))] == ["face", "torso"]
    stage = next(stage for stage in METHOD.stages(config) if stage.name == "face-static")
    draw = Drawing(dataset, open_mouth(dataset))
    mouth = regions(draw.frame).mouth
    pictures = {}
    for name, chosen in (("one layer", config), ("two layers", FULL)):
        terms = METHOD.losses(chosen, whole, draw.frame, draw, stage, context(dataset, 0))
        terms["color"].backward()
        gradient = draw.drawn["face"].colors.grad
        assert gradient is not None
        pictures[name] = gradient[mouth]
    assert not torch.equal(pictures["one layer"], pictures["two layers"]), "its target shows the recorded mouth"
