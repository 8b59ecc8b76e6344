"""From a portrait folder to training examples: index -> Frame, the split, and the order of draws."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float

from talksplat.clock import FRAME_RATE, SAMPLES_PER_FRAME
from talksplat.errors import PortraitError
from talksplat.frame import MOUTH_LABELS, Condition, Frame
from talksplat.model.articulation import person_articulation
from talksplat.model.conditioning import SpeechChannels
from talksplat.portrait import Portrait
from talksplat.speech.articulator import Articulator, extended_by, fit_articulator
from talksplat.speech.encoders import find_encoder
from talksplat.speech.prior import ArticulationPrior, shipped_prior
from talksplat.speech.silence import rest_features, silence_gate
from talksplat.speech.windows import WINDOW_STEPS, WINDOWS, windows_of

SHORTEST_TEST = 2 * FRAME_RATE
"""Frames of the shortest test part: two seconds, unless that is more than a third of the clip."""


def split_frames(count: int) -> tuple[range, range]:
    """Frames to train on and to test on: the last 1/11, at least two seconds, at most a third, are test."""
    test = min(max(-(-count // 11), SHORTEST_TEST), count // 3)
    return range(count - test), range(count - test, count)


def usable_frames(portrait: Portrait) -> tuple[list[int], list[int]]:
    """Frames to train on and to test on that could be tracked."""
    train, test = split_frames(len(portrait))
    usable = portrait.tracks.usable
    return [n for n in train if usable[n]], [n for n in test if usable[n]]


REST_EVERY = 10
"""Every so many steps of a deformed stage show the rest state."""
CLOSED_EVERY = 4
"""Every so many steps of a deformed stage show closed lips.

On the synthetic speaker (256 pixels, 24 s, 3,000 steps, speech features `embedding`) the lips then shut within a frame
of 49 of 49 p, b and m, and of 10 of 14 of a voice never heard (benchmarks/closures.py); without, of 47 and 9.
"""
EYES_EVERY = 5
"""Every so many steps of a deformed stage show the eyes as open or as closed as they are seldom seen.

Closed eyes are a few frames in a hundred: drawn by chance they never taught any avatar of real footage to blink.
"""
EYE_LEVELS = 5
"""Openings of the eyes, evenly spaced over the clip's range, that are shown equally often."""


class PortraitDataset:
    """A portrait with one encoder's speech features; frames are decoded when asked for."""

    def __init__(
        self,
        portrait: Portrait,
        encoder: str,
        articulator: Articulator | None = None,
        prior: ArticulationPrior | None = None,
    ) -> None:
        """Open the features of ``encoder``.

        One that articulates takes ``articulator``, or adapts ``prior`` to the person, or where none is given the
        shipped one.

        Raises:
            PortraitError: the encoder was not run, or fewer than ten usable frames are left.
        """
        self.portrait = portrait
        self.encoder = encoder
        speech = find_encoder(encoder)
        self.heard = portrait.speech(speech.stored)
        """Standardised features of the encoder alone."""
        self.train_frames, self.test_frames = usable_frames(portrait)
        if len(self.train_frames) < 10:
            raise PortraitError(
                f"portrait `{portrait.folder}`: {len(self.train_frames)} usable training frames; expected at least 10",
                hint="look at its quality.png, and prepare a clip in which the face is seen",
            )
        self.features, self.articulator = self.heard, articulator
        if speech.articulates:
            self._articulate(prior)
        tracks = portrait.tracks
        self.expression = torch.cat([tracks.action_units, tracks.eye_opening[:, None]], 1)
        opening = tracks.mouth[self.train_frames, 0]
        limit = opening.quantile(0.1)
        self.closed_frames = [n for n, value in zip(self.train_frames, opening, strict=True) if value <= limit]
        """Training frames with the most closed mouth."""
        self.closed_mouth = float(opening[opening <= limit].median())
        """Their median inner-lip opening, in distances of the outer eye corners."""
        self.eye_levels = _levels(self.train_frames, tracks.eye_opening[self.train_frames], EYE_LEVELS)
        """Training frames by how far the eyes are open."""
        self.blink_frame = self.train_frames[int(tracks.eye_opening[self.train_frames].argmin())]
        """The training frame whose eyes are closed most."""
        end = self.train_frames[-1] + 1
        gate = silence_gate(portrait.audio()[: end * SAMPLES_PER_FRAME])
        self.rest_speech = rest_features(self.features[: 2 * end], tracks.mouth[:end, 0], torch.as_tensor(gate))
        """Standardised features of the person's own rest state, from training frames alone."""
        if self.articulator is not None:
            shut = self._articulation(self.articulator.prior)[self.closed_frames].mean(0)
            self.rest_speech[-len(shut) :] = shut

    def _articulate(self, prior: ArticulationPrior | None) -> None:
        """Add the channels of articulation to the features: what is told, or on frames to train on what was seen."""
        heard = self.heard.numpy()
        if self.articulator is not None:
            self.features = torch.from_numpy(self.articulator.extended(heard))
            return
        prior = prior or shipped_prior()
        seen, train = self._articulation(prior).numpy(), np.array(self.train_frames)
        self.articulator = fit_articulator(prior, heard, seen, train)
        shown = self.articulator.channels_of(heard, np.arange(len(seen)))
        shown[train] = seen[train]
        self.features = torch.from_numpy(extended_by(heard, shown))

    def _articulation(self, prior: ArticulationPrior) -> Float[torch.Tensor, "T measures"]:
        """What the person's lips really did, as ``prior`` measures it, in deviations on the training frames."""
        components = torch.from_numpy(prior.components)
        return person_articulation(self.portrait.tracks, components, torch.tensor(self.train_frames))

    @property
    def channels(self) -> SpeechChannels:
        """Width of the speech features."""
        total = self.features.shape[1]
        return SpeechChannels(total, total - self.heard.shape[1])

    @property
    def rest_windows(self) -> Float[torch.Tensor, "8 channels 16"]:
        """The windows of a frame in the midst of the rest state."""
        return self.rest_speech[None, :, None].expand(WINDOWS, -1, WINDOW_STEPS)

    @cached_property
    def mouth_pixels(self) -> list[int]:
        """Pixels of the inner mouth, teeth included, in every training frame."""
        with ThreadPoolExecutor() as pool:
            return list(
                pool.map(lambda n: int(np.isin(self.portrait.labels(n), MOUTH_LABELS).sum()), self.train_frames)
            )

    def condition(self, index: int) -> Condition:
        """What drove frame ``index``."""
        return Condition(
            speech=windows_of(self.features, index),
            expression=self.expression[index],
            head_pose=self.portrait.tracks.head_to_camera[index],
        )

    def frame(self, index: int, *, resting: bool = False) -> Frame:
        """Everything known of frame ``index``; ``resting`` puts the rest state's speech in place of its own."""
        condition = self.condition(index)
        if resting:
            condition = condition.replace(speech=self.rest_windows)
        return Frame(
            index=index,
            image=torch.from_numpy(self.portrait.image(index)).float().div_(255),
            labels=torch.from_numpy(self.portrait.labels(index).copy()),
            landmarks=self.portrait.tracks.landmarks[index, :, :2],
            camera=self.portrait.camera(index),
            condition=condition,
        )


