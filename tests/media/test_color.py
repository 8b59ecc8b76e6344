"""Colours of tagged, untagged and HDR videos, against formulas written out here."""

from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import pytest

from talksplat.media import color
from talksplat.media.video import probe, read_frames

PATCHES = np.array(
    [[128, 128, 128], [20, 20, 20], [230, 230, 230], [180, 60, 70], [60, 150, 80], [70, 80, 190], [224, 172, 150]]
)
EDGE = 16
BT601, BT709, BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)
LUMA = {"601": BT601, "709": BT709, "2020": BT2020}


def planes_of(code: np.ndarray, luma: tuple[float, float], bits: int, full: bool) -> np.ndarray:
    """Y, Cb, Cr code values of R'G'B' in [0, 1] (ITU-R BT.601, 709, 2020: the same formula, other weights)."""
    red, blue = luma
    y = code @ np.array([red, 1 - red - blue, blue])
    chroma = [(code[..., 2] - y) / (2 * (1 - blue)), (code[..., 0] - y) / (2 * (1 - red))]
    step = 1 << (bits - 8)
    top = (1 << bits) - 1
    if full:
        return np.stack([y * top, *(c * top + 128 * step for c in chroma)])
    return np.stack([y * 219 * step + 16 * step, *(c * 224 * step + 128 * step for c in chroma)])


def picture_of(code: np.ndarray, luma: tuple[float, float], bits: int = 8, full: bool = False) -> av.VideoFrame:
    """Flat patches side by side, as a 4:4:4 picture."""
    planes = np.round(planes_of(code, luma, bits, full))
    drawn = np.repeat(np.repeat(planes[:, None], EDGE, axis=1), EDGE, axis=2)
    drawn = drawn.astype(np.uint8 if bits == 8 else np.uint16)
    frame = av.VideoFrame(drawn.shape[2], EDGE, "yuv444p" if bits == 8 else f"yuv444p{bits}le")
    for plane, values in zip(frame.planes, drawn, strict=True):
        line = np.zeros((EDGE, plane.line_size), dtype=np.uint8)
        row = values.reshape(EDGE, -1).view(np.uint8)
        line[:, : row.shape[1]] = row
        plane.update(line.tobytes())
    return frame


def tagged(matrix: int = 2, full: int = 0, transfer: int = 2, primaries: int = 2) -> Callable:
    def tag(stream) -> None:
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, full
        stream.codec_context.color_trc, stream.codec_context.color_primaries = transfer, primaries

    return tag


def patches_read(path, count: int) -> np.ndarray:
    picture = next(read_frames(path)).astype(float)
    return picture.reshape(EDGE, count, EDGE, 3)[3:-3, :, 3:-3].mean(axis=(0, 2))


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("name", "matrix"), [("601", 5), ("601", 6), ("709", 1), ("2020", 9)])
def test_tagged_matrix_and_range(tmp_path, write_clip, name, matrix, full, bits):
    frame = picture_of(PATCHES / 255, LUMA[name], bits, full)
    tag = tagged(matrix, 2 if full else 1, 1, 1)
    path = write_clip(tmp_path / "clip.mkv", [(0, frame)], codec="ffv1", prepare=tag)
    assert np.abs(patches_read(path, len(PATCHES)) - PATCHES).max() <= 1.5


def test_small_untagged_pictures_are_bt601_limited(tmp_path, write_clip):
    path = write_clip(tmp_path / "clip.mkv", [(0, picture_of(PATCHES / 255, BT601))], codec="ffv1")
    assert np.abs(patches_read(path, len(PATCHES)) - PATCHES).max() <= 1.5


def test_large_untagged_pictures_are_bt709(tmp_path, write_clip):
    many = np.tile(PATCHES, (12, 1))
    path = write_clip(tmp_path / "clip.mkv", [(0, picture_of(many / 255, BT709))], codec="ffv1")
    assert probe(path).width >= 1280
    assert np.abs(patches_read(path, len(many)) - many).max() <= 1.5


def test_rgb_pictures_are_taken_as_they_are(tmp_path, write_clip):
    picture = np.repeat(np.repeat(PATCHES[None].astype(np.uint8), EDGE, axis=0), EDGE, axis=1)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="bgr0")
    path = write_clip(tmp_path / "clip.mkv", [(0, frame)], codec="ffv1")
    assert np.array_equal(next(read_frames(path)), picture)


