"""What every method must do: start as the identity, learn, stop and go on exactly, reload as it was."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import talksplat.train.loop as loop
from drawn import draw_portrait
from talksplat.dataset import PortraitDataset
from talksplat.errors import AvatarError, InputError, RunError, TrainingDiverged
from talksplat.evaluate.painter import AvatarPainter, Drive
from talksplat.frame import HEAD_LABELS
from talksplat.methods.avatar_file import FORMAT, UNTOLD_FORMAT, load_avatar
from talksplat.methods.catalogue import METHODS
from talksplat.methods.method import Method
from talksplat.portrait import Portrait
from talksplat.progress import Reporter
from talksplat.rasterize.composition import compose
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.speak import SpeakConfig, speak
from talksplat.train.lane import Lane
from talksplat.train.options import TrainOptions, with_settings
from talksplat.train.run import Run

TINY = {
    "gstalker": (
        *(
            "points=300",
            "static_steps=40",
            "head_steps=60",
            "torso_static_steps=10",
            "torso_steps=10",
            "joint_steps=10",
        ),
        *("densify_static_from=10", "densify_every=10", "densify_until=30", "warm_speech_steps=30", "levels=6"),
        *("max_points=500", "patch=32"),
    ),
    "talking-gaussian": (
        *(
            "pace=250",
            "mouth_pace=2",
            "hair_until=0",
            "face_points=300",
            "mouth_points=200",
            "max_points=500",
            "tiles=2",
        ),
        *("torso_static_steps=5000", "torso_steps=10000", "fuse_steps=10000", "harmonics_every=5000"),
        *("densify_from=45000", "densify_every=500", "means_rate=0.0002", "warm_speech_steps=30"),
    ),
    "gaussian-talker": (
        *("start=carved", "points=300", "torso_points=200", "max_points=500", "degree=1", "harmonics_every=20"),
        *("static_steps=60", "steps=100", "frames=2", "joint_steps=5", "torso_static_steps=10", "torso_steps=10"),
        *("densify_from=10", "densify_until=40", "densify_every=10", "gradient_threshold=0.0002"),
        *("span=200", "grid_rate=0.005", "network_rate=0.001", "means_rate=0.0002", "warm_speech_steps=30"),
        *("perceptual_view=whole", "dropout=0.1"),
    ),
}
TINY["gaussian-talker-fast"] = (*TINY["gaussian-talker"], "frames=1", "steps=80", "dropout=0")
QUIET = Reporter(quiet=True)
METHOD_ROWS = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Portrait:
    return draw_portrait(tmp_path_factory.mktemp("drawn") / "portrait")


def options(method: Method, **changes: object) -> TrainOptions:
    return dataclasses.replace(TrainOptions(method=method.name, settings=TINY[method.name]), **changes)


def run(portrait: Portrait, out: Path, chosen: TrainOptions) -> dict:
    return loop.train(portrait.folder, out, chosen, choose_rasterizer("cpu"), QUIET)


def picture(path: Path, portrait: Portrait, index: int, *, deformed: bool = True) -> torch.Tensor:
    saved, draw = load_avatar(path), choose_rasterizer("cpu")
    dataset = PortraitDataset(portrait, saved.speech_encoder, saved.articulator)
    with torch.no_grad():
        layers = saved.avatar.animate(dataset.condition(index)) if deformed else saved.avatar.canonical()
        views = [saved.reference_camera if layer.fixed_view else portrait.camera(index) for layer in layers]
        drawn = [draw(layer.gaussians, view) for layer, view in zip(layers, views, strict=True)]
        return compose(drawn, saved.background.float() / 255)


@METHOD_ROWS
def test_untrained_deformation_is_the_identity(method: Method, portrait: Portrait) -> None:
    dataset = PortraitDataset(portrait, "embedding")
    config = method.presets["quick"]
    avatar = method.build(config, dataset.channels, portrait.reference_camera, method.seeds(config, dataset, 0))
    moved, still = avatar.animate(dataset.condition(5)), avatar.canonical()
    for one, other in zip(moved, still, strict=True):
        assert torch.equal(one.gaussians.means, other.gaussians.means)
        assert torch.allclose(one.gaussians.scales, other.gaussians.scales)


@pytest.fixture(scope="module")
def trained(portrait: Portrait, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Method], Path]:
    """Trains a method once and hands out its avatar."""
    folder = tmp_path_factory.mktemp("trained")

    def avatar_of(method: Method) -> Path:
        path = folder / f"{method.name}.avatar"
        if not path.exists():
            figures = run(portrait, path, options(method))
            assert all(count > 0 for count in figures["gaussians"].values())
        return path

    return avatar_of


@METHOD_ROWS
def test_learns_and_reloads(method: Method, portrait: Portrait, trained: Callable[[Method], Path]) -> None:
    avatar = trained(method)
    truth = torch.from_numpy(portrait.image(20).copy()).float() / 255
    plate = torch.from_numpy(portrait.background().copy()).float() / 255
    ours = picture(avatar, portrait, 20)
    assert (ours - truth).abs().mean() < 0.35 * (plate - truth).abs().mean()
    assert torch.equal(ours, picture(avatar, portrait, 20))
    open_mouth, closed = picture(avatar, portrait, 6), picture(avatar, portrait, 14)
    assert (open_mouth - closed).abs().max() > 0.02  # the deformation does something


@METHOD_ROWS
def test_same_seed_same_avatar_and_resuming_is_exact(
    method: Method, portrait: Portrait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(portrait, tmp_path / "whole.avatar", options(method, seed=3))
    real, calls = Lane.learn, iter(range(10**6))

    def interrupted(*arguments: object) -> object:
        if next(calls) == 73:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Lane, "learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(portrait, tmp_path / "halves.avatar", options(method, seed=3))
    monkeypatch.undo()
    checkpoint = tmp_path / "halves.avatar.run" / "checkpoint.safetensors"
    assert load_avatar(checkpoint).method == method.name  # an interrupted run can already speak
    with pytest.raises(RunError, match="--resume"):
        run(portrait, tmp_path / "halves.avatar", options(method, seed=3))
    figures = run(portrait, tmp_path / "halves.avatar", options(method, seed=3, resume=True))
    assert figures["resumed"]
    whole, halves = load_file(tmp_path / "whole.avatar"), load_file(tmp_path / "halves.avatar")
    assert whole.keys() == halves.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, halves[name]), name


@METHOD_ROWS
def test_a_loss_that_is_no_number_stops_the_run(
    method: Method, portrait: Portrait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Run.losses
    monkeypatch.setattr(Run, "losses", lambda *a: {**real(*a), "color": real(*a)["color"] * torch.nan})
    with pytest.raises(TrainingDiverged, match="color nan"):
        run(portrait, tmp_path / "a.avatar", options(method))
    assert not (tmp_path / "a.avatar").exists()


@METHOD_ROWS
def test_damaged_avatar_files_are_refused(method: Method, trained: Callable[[Method], Path], tmp_path: Path) -> None:
    path = tmp_path / "a.avatar"
    whole = trained(method).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AvatarError, match="not a whole avatar file"):
        load_avatar(path)
    for older, named in ((9, "format 9"), (UNTOLD_FORMAT, "format 2 with articulation")):
        path.write_bytes(whole.replace(rf"\"format\": {FORMAT}".encode(), rf"\"format\": {older}".encode(), 1))
        with pytest.raises(AvatarError, match=named):
            load_avatar(path)


def test_avatars_of_the_format_before_speak_where_nothing_is_told(portrait: Portrait, tmp_path: Path) -> None:
    path, settings = tmp_path / "a.avatar", TINY["gstalker"]
    run(portrait, path, TrainOptions(method="gstalker", speech="embedding", settings=settings))
    now = picture(path, portrait, 5)
    whole, older = path.read_bytes(), rf"\"format\": {UNTOLD_FORMAT}".encode()
    path.write_bytes(whole.replace(rf"\"format\": {FORMAT}".encode(), older, 1))
    assert path.read_bytes() != whole
    assert torch.equal(picture(path, portrait, 5), now)


@METHOD_ROWS
def test_the_recorded_torso_takes_the_place_of_the_layer(method: Method, portrait: Portrait, tmp_path: Path) -> None:
    chosen = options(method, settings=(*TINY[method.name], "torso=recorded"))
    stages = method.stages(with_settings(method.presets["full"], chosen.settings))
    assert all("torso" not in stage.layers for stage in stages)
    run(portrait, tmp_path / "a.avatar", chosen)
    saved = load_avatar(tmp_path / "a.avatar")
    dataset = PortraitDataset(portrait, saved.speech_encoder, saved.articulator)
    painter = AvatarPainter(saved, dataset, choose_rasterizer("cpu"), recorded=True)
    drawn = torch.from_numpy(painter(5, Drive.SPEECH)).float() / 255
    outside = torch.from_numpy(~np.isin(portrait.labels(5), HEAD_LABELS))
    behind = portrait.behind_head(5)
    assert float((drawn - behind).abs()[outside].mean()) < 0.05
    assert float((drawn - behind).abs()[~outside].mean()) > 0.1
    with pytest.raises(InputError, match="--torso recorded --portrait"):
        speak(saved, portrait.folder / "audio.wav", tmp_path / "a.mp4", SpeakConfig(), choose_rasterizer("cpu"), QUIET)
