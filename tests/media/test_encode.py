"""Written videos: sync, length, colours, tags, and what is left when writing fails."""

import errno
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from talksplat.errors import DiskFull, MissingInput, UnsuitableSpeech
from talksplat.media import encode
from talksplat.media.audio import Waveform, read_audio, read_soundtrack
from talksplat.media.encode import VideoWriter
from talksplat.media.video import frame_count, probe, read_frames

GRAY = np.full((48, 64, 3), 90, dtype=np.uint8)


def write(path: Path, frames: int, **options) -> Path:
    with VideoWriter(path, (64, 48), **options) as video:
        for _ in range(frames):
            video.write(GRAY)
    return path


def stream_seconds(path: Path) -> dict[str, float]:
    with av.open(str(path)) as container:
        return {s.type: float(s.duration * s.time_base) for s in container.streams}


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_flash_and_click_stay_together(tmp_path, rate):
    """Ten flashes of one picture and clicks at the same instants: no error after writing and reading."""
    flashes = list(range(7, 100, 10))
    samples = np.zeros(rate * 4, dtype=np.float32)
    for flash in flashes:
        at = flash * rate // 25
        samples[at : at + rate // 200] = 0.9
    path = tmp_path / "sync.mp4"
    with VideoWriter(path, (64, 48), sound=Waveform(samples=samples, rate=rate)) as video:
        for frame in range(100):
            video.write(np.full((48, 64, 3), 250 if frame in flashes else 10, dtype=np.uint8))
    seen = [i for i, picture in enumerate(read_frames(path)) if picture.mean() > 128]
    assert seen == flashes
    heard = np.flatnonzero(np.abs(read_soundtrack(path, 100).samples) > 0.45)
    starts = heard[np.r_[True, np.diff(heard) > 1000]]
    assert starts / 16_000 == pytest.approx(np.array(flashes) / 25, abs=0.001)


@pytest.mark.parametrize("seconds", [0.3, 2.0, 3.7])
@pytest.mark.parametrize("channels", [1, 2])
def test_picture_and_sound_are_equally_long(tmp_path, seconds, channels):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (round(48_000 * seconds), channels))
    soundfile.write(tmp_path / "noise.wav", noise, 48_000, subtype="PCM_24")
    path = write(tmp_path / "clip.mp4", 50, sound=tmp_path / "noise.wav")
    assert frame_count(path) == 50
    lengths = stream_seconds(path)
    assert lengths["video"] == pytest.approx(2.0)
    assert lengths["audio"] == pytest.approx(2.0, abs=0.04)


def test_sound_is_the_original_one(tmp_path):
    """Stereo stays stereo and keeps its rate; the content survives AAC."""
    time = np.arange(44_100 * 2) / 44_100
    left, right = 0.4 * np.sin(2 * np.pi * 500 * time), 0.4 * np.sin(2 * np.pi * 1200 * time)
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], axis=1), 44_100)
    path = write(tmp_path / "clip.mp4", 50, sound=tmp_path / "two.wav")
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.layout.name, stream.codec_context.name) == (44_100, "stereo", "aac")
    original, kept = read_audio(tmp_path / "two.wav").samples, read_soundtrack(path, 50).samples
    assert np.sqrt(np.mean((kept - original)[2000:-2000] ** 2)) < 0.01


def test_video_without_sound_has_no_sound_stream(tmp_path):
    path = write(tmp_path / "clip.mp4", 5)
    assert set(stream_seconds(path)) == {"video"}
    assert not probe(path).has_sound


def test_colors_are_bt709_and_come_back(tmp_path):
    patches = np.array([[128, 128, 128], [200, 50, 60], [60, 160, 80], [70, 80, 200], [224, 172, 150], [10, 10, 10]])
    picture = np.repeat(np.repeat(patches[None].astype(np.uint8), 32, axis=0), 32, axis=1)
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, (32 * len(patches), 32), crf=1) as video:
        for _ in range(3):
            video.write(picture)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == (1, 1, 1, 1)
        assert (frame.format.name, container.streams.video[0].codec_context.name) == ("yuv420p", "h264")
        luma = frame.to_ndarray()[:32].reshape(32, len(patches), 32)[8:-8, :, 8:-8].mean(axis=(0, 2))
    expected = 16 + 219 / 255 * patches @ np.array([0.2126, 0.7152, 0.0722])
    assert luma == pytest.approx(expected, abs=1.0)
    back = next(read_frames(path)).reshape(32, len(patches), 32, 3)[8:-8, :, 8:-8].mean(axis=(0, 2))
    assert np.abs(back - patches).max() <= 2