def linear(code: np.ndarray) -> np.ndarray:
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def to_bt2020(light: np.ndarray) -> np.ndarray:
    """BT.709 to BT.2020 primaries, the matrix of ITU-R BT.2087."""
    return light @ np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]).T


def pq_code(nits: np.ndarray) -> np.ndarray:
    """Inverse EOTF of SMPTE ST 2084, with its decimal constants."""
    power = (nits / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg_code(nits: np.ndarray) -> np.ndarray:
    """Inverse of display light on a 1,000 nit screen: inverse OOTF, then the OETF of ITU-R BT.2100."""
    shown = nits / 1000
    luminance = (shown @ np.array([0.2627, 0.6780, 0.0593]))[..., None]
    scene = shown * luminance ** ((1 - 1.2) / 1.2)
    return np.where(
        scene <= 1 / 12,
        np.sqrt(3 * scene),
        0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073,
    )


@pytest.mark.parametrize(("transfer", "encode"), [(16, pq_code), (18, hlg_code)])
def test_hdr_comes_back_below_the_knee(tmp_path, write_clip, transfer, encode):
    """SDR colours put at 203 nits reference white and encoded as HDR are read as they were."""
    dim = PATCHES[np.max(linear(PATCHES / 255), axis=1) <= color.KNEE]
    assert len(dim) >= 5
    code = encode(to_bt2020(linear(dim / 255)) * 203)
    path = write_clip(
        tmp_path / "clip.mkv",
        [(0, picture_of(code, BT2020, bits=10))],
        codec="ffv1",
        prepare=tagged(9, 1, transfer, 9),
    )
    assert probe(path).hdr
    assert np.abs(patches_read(path, len(dim)) - dim).max() <= 3


def test_wide_sdr_primaries_come_back(tmp_path, write_clip):
    wide = (
        linear(PATCHES / 255)
        @ np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.088, 0.8956]]).T
    )
    code = np.where(wide <= 0.0031308, 12.92 * wide, 1.055 * wide ** (1 / 2.4) - 0.055)
    path = write_clip(
        tmp_path / "clip.mkv", [(0, picture_of(code, BT2020, 10))], codec="ffv1", prepare=tagged(9, 1, 14, 9)
    )
    assert not probe(path).hdr
    assert np.abs(patches_read(path, len(PATCHES)) - PATCHES).max() <= 3


def test_known_points_of_the_transfers():
    """ITU-R BT.2408, table 1: reference white is 58 % PQ and 75 % HLG."""
    assert color.pq_to_nits(np.array([0.58, 1.0])) == pytest.approx([203, 10_000], rel=0.01)
    assert color.hlg_to_nits(np.array([[0.75] * 3, [1.0] * 3]))[:, 0] == pytest.approx([203, 1000], rel=0.01)


@pytest.mark.parametrize(("transfer", "primaries"), [(16, 9), (18, 9), (16, 1), (14, 9), (13, 12)])
def test_fast_conversion_agrees_with_the_formula(transfer, primaries):
    codes = np.random.default_rng(0).integers(0, 65536, (64, 64, 3)).astype(np.uint16)
    fast = color.as_srgb(codes, transfer, primaries).astype(float)
    assert np.abs(fast - 255 * color.srgb_of(codes / 65535, transfer, primaries)).max() < 1


def test_highlights_bend_but_keep_order_and_hue():
    light = np.linspace(0, 20, 200)[:, None] * np.array([1.0, 0.8, 0.6])
    bent = color.compress_highlights(light)
    assert (np.diff(bent[:, 0]) > 0).all()
    assert bent.max() <= 1
    assert bent[1:, 1] / bent[1:, 0] == pytest.approx(0.8)
    assert np.array_equal(bent[light[:, 0] <= color.KNEE], light[light[:, 0] <= color.KNEE])


def test_exact_rate_of_one_picture(tmp_path, write_clip):
    path = write_clip(tmp_path / "clip.mkv", [(0, picture_of(PATCHES / 255, BT601))], codec="ffv1")
    assert probe(path).seconds == float(Fraction(1, 25))
