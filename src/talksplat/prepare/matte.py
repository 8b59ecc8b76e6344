"""Where the person is: a coarse probability from a segmentation network, refined along the edges of the picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32, UInt8

from talksplat import weights

GRID = 256
"""Edge of the networks' square input and output, and of all coarse maps, pixels."""
RADIUS = 4
"""Half width of the guided filter's window, pixels of the grid."""
EDGE_VARIANCE = 2e-4
"""Variance of sRGB in [0, 1] within a window from which the guided filter takes it for an edge (1.4 % deviation)."""
LEAST_LIMB = 0.01
"""Part of the picture from which something that enters at its lower edge, apart from the head, is an arm."""

Picture = UInt8[np.ndarray, "H W 3"]


class Segmenter(Protocol):
    """A network that tells a person from the background on the coarse grid."""

    name: str
    """Catalogue name of its weights."""

    def __call__(self, picture: Picture) -> Float32[np.ndarray, "256 256 C"]:
        """Probabilities of an sRGB picture: C = 1 (person) or 6 (:data:`MULTICLASS`). Not thread safe."""
        ...


MULTICLASS = ("background", "hair", "body skin", "face skin", "clothes", "others")
"""Classes of the multi-class segmenter in its order."""


def read_segmenter() -> Segmenter:
    """The multi-class segmenter where its file is present, otherwise the shipped person segmenter.

    Raises:
        MissingWeights: neither file is found.
    """
    if weights.available("selfie-multiclass"):
        return MulticlassSegmenter(weights.find("selfie-multiclass"))
    return PersonSegmenter(weights.find("selfie-segmentation"))