@pytest.mark.parametrize("extra", [{}, {"talksplat_consent": "own recording"}])
def test_tags_can_be_read_back(tmp_path, extra):
    tags = {"title": "Anna", "comment": "synthetic speech; consent: Einverständnis, schriftlich", **extra}
    path = write(tmp_path / "clip.mp4", 3, metadata=tags)
    with av.open(str(path)) as container:
        assert tags.items() <= container.metadata.items()


def test_index_comes_before_the_pictures(tmp_path):
    content = write(tmp_path / "clip.mp4", 10).read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_odd_sizes_get_a_copy_of_the_last_line(tmp_path):
    picture = np.full((47, 63, 3), 200, dtype=np.uint8)
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, (63, 47)) as video:
        video.write(picture)
    back = next(read_frames(path))
    assert back.shape == (48, 64, 3)
    assert back.min() > 190


def test_long_sound_is_read_as_it_is_needed(tmp_path):
    """The writer holds no more of an hour of sound than of a minute."""
    import tracemalloc

    peaks = []
    for seconds in (30, 180):
        soundfile.write(tmp_path / f"{seconds}.wav", np.zeros(seconds * 16_000, dtype=np.int16), 16_000)
        tracemalloc.start()
        write(tmp_path / f"{seconds}.mp4", 25, sound=tmp_path / f"{seconds}.wav")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_wrong_size_is_refused_and_nothing_is_left(tmp_path):
    with (
        pytest.raises(ValueError, match=r"expected a picture of shape \(48, 64, 3\), got \(64, 48, 3\)"),
        VideoWriter(tmp_path / "clip.mp4", (64, 48)) as video,
    ):
        video.write(GRAY.reshape(64, 48, 3))
    assert list(tmp_path.iterdir()) == []


def test_failure_in_the_middle_keeps_the_old_file(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"yesterday's film")

    def interrupted() -> None:
        with VideoWriter(path, (64, 48)) as video:
            video.write(GRAY)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"yesterday's film"
    assert list(tmp_path.iterdir()) == [path]


def test_no_pictures_no_file(tmp_path):
    with pytest.raises(ValueError, match="no picture was written"), VideoWriter(tmp_path / "clip.mp4", (64, 48)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_missing_and_bad_sounds_leave_nothing(tmp_path):
    with pytest.raises(MissingInput), VideoWriter(tmp_path / "clip.mp4", (64, 48), sound=tmp_path / "none.wav"):
        pass
    samples = np.zeros(16_000, dtype=np.float32)
    samples[100] = np.nan
    soundfile.write(tmp_path / "bad.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(UnsuitableSpeech):
        write(tmp_path / "clip.mp4", 5, sound=tmp_path / "bad.wav")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.wav"]


class FullDisk:
    """A container whose disk is full after some packets."""

    def __init__(self, container, packets: int) -> None:
        self._container, self._left = container, packets

    def __getattr__(self, name):
        return getattr(self._container, name)

    def mux(self, packets) -> None:
        self._left -= len(packets)
        if self._left < 0:
            raise av.error.OSError(errno.ENOSPC, "No space left on device")
        self._container.mux(packets)


def test_full_disk(tmp_path, monkeypatch):
    opened = av.open
    monkeypatch.setattr(encode.av, "open", lambda *args, **kw: FullDisk(opened(*args, **kw), 20))
    with pytest.raises(DiskFull, match=r"no space left while writing .*clip\.mp4"):
        write(tmp_path / "clip.mp4", 200)
    assert list(tmp_path.iterdir()) == []


def test_rate_of_the_file_is_exact(tmp_path):
    with av.open(str(write(tmp_path / "clip.mp4", 30))) as container:
        assert container.streams.video[0].average_rate == 25
        stamps = [p.pts * p.time_base for p in container.demux(video=0) if p.pts is not None]
    assert sorted(stamps) == [Fraction(i, 25) for i in range(30)]
