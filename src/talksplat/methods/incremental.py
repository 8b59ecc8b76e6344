"""TalkingGaussian's incremental sampling (Sec. 3.4): which frames a step may draw, by blink and mouth opening.

The formulas are the released code's (fact sheet 5). There a rejected frame was drawn again until one fitted, for ever
where none did; here a step draws evenly among the frames that fit, and from all of them where none does.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from talksplat.dataset import Eligible, PortraitDataset
from talksplat.frame import UNITS

FACE_EVERY, MOUTH_EVERY = 15, 7
"""The window restricts every so many steps; the steps between draw from all frames."""
FEWEST_MOUTH_PIXELS = 20
"""Of a picture of 512 x 512: the moving mouth is not shown smaller ones."""
BELOW, ABOVE = 0.15, 0.30
"""How far the face's window reaches around its place."""
Rules = Callable[[PortraitDataset], Eligible]


def blink(dataset: PortraitDataset) -> Float[Tensor, " frames"]:
    """AU45 of the training frames, cut off at 2, by 2."""
    values = dataset.expression[torch.tensor(dataset.train_frames), UNITS.index("AU45")]
    return values.clamp(0.0, 2.0) / 2


def lips_apart(dataset: PortraitDataset) -> Float[Tensor, " frames"]:
    """AU25 of the training frames, cut off at its 95th percentile."""
    values = dataset.expression[torch.tensor(dataset.train_frames), UNITS.index("AU25")]
    return values.clamp(torch.zeros(()), values.quantile(0.95))


def face_windows(reading: str, begin: int, span: int, *, moving: bool) -> Rules | None:
    """The face's draws in a stage from step ``begin`` of its branch; the windows slide over ``span`` steps.

    Static: mouths closed to a third open. Moving: from open to closed eyes. ``reading`` "paper" restricts every moving
    step and no static one, "none" restricts nothing.
    """
    if reading == "none" or (reading == "paper" and not moving):
        return None

    def rules(dataset: PortraitDataset) -> Eligible:
        opening = dataset.portrait.tracks.mouth[torch.tensor(dataset.train_frames), 0]
        closing = blink(dataset)

        def eligible(step: int) -> Bool[Tensor, " frames"] | None:
            count = begin + step + 1
            if reading == "code" and count % FACE_EVERY:
                return None
            if moving:
                place = count / span
                return (closing >= place - BELOW) & (closing <= place + ABOVE)
            return _around_closed(opening, count / span)

        return eligible

    return rules


def _around_closed(opening: Float[Tensor, " frames"], place: float) -> Bool[Tensor, " frames"]:
    low, high = opening.amin(), opening.amax()
    start = low + 0.2 * (high - low)
    center, reach = start + place * (high - start), 0.2 * (high - start)
    return (opening >= center - reach) & (opening <= center + reach)


def mouth_windows(reading: str, begin: int, span: int, *, moving: bool) -> Rules | None:
    """The mouth's draws: static the widest openings, moving a window that grows from open to closed.

    ``reading`` "paper" slides a window from closed to open mouths in every moving step. Frames that show fewer mouth
    pixels than :data:`FEWEST_MOUTH_PIXELS` are never drawn while it moves.
    """

    def rules(dataset: PortraitDataset) -> Eligible:
        apart = lips_apart(dataset)
        widest, quarter = apart.amax(), apart.quantile(0.25)
        fewest = FEWEST_MOUTH_PIXELS * (dataset.portrait.size / 512) ** 2
        seen = torch.tensor(dataset.mouth_pixels) >= fewest

        def eligible(step: int) -> Bool[Tensor, " frames"] | None:
            count = begin + step + 1
            if not moving:
                return apart >= widest if reading == "code" else None
            place = count / span
            if reading == "code" and count % MOUTH_EVERY == 0:
                return seen & (apart >= widest - place * (widest - quarter))
            if reading == "paper":
                open_share = apart / widest.clamp_min(1e-6)
                return seen & (open_share >= place - BELOW) & (open_share <= place + ABOVE)
            return seen

        return eligible

    return rules
