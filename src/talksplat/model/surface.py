"""The head's surface as one picture shows it: depth from the fitted face, carried on to hair and ears.

Published methods start from random points in a cube, and spend thousands of steps on finding the surface. Here it is
known: the bundle-adjusted face gives the depth of the middle, and the rest of the head is a membrane between the
face's rim and the head's outline, which lies as deep as the head's axis.
"""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from talksplat.camera import Camera, project
from talksplat.gaussians import SH_CONSTANT, RawGaussians

OUTLINE_DEPTH = 0.03
"""The head's outline lies this far behind the origin of the head's frame, metres: about at the ears."""
MEMBRANE_EDGE = 128
"""Cells a side of the grid on which the membrane is solved."""
FOOTPRINT = 0.8
"""Standard deviation of a surface Gaussian by the distance to its neighbour: neighbours overlap without gaps."""


def head_depth(face: Float[Tensor, "V 3"], head: Bool[Tensor, "H W"], camera: Camera) -> Float[Tensor, "H W"]:
    """Depth (metres along the optical axis) of the head's surface at every pixel; meaningless outside ``head``.

    ``face`` is the person's mean face in head coordinates. Between its rim and the outline the depth is harmonic.
    """
    import cv2
    from scipy.interpolate import LinearNDInterpolator

    pixels, depth = project(camera, face)
    size = (MEMBRANE_EDGE, MEMBRANE_EDGE)
    ratio = np.array([camera.width, camera.height]) / MEMBRANE_EDGE
    cells = np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), -1) + 0.5
    known = LinearNDInterpolator(pixels.double().numpy() / ratio, depth.double().numpy())(cells)
    inside = cv2.resize(head.numpy().astype(np.uint8), size[::-1], interpolation=cv2.INTER_AREA) > 0
    outline = float(camera.head_to_camera[2, 3]) + OUTLINE_DEPTH
    fixed = ~np.isnan(known)
    start = np.where(fixed, known, outline)
    free = inside & ~fixed
    solved = _harmonic(start, free)
    full = cv2.resize(solved.astype(np.float32), (camera.width, camera.height), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(full)


def _harmonic(values: Float[np.ndarray, "H W"], free: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    """``values`` with the ``free`` cells replaced by the solution of Laplace's equation; others are the boundary."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import spsolve

    count = int(free.sum())
    if not count:
        return values
    number = np.full(free.shape, -1)
    number[free] = np.arange(count)
    rows, columns = np.nonzero(free)
    place = number[rows, columns]
    right = np.zeros(count)
    entries, neighbours, weights = [place], [place], [np.zeros(count)]
    for down, across in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        row, column = rows + down, columns + across
        valid = (row >= 0) & (row < free.shape[0]) & (column >= 0) & (column < free.shape[1])
        row, column = row.clip(0, free.shape[0] - 1), column.clip(0, free.shape[1] - 1)
        weights[0] = weights[0] + valid
        unknown = valid & free[row, column]
        right += np.where(valid & ~unknown, values[row, column], 0)
        entries.append(place[unknown])
        neighbours.append(number[row, column][unknown])
        weights.append(-np.ones(int(unknown.sum())))
    matrix = coo_matrix(
        (np.concatenate(weights), (np.concatenate(entries), np.concatenate(neighbours))), (count, count)
    )
    solved = values.copy()
    solved[free] = spsolve(matrix.tocsc(), right)
    return solved


def unproject(pixels: Float[Tensor, "N 2"], depth: Float[Tensor, " N"], camera: Camera) -> Float[Tensor, "N 3"]:
    """World points (head coordinates, metres) seen at ``pixels`` and ``depth``."""
    principal, focal = camera.intrinsics[:2, 2], camera.intrinsics.diagonal()[:2]
    seen = torch.cat([(pixels - principal) / focal * depth[:, None], depth[:, None]], 1)
    pose = camera.head_to_camera
    return (seen - pose[:3, 3]) @ pose[:3, :3]


def pixel_grid(mask: Bool[Tensor, "H W"], stride: float) -> Float[Tensor, "N 2"]:
    """Centres of the pixels of ``mask`` on a hexagonal grid ``stride`` pixels wide."""
    height, width = mask.shape
    rows = torch.arange(0.5, height, stride * math.sqrt(0.75))
    columns = torch.arange(0.5, width, stride)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)
    grid[1::2, :, 1] += stride / 2
    points = grid.reshape(-1, 2).flip(1)
    cells = points.floor().long()
    kept = (cells[:, 0] < width) & (cells[:, 1] < height)
    points, cells = points[kept], cells[kept]
    return points[mask[cells[:, 1], cells[:, 0]]]


def grid_stride(mask: Bool[Tensor, "H W"], points: int) -> float:
    """The width of the grid, pixels, that puts about ``points`` of :func:`pixel_grid` on ``mask``; at least 1."""
    return max(1.0, (float(mask.sum()) / (points * math.sqrt(0.75))) ** 0.5)


def colors_at(image: Float[Tensor, "H W 3"], pixels: Float[Tensor, "N 2"], stride: float) -> Float[Tensor, "N 3"]:
    """Mean colour of the ``stride`` wide square around every pixel: what one Gaussian has to stand for."""
    import cv2

    edge = max(1, round(stride))
    smooth = torch.from_numpy(cv2.blur(image.numpy(), (edge, edge)))
    cells = pixels.floor().long()
    return smooth[cells[:, 1], cells[:, 0]]


def surface_gaussians(
    points: Float[Tensor, "N 3"],
    colors: Float[Tensor, "N 3"],
    spacing: Float[Tensor, " N"],
    degree: int,
    opacity: float = 0.4,
) -> RawGaussians:
    """Round Gaussians ``spacing`` metres apart that together cover a surface."""
    harmonics = points.new_zeros(len(points), (degree + 1) ** 2, 3)
    harmonics[:, 0] = (colors - 0.5) / SH_CONSTANT
    return RawGaussians(
        means=points.clone(),
        quats=points.new_tensor([1.0, 0.0, 0.0, 0.0]).repeat(len(points), 1),
        log_scales=(spacing * FOOTPRINT).log()[:, None].repeat(1, 3),
        logit_opacities=points.new_full((len(points),), math.log(opacity / (1 - opacity))),
        harmonics=harmonics,
    )
