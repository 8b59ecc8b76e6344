"""GSTalker's own: what its eye feature does."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from drawn import draw_portrait
from talksplat.dataset import PortraitDataset
from talksplat.frame import UNITS, Condition
from talksplat.methods.gstalker import EYE, METHOD, GSTalker, GSTalkerConfig
from talksplat.speech.windows import WINDOW_STEPS, WINDOWS


@pytest.fixture
def avatar(tmp_path: Path) -> GSTalker:
    """An avatar whose Gaussians follow its code: the last layer is no longer zero."""
    portrait = draw_portrait(tmp_path / "portrait")
    dataset, config = PortraitDataset(portrait, "embedding"), GSTalkerConfig(points=200, levels=4)
    torch.manual_seed(3)
    made = METHOD.build(config, dataset.channels, portrait.reference_camera, METHOD.seeds(config, dataset, 0))
    assert isinstance(made, GSTalker)
    torch.nn.init.normal_(made.decoder.last)
    return made.eval()


def places(avatar: GSTalker, opening: float) -> Tensor:
    """Where the head's Gaussians are under one speech and an opening of the eyes, metres."""
    expression = torch.zeros(len(UNITS))
    expression[EYE] = opening
    speech = torch.randn(
        WINDOWS, avatar.speech_net.channels.total, WINDOW_STEPS, generator=torch.Generator().manual_seed(1)
    )
    condition = Condition(speech=speech, expression=expression, head_pose=torch.eye(4))
    return avatar.head_layer(condition, deformed=True).gaussians.means


def test_only_eyes_that_close_say_something(avatar: GSTalker) -> None:
    """At the usual opening the shape is the speech's alone; the farther eyes close, the more they count."""
    usual = places(avatar, 1.0)
    moved = [(places(avatar, opening) - usual).norm() for opening in (0.9, 0.5, 0.0)]
    assert 0 < moved[0] < moved[1] < moved[2]
    with torch.no_grad():
        avatar.decoder.of_condition[:, -1] = 0
    assert torch.equal(places(avatar, 1.0), usual)
    assert torch.equal(places(avatar, 0.0), usual)
