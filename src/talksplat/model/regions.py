"""TalkingGaussian's face decoder: every place of the face attends to speech and to the upper face in its own measure.

After ER-NeRF's region attention; all networks without biases (fact: 9,536 + 2,176 + 672 + 160 parameters for 36
features).
"""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from talksplat.model.conditioning import SPEECH_CODE
from talksplat.model.decoder import PointDecoder

BROWS_AND_LIDS = 5
"""Upper-face units that pass a network of their own: AU1, 4, 5, 6, 7. The blink (AU45) enters as it is."""
UPPER_FACE = BROWS_AND_LIDS + 1


def _mlp(*widths: int) -> nn.Sequential:
    """Linear layers without biases, ReLU between."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class RegionDecoder(nn.Module):
    """[h | a * att_a(h) | e * att_e(h)] -> 64 -> 64 -> out, where h is a place's feature.

    The conditions are the same everywhere and only the attention differs, so ``W (a * att)`` is ``(W diag(a)) att``:
    the condition scales columns of the first layer once an instant, and the per-point inputs do not change while the
    points and weights do not.
    """

    def __init__(self, features: int, hidden: int, out: int, *, start: float = 0.0) -> None:
        """``start``: the attention to every upper-face unit everywhere, before anything is learnt; published is 0.

        From 0 neither attention nor decoder has a gradient to speak of while the other is small, and a unit whose
        ReLU shuts everywhere is never heard of again.
        """
        super().__init__()
        self.start = start
        self.speech_attention = _mlp(features, 32, SPEECH_CODE)
        self.upper_face_net = _mlp(BROWS_AND_LIDS, 16, BROWS_AND_LIDS)
        self.upper_face_attention = _mlp(features, 16, UPPER_FACE)
        self.decoder = PointDecoder(features, SPEECH_CODE + UPPER_FACE, hidden, out)

    def attention(self, features: Float[Tensor, "N Fp"]) -> tuple[Float[Tensor, "N speech"], Float[Tensor, "N upper"]]:
        """How much each place listens to each number of the speech code, and to each upper-face unit."""
        return self.speech_attention(features), torch.relu(self.start + self.upper_face_attention(features))

    def forward(
        self,
        inputs: Float[Tensor, "N inputs"],
        speech: Float[Tensor, " code"],
        upper_face: Float[Tensor, " upper"],
    ) -> Float[Tensor, "N out"]:
        """Offsets of all points at one instant; ``inputs`` are :meth:`inputs`, ``upper_face`` AU1, 4, 5, 6, 7, 45."""
        moved = self.upper_face_net(upper_face[:BROWS_AND_LIDS])
        condition = torch.cat([speech, moved, upper_face[BROWS_AND_LIDS:]])
        return self.decoder.gated(inputs, condition)

    @staticmethod
    def inputs(features: Tensor, attention: tuple[Tensor, Tensor]) -> Float[Tensor, "N inputs"]:
        """What :meth:`forward` reads of the points."""
        return torch.cat([features, *attention], 1)
