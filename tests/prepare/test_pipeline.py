"""The whole preparation on a real clip: what it leaves, what a second run redoes, what a killed run loses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from safetensors.numpy import load_file

from talksplat.clock import SAMPLES_PER_FRAME
from talksplat.errors import InputError, MissingInput, PortraitError, UnreadableMedia, UnsuitableClip, UnsuitableFace
from talksplat.frame import Label
from talksplat.portrait import Portrait
from talksplat.prepare.pipeline import PrepareConfig, prepare
from talksplat.progress import Reporter

SIZE, SECONDS = 256, 5.2
CONFIG = PrepareConfig(consent="a test clip", size=SIZE)
QUIET = Reporter(quiet=True)


@pytest.fixture(scope="module")
def video(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first seconds of a real clip, copied without encoding."""
    path = tmp_path_factory.mktemp("video") / "may.mp4"
    with av.open(str(clips / "may-13s.mp4")) as source, av.open(str(path), "w") as target:
        streams = {
            s.index: target.add_stream_from_template(s) for s in (source.streams.video[0], source.streams.audio[0])
        }
        for packet in source.demux(list(source.streams)):
            if packet.dts is None or packet.pts is None or packet.stream.index not in streams:
                continue
            if packet.pts * packet.time_base < SECONDS:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return path


@pytest.fixture(scope="module")
def portrait(video: Path, tmp_path_factory: pytest.TempPathFactory) -> Portrait:
    return prepare(video, tmp_path_factory.mktemp("out") / "may", CONFIG, QUIET)


