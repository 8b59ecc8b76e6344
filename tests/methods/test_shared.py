"""What methods share: the loss on the eyes sees the eyes alone, and is there wherever a method moves the face."""

import dataclasses

import pytest
import torch

from drawn import draw_portrait
from talksplat.dataset import PortraitDataset
from talksplat.landmarks import EYELIDS
from talksplat.methods.catalogue import METHODS
from talksplat.methods.method import LossContext, Method, Stage
from talksplat.methods.shared import eyes_loss
from talksplat.model.avatar import Layer
from talksplat.model.conditioning import SpeechNet
from talksplat.model.patches import eye_squares
from talksplat.rasterize.rasterizer import Rendered, choose_rasterizer


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PortraitDataset:
    return PortraitDataset(draw_portrait(tmp_path_factory.mktemp("drawn") / "portrait"), "embedding")


def test_the_loss_on_the_eyes_sees_them_alone(dataset: PortraitDataset) -> None:
    frame = dataset.frame(5)
    landmarks = frame.landmarks.clone()
    for rim, (x, y) in zip(EYELIDS, ((20.0, 25.0), (44.0, 25.0)), strict=True):
        landmarks[list(rim)] = torch.tensor([x, y]) + torch.linspace(-4, 4, 16)[:, None] * torch.tensor([1.0, 0.5])
    frame = dataclasses.replace(frame, landmarks=landmarks)
    picture = frame.image.clone()
    for square in eye_squares(landmarks, frame.camera):
        picture[square] += 0.25
    one = frame.image.clone()
    one[eye_squares(landmarks, frame.camera)[0]] += 0.25
    elsewhere = frame.image + 0.25 - (picture - frame.image)
    assert float(eyes_loss(picture, frame.image, frame)) == pytest.approx(0.25)
    assert float(eyes_loss(one, frame.image, frame)) == pytest.approx(0.125)
    assert float(eyes_loss(elsewhere, frame.image, frame)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_where_lips_are_not_told_every_speech_net_has_the_same_first_lesson(
    method: Method, dataset: PortraitDataset
) -> None:
    config = dataclasses.replace(method.presets["quick"], warm_speech_steps=6)
    reference, seeds = dataset.portrait.reference_camera, method.seeds(config, dataset, 0)
    avatar = method.build(config, dataset.channels, reference, seeds)
    nets = [module for module in avatar.modules() if isinstance(module, SpeechNet)]
    windows = dataset.condition(5).speech[None]
    with torch.no_grad():
        before = nets[0](windows)
    assert method.warm_start(config, avatar, dataset, 0)["articulation_error"] > 0
    with torch.no_grad():
        codes = [net(windows) for net in nets]
    assert not torch.allclose(codes[0], before)
    assert all(torch.equal(codes[0], code) for code in codes)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_quick_looks_at_the_eyes_wherever_the_face_moves(method: Method, dataset: PortraitDataset) -> None:
    frame, rasterize = dataset.frame(5), choose_rasterizer("cpu")
    background = torch.from_numpy(dataset.portrait.background().copy()).float() / 255

    def draw(layer: Layer) -> Rendered:
        view = dataset.portrait.reference_camera if layer.fixed_view else frame.camera
        return rasterize(layer.gaussians, view)

    def looks(config: object, stage: Stage) -> bool:
        context = LossContext(background=background, step=1, perceptual=None, seed=0)
        return "eyes" in method.losses(config, avatar, frame, draw, stage, context)

    quick = method.presets["quick"]
    avatar = method.build(quick, dataset.channels, dataset.portrait.reference_camera, method.seeds(quick, dataset, 0))
    looking = {stage.name for stage in method.stages(quick) if looks(quick, stage)}
    moving = {stage.name for stage in method.stages(quick) if stage.deformed and {"head", "face"} & set(stage.layers)}
    assert looking == moving != set()
    blind = dataclasses.replace(quick, eyes=0.0)
    assert not any(looks(blind, stage) for stage in method.stages(blind))
