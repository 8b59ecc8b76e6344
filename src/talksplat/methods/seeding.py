"""First Gaussians of the layers: random, as the papers start, or already where the pictures show them."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from talksplat.camera import Camera, euler_of_rotations, project
from talksplat.dataset import PortraitDataset, seeded
from talksplat.frame import HEAD_LABELS, MOUTH_LABELS, TORSO_LABELS
from talksplat.gaussians import SH_CONSTANT, RawGaussians, scattered_gaussians
from talksplat.landmarks import OUTER_LIPS
from talksplat.model.masks import is_any
from talksplat.model.surface import colors_at, grid_stride, head_depth, pixel_grid, surface_gaussians, unproject
from talksplat.model.torso import slab_half_extent, torso_target

INSIDE_LIPS = 0.008
"""The inner mouth's points start this far behind the surface of the lips, metres."""
COVERED = 0.015
"""A point this near to the main view's surface is already covered by it, metres along the view."""
BEHIND_LIPS = 0.015
"""Middle of the box in which the inner mouth starts, behind the middle of the lips, metres."""
MOUTH_BOX = (0.035, 0.025, 0.01)
"""Its half extents, metres."""
VOLUME = 0.12
"""Half edge of the cube that points behind the surface are drawn in, metres."""
VIEWS = 12
"""Frames that silhouettes are read from."""


def random_head(dataset: PortraitDataset, points: int, cube: float, degree: int, seed: int) -> RawGaussians:
    """Random points and colours in the cube of half edge ``cube`` metres around the head (GSTalker, Sec. 3.2)."""
    generator = seeded(seed, "seeds", "head")
    places = (torch.rand(points, 3, generator=generator) * 2 - 1) * cube
    return scattered_gaussians(places, torch.rand(points, 3, generator=generator), degree)


def random_torso(dataset: PortraitDataset, points: int, seed: int) -> RawGaussians:
    """Random points and colours in the torso's slab."""
    generator = seeded(seed, "seeds", "torso")
    places = _slab_points(points, dataset.portrait.reference_camera, generator)
    return scattered_gaussians(places, torch.rand(points, 3, generator=generator), 0)


def carved_head(dataset: PortraitDataset, points: int, cube: float, degree: int, seed: int) -> RawGaussians:
    """The random points of :func:`random_head` that lie on the head in nine tenths of the views, with mean colours."""
    generator = seeded(seed, "seeds", "head")

    def draw(count: int) -> Float[Tensor, "N 3"]:
        return (torch.rand(count, 3, generator=generator) * 2 - 1) * cube

    return scattered_gaussians(*_carved(dataset, points, draw, None, HEAD_LABELS), degree)


def carved_torso(dataset: PortraitDataset, points: int, seed: int) -> RawGaussians:
    """The random points of :func:`random_torso` that are torso or neck in any view, with mean colours."""
    generator = seeded(seed, "seeds", "torso")
    reference = dataset.portrait.reference_camera

    def draw(count: int) -> Float[Tensor, "N 3"]:
        return _slab_points(count, reference, generator)

    return scattered_gaussians(*_carved(dataset, points, draw, reference, TORSO_LABELS, share=0.05), 0)


