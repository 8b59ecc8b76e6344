"""A portrait drawn in a function: an ellipse of a head whose mouth opens with one channel of the speech features."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
import soundfile
import torch
from PIL import Image
from safetensors.torch import save_file

from talksplat.frame import Label
from talksplat.landmarks import LIPS
from talksplat.model.patches import FACE_OVAL
from talksplat.portrait import FORMAT, Portrait, PortraitInfo, Provenance, Tracks

CHANNELS = 128


@dataclass(frozen=True)
class Drawing:
    """What is drawn in each frame."""

    size: int
    opening: np.ndarray
    """Of the mouth, 0 to 1."""
    shift: np.ndarray
    """Of the head to the right, metres."""

    @property
    def focal(self) -> float:
        return 140.0 * self.size / 64

    def center(self, n: int) -> tuple[float, float]:
        """Of the head in the picture, pixels."""
        return self.size / 2 + self.shift[n] / 0.7 * self.focal, self.size * 0.45

    def background(self) -> np.ndarray:
        rows, columns = np.mgrid[0 : self.size, 0 : self.size] + 0.5
        shades = [rows / self.size * 120 + 60, columns / self.size * 90 + 80, rows * 0 + 140]
        return np.stack(shades, -1).astype(np.uint8)

    def frame(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture and label map."""
        size, (x, y), wide = self.size, self.center(n), 0.05 * self.opening[n]
        rows, columns = np.mgrid[0:size, 0:size] + 0.5
        aside = np.abs(columns - size / 2)

        def ellipse(down: float, width: float, height: float) -> np.ndarray:
            return ((columns - x) / width) ** 2 + ((rows - y - down) / height) ** 2 < size**2

        regions = (
            (Label.TORSO, rows > size * 0.85 - 0.1 * aside, (40, 60, 110)),
            (Label.NECK, (aside < size * 0.1) & (rows > size * 0.6) & (rows < size * 0.86), (190, 150, 120)),
            (Label.HAIR, ellipse(-3, 0.29, 0.36), (60, 40, 30)),
            (Label.FACE, ellipse(1, 0.24, 0.31), (215, 170, 140)),
            (Label.LIPS, ellipse(size * 0.17, 0.1, 0.03 + wide), (170, 70, 70)),
            (Label.MOUTH, ellipse(size * 0.17, 0.08, 1e-6 + wide), (50, 20, 20)),
        )
        image, labels = self.background(), np.zeros((size, size), np.uint8)
        for label, where, color in regions:
            labels[where] = label
            image[where] = color
        return image, labels

    def landmarks(self, n: int) -> np.ndarray:
        """The face's oval, the lips and the outer eye corners; all others in the middle."""
        size, (x, y) = self.size, self.center(n)
        points = np.zeros((478, 3), np.float32)
        points[:, :2] = (x, y)
        points[33, :2], points[263, :2] = (x - size * 0.1, y - size * 0.08), (x + size * 0.1, y - size * 0.08)
        angles = np.linspace(0, 2 * np.pi, len(FACE_OVAL), endpoint=False)
        points[list(FACE_OVAL), 0] = x + size * 0.24 * np.sin(angles)
        points[list(FACE_OVAL), 1] = y - size * 0.31 * np.cos(angles)
        turn = np.linspace(0, 2 * np.pi, len(LIPS), endpoint=False)
        points[list(LIPS), 0] = x + size * 0.1 * np.cos(turn)
        points[list(LIPS), 1] = y + size * 0.17 + size * (0.03 + 0.05 * self.opening[n]) * np.sin(turn)
        return points


def draw_portrait(folder: Path, frames: int = 60, size: int = 64, seed: int = 7) -> Portrait:
    """Write a whole portrait folder with exact poses, masks and landmarks."""
    times = np.arange(frames) / 25
    drawing = Drawing(size, np.clip(np.sin(times * 9) + 0.3, 0, 1), 0.01 * np.sin(times * 2))
    for name in ("frames", "masks", "speech"):
        (folder / name).mkdir(parents=True)
    for n in range(frames):
        image, labels = drawing.frame(n)
        (folder / "frames" / f"{n:06d}.jpg").write_bytes(simplejpeg.encode_jpeg(image, quality=95))
        Image.fromarray(labels).save(folder / "masks" / f"{n:06d}.png")
    Image.fromarray(drawing.background()).save(folder / "background.png")
    write_speech(folder, drawing.opening, np.random.default_rng(seed))
    poses = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    poses[:, 0, 3], poses[:, 2, 3] = drawing.shift, 0.7
    tracks_of(drawing, poses).save(folder / "tracks.safetensors")
    PortraitInfo(
        format=FORMAT,
        provenance=Provenance("a drawing", "drawn.mp4", "0" * 64, "2026-01-01T00:00:00Z", "tests"),
        frames=frames,
        size=size,
        intrinsics=[[drawing.focal, 0.0, size / 2], [0.0, drawing.focal, size * 0.45], [0.0, 0.0, 1.0]],
        reference_pose=np.median(poses, 0).tolist(),
        head_scale=1.0,
    ).save(folder)
    return Portrait(folder)


def write_speech(folder: Path, opening: np.ndarray, chance: np.random.Generator) -> None:
    """A tone as loud as the mouth is open, and features whose first channel is the opening."""
    frames = len(opening)
    sound = 0.2 * np.repeat(opening, 640) * np.sin(np.arange(frames * 640) * 0.2)
    soundfile.write(folder / "audio.wav", sound.astype(np.float32), 16_000, subtype="PCM_16")
    features = chance.normal(size=(2 * frames, CHANNELS)).astype(np.float32) * 0.1
    features[:, 0] = np.repeat(opening - opening.mean(), 2) / opening.std()
    save_file({"features": torch.from_numpy(features)}, folder / "speech" / "embedding.safetensors")


def tracks_of(drawing: Drawing, poses: np.ndarray) -> Tracks:
    """The exact measurements."""
    frames = len(drawing.opening)
    mouth = np.stack([drawing.opening * 0.3, np.full(frames, 0.8), drawing.opening * 0.3 + 0.2], 1)
    return Tracks(
        head_to_camera=torch.from_numpy(poses),
        landmarks=torch.from_numpy(np.stack([drawing.landmarks(n) for n in range(frames)])),
        blendshapes=torch.zeros(frames, 52),
        action_units=torch.zeros(frames, 7),
        eye_opening=torch.ones(frames),
        mouth=torch.from_numpy(mouth).float(),
        reprojection=torch.zeros(frames),
        usable=torch.ones(frames, dtype=torch.bool),
        face_shape=face_shape(),
    )


def face_shape() -> torch.Tensor:
    """A dome over the drawn face, metres in head coordinates, with the lips where they are drawn."""
    turn = torch.arange(468) * 2.4
    out = ((torch.arange(468) + 0.5) / 468).sqrt()
    across, down = out * turn.cos() * 0.07, out * turn.sin() * 0.09
    shape = torch.stack([across, down, -0.06 * (1 - out**2).sqrt()], 1)
    pixel = 64 / 140 * 0.7  # one picture's width at the head, metres
    around = torch.linspace(0, 2 * torch.pi, len(LIPS))
    lips = [0.1 * pixel * around.cos(), (0.17 + 0.03 * around.sin()) * pixel, torch.full_like(around, -0.04)]
    shape[list(LIPS)] = torch.stack(lips, 1)
    return shape
