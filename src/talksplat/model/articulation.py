"""What the lips do, as numbers; and a warm start that teaches a speech net lips before pixels.

End to end, a speech net learns lips through thousands of noisy picture gradients and, from seconds of footage,
memorises its training frames. The lip shapes that go with each frame are known, so they can teach it directly, with
the noise and dropout that small data need. The readout is thrown away: what stays is a code that generalises.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from talksplat.camera import euler_of_rotations
from talksplat.landmarks import EYE_CORNERS, LIPS, RIGID
from talksplat.model.conditioning import SPEECH_CODE, SpeechNet
from talksplat.portrait import Tracks
from talksplat.speech.ridge import blocks
from talksplat.speech.windows import windows_of_frames

COMPONENTS = 8
"""Principal components of lip shape that the warm start teaches."""
STILL = 0.01
"""Radians: a head that turns by less is taken to turn by as much, since the rest is noise of its track."""
TURNING_PENALTY = 0.05
"""Of the regression of lips on the head's angles, by frame."""


def lip_shapes(landmarks: Float[Tensor, "T 478 2"]) -> Float[Tensor, "T 80"]:
    """Lip landmarks relative to the steady ones, with the eyes level, by the median distance of the eye corners."""
    center = landmarks[:, list(RIGID)].mean(1, keepdim=True)
    right, left = EYE_CORNERS
    across = landmarks[:, left] - landmarks[:, right]
    scale = across.norm(dim=1).median()
    direction = across / across.norm(dim=1, keepdim=True)
    cosine, sine = direction[:, 0], direction[:, 1]
    level = torch.stack([torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)], 1)
    return ((landmarks[:, list(LIPS)] - center) @ level.transpose(1, 2) / scale).reshape(len(landmarks), -1)


def articulation_targets(
    landmarks: Float[Tensor, "T 478 2"], mouth: Float[Tensor, "T 3"], train: Int[Tensor, " n"]
) -> Float[Tensor, "T 11"]:
    """Lip shape's principal components (by the first one's deviation) and standardised mouth measures."""
    shapes = lip_shapes(landmarks)
    centered = shapes - shapes[train].mean(0)
    _, _, axes = torch.linalg.svd(centered[train], full_matrices=False)
    components = centered @ axes[:COMPONENTS].T
    components = components / components[train, 0].std().clamp_min(1e-6)
    measures = (mouth - mouth[train].mean(0)) / mouth[train].std(0).clamp_min(1e-6)
    return torch.cat([components, measures], 1)


def person_articulation(
    tracks: Tracks, components: Float[Tensor, "K 80"], train: Int[Tensor, " n"]
) -> Float[Tensor, "T measures"]:
    """Mouth measures and the given components of lip shape, in the person's deviations on the frames ``train``.

    What turning the head does to the picture of the lips is taken out (ours): it is no articulation, and speech cannot
    tell it. An avatar draws it by turning, and should not learn it a second time from numbers that are missing when it
    says something new. What does not move is zero.
    """
    shapes = lip_shapes(tracks.landmarks[..., :2])
    raw = torch.cat([tracks.mouth, (shapes - shapes[train].mean(0)) @ components.T], 1)
    centered = raw - raw[train].mean(0)
    own = centered - _explained_by_turning(tracks.head_to_camera[:, :3, :3], centered, train)
    deviation = own[train].std(0)
    return own / torch.where(deviation > 1e-5, deviation, torch.inf)


def _explained_by_turning(
    rotations: Float[Tensor, "T 3 3"], values: Float[Tensor, "T K"], train: Int[Tensor, " n"]
) -> Float[Tensor, "T K"]:
    """Regression of ``values`` (of mean zero on the frames ``train``) on the head's three angles, where it holds.

    Zero for a channel of which turning explains nothing beyond doubt on blocks that it was not fitted on: in seconds of
    footage a head that turns seldom agrees with the lips by chance, and what speech tells would be taken out.
    """
    gained = []
    for fitted, held in blocks(train.numpy()):
        rest = values[train[held]] - _turned(rotations, values, train[fitted])[train[held]]
        gained.append((values[train[held]].square() - rest.square()).mean(0))
    if len(gained) < 2:
        return torch.zeros_like(values)
    gain = torch.stack(gained)
    holds = gain.mean(0) > gain.std(0) / math.sqrt(len(gain))
    return _turned(rotations, values, train) * holds


