import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from drawn import draw_portrait
from puppet import Puppet, puppet
from talksplat.camera import Camera
from talksplat.dataset import usable_frames
from talksplat.errors import AvatarError, InputError, MissingInput, UnreadableMedia, UnsuitableSpeech
from talksplat.frame import UNITS, Condition
from talksplat.gaussians import SH_CONSTANT, Gaussians
from talksplat.media.audio import read_audio
from talksplat.media.video import probe, read_frames
from talksplat.methods.avatar_file import SavedAvatar
from talksplat.model.avatar import Layer
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import Rasterizer, Rendered, choose_rasterizer
from talksplat.speak import SpeakConfig, SpeakResult, speak

QUIET = Reporter(quiet=True)
RATE = 16_000


@pytest.fixture(scope="module")
def rasterizer() -> Rasterizer:
    return choose_rasterizer("cpu")


def tone(seconds: float, rate: int = RATE) -> np.ndarray:
    """A loud buzz with overtones, silent between 1 s and 2 s; all its mel bins rise when it sounds."""
    times = np.arange(round(seconds * rate)) / rate
    chance = np.random.default_rng(5)
    sound = 0.1 * chance.normal(size=len(times)) + 0.2 * np.sign(np.sin(2 * np.pi * 110 * times))
    sound[(times >= 1) & (times < 2)] = 0
    return sound.astype(np.float32)


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(3.1), RATE, subtype="FLOAT")
    return path


def small(encoder: str = "mel", channels: int = 80) -> SavedAvatar:
    return puppet(size=64, encoder=encoder, channels=channels)


def said(
    saved: SavedAvatar, audio: Path, out: Path, rasterizer: Rasterizer, config: SpeakConfig | None = None
) -> SpeakResult:
    return speak(saved, audio, out, config or SpeakConfig(), rasterizer, QUIET)


def pictures(video: Path) -> np.ndarray:
    return np.stack(list(read_frames(video)))


def mouth_darkness(frames: np.ndarray) -> np.ndarray:
    """Share of the face's lower half that is as dark as the mouth, frame by frame."""
    return (frames[:, 30:54, 16:48].astype(int).sum(-1) < 180).mean((1, 2))


@pytest.mark.parametrize("samples", [1, 640, 641, 3 * RATE + 17])
def test_the_video_is_as_long_as_the_sound(samples: int, tmp_path: Path, rasterizer: Rasterizer) -> None:
    audio, out = tmp_path / "sound.wav", tmp_path / "out.mp4"
    soundfile.write(audio, tone(4)[:samples], RATE, subtype="FLOAT")
    result = said(small(), audio, out, rasterizer)
    expected = -(-samples // 640)
    assert result.frames == expected
    assert probe(out).frames == expected
    assert result.seconds == pytest.approx(expected / 25)
    assert abs(read_audio(out).seconds - expected / 25) <= 1 / 25


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (44_100, 1), (8_000, 1)])
def test_any_rate_and_number_of_channels_will_do(
    rate: int, channels: int, tmp_path: Path, rasterizer: Rasterizer
) -> None:
    audio, out = tmp_path / "sound.wav", tmp_path / "out.mp4"
    soundfile.write(audio, np.stack([tone(1.5, rate)] * channels, 1), rate)
    assert said(small(), audio, out, rasterizer).frames in (37, 38)
    with av.open(str(out)) as container:
        assert container.streams.audio[0].codec_context.channels == channels


def test_the_original_sound_is_in_the_video(speech: Path, tmp_path: Path, rasterizer: Rasterizer) -> None:
    out = tmp_path / "out.mp4"
    said(small(), speech, out, rasterizer)
    heard, given = read_audio(out).samples[: len(tone(3.1))], tone(3.1)
    lags = range(-200, 201)
    middle = slice(4000, 40_000)
    matches = [float(np.dot(heard[middle.start + lag : middle.stop + lag], given[middle])) for lag in lags]
    assert lags[int(np.argmax(matches))] == 0
    assert np.corrcoef(heard[middle], given[middle])[0, 1] > 0.95


def test_the_mouth_opens_with_the_sound_and_closes_in_silence(
    speech: Path, tmp_path: Path, rasterizer: Rasterizer
) -> None:
    said(small(), speech, tmp_path / "out.mp4", rasterizer)
    dark = mouth_darkness(pictures(tmp_path / "out.mp4"))
    speaking = np.r_[5:23, 55:70]
    silent = np.r_[31:46]
    assert dark[speaking].min() > 1.8 * dark[silent].max()


def test_without_the_gate_silence_is_whatever_the_features_are(
    speech: Path, tmp_path: Path, rasterizer: Rasterizer
) -> None:
    saved = small()
    saved.rest_speech.fill_(20.0)  # A rest state with the mouth wide open tells whether the gate is at work.
    silent = slice(31, 46)
    said(saved, speech, tmp_path / "gated.mp4", rasterizer)
    said(saved, speech, tmp_path / "free.mp4", rasterizer, SpeakConfig(rest_in_silence=False))
    gated, free = (mouth_darkness(pictures(tmp_path / name)) for name in ("gated.mp4", "free.mp4"))
    assert gated[silent].min() > 1.8 * free[silent].max()
    np.testing.assert_allclose(gated[55:70], free[55:70], atol=0.01)