@pytest.fixture
def copy(portrait: Portrait, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    folder = tmp_path / "may"
    shutil.copytree(portrait.folder, folder)
    return folder


def stamps(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def touched(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """Files that were written, made or deleted in between."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


@pytest.mark.clips
def test_everything_is_there_and_in_step(portrait: Portrait):
    frames = len(portrait)
    assert 128 <= frames <= 132
    assert len(portrait.audio()) == frames * SAMPLES_PER_FRAME
    assert portrait.speech("embedding").shape[0] == 2 * frames
    assert portrait.image(0).shape == (SIZE, SIZE, 3)
    assert portrait.background().shape == (SIZE, SIZE, 3)
    labels = portrait.labels(frames // 2)
    assert labels.shape == (SIZE, SIZE)
    for label in (Label.BACKGROUND, Label.HAIR, Label.FACE, Label.NECK, Label.TORSO, Label.LIPS):
        assert (labels == label).mean() > 0.002, label.name
    assert portrait.tracks.usable.float().mean() > 0.95
    assert portrait.info.provenance.consent == CONFIG.consent


@pytest.mark.clips
def test_the_quality_report_is_about_this_clip(portrait: Portrait):
    quality = portrait.info.quality
    assert quality["seconds"] == pytest.approx(SECONDS, abs=0.1)
    assert 60 < quality["eye_distance_px"] < 90  # half of what it is at 512
    assert quality["reprojection_px"] < 1.5
    assert -30 < quality["loudness_lufs"] < -10
    json.dumps(quality, allow_nan=False)
    assert (portrait.folder / "quality.png").stat().st_size > 10_000


@pytest.mark.clips
def test_features_are_standardized_and_their_moments_kept(portrait: Portrait):

    stored = load_file(portrait.folder / "speech" / "embedding.safetensors")
    np.testing.assert_allclose(stored["features"].mean(0), 0, atol=1e-3)
    assert stored["mean"].shape == stored["deviation"].shape == stored["features"].shape[1:]


@pytest.mark.clips
def test_a_second_run_redoes_nothing(copy: Path, video: Path):
    before = stamps(copy)
    prepare(video, copy, CONFIG, QUIET)
    changed = touched(before, stamps(copy))
    assert changed <= {".prepare/steps.json"}


@pytest.mark.clips
def test_another_encoder_only_adds_its_features(copy: Path, video: Path):
    before = stamps(copy)
    config = PrepareConfig(consent=CONFIG.consent, size=SIZE, speech=("embedding", "mel"))
    assert prepare(video, copy, config, QUIET).speech("mel").shape[1] == 80
    changed = touched(before, stamps(copy))
    assert changed == {".prepare/steps.json", "speech/mel.safetensors", "portrait.json", "quality.png"}


@pytest.mark.clips
def test_sound_and_picture_are_put_together(portrait: Portrait, copy: Path, video: Path):
    found = portrait.info.quality
    assert found["lips_late_frames"] == pytest.approx(-1.5, abs=0.8)  # so it was filmed
    assert found["sound_delayed_frames"] == pytest.approx(found["lips_late_frames"], abs=1e-3)
    before = stamps(copy)
    forced = PrepareConfig(consent=CONFIG.consent, size=SIZE, av_offset=found["sound_delayed_frames"] + 2)
    again = prepare(video, copy, forced, QUIET)
    changed = touched(before, stamps(copy)) - {".prepare/steps.json", "portrait.json", "quality.png"}
    assert changed == {".prepare/offset.json", "audio.wav", "speech/embedding.safetensors"}
    moved, two = again.audio(), 2 * SAMPLES_PER_FRAME
    assert np.abs(moved[two + 1000 : -1000] - portrait.audio()[1000 : -two - 1000]).max() < 0.02


@pytest.mark.clips
def test_new_words_of_consent_are_kept(copy: Path, video: Path):
    before = stamps(copy)
    again = prepare(video, copy, PrepareConfig(consent=" signed form ", size=SIZE), QUIET)
    assert again.info.provenance.consent == "signed form"
    assert touched(before, stamps(copy)) == {".prepare/steps.json", "portrait.json", "quality.png"}


@pytest.mark.clips
def test_what_was_deleted_comes_back_as_it_was(copy: Path, video: Path, portrait: Portrait):
    for name in ("masks/000007.png", "frames/000101.jpg", "audio.wav"):
        (copy / name).unlink()
    prepare(video, copy, CONFIG, QUIET)
    for name in ("masks/000007.png", "frames/000101.jpg", "audio.wav"):
        assert (copy / name).read_bytes() == (portrait.folder / name).read_bytes(), name


@pytest.mark.clips
def test_killed_in_the_middle_it_finishes_and_nothing_differs(video: Path, portrait: Portrait, tmp_path: Path):
    out, folder, suffix = tmp_path / "killed", "masks", "png"
    _run_and_kill(video, out, lambda: len(list((out / folder).glob("[0-9]*"))) >= 30)
    left = len(list((out / folder).glob("[0-9]*")))
    assert 30 <= left < len(portrait), "the run was over before it was killed"
    assert not (out / "portrait.json").exists()
    with pytest.raises(PortraitError, match="incomplete"):
        Portrait(out)
    # What a writer killed within a file leaves.
    (out / folder / f".000099.{os.getpid()}.tmp.{suffix}").write_bytes(b"half")
    kept = (out / folder / f"000000.{suffix}").stat().st_mtime_ns
    prepare(video, out, CONFIG, QUIET)
    assert (out / folder / f"000000.{suffix}").stat().st_mtime_ns == kept
    assert not list(out.rglob("*.tmp*"))
    found, expected = products(out), products(portrait.folder)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []


def products(folder: Path) -> dict[str, bytes]:
    """Contents of a portrait's files, less the one that holds the time, and less the hidden working files."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".prepare" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name != "portrait.json"}


def _run_and_kill(video: Path, out: Path, ready) -> None:
    program = (
        "import sys; from pathlib import Path; from talksplat.prepare.pipeline import PrepareConfig, prepare;"
        "from talksplat.progress import Reporter;"
        f"prepare(Path(sys.argv[1]), Path(sys.argv[2]), PrepareConfig(consent='a test clip', size={SIZE}),"
        "Reporter(quiet=True))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    running = subprocess.Popen([sys.executable, "-c", program, str(video), str(out)], env=environment)
    deadline = time.monotonic() + 120
    while not ready() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()


@pytest.mark.clips
def test_the_portrait_of_another_video_is_left_alone(copy: Path, video: Path, tmp_path: Path):
    other = tmp_path / "other.mp4"
    other.write_bytes(video.read_bytes() + b"\0")
    before = stamps(copy)
    with pytest.raises(PortraitError, match="another video"):
        prepare(other, copy, CONFIG, QUIET)
    assert stamps(copy) == before


def drawn_video(path: Path, seconds: float, *, sound: bool = True) -> Path:
    """A moving pattern without a face."""
    rows, columns = np.mgrid[:96, :128]
    with av.open(str(path), "w") as container:
        picture_stream = container.add_stream("libx264", rate=25)
        picture_stream.width, picture_stream.height, picture_stream.pix_fmt = 128, 96, "yuv420p"
        sound_stream = container.add_stream("aac", rate=16_000) if sound else None
        for n in range(round(seconds * 25)):
            gray = (127 + 100 * np.sin(rows / 9 + n / 5) * np.cos(columns / 7)).astype(np.uint8)
            container.mux(picture_stream.encode(av.VideoFrame.from_ndarray(np.dstack([gray] * 3), "rgb24")))
            if sound_stream is not None:
                tone = (0.1 * np.sin(np.arange(640) * 0.2)).astype(np.float32)[None]
                frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 16_000, 640 * n
                container.mux(sound_stream.encode(frame))
        container.mux(picture_stream.encode())
        if sound_stream is not None:
            container.mux(sound_stream.encode())
    return path


@pytest.mark.parametrize("consent", ["", "  \n"])
def test_consent_is_required(consent: str, tmp_path: Path):
    video = drawn_video(tmp_path / "a.mp4", 0.4)
    with pytest.raises(UnsuitableClip, match="consent") as refusal:
        prepare(video, tmp_path / "out", PrepareConfig(consent=consent), QUIET)
    assert "--consent" in refusal.value.hint
    assert not (tmp_path / "out").exists()


def test_bad_input_is_refused_with_nothing_written(tmp_path: Path):
    (tmp_path / "text.mp4").write_text("not a video")
    cases: list[tuple[Path, type[InputError], str]] = [
        (tmp_path / "nobody.mp4", MissingInput, "nobody.mp4"),
        (tmp_path / "text.mp4", UnreadableMedia, "text.mp4"),
        (drawn_video(tmp_path / "silent.mp4", 0.4, sound=False), UnreadableMedia, "no sound"),
        (drawn_video(tmp_path / "short.mp4", 3), UnsuitableClip, "3.0 s"),
        (drawn_video(tmp_path / "pattern.mp4", 5.2), UnsuitableFace, "face"),
    ]
    for video, kind, said in cases:
        with pytest.raises(kind, match=said) as refusal:
            prepare(video, tmp_path / "out", CONFIG, QUIET)
        assert refusal.value.hint
        assert not (tmp_path / "out").exists(), video


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    video = drawn_video(tmp_path / "a.mp4", 5.2)
    out = tmp_path / "holiday"
    out.mkdir()
    (out / "beach.jpg").write_bytes(b"a picture")
    with pytest.raises(PortraitError, match="is no portrait"):
        prepare(video, out, CONFIG, QUIET)
    assert [path.name for path in out.iterdir()] == ["beach.jpg"]
    with pytest.raises(PortraitError, match="is a file"):
        prepare(video, out / "beach.jpg", CONFIG, QUIET)
    assert (out / "beach.jpg").read_bytes() == b"a picture"


def test_a_damaged_record_is_reported(tmp_path: Path):
    video = drawn_video(tmp_path / "a.mp4", 5.2)
    record = tmp_path / "out" / ".prepare" / "steps.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"video"')
    with pytest.raises(PortraitError, match="damaged"):
        prepare(video, tmp_path / "out", CONFIG, QUIET)
