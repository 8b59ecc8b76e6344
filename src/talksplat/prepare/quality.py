"""How good a portrait is: figures, warnings in plain words, and a picture to look at."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from talksplat.camera import euler_of_rotations, project
from talksplat.clock import FRAME_RATE
from talksplat.frame import Label
from talksplat.landmarks import EYE_CORNERS
from talksplat.portrait import Portrait
from talksplat.prepare.face import Detections
from talksplat.prepare.headpose import HeadPoses
from talksplat.prepare.synchrony import Synchrony
from talksplat.storage import replacing

COLORS = {
    Label.BACKGROUND: (0, 0, 0),
    Label.HAIR: (150, 80, 220),
    Label.FACE: (240, 190, 60),
    Label.NECK: (70, 190, 120),
    Label.TORSO: (60, 120, 230),
    Label.LIPS: (230, 50, 80),
    Label.MOUTH: (90, 10, 30),
    Label.TEETH: (255, 255, 255),
}
"""Colors of the classes on the contact sheet."""
QUIET = -35.0
"""LUFS under which speech is quiet."""
STILL = 3.0
"""Degrees of head turn under which a clip says little about the head's depth."""
SMALL = 80.0
"""Distance of the eye corners in a picture of 512 pixels under which detail is lost."""
MISFIT = 3.0
"""Pixels of reprojection error at 512 from which the poses are doubtful."""
FLICKER = 1.0
"""Percent of brightness from frame to frame from which the light flickers."""
FLICKER_RUNS = 12
"""Runs of six frames in which it is measured."""
SHOWN = 6
"""Frames on the contact sheet."""


def judge(folder: Path, size: int, faces: Detections, poses: HeadPoses, synchrony: Synchrony) -> dict[str, Any]:
    """Figures of the quality report of a portrait of ``size`` pixels, JSON-able."""
    import soundfile

    from talksplat.media.audio import loudness

    samples, _ = soundfile.read(folder / "audio.wav", dtype="float32")
    angles = np.degrees(euler_of_rotations(torch.from_numpy(poses.head_to_camera[:, :3, :3])).numpy())
    first, second = EYE_CORNERS
    eyes = np.linalg.norm(faces.landmarks[:, first, :2] - faces.landmarks[:, second, :2], axis=1)
    usable = poses.usable
    level = loudness(samples)
    figures: dict[str, Any] = {
        "seconds": len(usable) / FRAME_RATE,
        "frames_dropped": int((~usable).sum()),
        "dropped": [[int(frame), reason] for frame, reason in poses.unusable],
        "reprojection_px": round(float(np.median(poses.reprojection[usable])), 3) if usable.any() else None,
        "eye_distance_px": round(float(np.median(eyes)), 1),
        "pitch_degrees": _range(angles[usable, 0]),
        "yaw_degrees": _range(angles[usable, 1]),
        "roll_degrees": _range(angles[usable, 2]),
        "focal_px": round(float(poses.intrinsics[0, 0]), 1),
        "flicker_percent": _flicker(folder, len(usable)),
        "loudness_lufs": None if level is None else round(level, 1),
        **synchrony.figures(),
    }
    figures["synchrony"] = synchrony.line()
    figures["warnings"] = [*_warnings(figures, size), *(synchrony.warnings() if level is not None else [])]
    return figures


def report_lines(figures: dict[str, Any]) -> list[str]:
    """The quality report as lines of text: figures first, then warnings."""
    pitch, yaw = (" to ".join(f"{angle:+.0f}" for angle in figures[f"{name}_degrees"]) for name in ("pitch", "yaw"))
    level = figures["loudness_lufs"]
    lines = [
        f"{figures['seconds']:.1f} s, {figures['frames_dropped']} frames dropped{_reasons(figures['dropped'])}",
        f"head turns {yaw} degrees, nods {pitch}; eye corners {figures['eye_distance_px']:.0f} pixels apart",
        f"landmarks fit the rigid head within {figures['reprojection_px']} pixels; "
        f"light flickers by {figures['flicker_percent']} %; "
        + ("the sound is silent" if level is None else f"speech at {level} LUFS"),
        figures["synchrony"],
    ]
    return lines + [f"warning: {text}" for text in figures["warnings"]]


def _reasons(dropped: list[list[Any]]) -> str:
    counts = Counter(reason for _, reason in dropped)
    return " (" + ", ".join(f"{count} {reason}" for reason, count in counts.most_common()) + ")" if counts else ""


def _flicker(folder: Path, count: int) -> float:
    """How much the light changes from frame to frame: the median change of the picture's mean, percent of it."""
    import simplejpeg

    runs = np.linspace(0, max(count - 6, 0), FLICKER_RUNS).astype(int)
    changes = []
    for start in runs:
        pictures = (folder / "frames" / f"{index:06d}.jpg" for index in range(start, min(start + 6, count)))
        means = [simplejpeg.decode_jpeg(path.read_bytes(), colorspace="GRAY").mean() for path in pictures]
        changes.extend(np.abs(np.diff(means)) / max(float(np.mean(means)), 1.0))
    return round(100 * float(np.median(changes)), 2) if changes else 0.0


