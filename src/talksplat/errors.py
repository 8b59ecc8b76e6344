"""The exceptions a user can cause. Every leaf says what was found, what was expected and what to do next.

TalksplatError
├── InputError            the video, sound or option a user gave
│   ├── MissingInput      no such file
│   ├── UnreadableMedia   not a video, no sound, damaged
│   ├── UnsuitableFace    no face, two faces, too small
│   ├── UnsuitableClip    too short, consent missing
│   └── UnsuitableSpeech  empty, silent file, NaN
├── ArtefactError         a portrait, run, avatar or report that does not hold together
│   ├── PortraitError     incomplete or of another format
│   ├── AvatarError       truncated or of another format
│   ├── RunError          a training run that cannot be resumed
│   └── PriorError        a pool of speech and lips, or a prior made of it, that cannot be read
├── MachineError          what this computer lacks
│   ├── MissingWeights    a pretrained file
│   ├── MissingExtra      a Python package of an extra
│   ├── MissingNative     the compiled part
│   └── DiskFull          no space left
└── NumericError          numbers that no computation can go on with
    ├── InvalidGaussians  NaN or infinite Gaussians handed to a rasterizer
    └── TrainingDiverged  the loss is no longer a number
"""

from __future__ import annotations


class TalksplatError(Exception):
    """Base of all errors that a user can cause or mend.

    ``message`` says what was found and what was expected; ``hint`` says what to do next.
    The command line prints both and exits with ``exit_code``.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}"


class InputError(TalksplatError):
    """Something the user gave is not what the command needs."""


class MissingInput(InputError):
    """A file or folder that does not exist."""


class UnreadableMedia(InputError):
    """A file that is not a video or sound, or has no such stream."""


class UnsuitableFace(InputError):
    """No face, several faces, or a face too small."""


class UnsuitableClip(InputError):
    """A clip too short or without a statement of consent."""


class UnsuitableSpeech(InputError):
    """Driving speech that is empty or not finite."""


class ArtefactError(TalksplatError):
    """A portrait, run, avatar or report that does not hold together."""


class PortraitError(ArtefactError):
    """A portrait folder that is incomplete, damaged or of another format."""


class AvatarError(ArtefactError):
    """An avatar file that is truncated, damaged or of another format."""


class RunError(ArtefactError):
    """A run folder that cannot be resumed."""


class PriorError(ArtefactError):
    """A pool of speech and lips, or a prior made of it, that is incomplete, damaged or of another format."""


class MachineError(TalksplatError):
    """Something this computer lacks."""


class MissingWeights(MachineError):
    """A pretrained file that is neither shipped nor found."""


class MissingExtra(MachineError):
    """A Python package that belongs to an extra."""


class MissingNative(MachineError):
    """The compiled part is missing or cannot be loaded."""


class DiskFull(MachineError):
    """No space left where an artefact was to be written."""


class NumericError(TalksplatError):
    """Numbers that no computation can go on with."""


class InvalidGaussians(NumericError):
    """NaN or infinite Gaussians handed to a rasterizer."""


class TrainingDiverged(NumericError):
    """The loss of a training step is not a finite number."""
