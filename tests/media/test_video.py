"""Videos of every kind as pictures at 25 frames a second."""

from fractions import Fraction

import av
import numpy as np
import pytest

from talksplat.errors import MissingInput, UnreadableMedia
from talksplat.media.video import frame_count, picture_timeline, probe, read_frames

MILLISECONDS = Fraction(1, 1000)


def nearest(stamps, time_base, frames):
    times = [(stamp - stamps[0]) * time_base for stamp in stamps]
    return [min(range(len(times)), key=lambda i: (abs(times[i] - Fraction(k, 25)), i)) for k in range(frames)]


@pytest.mark.parametrize(
    ("rate", "count", "frames"),
    [
        (Fraction(25), 50, 50),
        (Fraction(24), 48, 50),
        (Fraction(30_000, 1001), 60, 50),
        (Fraction(30), 60, 50),
        (Fraction(60), 120, 50),
        (Fraction(25, 2), 25, 50),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_constant_rates_become_25(tmp_path, write_clip, numbered, read_number, rate, count, frames, suffix):
    path = write_clip(tmp_path / f"clip.{suffix}", numbered(range(count)), time_base=1 / rate)
    shown = [read_number(picture) for picture in read_frames(path)]
    assert len(shown) == frame_count(path) == frames
    timeline = picture_timeline(path)
    assert shown == nearest(timeline.stamps.tolist(), timeline.time_base, frames)
    exact = nearest(list(range(count)), 1 / rate, frames)
    if suffix == "mp4":
        assert shown == exact
    else:  # Matroska rounds stamps to milliseconds, which may tip a tick that lies halfway between two pictures.
        assert max(abs(a - b) for a, b in zip(shown, exact, strict=True)) <= 1


VARIABLE = [0, 40, 70, 75, 170, 171, 400, 440, 480, 900, 905, 960]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("start", [0, 5000])
def test_variable_rate_shows_the_nearest_picture(tmp_path, write_clip, numbered, read_number, suffix, start):
    stamps = [start + stamp for stamp in VARIABLE]
    path = write_clip(tmp_path / f"clip.{suffix}", numbered(stamps), time_base=MILLISECONDS)
    shown = [read_number(picture) for picture in read_frames(path)]
    assert len(shown) == frame_count(path)
    assert shown == nearest(stamps, MILLISECONDS, len(shown))
    assert probe(path).variable_rate


def test_reading_can_start_anywhere(tmp_path, write_clip, numbered, read_number):
    options = {"g": "12", "bf": "3"}
    path = write_clip(tmp_path / "clip.mp4", numbered(range(72)), time_base=Fraction(1, 30), options=options)
    whole = list(read_frames(path))
    for start in (1, 11, 12, 13, 29, 59):
        rest = list(read_frames(path, start=start))
        assert len(rest) == len(whole) - start
        assert all(np.array_equal(a, b) for a, b in zip(rest, whole[start:], strict=True))
    assert list(read_frames(path, start=len(whole))) == []


def test_raw_stream_without_stamps(tmp_path, write_clip, numbered, read_number):
    path = write_clip(tmp_path / "clip.h264", numbered(range(20)))
    assert [read_number(picture) for picture in read_frames(path)] == list(range(20))
    assert [read_number(picture) for picture in read_frames(path, start=7)] == list(range(7, 20))


CORNERS = {(0, 0): "top left", (0, 1): "top right", (1, 0): "bottom left", (1, 1): "bottom right"}


@pytest.mark.parametrize(
    ("degrees", "hflip", "vflip", "corner", "size"),
    [
        (0, False, False, "top left", (64, 48)),
        (90, False, False, "bottom left", (48, 64)),
        (180, False, False, "bottom right", (64, 48)),
        (-90, False, False, "top right", (48, 64)),
        (0, True, False, "top right", (64, 48)),
        (0, False, True, "bottom left", (64, 48)),
        (90, True, False, "bottom right", (48, 64)),
    ],
)
def test_rotation_and_mirror_flags_are_applied(tmp_path, write_clip, degrees, hflip, vflip, corner, size):
    """Counter-clockwise by the degrees given, then mirrored; the white corner starts at the top left."""
    picture = np.zeros((48, 64, 3), dtype=np.uint8)
    picture[:16, :16] = 255
    frames = [(i, av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")) for i in range(3)]
    path = write_clip(
        tmp_path / "clip.mp4", frames, prepare=lambda s: s.set_display_rotation(degrees, hflip=hflip, vflip=vflip)
    )
    upright = next(read_frames(path))
    assert upright.shape == (size[1], size[0], 3)
    assert upright.flags["C_CONTIGUOUS"]
    assert (probe(path).width, probe(path).height) == size
    halves = upright[..., 0].reshape(2, size[1] // 2, 2, size[0] // 2).mean(axis=(1, 3))
    assert CORNERS[tuple(int(i) for i in np.unravel_index(halves.argmax(), (2, 2)))] == corner


@pytest.mark.parametrize(
    ("aspect", "expected"), [(Fraction(16, 11), (93, 48)), (Fraction(3, 4), (64, 64)), (Fraction(1), (64, 48))]
)
def test_pixels_become_square(tmp_path, write_clip, aspect, expected):
    picture = np.zeros((48, 64, 3), dtype=np.uint8)
    frames = [(i, av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")) for i in range(3)]

    def oblong(stream):
        stream.codec_context.sample_aspect_ratio = aspect

    path = write_clip(tmp_path / "clip.mkv", frames, prepare=oblong)
    assert next(read_frames(path)).shape == (expected[1], expected[0], 3)
    assert (probe(path).width, probe(path).height) == expected


def test_odd_widths_are_contiguous_and_whole(tmp_path, write_clip):
    picture = np.zeros((30, 54, 3), dtype=np.uint8)
    picture[:, :27] = 200
    frames = [(0, av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv444p"))]
    path = write_clip(tmp_path / "clip.mkv", frames, codec="ffv1")
    read = next(read_frames(path))
    assert read.flags["C_CONTIGUOUS"]
    assert np.abs(read.astype(int) - picture).max() <= 2


def test_pictures_are_not_shared(tmp_path, write_clip, numbered):
    """A consumer may draw on what it gets, also where a picture is shown twice."""
    path = write_clip(tmp_path / "clip.mp4", numbered(range(5)), time_base=Fraction(1, 10))
    first, second, *_ = read_frames(path)
    before = second.copy()
    first[:] = 0
    assert np.array_equal(second, before)


def test_damage_in_the_middle_keeps_time(tmp_path, write_clip, numbered, read_number):
    path = write_clip(tmp_path / "clip.mkv", numbered(range(50)), codec="ffv1")
    content = bytearray(path.read_bytes())
    middle = len(content) * 2 // 5
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(bytes(content))
    shown = np.array([read_number(picture) for picture in read_frames(path)])
    assert len(shown) == frame_count(path) == 50
    wrong = np.flatnonzero(shown != np.arange(50))
    assert 0 < len(wrong) <= 5
    assert wrong[-1] - wrong[0] < 5


def test_a_file_cut_off_gives_what_is_there(tmp_path, write_clip, numbered, read_number):
    path = write_clip(tmp_path / "clip.mkv", numbered(range(50)), options={"g": "5", "bf": "0"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    shown = [read_number(picture) for picture in read_frames(path)]
    assert len(shown) == frame_count(path)
    assert 10 < len(shown) < 50
    assert shown[:-2] == list(range(len(shown) - 2))


def test_no_such_file(tmp_path):
    with pytest.raises(MissingInput, match="found nothing"):
        next(read_frames(tmp_path / "nothing.mp4"))
    with pytest.raises(MissingInput, match="found a folder"):
        probe(tmp_path)


def test_not_a_video(tmp_path):
    path = tmp_path / "letter.mp4"
    path.write_text("Dear Anna, " * 100)
    for reader in (probe, frame_count, lambda p: next(read_frames(p))):
        with pytest.raises(UnreadableMedia, match="not a video that can be read"):
            reader(path)


def test_sound_is_not_a_video(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "speech.wav", np.zeros(16_000), 16_000)
    with pytest.raises(UnreadableMedia, match="holds no video: found audio"):
        probe(tmp_path / "speech.wav")


def test_pictures_that_cannot_be_decoded(tmp_path, write_clip, numbered):
    path = write_clip(tmp_path / "clip.mp4", numbered(range(10)))
    content = bytearray(path.read_bytes())
    at = content.index(b"mdat") + 4
    size = int.from_bytes(content[at - 8 : at - 4], "big") - 8
    content[at : at + size] = bytes(size)
    path.write_bytes(bytes(content))
    with pytest.raises(UnreadableMedia, match="no picture in it can be decoded"):
        next(read_frames(path))
    with pytest.raises(UnreadableMedia, match="no picture in it can be decoded"):
        probe(path)


@pytest.mark.clips
def test_real_clips_have_the_lengths_known_of_them(clips):
    assert frame_count(clips / "may-13s.mp4") == 331
    info = probe(clips / "studio-man-20s-vertical.mp4")
    assert (info.width, info.height, info.frames, info.codec) == (1080, 1920, 502, "hevc")
    assert info.has_sound