def _range(values: np.ndarray) -> list[float]:
    """2nd and 98th percentile."""
    if not len(values):
        return []
    return [round(float(value), 1) for value in np.percentile(values, (2, 98))]


def _warnings(figures: dict[str, Any], size: int) -> list[str]:
    """What the user should know before training, in plain words."""
    found = []
    frames = figures["seconds"] * FRAME_RATE
    if figures["frames_dropped"] > 0.05 * frames:
        share = 100 * figures["frames_dropped"] / frames
        found.append(f"{share:.0f} % of the frames cannot be used: the face is hidden, cut off or blurred in them")
    turn = figures["yaw_degrees"]
    if turn and turn[1] - turn[0] < STILL:
        found.append(
            f"the head turns by {turn[1] - turn[0]:.1f} degrees only: the avatar will look right from the front"
        )
    if figures["loudness_lufs"] is None:
        found.append("the sound is silent: lips cannot be learned from it")
    elif figures["loudness_lufs"] < QUIET:
        found.append(f"the speech is quiet ({figures['loudness_lufs']} LUFS): noise may drive the lips")
    if figures["flicker_percent"] > FLICKER:
        found.append(f"the light flickers by {figures['flicker_percent']} % a frame: the avatar cannot follow that")
    if figures["eye_distance_px"] < SMALL * size / 512:
        found.append(f"the face is small ({figures['eye_distance_px']} pixels between the eye corners): detail is lost")
    if figures["reprojection_px"] and figures["reprojection_px"] > MISFIT * figures["eye_distance_px"] / 120:
        found.append(f"the head poses fit badly ({figures['reprojection_px']} pixels): look at quality.png")
    return found


def write_sheet(portrait: Portrait, path: Path) -> None:
    """Write the contact sheet: frames, labels, landmarks and head axes, mouths enlarged, the background plate."""
    import cv2
    from PIL import Image

    frames = np.linspace(0, len(portrait) - 1, SHOWN).round().astype(int)
    rows = []
    for index in frames:
        picture = portrait.image(int(index))
        points = portrait.tracks.landmarks[int(index), :, :2].numpy()
        marked = _with_axes(picture.copy(), portrait, int(index))
        for x, y in points:
            cv2.circle(marked, (int(x), int(y)), 1, (80, 255, 120), -1)
        tiles = [picture, _painted(picture, portrait.labels(int(index))), marked, _mouth(picture, points)]
        rows.append(np.hstack([cv2.resize(tile, (256, 256), interpolation=cv2.INTER_AREA) for tile in tiles]))
    plate = cv2.resize(portrait.background(), (256, 256), interpolation=cv2.INTER_AREA)
    rows.append(np.hstack([plate, np.zeros((256, 768, 3), np.uint8)]))
    with replacing(path) as temporary:
        Image.fromarray(np.vstack(rows)).save(temporary)


def _painted(picture: UInt8[np.ndarray, "H W 3"], labels: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """The picture under the colors of its classes."""
    table = np.zeros((256, 3), np.float32)
    for label, color in COLORS.items():
        table[int(label)] = color
    return (0.5 * picture + 0.5 * table[labels]).astype(np.uint8)


def _with_axes(picture: UInt8[np.ndarray, "H W 3"], portrait: Portrait, index: int) -> UInt8[np.ndarray, "H W 3"]:
    """The head's axes drawn in: x red, y green, z blue (towards the viewer), four centimetres long."""
    import cv2

    tips = torch.tensor([[0.0, 0.0, -0.05], [0.04, 0.0, -0.05], [0.0, 0.04, -0.05], [0.0, 0.0, -0.09]])
    pixels, _ = project(portrait.camera(index), tips)
    corners = [(int(x), int(y)) for x, y in pixels.tolist()]
    for corner, color in zip(corners[1:], ((255, 60, 60), (60, 255, 60), (80, 120, 255)), strict=True):
        cv2.line(picture, corners[0], corner, color, max(1, portrait.size // 170))
    return picture


def _mouth(picture: UInt8[np.ndarray, "H W 3"], points: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """The mouth's surroundings."""
    x, y = points[[13, 14]].mean(0)
    half = max(4, int(0.9 * np.linalg.norm(points[78] - points[308])))
    size = len(picture)
    left, top = int(np.clip(x - half, 0, size - 2 * half)), int(np.clip(y - half, 0, size - 2 * half))
    return np.ascontiguousarray(picture[top : top + 2 * half, left : left + 2 * half])