def test_the_head_moves_along_the_recorded_track_and_the_torso_stays(
    speech: Path, tmp_path: Path, rasterizer: Rasterizer
) -> None:
    seen: dict[str, list[torch.Tensor]] = {"head": [], "torso": []}
    saved = small()

    def noting(gaussians: Gaussians, camera: Camera) -> Rendered:
        fixed = torch.equal(camera.head_to_camera, saved.reference_camera.head_to_camera)
        seen["torso" if fixed else "head"].append(camera.head_to_camera)
        return rasterizer(gaussians, camera)

    said(saved, speech, tmp_path / "out.mp4", noting, SpeakConfig(start=1.0))
    heads = torch.stack(seen["head"][::2])
    torch.testing.assert_close(heads[0], saved.head_to_camera[25], atol=1e-5, rtol=0)
    torch.testing.assert_close(heads[10], saved.head_to_camera[35], atol=1e-5, rtol=0)
    assert len(seen["torso"]) == 78


def test_recorded_lips_do_not_leak_through_the_action_units(
    speech: Path, tmp_path: Path, rasterizer: Rasterizer
) -> None:
    apart: list[float] = []

    class Curious(Puppet):
        def animate(self, condition: Condition) -> tuple[Layer, ...]:
            apart.append(float(condition.expression[5]))
            return super().animate(condition)

    saved = small()
    saved.expression[:, 5] = torch.arange(60).float()
    object.__setattr__(saved, "avatar", Curious())
    said(saved, speech, tmp_path / "out.mp4", rasterizer)
    assert set(apart) == {29.0}