def seeded(seed: int, *place: str | int) -> torch.Generator:
    """A generator for one place in a run. Chance is a function of the place, so resuming needs no saved state."""
    digest = hashlib.sha256(repr((seed, *place)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


@dataclass(frozen=True)
class Drawn:
    """One training example to be: a frame, with its own speech or with the rest state's."""

    index: int
    resting: bool


def _levels(frames: list[int], values: Float[torch.Tensor, " n"], count: int) -> list[list[int]]:
    """Frames by value: the range cut into ``count`` even parts, less those that hold none."""
    low, high = values.amin(), values.amax()
    place = ((values - low) / (high - low).clamp_min(1e-9) * count).long().clamp(max=count - 1).tolist()
    parts = [[frame for frame, found in zip(frames, place, strict=True) if found == part] for part in range(count)]
    return [part for part in parts if part]


Eligible = Callable[[int], Bool[torch.Tensor, " frames"] | None]
"""Which of the training frames a step may draw; None for all of them."""


def draws(
    dataset: PortraitDataset,
    seed: int,
    stage: str,
    first: int,
    stop: int,
    *,
    resting: bool = False,
    eligible: Eligible | None = None,
) -> Iterator[Drawn]:
    """The example of each step in ``first`` ... ``stop - 1``: shuffled passes over the training frames.

    With ``resting`` every :data:`REST_EVERY`-th step shows a closed mouth under the rest state's speech, so that the
    avatar knows what silence looks like, and every :data:`CLOSED_EVERY`-th one a closed mouth under its own, since
    the lips of p, b and m are shut for a frame or two only; every :data:`EYES_EVERY`-th one shows one of the eyes'
    openings, all of them equally often. A step that ``eligible`` restricts draws evenly among the frames allowed;
    where none is, it draws like any other.
    """
    frames, closed = dataset.train_frames, dataset.closed_frames
    order: list[int] = []
    for step in range(first, stop):
        count = len(frames)
        if not order or step % count == 0:
            order = torch.randperm(count, generator=seeded(seed, stage, step // count)).tolist()
        if resting and step % REST_EVERY == REST_EVERY - 1:
            pick = torch.randint(len(closed), (), generator=seeded(seed, stage, "rest", step))
            yield Drawn(closed[int(pick)], True)
            continue
        allowed = eligible(step) if eligible else None
        if allowed is not None and bool(allowed.any()):
            choices = torch.nonzero(allowed).squeeze(1)
            pick = torch.randint(len(choices), (), generator=seeded(seed, stage, "restricted", step))
            yield Drawn(frames[int(choices[pick])], False)
        elif resting and step % CLOSED_EVERY == 1:
            pick = torch.randint(len(closed), (), generator=seeded(seed, stage, "closed", step))
            yield Drawn(closed[int(pick)], False)
        elif resting and step % EYES_EVERY == 2:
            chance = torch.rand(2, generator=seeded(seed, stage, "eyes", step))
            level = dataset.eye_levels[int(chance[0] * len(dataset.eye_levels))]
            yield Drawn(level[int(chance[1] * len(level))], False)
        else:
            yield Drawn(frames[order[step % count]], False)


def prefetched(dataset: PortraitDataset, indices: Iterator[Drawn], ahead: int = 3) -> Iterator[Frame]:
    """Examples in order, decoded ahead on a thread of their own."""
    with ThreadPoolExecutor(1) as pool:
        waiting = []
        for drawn in indices:
            waiting.append(pool.submit(dataset.frame, drawn.index, resting=drawn.resting))
            if len(waiting) > ahead:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
