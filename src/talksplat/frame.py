"""One instant of a film: what drives it, and what it looked like. A batch is a Frame with a leading axis."""

from enum import IntEnum

from jaxtyping import Float, UInt8
from torch import Tensor

from talksplat.camera import Camera
from talksplat.tensorclass import TensorClass


class Label(IntEnum):
    """Classes of the portrait's label map, one per pixel."""

    BACKGROUND = 0
    HAIR = 1
    FACE = 2
    NECK = 3
    TORSO = 4
    LIPS = 5
    MOUTH = 6
    TEETH = 7


HEAD_LABELS = (Label.HAIR, Label.FACE, Label.LIPS, Label.MOUTH, Label.TEETH)
"""What the head layer draws."""
MOUTH_LABELS = (Label.MOUTH, Label.TEETH)
"""What lies between the lips."""
TORSO_LABELS = (Label.NECK, Label.TORSO)
"""What the torso layer draws; the neck belongs to it, as in AD-NeRF."""


class Condition(TensorClass):
    """What drives one instant. The same for a frame of a film and a frame of a live stream."""

    speech: Float[Tensor, "*batch window feature step"]
    """Eight windows of 16 steps at 50 Hz, those of frames n-4 ... n+3; zeros outside the recording."""
    expression: Float[Tensor, "*batch unit"]
    """Upper face: AU1, 4, 5, 6, 7, 25, 45 on OpenFace's 0-5 scale, then the eye opening (95th percentile = 1)."""
    head_pose: Float[Tensor, "*batch 4 4"]
    """``head_to_camera`` of this instant; the torso follows it."""


UNITS = ("AU1", "AU4", "AU5", "AU6", "AU7", "AU25", "AU45", "eye_opening")
"""Names of the entries of :attr:`Condition.expression`."""


class Frame(TensorClass):
    """One recorded instant."""

    index: int
    image: Float[Tensor, "*batch H W 3"]
    """sRGB in [0, 1]."""
    labels: UInt8[Tensor, "*batch H W"]
    """:class:`Label` of every pixel."""
    landmarks: Float[Tensor, "*batch 478 2"]
    """MediaPipe's face landmarks, pixels."""
    camera: Camera
    condition: Condition
