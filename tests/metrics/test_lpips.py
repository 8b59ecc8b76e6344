"""LPIPS against values that the published package (lpips 0.1.4) gave for seeded random backbones."""

from pathlib import Path

import numpy as np
import pytest
import torch

from talksplat import weights
from talksplat.errors import MissingWeights
from talksplat.metrics import lpips
from talksplat.metrics.lpips import BACKBONES, Lpips

LINEAR = Path(__file__).parent / "lpips_weights"
SHAPES = {
    "alex": {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)},
    "vgg": {
        index: (out, channels, 3)
        for index, out, channels in [
            *[(0, 64, 3), (2, 64, 64), (5, 128, 64), (7, 128, 128), (10, 256, 128), (12, 256, 256), (14, 256, 256)],
            *[(17, 512, 256), (19, 512, 512), (21, 512, 512), (24, 512, 512), (26, 512, 512), (28, 512, 512)],
        ]
    },
}
SEEDS = {"alex": 11, "vgg": 12}
PUBLISHED = {"alex": (0.010042517445981503, 0.009944848716259003), "vgg": (0.017525995150208473, 0.023090921342372894)}
"""Mean, and the spatial form at row 10, column 20, of `_pictures()`: lpips.LPIPS(net=...)(..., normalize=True)."""


def _trunk(backbone: str) -> dict[str, torch.Tensor]:
    """A random backbone under torchvision's names; RandomState's numbers are the same for all time."""
    chance = np.random.RandomState(SEEDS[backbone])
    state = {}
    for index, (out, channels, edge) in SHAPES[backbone].items():
        kernel = chance.standard_normal((out, channels, edge, edge)) * np.sqrt(2 / (channels * edge * edge))
        state[f"features.{index}.weight"] = torch.from_numpy(kernel.astype(np.float32))
        state[f"features.{index}.bias"] = torch.from_numpy((chance.standard_normal(out) * 0.1).astype(np.float32))
    return state


def _pictures() -> tuple[torch.Tensor, torch.Tensor]:
    chance = np.random.RandomState(5)
    first = chance.rand(64, 80, 3)
    second = np.clip(first + 0.1 * chance.standard_normal(first.shape), 0, 1)
    return torch.from_numpy(first.astype(np.float32)), torch.from_numpy(second.astype(np.float32))


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lpips]:
    folder = tmp_path_factory.mktemp("lpips")
    found = {}
    for backbone in BACKBONES:
        torch.save(_trunk(backbone), folder / f"{backbone}.pth")
        found[backbone] = Lpips(backbone, trunk=folder / f"{backbone}.pth", linear=LINEAR / f"{backbone}.pth")
    return found


@pytest.mark.parametrize("backbone", BACKBONES)
def test_agrees_with_the_published_package(metrics, backbone):
    picture, target = _pictures()
    mean, spot = PUBLISHED[backbone]
    assert metrics[backbone](picture, target).item() == pytest.approx(mean, rel=1e-5)
    assert metrics[backbone].map(picture, target)[10, 20].item() == pytest.approx(spot, rel=1e-4)


def test_laws_of_a_distance(metrics):
    picture, target = _pictures()
    metric = metrics["alex"]
    assert metric(picture, picture).item() == 0
    assert metric(picture, target).item() == pytest.approx(metric(target, picture).item(), rel=1e-5)
    black = torch.zeros(40, 40, 3, requires_grad=True)
    metric(black, torch.ones(40, 40, 3)).backward()
    assert black.grad is not None
    assert bool(black.grad.isfinite().all())


def test_a_batch_has_the_mean_number_of_its_pictures(metrics):
    picture, target = _pictures()
    pairs = ((picture, target), (target.sqrt(), picture))
    singly = [metrics["alex"](*pair).item() for pair in pairs]
    pictures, targets = (torch.stack(side) for side in zip(*pairs, strict=True))
    assert metrics["alex"](pictures, targets).item() == pytest.approx(sum(singly) / 2, rel=1e-5)
    assert singly[0] != pytest.approx(singly[1], rel=0.1)


def test_without_a_backbone_there_is_no_number(tmp_path, monkeypatch):
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    monkeypatch.setattr(weights, "cache_folder", lambda: tmp_path)
    assert not lpips.available("alex")
    with pytest.raises(MissingWeights) as caught:
        lpips.load("alex")
    assert "AlexNet" in caught.value.message
    assert "download" in caught.value.hint


def test_a_file_of_another_network_is_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(
        MissingWeights, match=r"holds no `features\.0\.bias`; expected the weights of torchvision AlexNet"
    ):
        Lpips("alex", trunk=tmp_path / "other.pth", linear=LINEAR / "alex.pth")
    (tmp_path / "text.pth").write_text("not found")
    with pytest.raises(MissingWeights, match="is not a file of PyTorch weights"):
        Lpips("alex", trunk=tmp_path / "text.pth", linear=LINEAR / "alex.pth")
