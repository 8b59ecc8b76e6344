"""From the colours of a video to sRGB: which matrix, range, primaries and transfer, and the way down from HDR.

Tagged pictures are taken as tagged. Pictures without a matrix tag are taken as players take them: BT.709 when
they are at least 1280 wide or more than 576 high, BT.601 below. Without a range tag the range is limited, save
for the ``yuvj`` formats. SDR code values of BT.601 and BT.709 are used as sRGB code values, as screens use them.

PQ, HLG and wide primaries go through linear light (ITU-R BT.2100, tables 4 and 5): display light in units of
reference white (203 nits, ITU-R BT.2408), BT.709 primaries, highlights compressed, sRGB transfer.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from jaxtyping import Float, Float32, UInt8, UInt16

UNSPECIFIED = 2
"""FFmpeg's code of a matrix, transfer or primaries that the file does not tell."""
REFERENCE_WHITE = 203.0
"""Nits of diffuse white in HDR (ITU-R BT.2408, 2.1); it becomes the SDR white, before compression."""
HLG_PEAK = 1000.0
"""Nits of the nominal HLG display, whose system gamma is 1.2 (ITU-R BT.2100, table 5)."""
KNEE = 0.8
"""Share of the SDR range that is reproduced without compression."""

TO_BT709 = {
    int(ColorPrimaries.BT2020): np.array(
        [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]]
    ),
    int(ColorPrimaries.SMPTE432): np.array(
        [[1.224940, -0.224940, 0.0], [-0.042057, 1.042057, 0.0], [-0.019638, -0.078636, 1.098274]]
    ),
}
"""Linear RGB of other primaries (rows) to BT.709: BT.2020 (ITU-R BT.2407) and Display P3; others count as BT.709."""

LUMINANCE_BT2020 = np.array([0.2627, 0.6780, 0.0593])


def source_matrix(frame: VideoFrame) -> int | None:
    """The swscale code of the matrix of an untagged picture by its size; None where the picture tells it."""
    if frame.colorspace != UNSPECIFIED or not _is_yuv(frame):
        return None
    large = frame.width >= 1280 or frame.height > 576
    return int(Colorspace.ITU709 if large else Colorspace.ITU601)


def source_range(frame: VideoFrame) -> int | None:
    """The range of an untagged picture (limited, save for ``yuvj``); None where the picture tells it."""
    if frame.color_range != ColorRange.UNSPECIFIED or not _is_yuv(frame):
        return None
    return int(ColorRange.JPEG if frame.format.name.startswith("yuvj") else ColorRange.MPEG)


def is_hdr(frame: VideoFrame) -> bool:
    """Whether the picture's transfer is PQ or HLG."""
    return frame.color_trc in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)


def needs_conversion(frame: VideoFrame) -> bool:
    """Whether code values cannot be used as sRGB: another transfer, or wide primaries."""
    return is_hdr(frame) or int(frame.color_primaries) in TO_BT709


def as_srgb(picture: UInt16[np.ndarray, "H W 3"], transfer: int, primaries: int) -> UInt8[np.ndarray, "H W 3"]:
    """Full-range 16-bit R'G'B' code values of ``transfer`` and ``primaries`` (FFmpeg's codes) as sRGB.

    The same as :func:`srgb_of` within one level; the curves are looked up, the rest is float32.
    """
    light = _light_table(int(transfer)).take(picture)
    if transfer == ColorTrc.ARIB_STD_B67:
        light *= _hlg_gain(light * np.float32(REFERENCE_WHITE / HLG_PEAK))
    if int(primaries) in TO_BT709:
        light = light @ TO_BT709[int(primaries)].T.astype(np.float32)
    light = np.maximum(light, 0.0, out=light)
    shown = compress_highlights(light) if _is_hdr_code(transfer) else np.minimum(light, 1.0, out=light)
    return _code_table().take((shown * 65535 + 0.5).astype(np.uint16))


def srgb_of(code: Float[np.ndarray, "*batch 3"], transfer: int, primaries: int) -> Float[np.ndarray, "*batch 3"]:
    """The whole formula: code values in [0, 1] to sRGB in [0, 1], in float64."""
    if transfer == ColorTrc.SMPTE2084:
        light = pq_to_nits(code) / REFERENCE_WHITE
    elif transfer == ColorTrc.ARIB_STD_B67:
        light = hlg_to_nits(code) / REFERENCE_WHITE
    else:
        light = srgb_to_linear(code)
    if int(primaries) in TO_BT709:
        light = light @ TO_BT709[int(primaries)].T
    light = np.maximum(light, 0.0)
    return linear_to_srgb(compress_highlights(light) if _is_hdr_code(transfer) else np.minimum(light, 1.0))


def pq_to_nits(code: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Display light of PQ code values (SMPTE ST 2084; ITU-R BT.2100, table 4), nits."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = np.power(np.maximum(code, 0.0), 1 / m2)
    return 10_000.0 * np.power(np.maximum(root - c1, 0.0) / (c2 - c3 * root), 1 / m1)


def hlg_to_nits(code: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Light of HLG code values on the nominal display (ITU-R BT.2100, table 5), nits."""
    scene = hlg_to_scene(code)
    return HLG_PEAK * scene * _hlg_gain(scene)


def hlg_to_scene(code: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Scene light of HLG code values, 0 to 1 (inverse OETF, ITU-R BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((np.minimum(code, 1.0) - c) / a) + b) / 12)


def compress_highlights(light: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Light up to :data:`KNEE` unchanged, brighter light bent smoothly towards 1; hues are kept."""
    # Two pairwise maxima are ten times faster than one maximum along an axis of three.
    peak = np.maximum(np.maximum(light[..., 0], light[..., 1]), light[..., 2])
    peak = np.maximum(peak, KNEE)
    over = peak - KNEE
    bent = KNEE + (1 - KNEE) * over / (over + (1 - KNEE))
    return light * (bent / peak)[..., None]


def linear_to_srgb(light: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """The sRGB transfer (IEC 61966-2-1)."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


def srgb_to_linear(code: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Inverse of :func:`linear_to_srgb`."""
    return np.where(code <= 0.04045, code / 12.92, ((np.maximum(code, 0.04045) + 0.055) / 1.055) ** 2.4)


def _hlg_gain(scene: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 1"]:
    """The system gamma of 1.2: what scene light is multiplied by, by its luminance."""
    return np.maximum(scene @ LUMINANCE_BT2020.astype(scene.dtype), 1e-9)[..., None] ** 0.2


@lru_cache(maxsize=4)
def _light_table(transfer: int) -> Float32[np.ndarray, "65536"]:
    """Light of every 16-bit code, in units of reference white; of HLG before its system gamma."""
    code = np.linspace(0.0, 1.0, 65536)
    if transfer == ColorTrc.SMPTE2084:
        return (pq_to_nits(code) / REFERENCE_WHITE).astype(np.float32)
    if transfer == ColorTrc.ARIB_STD_B67:
        return (hlg_to_scene(code) * (HLG_PEAK / REFERENCE_WHITE)).astype(np.float32)
    return srgb_to_linear(code).astype(np.float32)


@lru_cache(maxsize=1)
def _code_table() -> UInt8[np.ndarray, "65536"]:
    """sRGB code of every 16-bit light value."""
    return np.round(255.0 * linear_to_srgb(np.linspace(0.0, 1.0, 65536))).astype(np.uint8)


def _is_hdr_code(transfer: int) -> bool:
    return transfer in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)


def _is_yuv(frame: VideoFrame) -> bool:
    return not frame.format.is_rgb and frame.format.name != "pal8"