def _turned(
    rotations: Float[Tensor, "T 3 3"], values: Float[Tensor, "T K"], train: Int[Tensor, " n"]
) -> Float[Tensor, "T K"]:
    """Ridge regression of ``values`` on the head's angles, fitted on the frames ``train``."""
    angles = euler_of_rotations(rotations @ rotations[train[len(train) // 2]].T)
    center = values[train].mean(0)
    turned = (angles - angles[train].mean(0)) / angles[train].std(0).clamp_min(STILL)
    known = turned[train]
    doubt = TURNING_PENALTY * len(train) * torch.eye(3)
    return center + turned @ torch.linalg.solve(known.T @ known + doubt, known.T @ (values[train] - center))


def teach_articulation(
    net: SpeechNet,
    features: Float[Tensor, "steps channels"],
    targets: Float[Tensor, "T measures"],
    train: Int[Tensor, " n"],
    steps: int,
    generator: torch.Generator,
    rest: tuple[Float[Tensor, "8 channels 16"], Float[Tensor, " measures"]],
) -> dict[str, float]:
    """Train ``net`` to tell ``targets`` from speech on the frames ``train``; returns the last error (variance share).

    ``rest``: the windows of silence and what the lips do then, taught last and without touching what was learnt.
    Noise of 0.6 standard deviations on features and dropout of 0.3 on channels and code: with them the held-out
    lip opening of four clips of 8 to 71 s correlated better than ridge regression's, without them worse.
    """
    readout = nn.Linear(SPEECH_CODE, targets.shape[1])
    with torch.no_grad():
        readout.weight.normal_(0, SPEECH_CODE**-0.5, generator=generator)
        readout.bias.zero_()
    optimizer = torch.optim.AdamW([*net.parameters(), *readout.parameters()], lr=2e-3, weight_decay=0.05)
    error, drop = 1.0, 0.3
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 + math.cos(math.pi * step / steps))
        frames = train[torch.randint(len(train), (48,), generator=generator)]
        windows = windows_of_frames(features, frames)
        code = net(_disturbed(windows, drop, generator))
        kept = torch.rand(code.shape, generator=generator) > drop
        loss = F.mse_loss(readout(code * kept / (1 - drop)), targets[frames])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        error += 0.05 * (loss.item() - error)
    _teach_silence(net, readout, features, train, steps // 3, generator, rest)
    return {"articulation_error": error / float(targets[train].var(0).mean())}


def _disturbed(
    windows: Float[Tensor, "B 8 channels 16"], drop: float, generator: torch.Generator
) -> Float[Tensor, "B 8 channels 16"]:
    """Windows with noise and without some channels."""
    noisy = windows + 0.6 * torch.randn(windows.shape, generator=generator)
    channels = torch.rand(len(windows), 1, windows.shape[2], 1, generator=generator) > drop
    return noisy * channels / (1 - drop)


def _teach_silence(
    net: SpeechNet,
    readout: nn.Linear,
    features: Float[Tensor, "steps channels"],
    train: Int[Tensor, " n"],
    steps: int,
    generator: torch.Generator,
    rest: tuple[Float[Tensor, "8 channels 16"], Float[Tensor, " measures"]],
) -> None:
    """Give silence the code of its lips, and leave the codes of speech as they are.

    Regression from speech says little of silence: its code would lie amid those of half-open lips, and no decoder
    can tell them apart. Learnt beside speech it costs some of that: on a clip of 13 s the drawn lips correlated with
    the recorded ones by .72, with the lesson of silence afterwards by .78.
    """
    with torch.no_grad():
        known = torch.cat([net(windows_of_frames(features, part)) for part in train.split(256)])
    spread = known.var(0).mean()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 5e-4 * (1 + math.cos(math.pi * step / steps))
        chosen = torch.randint(len(train), (32,), generator=generator)
        silence = rest[0] + 0.2 * torch.randn(4, *rest[0].shape, generator=generator)
        codes = net(torch.cat([windows_of_frames(features, train[chosen]), silence]))
        kept = F.mse_loss(codes[:32], known[chosen]) / spread
        loss = kept + F.mse_loss(readout(codes[32:]), rest[1].expand(4, -1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