def _carved(
    dataset: PortraitDataset,
    points: int,
    draw: Callable[[int], Float[Tensor, "N 3"]],
    camera: Camera | None,
    wanted: tuple[int, ...],
    share: float = 0.9,
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"]]:
    """``points`` places that a ``share`` of the views show as ``wanted``, and their mean colours there.

    ``camera`` is the fixed view, or None for each frame's own.
    """
    parts: list[tuple[Tensor, Tensor]] = []
    while sum(len(places) for places, _ in parts) < points:
        places, frames = draw(4 * points), _views(dataset)
        hits, colors = _sightings(dataset, frames, places, wanted, camera)
        kept = hits >= share * len(frames)
        parts.append((places[kept], colors[kept] / hits[kept, None]))
    places, colors = (torch.cat(values)[:points] for values in zip(*parts, strict=True))
    return places, colors


def _sightings(
    dataset: PortraitDataset,
    frames: list[int],
    places: Float[Tensor, "N 3"],
    wanted: tuple[int, ...],
    camera: Camera | None = None,
) -> tuple[Float[Tensor, " N"], Float[Tensor, "N 3"]]:
    """In how many of ``frames`` a place shows ``wanted``, and the sum of its colours there.

    ``camera`` is the fixed view, or None for each frame's own.
    """
    hits, colors = torch.zeros(len(places)), torch.zeros(len(places), 3)
    for frame in frames:
        cells, _, seen = _cells(camera or dataset.portrait.camera(frame), places)
        labels = torch.from_numpy(dataset.portrait.labels(frame).copy())
        inside = is_any(labels, wanted)[cells[:, 1], cells[:, 0]] & seen
        hits += inside
        colors += _image(dataset, frame)[cells[:, 1], cells[:, 0]] * inside[:, None]
    return hits, colors


def inner_mouth(dataset: PortraitDataset, points: int, degree: int, seed: int) -> RawGaussians:
    """Random points in a box behind the lips, with the colours that the most open mouths show there.

    The box is as wide as the lips, so that the layer can go on behind them; where no mouth is open the colour is the
    mean of the others.
    """
    generator = seeded(seed, "seeds", "mouth")
    tracks = dataset.portrait.tracks
    center = tracks.face_shape[list(OUTER_LIPS)].mean(0) + torch.tensor([0.0, 0.0, BEHIND_LIPS])
    places = center + (torch.rand(points, 3, generator=generator) * 2 - 1) * torch.tensor(MOUTH_BOX)
    opening = tracks.mouth[torch.tensor(dataset.train_frames), 0]
    widest = [dataset.train_frames[place] for place in opening.argsort(descending=True)[:VIEWS].tolist()]
    hits, colors = _sightings(dataset, widest, places, MOUTH_LABELS)
    mean = colors.sum(0) / hits.sum().clamp_min(1)
    colors = torch.where(hits[:, None] > 0, colors / hits.clamp_min(1)[:, None], mean)
    return scattered_gaussians(places, colors, degree)


def surface_head(dataset: PortraitDataset, points: int, degree: int) -> RawGaussians:
    """About ``points`` Gaussians on the head's surface, coloured by the pictures.

    The frame nearest to the reference pose covers what it shows; the frames turned farthest add what it does not, and
    the most open mouth its inside. Points outside the silhouette of more than a tenth of the views are dropped.
    """
    portrait = dataset.portrait
    main = _nearest(dataset, portrait.reference_camera.head_to_camera)
    view = _View(dataset, main, HEAD_LABELS)
    stride = grid_stride(view.mask, round(0.8 * points))
    places, colors, spacing = view.points(stride)
    parts = [(places, colors, spacing)]
    for frame in _turned(dataset):
        other = _View(dataset, frame, HEAD_LABELS)
        extra = other.points(stride)
        fresh = ~view.covers(extra[0])
        parts.append((extra[0][fresh], extra[1][fresh], extra[2][fresh]))
    train = torch.tensor(dataset.train_frames)
    widest = dataset.train_frames[int(portrait.tracks.mouth[train, 0].argmax())]
    inside = _View(dataset, widest, MOUTH_LABELS, behind=INSIDE_LIPS)
    parts.append(inside.points(stride))
    places, colors, spacing = (torch.cat(values) for values in zip(*parts, strict=True))
    frames = _views(dataset)
    kept = _sightings(dataset, frames, places, HEAD_LABELS)[0] >= 0.9 * len(frames)
    return surface_gaussians(places[kept], colors[kept], spacing[kept], degree)


def face_and_volume(dataset: PortraitDataset, points: int, degree: int, seed: int) -> RawGaussians:
    """``points`` Gaussians: four fifths on the head's surface, the rest in the volume behind it.

    It stands for the vertices of a fitted head model, which need not be had (GaussianTalker, Sec. 3.2).
    """
    surface = surface_head(dataset, round(0.8 * points), degree)
    generator = seeded(seed, "seeds", "surface")
    chosen = torch.randperm(len(surface.means), generator=generator)[: round(0.8 * points)].sort().values
    volume = carved_head(dataset, points - len(chosen), VOLUME, degree, seed)
    places = torch.cat([surface.means[chosen], volume.means])
    colors = torch.cat([surface.harmonics[chosen, 0], volume.harmonics[:, 0]]) * SH_CONSTANT + 0.5
    return scattered_gaussians(places, colors, degree)


def surface_torso(dataset: PortraitDataset, points: int) -> RawGaussians:
    """About ``points`` Gaussians in the middle plane of the torso's slab, coloured by the frame nearest to it."""
    portrait = dataset.portrait
    reference = portrait.reference_camera
    frame = _nearest(dataset, reference.head_to_camera)
    labels, image = torch.from_numpy(portrait.labels(frame).copy()), _image(dataset, frame)
    target, alpha, _ = torso_target(image, labels, background=image)
    mask = alpha > 0.5
    stride = grid_stride(mask, points)
    pixels = pixel_grid(mask, stride)
    depth = reference.head_to_camera[2, 3].expand(len(pixels))
    spacing = stride * depth / reference.intrinsics[0, 0]
    return surface_gaussians(unproject(pixels, depth, reference), colors_at(target, pixels, stride), spacing, degree=0)


def _slab_points(count: int, reference: Camera, generator: torch.Generator) -> Float[Tensor, "N 3"]:
    """Random places of the torso's slab, in the world."""
    seen = (torch.rand(count, 3, generator=generator) * 2 - 1) * slab_half_extent(reference)
    pose = reference.head_to_camera
    return (seen + pose[2, 3] * torch.tensor([0.0, 0.0, 1.0]) - pose[:3, 3]) @ pose[:3, :3]


def _views(dataset: PortraitDataset) -> list[int]:
    """Frames that silhouettes are read from."""
    return dataset.train_frames[:: max(1, len(dataset.train_frames) // VIEWS)]


class _View:
    """One frame's silhouette and surface."""

    def __init__(self, dataset: PortraitDataset, frame: int, wanted: tuple[int, ...], behind: float = 0.0) -> None:
        portrait = dataset.portrait
        self.camera = portrait.camera(frame)
        labels = torch.from_numpy(portrait.labels(frame).copy())
        self.image = _image(dataset, frame)
        self.mask = is_any(labels, wanted)
        self.depth = head_depth(portrait.tracks.face_shape, is_any(labels, HEAD_LABELS), self.camera) + behind

    def points(self, stride: float) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"], Float[Tensor, " N"]]:
        """Places, colours and spacing of a grid ``stride`` pixels wide on the surface."""
        pixels = pixel_grid(self.mask, stride)
        cells = pixels.floor().long()
        depth = self.depth[cells[:, 1], cells[:, 0]]
        spacing = stride * depth / self.camera.intrinsics[0, 0]
        return unproject(pixels, depth, self.camera), colors_at(self.image, pixels, stride), spacing

    def covers(self, places: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Whether this view's own surface passes near a point."""
        cells, depth, seen = _cells(self.camera, places)
        near = (self.depth[cells[:, 1], cells[:, 0]] - depth).abs() < COVERED
        return seen & self.mask[cells[:, 1], cells[:, 0]] & near


def _nearest(dataset: PortraitDataset, pose: Float[Tensor, "4 4"]) -> int:
    """The training frame whose head pose is nearest to ``pose``, by turn and by shift over distance."""
    train = torch.tensor(dataset.train_frames)
    poses = dataset.portrait.tracks.head_to_camera[train]
    turn = (poses[:, :3, :3] - pose[:3, :3]).flatten(1).norm(dim=1)
    shift = (poses[:, :3, 3] - pose[:3, 3]).norm(dim=1) / pose[2, 3]
    return dataset.train_frames[int((turn + shift).argmin())]


def _turned(dataset: PortraitDataset) -> list[int]:
    """Training frames with the head turned farthest to either side, up and down (5th and 95th percentile)."""
    train = torch.tensor(dataset.train_frames)
    angles = euler_of_rotations(dataset.portrait.tracks.head_to_camera[train, :3, :3])
    found = []
    for axis in (1, 0):
        order = angles[:, axis].argsort()
        for share in (0.05, 0.95):
            found.append(dataset.train_frames[int(order[int(share * (len(train) - 1))])])
    return found


def _cells(camera: Camera, places: Float[Tensor, "N 3"]) -> tuple[Tensor, Float[Tensor, " N"], Bool[Tensor, " N"]]:
    """The pixel of every point (clamped to the picture), its depth, and whether it is in the picture."""
    pixels, depth = project(camera, places)
    cells = pixels.floor().long()
    size = torch.tensor([camera.width, camera.height])
    seen = ((cells >= 0) & (cells < size)).all(1) & (depth > 0.05)
    return cells.clamp_min(0).minimum(size - 1), depth, seen


def _image(dataset: PortraitDataset, frame: int) -> Float[Tensor, "H W 3"]:
    return torch.from_numpy(dataset.portrait.image(frame)).float() / 255