class PersonSegmenter:
    """MediaPipe's selfie segmentation: float RGB in [0, 1] in, probability of a person out."""

    name = "selfie-segmentation"

    def __init__(self, model: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._network = Interpreter(str(model), num_threads=1)
        self._network.allocate_tensors()
        self._input = self._network.get_input_details()[0]["index"]
        self._output = self._network.get_output_details()[0]["index"]

    def __call__(self, picture: Picture) -> Float32[np.ndarray, "256 256 1"]:
        self._network.set_tensor(self._input, coarse(picture)[None].astype(np.float32) / 255)
        self._network.invoke()
        return np.array(self._network.get_tensor(self._output)[0], np.float32)


class MulticlassSegmenter:
    """MediaPipe's selfie multi-class segmenter, run by its task, which knows the model's normalization."""

    name = "selfie-multiclass"

    def __init__(self, model: Path) -> None:
        os.environ.setdefault("GLOG_minloglevel", "2")
        from mediapipe import Image, ImageFormat
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.ImageSegmenterOptions(
            base_options=BaseOptions(model_asset_path=str(model)),
            output_confidence_masks=True,
            output_category_mask=False,
        )
        self._task = vision.ImageSegmenter.create_from_options(options)
        self._wrap = lambda pixels: Image(image_format=ImageFormat.SRGB, data=pixels)

    def __call__(self, picture: Picture) -> Float32[np.ndarray, "256 256 6"]:
        return class_maps(self._task.segment(self._wrap(coarse(picture))).confidence_masks)


def class_maps(masks: Sequence[Any]) -> Float32[np.ndarray, "256 256 6"]:
    """The confidence masks of MediaPipe's segmenter task as one array whose entries sum to 1."""
    maps = np.stack([np.squeeze(mask.numpy_view()) for mask in masks], -1).astype(np.float32)
    return maps / np.maximum(maps.sum(-1, keepdims=True), 1e-6)


def coarse(picture: Picture) -> UInt8[np.ndarray, "256 256 3"]:
    """The picture on the coarse grid, by area averages."""
    import cv2

    return cv2.resize(np.ascontiguousarray(picture), (GRID, GRID), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def speaker_only(
    person: Float32[np.ndarray, "256 256"], inside: tuple[float, float]
) -> Float32[np.ndarray, "256 256"]:
    """The person probability without islands: what hangs together with ``inside`` (x, y on the grid), and arms.

    Arms are islands that touch the lower edge and are not small; other islands are things the network took for
    a part of a person.
    """
    import cv2

    count, islands, stats, _ = cv2.connectedComponentsWithStats((person > 0.4).astype(np.uint8))
    x, y = np.clip(np.round(inside), 0, GRID - 1).astype(int)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    keep = np.zeros(count, bool)
    keep[islands[y, x] or int(areas.argmax())] = True
    keep |= (stats[:, cv2.CC_STAT_TOP] + stats[:, cv2.CC_STAT_HEIGHT] == GRID) & (areas >= LEAST_LIMB * GRID * GRID)
    keep[0] = False
    # The soft border of what is kept stays, out to the reach of the guided filter.
    near = cv2.dilate(keep[islands].astype(np.uint8), np.ones((2 * RADIUS + 1,) * 2, np.uint8))
    return person * near


class GuidedFilter:
    """He et al.'s guided filter with a color guide (eq. 19-21), on the grid, applied at full size ("fast" form).

    Carries coarse maps to the size of ``picture`` so that their steps follow its edges.
    """

    def __init__(self, picture: Picture, *, radius: int = RADIUS, edge_variance: float = EDGE_VARIANCE) -> None:
        self._radius = radius
        self._full = picture.astype(np.float32) / 255
        self._guide = coarse(picture).astype(np.float32) / 255
        self._mean = self._box(self._guide)
        self._inverse = self._inverse_covariance(edge_variance)

    def refine(self, maps: Float32[np.ndarray, "256 256 C"]) -> Float32[np.ndarray, "H W C"]:
        """``maps`` at the picture's size."""
        import cv2

        height, width = self._full.shape[:2]
        refined = np.empty((height, width, maps.shape[2]), np.float32)
        for channel in range(maps.shape[2]):
            slopes, offset = self._coefficients(np.ascontiguousarray(maps[..., channel]))
            line = cv2.resize(np.dstack([slopes, offset]), (width, height), interpolation=cv2.INTER_LINEAR)
            refined[..., channel] = (line[..., :3] * self._full).sum(-1) + line[..., 3]
        return refined

    def _coefficients(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = self._box(values)
        covariance = self._box(self._guide * values[..., None]) - self._mean * mean[..., None]
        slopes = np.einsum("hwij,hwj->hwi", self._inverse, covariance)
        offset = mean - (slopes * self._mean).sum(-1)
        return self._box(slopes), self._box(offset)

    def _inverse_covariance(self, edge_variance: float) -> Float32[np.ndarray, "256 256 3 3"]:
        first, second = np.triu_indices(3)
        products = self._box(np.ascontiguousarray(self._guide[..., first] * self._guide[..., second]))
        products -= self._mean[..., first] * self._mean[..., second]
        a, b, c, d, e, f = np.moveaxis(products, -1, 0)
        a, d, f = a + edge_variance, d + edge_variance, f + edge_variance
        adjugate = np.stack(
            [d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b], -1
        )
        determinant = a * adjugate[..., 0] + b * adjugate[..., 1] + c * adjugate[..., 2]
        return (adjugate / determinant[..., None])[..., [[0, 1, 2], [1, 3, 4], [2, 4, 5]]]

    def _box(self, values: np.ndarray) -> np.ndarray:
        import cv2

        return _by_channels(values, lambda part: cv2.blur(part, (2 * self._radius + 1,) * 2))


def _by_channels(values: np.ndarray, work: Any) -> np.ndarray:
    """OpenCV's filters take any number of channels up to four."""
    if values.ndim == 2 or values.shape[2] <= 4:
        return work(values)
    parts = [work(np.ascontiguousarray(values[..., i : i + 3])) for i in range(0, values.shape[2], 3)]
    return np.concatenate(parts, -1)
