"""The torso layer: Gaussians under one fixed camera, deformed by the head pose (GSTalker; every method may use it).

The published methods other than GSTalker paste the recorded torso behind the head and so cannot speak outside the
recording; this layer is what replaces it.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from talksplat.camera import Camera, euler_of_rotations
from talksplat.frame import HEAD_LABELS, TORSO_LABELS
from talksplat.gaussians import RawGaussians
from talksplat.model.avatar import Layer
from talksplat.model.cloud import GaussianCloud
from talksplat.model.conditioning import frequency_code
from talksplat.model.decoder import PointDecoder
from talksplat.model.fields import TriPlaneEncoder
from talksplat.model.masks import is_any, picked

OCTAVES = 6
POSE_CODE = 6 * 2 * OCTAVES
SLAB = 0.1
"""Half thickness of the torso's slab along the reference view, metres."""
MOTION_UNIT = 0.01
"""The decoder's unit of translation, metres (as in TalkingGaussian)."""


class TorsoLayer(nn.Module):
    """Gaussians in a slab before the reference camera; tri-plane feature and pose code move them."""

    reference_pose: Tensor
    half_extent: Tensor
    pose_low: Tensor
    pose_high: Tensor
    octaves_open: Tensor

    def __init__(self, raw: RawGaussians, reference: Camera, levels: int = 14, log2_table: int = 14) -> None:
        super().__init__()
        self.cloud = GaussianCloud(raw)
        self.field = TriPlaneEncoder(levels=levels, base=64, finest=512, log2_table=log2_table, bound=1.0)
        self.decoder = PointDecoder(self.field.width, POSE_CODE, 64, 10)
        self.register_buffer("reference_pose", reference.head_to_camera.clone())
        self.register_buffer("half_extent", slab_half_extent(reference))
        self.register_buffer("pose_low", -torch.ones(6))
        self.register_buffer("pose_high", torch.ones(6))
        self.register_buffer("octaves_open", torch.ones(()))
        self._products: Tensor | None = None

    def train(self, mode: bool = True) -> "TorsoLayer":
        """Switch mode; what inference caches is dropped, since training changes it."""
        self._products = None
        return super().train(mode)

    def learn_range(self, poses: Float[Tensor, "T 4 4"]) -> None:
        """Keep the range of the recorded poses: outside it the encoding extrapolates badly."""
        values = torch.stack([self.pose_values(pose) for pose in poses])
        self.pose_low.copy_(values.quantile(0.01, 0))
        self.pose_high.copy_(values.quantile(0.99, 0))

    def anneal(self, progress: float) -> None:
        """Open the octaves of the pose code from coarse to fine as ``progress`` goes from 0 to 1."""
        self.octaves_open.fill_(min(1.0, progress))

    def pose_values(self, head_pose: Float[Tensor, "4 4"]) -> Float[Tensor, "6"]:
        """Euler angles (radians) and translation (by the portrait's distance) against the reference pose."""
        reference = self.reference_pose
        turn = euler_of_rotations(head_pose[:3, :3] @ reference[:3, :3].T)
        shift = (head_pose[:3, 3] - reference[:3, 3]) / reference[2, 3]
        return torch.cat([turn, shift])

    def pose_code(self, head_pose: Float[Tensor, "4 4"]) -> Float[Tensor, " code"]:
        """The condition of the deformation: values held softly to the recorded range, then frequencies."""
        middle, half = (self.pose_low + self.pose_high) / 2, (self.pose_high - self.pose_low).clamp_min(1e-6) / 2
        ratio = (self.pose_values(head_pose) - middle) / half
        beyond = (ratio.abs() - 1).clamp_min(0)
        held = ratio.sign() * (ratio.abs().clamp_max(1) + 0.1 * torch.tanh(beyond / 0.1))
        return frequency_code(middle + held * half, OCTAVES, float(self.octaves_open))

    def points_in_field(self) -> Float[Tensor, "N 3"]:
        """Positions in reference-camera coordinates, scaled so that the slab is the unit cube."""
        pose = self.reference_pose
        seen = self.cloud.means @ pose[:3, :3].T + pose[:3, 3]
        depth = pose[2, 3]
        return torch.cat([seen[:, :2], seen[:, 2:] - depth], 1) / self.half_extent

    def layer(self, head_pose: Float[Tensor, "4 4"], *, deformed: bool) -> Layer:
        """The torso at one instant."""
        raw = self.cloud.raw()
        if deformed:
            code = self.pose_code(head_pose)
            if self.training or torch.is_grad_enabled():
                offsets = self.decoder(self.field(self.points_in_field()), code)
            else:
                if self._products is None:
                    self._products = self.decoder.first_layer(self.field(self.points_in_field()))
                offsets = self.decoder.forward_cached(self._products, code)
            raw = raw.moved(means=MOTION_UNIT * offsets[:, :3], quats=offsets[:, 3:7], log_scales=offsets[:, 7:])
        return Layer(name="torso", gaussians=raw.activate(), fixed_view=True)


def slab_half_extent(reference: Camera) -> Float[Tensor, "3"]:
    """Half extents of the torso's slab in reference-camera axes, metres: the frame at the slab's far side."""
    depth = reference.head_to_camera[2, 3] + SLAB
    intrinsics = reference.intrinsics
    size = torch.tensor([reference.width, reference.height], dtype=torch.float32)
    principal = intrinsics[:2, 2]
    reach = torch.maximum(principal, size - principal) / intrinsics.diagonal()[:2] * depth
    return torch.cat([reach * 1.05, torch.tensor([SLAB * 1.5])])


def torso_target(
    image: Float[Tensor, "H W 3"],
    labels: UInt8[Tensor, "H W"],
    background: Float[Tensor, "H W 3"],
    reach: int = 40,
) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W"], Float[Tensor, "H W"]]:
    """What the torso layer should look like: picture, alpha, and how much each pixel counts.

    Torso and neck as recorded, the plate elsewhere. Behind the head nothing is known; there the column's topmost
    torso or neck colour continues upwards for ``reach`` pixels, darkening by 0.98 a pixel (the neck inpainting of
    AD-NeRF's preparation), so that no gap opens below the chin when the head moves. Beyond it pixels do not count.
    """
    torso, head = is_any(labels, TORSO_LABELS), is_any(labels, HEAD_LABELS)
    height = len(labels)
    rows = torch.arange(height, device=image.device)[:, None]
    top = torch.where(torso, rows, height).amin(0)
    distance = top[None, :] - rows
    filled = head & (distance > 0) & (distance <= reach) & (top < height)[None, :]
    edge = image[(top + 2).clamp_max(height - 1), torch.arange(labels.shape[1], device=image.device)]
    extended = edge[None] * (0.98 ** distance.clamp(0, reach)).unsqueeze(-1)
    target = picked(torso, image, picked(filled, extended, background))
    counts = torch.where(head, torch.where(filled, 0.3, 0.0), 1.0)
    return target, (torso | filled).float(), counts
