"""A portrait drawn in a function: an ellipse of a head whose mouth opens with one channel of the speech features."""

from pathlib import Path

import numpy as np
import simplejpeg
import soundfile
import torch
from PIL import Image
from safetensors.torch import save_file

from talksplat.frame import Label
from talksplat.model.articulation import LIPS
from talksplat.model.patches import FACE_OVAL
from talksplat.portrait import FORMAT, Portrait, PortraitInfo, Provenance, Tracks

CHANNELS = 6


def draw_portrait(folder: Path, frames: int = 60, size: int = 64, seed: int = 7) -> Portrait:
    """Write a whole portrait folder with exact poses, masks and landmarks."""
    chance = np.random.default_rng(seed)
    focal = 140.0 * size / 64
    times = np.arange(frames) / 25
    opening = np.clip(np.sin(times * 9) + 0.3, 0, 1)
    shift = 0.01 * np.sin(times * 2)
    (folder / "frames").mkdir(parents=True)
    (folder / "masks").mkdir()
    landmarks = np.zeros((frames, 478, 3), np.float32)
    poses = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    rows, columns = np.mgrid[0:size, 0:size] + 0.5
    background = np.stack([rows / size * 120 + 60, columns / size * 90 + 80, rows * 0 + 140], -1).astype(np.uint8)
    for n in range(frames):
        poses[n, :3, 3] = (shift[n], 0, 0.7)
        x, y = size / 2 + shift[n] / 0.7 * focal, size * 0.45
        image, labels = background.copy(), np.zeros((size, size), np.uint8)
        regions = (
            (Label.TORSO, rows > size * 0.85 - 0.1 * np.abs(columns - size / 2), (40, 60, 110)),
            (
                Label.NECK,
                (np.abs(columns - size / 2) < size * 0.1) & (rows > size * 0.6) & (rows < size * 0.86),
                (190, 150, 120),
            ),
            (Label.HAIR, ((columns - x) / 0.29) ** 2 + ((rows - y + 3) / 0.36) ** 2 < size**2, (60, 40, 30)),
            (Label.FACE, ((columns - x) / 0.24) ** 2 + ((rows - y - 1) / 0.31) ** 2 < size**2, (215, 170, 140)),
            (
                Label.LIPS,
                ((columns - x) / 0.1) ** 2 + ((rows - y - size * 0.17) / (0.03 + 0.05 * opening[n])) ** 2 < size**2,
                (170, 70, 70),
            ),
            (
                Label.MOUTH,
                ((columns - x) / 0.08) ** 2 + ((rows - y - size * 0.17) / (1e-6 + 0.05 * opening[n])) ** 2 < size**2,
                (50, 20, 20),
            ),
        )
        for label, where, color in regions:
            labels[where] = label
            image[where] = color
        angles = np.linspace(0, 2 * np.pi, len(FACE_OVAL), endpoint=False)
        landmarks[n, :, :2] = (x, y)
        landmarks[n, 33, :2], landmarks[n, 263, :2] = (
            (x - size * 0.1, y - size * 0.08),
            (x + size * 0.1, y - size * 0.08),
        )
        landmarks[n, list(FACE_OVAL), 0] = x + size * 0.24 * np.sin(angles)
        landmarks[n, list(FACE_OVAL), 1] = y - size * 0.31 * np.cos(angles)
        turn = np.linspace(0, 2 * np.pi, len(LIPS), endpoint=False)
        landmarks[n, list(LIPS), 0] = x + size * 0.1 * np.cos(turn)
        landmarks[n, list(LIPS), 1] = y + size * 0.17 + size * (0.03 + 0.05 * opening[n]) * np.sin(turn)
        (folder / "frames" / f"{n:06d}.jpg").write_bytes(
            simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=95)
        )
        Image.fromarray(labels).save(folder / "masks" / f"{n:06d}.png")
    Image.fromarray(background).save(folder / "background.png")
    sound = 0.2 * np.repeat(opening, 640) * np.sin(np.arange(frames * 640) * 0.2)
    soundfile.write(folder / "audio.wav", sound.astype(np.float32), 16_000, subtype="PCM_16")
    features = chance.normal(size=(2 * frames, CHANNELS)).astype(np.float32) * 0.1
    features[:, 0] = np.repeat(opening - opening.mean(), 2) / opening.std()
    (folder / "speech").mkdir()
    save_file({"features": torch.from_numpy(features)}, folder / "speech" / "embedding.safetensors")
    tracks = Tracks(
        head_to_camera=torch.from_numpy(poses),
        landmarks=torch.from_numpy(landmarks),
        blendshapes=torch.zeros(frames, 52),
        action_units=torch.zeros(frames, 7),
        eye_opening=torch.ones(frames),
        mouth=torch.from_numpy(np.stack([opening * 0.3, np.full(frames, 0.8), opening * 0.3 + 0.2], 1)).float(),
        reprojection=torch.zeros(frames),
        usable=torch.ones(frames, dtype=torch.bool),
    )
    tracks.save(folder / "tracks.safetensors")
    PortraitInfo(
        format=FORMAT,
        provenance=Provenance("a drawing", "drawn.mp4", "0" * 64, "2026-01-01T00:00:00Z", "tests"),
        frames=frames,
        size=size,
        intrinsics=[[focal, 0.0, size / 2], [0.0, focal, size * 0.45], [0.0, 0.0, 1.0]],
        reference_pose=np.median(poses, 0).tolist(),
        head_scale=1.0,
    ).save(folder)
    return Portrait(folder)
