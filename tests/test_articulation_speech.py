"""The speech encoder `articulation`, from the portrait over training and the avatar file to new speech."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from drawn import draw_portrait
from talksplat.dataset import PortraitDataset
from talksplat.errors import InputError
from talksplat.methods.avatar_file import SavedAvatar, load_avatar
from talksplat.methods.catalogue import METHODS
from talksplat.methods.method import Method
from talksplat.model.conditioning import SpeechChannels, SpeechNet
from talksplat.portrait import Portrait
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.speak import SpeakConfig, speak
from talksplat.speech.encoders import find_encoder
from talksplat.speech.hearing import Hearing
from talksplat.speech.standardization import Standardization
from talksplat.speech.windows import windows_of, windows_of_frames
from talksplat.synthetic.speech import speech_of
from talksplat.train.loop import train
from talksplat.train.options import TrainOptions

FRAMES = 150
QUIET = Reporter(quiet=True)
SETTINGS = ("points=200", "levels=4", "static_steps=4", "head_steps=6", "torso_static_steps=2", "torso_steps=2")
SHORT = (*SETTINGS, "joint_steps=2", "warm_speech_steps=5", "densify_until=0")


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Portrait:
    """A drawing that is heard as the synthetic voice."""
    folder = draw_portrait(tmp_path_factory.mktemp("drawn") / "portrait", frames=FRAMES).folder
    samples = speech_of("a").samples[: FRAMES * 640]
    soundfile.write(folder / "audio.wav", samples, 16_000, subtype="PCM_16")
    raw = find_encoder("embedding").encode(samples)
    features = torch.from_numpy(Standardization.of(raw).apply(raw))
    save_file({"features": features}, folder / "speech" / "embedding.safetensors")
    return Portrait(folder)


@pytest.fixture(scope="module")
def saved(portrait: Portrait, tmp_path_factory: pytest.TempPathFactory) -> SavedAvatar:
    path = tmp_path_factory.mktemp("out") / "a.avatar"
    train(portrait.folder, path, TrainOptions(speech="articulation", settings=SHORT), choose_rasterizer("cpu"), QUIET)
    return load_avatar(path)


def test_portraits_need_no_features_beside_the_embeddings(portrait: Portrait) -> None:
    plain, more = PortraitDataset(portrait, "embedding"), PortraitDataset(portrait, "articulation")
    assert torch.equal(more.features[:, : plain.channels.total], plain.features)
    assert torch.equal(more.heard, plain.features)
    assert more.articulator is not None
    assert plain.channels == SpeechChannels(128)
    assert more.channels == SpeechChannels(128 + more.articulator.channels, more.articulator.channels)
    told = more.features[:, 128:]
    deviations = told[: 2 * len(more.train_frames)].std(0)
    assert all(value == 0 or 0.7 < value < 1.2 for value in deviations.tolist())
    assert (deviations > 0).any()
    assert deviations[1] == 0  # The drawn mouth is always as wide.
    assert more.rest_speech.shape == (more.channels.total,)


def test_the_avatar_keeps_what_it_was_trained_with(portrait: Portrait, saved: SavedAvatar) -> None:
    dataset = PortraitDataset(portrait, "articulation")
    assert saved.articulator is not None
    assert dataset.articulator is not None
    heard = dataset.heard.numpy()
    assert np.allclose(saved.articulator.extended(heard), dataset.articulator.extended(heard), atol=1e-5)
    again = PortraitDataset(portrait, "articulation", saved.articulator)
    test = slice(2 * again.test_frames[0], None)
    assert torch.allclose(again.features[test], dataset.features[test], atol=1e-5)


def test_another_prior_can_be_adapted(portrait: Portrait, saved: SavedAvatar, tmp_path: Path) -> None:
    assert saved.articulator is not None
    other = dataclasses.replace(saved.articulator.prior, members=saved.articulator.prior.members[:1])
    other.save(tmp_path / "other.safetensors")
    options = TrainOptions(speech="articulation", prior=tmp_path / "other.safetensors", settings=SHORT)
    train(portrait.folder, tmp_path / "a.avatar", options, choose_rasterizer("cpu"), QUIET)
    kept = load_avatar(tmp_path / "a.avatar").articulator
    assert kept is not None
    assert len(kept.prior.members) == 1
    with pytest.raises(InputError, match="do not use one") as error:
        train(
            portrait.folder,
            tmp_path / "b.avatar",
            dataclasses.replace(options, speech="embedding"),
            choose_rasterizer("cpu"),
            QUIET,
        )
    assert "--speech articulation" in str(error.value.hint)


def test_silence_is_told_as_closed_lips(portrait: Portrait) -> None:
    dataset = PortraitDataset(portrait, "articulation")
    tracks, train = portrait.tracks, torch.tensor(dataset.train_frames)
    opening = (tracks.mouth[:, 0] - tracks.mouth[train, 0].mean()) / tracks.mouth[train, 0].std()
    assert dataset.articulator is not None
    told = dataset.rest_speech[128]
    assert told == pytest.approx(float(opening[dataset.closed_frames].mean()), abs=1e-5)
    assert told < -0.8


@pytest.mark.parametrize("preset", ["quick", "full"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_where_lips_are_told_no_net_adds_anything_at_first(method: Method, preset: str, portrait: Portrait) -> None:
    dataset = PortraitDataset(portrait, "articulation")
    told, windows = dataset.channels.told, windows_of_frames(dataset.features, torch.tensor(dataset.train_frames))
    config = method.presets[preset]
    avatar = method.build(config, dataset.channels, portrait.reference_camera, method.seeds(config, dataset, 0))
    nets = [module for module in avatar.modules() if isinstance(module, SpeechNet)]
    assert nets
    with torch.no_grad():
        assert all((net(windows)[:, told:].std(0) > 0).any() for net in nets)
        before = [net(windows)[:, :told] for net in nets]
        assert method.warm_start(config, avatar, dataset, 0) == {}
        for net, codes in zip(nets, before, strict=True):
            assert (net(windows)[:, told:] == 0).all()
            assert torch.equal(net(windows)[:, :told], codes)


def test_training_frames_have_what_the_lips_did_and_the_others_what_is_told(portrait: Portrait) -> None:
    dataset = PortraitDataset(portrait, "articulation")
    articulator = dataset.articulator
    assert articulator is not None
    by_frame = dataset.features[:, 128:].reshape(FRAMES, 2, -1).mean(1)
    train, test = torch.tensor(dataset.train_frames), torch.tensor(dataset.test_frames)
    opening = portrait.tracks.mouth[:, 0]
    seen = (opening - opening[train].mean()) / opening[train].std()
    assert torch.allclose(by_frame[train, 0], seen[train], atol=1e-5)
    told = torch.from_numpy(articulator.extended(dataset.heard.numpy()))[:, 128:].reshape(FRAMES, 2, -1).mean(1)
    assert torch.allclose(by_frame[test], told[test], atol=1e-5)
    assert not torch.allclose(by_frame[train], told[train], atol=0.1)


def test_new_speech_is_heard_as_in_training(saved: SavedAvatar, tmp_path: Path) -> None:
    sound = speech_of("b").samples[: 100 * 640]
    soundfile.write(tmp_path / "new.wav", sound, 16_000, subtype="FLOAT")
    encoder = find_encoder("articulation")
    hearing = Hearing.of(tmp_path / "new.wav", encoder, QUIET, saved.articulator)
    assert hearing.channels == saved.channels.total
    raw = encoder.encode(sound)
    assert saved.articulator is not None
    features = torch.from_numpy(saved.articulator.extended(Standardization.of(raw).apply(raw)))
    for frame, windows in enumerate(hearing.windows(None)):
        torch.testing.assert_close(windows, windows_of(features, frame), atol=1e-4, rtol=1e-4)
    result = speak(saved, tmp_path / "new.wav", tmp_path / "new.mp4", SpeakConfig(), choose_rasterizer("cpu"), QUIET)
    assert dataclasses.asdict(result)["frames"] == 100