def test_memory_does_not_grow_with_the_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two minutes of sound that exist nowhere; at no time is more than a little of it held."""
    import talksplat.speech.hearing as hearing_module
    from talksplat.speech.encoders import MelEncoder
    from talksplat.speech.hearing import Hearing

    alive, most = 0, 0

    class Chunk(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def endless(path: Path) -> Iterator[np.ndarray]:
        nonlocal alive, most
        for _ in range(120):
            chunk = (0.1 * np.ones(RATE, np.float32)).view(Chunk)
            alive += 1
            most = max(most, alive)
            yield chunk

    monkeypatch.setattr(hearing_module, "stream_audio", endless)
    monkeypatch.setattr(hearing_module, "_expected_frames", lambda audio: 0)
    hearing = Hearing.of(tmp_path / "none.wav", MelEncoder(), QUIET)
    assert hearing.frames == 3_000
    frames = itertools.islice(hearing.windows(None), 200)
    assert sum(1 for _ in frames) == 200
    assert most < 20


def test_provenance_travels_in_video_and_contact_sheet(speech: Path, tmp_path: Path, rasterizer: Rasterizer) -> None:
    result = said(small(), speech, tmp_path / "out.mp4", rasterizer)
    with av.open(result.video) as container:
        tags = dict(container.metadata)
    assert "Synthetic media" in tags["comment"]
    assert "a puppet cannot object" in tags["comment"]
    record = json.loads(tags["description"])
    assert record["synthetic"] is True
    assert record["provenance"]["source_sha256"] == "ab" * 32
    assert record["provenance"]["consent"] == "a puppet cannot object"
    assert result.preview == str(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as sheet:
        assert "a puppet cannot object" in sheet.info["Comment"]
        assert sheet.width == 6 * 224


def test_no_contact_sheet_when_none_is_wanted(speech: Path, tmp_path: Path, rasterizer: Rasterizer) -> None:
    result = said(small(), speech, tmp_path / "out.mp4", rasterizer, SpeakConfig(preview=False))
    assert result.preview is None
    assert not (tmp_path / "out.png").exists()


def test_the_same_command_gives_the_same_pictures(speech: Path, tmp_path: Path, rasterizer: Rasterizer) -> None:
    for name in ("one.mp4", "two.mp4"):
        said(small(), speech, tmp_path / name, rasterizer)
    assert np.array_equal(pictures(tmp_path / "one.mp4"), pictures(tmp_path / "two.mp4"))


def test_figures_add_up(speech: Path, tmp_path: Path, rasterizer: Rasterizer) -> None:
    result = said(small(), speech, tmp_path / "out.mp4", rasterizer)
    assert 0 < result.draw_ms <= result.draw_ms_p95
    assert 0 < result.encode_ms <= result.encode_ms_p95
    assert result.frames_per_second == pytest.approx(result.frames / result.wall_seconds, rel=0.01)


def broken_sound(path: Path) -> None:
    sound = tone(1)
    sound[5000] = np.inf
    soundfile.write(path, sound, RATE, subtype="FLOAT")


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (lambda path: None, MissingInput, "expected a file, found nothing"),
        (lambda path: path.write_text("not a sound"), UnreadableMedia, "neither a sound nor a video"),
        (lambda path: soundfile.write(path, np.zeros(0), RATE), UnsuitableSpeech, "is empty"),
        (broken_sound, UnsuitableSpeech, "NaN or infinity"),
    ],
    ids=["missing", "not a sound", "empty", "infinite"],
)
def test_unsuitable_sound_is_refused_and_nothing_is_left(
    write, error, message: str, tmp_path: Path, rasterizer: Rasterizer
) -> None:
    audio = tmp_path / "sound.wav"
    write(audio)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=message):
        said(small(), audio, tmp_path / "out.mp4", rasterizer)
    assert sorted(tmp_path.iterdir()) == before


def test_outputs_that_cannot_be_are_refused(speech: Path, tmp_path: Path, rasterizer: Rasterizer) -> None:
    with pytest.raises(InputError, match=r"ends in \.mp4"):
        said(small(), speech, tmp_path / "out.avi", rasterizer)
    video = tmp_path / "out.mp4"
    said(small(), speech, video, rasterizer)
    with pytest.raises(InputError, match="is the sound itself"):
        said(small(), video, video, rasterizer)
    with pytest.raises(AvatarError, match="not a whole avatar file"):
        speak(speech, speech, tmp_path / "other.mp4", SpeakConfig(), rasterizer, QUIET)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_video_leaves_nothing_and_keeps_what_was_there(
    failure: type[BaseException], speech: Path, tmp_path: Path, rasterizer: Rasterizer
) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"the video of yesterday")
    drawn = itertools.count()

    def failing(gaussians: Gaussians, camera: Camera) -> Rendered:
        if next(drawn) > 60:
            raise failure
        return rasterizer(gaussians, camera)

    with pytest.raises(failure):
        said(small(), speech, out, failing)
    assert out.read_bytes() == b"the video of yesterday"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "tone.wav"]


class Listener(Puppet):
    """A puppet whose face listens to speech only."""

    def attention(self, condition: Condition) -> tuple[Layer, ...]:
        face = self._layers(0.0)[1]
        harmonics = torch.zeros_like(face.gaussians.harmonics)
        harmonics[:, :, 1:] = -0.5 / SH_CONSTANT
        return (face.replace(name="attention", gaussians=face.gaussians.replace(harmonics=harmonics)),)


def test_layers_and_attention_are_written_as_pictures(speech: Path, tmp_path: Path, rasterizer: Rasterizer) -> None:
    saved = dataclasses.replace(small(), avatar=Listener())
    result = said(saved, speech, tmp_path / "x.mp4", rasterizer, SpeakConfig(layers=tmp_path / "layers"))
    names = {path.name for path in (tmp_path / "layers").iterdir()}
    frames = range(0, result.frames, 5)
    layers = [f"{layer}{part}" for layer in ("mouth", "face", "torso") for part in ("", "-alpha")] + ["attention"]
    assert names == {f"{frame:06d}-{layer}.png" for frame in frames for layer in layers}
    alpha = np.asarray(Image.open(tmp_path / "layers" / "000000-face-alpha.png"))
    assert alpha[32, 32].min() > 200
    assert alpha[0, 0].max() == 0
    attention = np.asarray(Image.open(tmp_path / "layers" / "000000-attention.png"))
    assert attention.max() == 255
    assert attention[..., 1:].max() == 0


def test_over_a_recording_head_and_torso_are_of_one_instant(
    speech: Path, tmp_path: Path, rasterizer: Rasterizer
) -> None:
    portrait = draw_portrait(tmp_path / "portrait", frames=60, size=64)
    train = usable_frames(portrait)[0]
    saved = dataclasses.replace(
        small(),
        provenance=portrait.info.provenance,
        head_to_camera=portrait.tracks.head_to_camera[train],
        expression=torch.zeros(len(train), len(UNITS)),
    )
    said(saved, speech, tmp_path / "own.mp4", rasterizer)
    said(saved, speech, tmp_path / "out.mp4", rasterizer, SpeakConfig(recorded=portrait.folder))
    behind = portrait.behind_head(train[0]).numpy() * 255
    own, out = (pictures(tmp_path / name)[0].astype(float) for name in ("own.mp4", "out.mp4"))
    below = (slice(56, 64), slice(2, 62))  # where the drawing has its shoulders and the puppet has none
    assert np.abs(out[below] - behind[below]).mean() < 8 < np.abs(own[below] - behind[below]).mean()


def test_a_recording_of_another_video_is_refused(speech: Path, tmp_path: Path, rasterizer: Rasterizer) -> None:
    portrait = draw_portrait(tmp_path / "portrait", frames=60, size=64)
    with pytest.raises(InputError, match=r"was made from puppet\.mp4"):
        said(small(), speech, tmp_path / "out.mp4", rasterizer, SpeakConfig(recorded=portrait.folder))
    assert not (tmp_path / "out.mp4").exists()
