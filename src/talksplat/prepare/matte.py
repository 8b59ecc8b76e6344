"""Where the person is: a coarse probability from a segmentation network, refined along the edges of the picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from talksplat import weights
from talksplat.prepare.face import quiet_stderr

GRID = 256
"""Edge of the networks' square input and output, and of all coarse maps, pixels."""
RADIUS = 4
"""Half width of the guided filter's window, pixels of the grid."""
EDGE_VARIANCE = 2e-4
"""Variance of sRGB in [0, 1] within a window from which the guided filter takes it for an edge (1.4 % deviation)."""
LEAST_LIMB = 0.01
"""Part of the picture from which something that enters at its lower edge, apart from the head, is an arm."""

Picture = UInt8[np.ndarray, "H W 3"]


@runtime_checkable
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

        with quiet_stderr():
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
        with quiet_stderr():
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


def speaker_only(person: Float32[np.ndarray, "256 256"], inside: tuple[float, float]) -> Float32[np.ndarray, "256 256"]:
    """The person probability without islands: what hangs together with ``inside`` (x, y on the grid), and arms.

    Arms are islands that touch the lower edge and are not small; other islands are things the network took for
    a part of a person.
    """
    import cv2

    count, found, stats, _ = cv2.connectedComponentsWithStats((person > 0.4).astype(np.uint8))
    islands = np.asarray(found, np.int32)
    x, y = np.clip(np.round(inside), 0, GRID - 1).astype(int)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    keep = np.zeros(count, bool)
    keep[int(islands[y, x]) or int(areas.argmax())] = True
    keep |= (stats[:, cv2.CC_STAT_TOP] + stats[:, cv2.CC_STAT_HEIGHT] == GRID) & (areas >= LEAST_LIMB * GRID * GRID)
    keep[0] = False
    # The soft border of what is kept stays, out to the reach of the guided filter.
    near = cv2.dilate(keep[islands].astype(np.uint8), np.ones((2 * RADIUS + 1,) * 2, np.uint8))
    return person * near


class GuidedFilter:
    """He et al.'s guided filter with a color guide (eq. 19-21), on the grid, applied at full size ("fast" form).

    Carries coarse maps to the size of ``picture`` so that their steps follow its edges. It is linear and keeps
    constants, so maps that sum to 1 still do.
    """

    def __init__(self, picture: Picture, *, radius: int = RADIUS, edge_variance: float = EDGE_VARIANCE) -> None:
        self._window = (2 * radius + 1,) * 2
        self._full = _planes(picture)
        self._guide = _planes(coarse(picture))
        self._mean = self._box(self._guide)
        self._inverse = self._inverse_covariance(edge_variance)

    def refine(self, maps: Sequence[Float32[np.ndarray, "256 256"]]) -> Float32[np.ndarray, "C H W"]:
        """``maps`` at the picture's size."""
        return np.stack([self._refine(values) for values in maps])

    def _refine(self, values: np.ndarray) -> np.ndarray:
        import cv2

        height, width = self._full[0].shape
        slopes, offset = self._coefficients(values)
        full = [cv2.resize(plane, (width, height)) for plane in (*slopes, offset)]
        refined = full[3]
        for slope, color in zip(full, self._full, strict=False):
            refined += slope * color
        return refined

    def _coefficients(self, values: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Slopes and offset of ``values`` as a linear function of color in the window of every pixel (eq. 19, 20)."""
        (mean,) = self._box([values])
        products = self._box([color * values for color in self._guide])
        covariance = [product - color * mean for product, color in zip(products, self._mean, strict=True)]
        slopes = [_dot(row, covariance) for row in self._inverse]
        offset = mean - _dot(slopes, self._mean)
        *slopes, offset = self._box([*slopes, offset])
        return slopes, offset

    def _inverse_covariance(self, edge_variance: float) -> list[list[np.ndarray]]:
        """The symmetric 3 x 3 inverse of every window's color covariance, regularized, by its adjugate."""
        pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
        products = self._box([self._guide[i] * self._guide[j] for i, j in pairs])
        a, b, c, d, e, f = (
            product - self._mean[i] * self._mean[j] + (edge_variance if i == j else 0)
            for product, (i, j) in zip(products, pairs, strict=True)
        )
        p, q, r = d * f - e * e, c * e - b * f, b * e - c * d
        s, t, u = a * f - c * c, b * c - a * e, a * d - b * b
        scale = 1 / (a * p + b * q + c * r)
        p, q, r, s, t, u = (entry * scale for entry in (p, q, r, s, t, u))
        return [[p, q, r], [q, s, t], [r, t, u]]

    def _box(self, planes: Sequence[np.ndarray]) -> list[np.ndarray]:
        import cv2

        return [cv2.blur(plane, self._window) for plane in planes]


def _dot(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
    """Scalar product of every pixel's vectors, given as planes."""
    total = first[0] * second[0]
    for a, b in zip(first[1:], second[1:], strict=True):
        total += a * b
    return total


def _planes(picture: Picture) -> list[Float32[np.ndarray, "H W"]]:
    """Channels of a picture in [0, 1]; separate planes are several times faster to work on."""
    return [np.ascontiguousarray(picture[..., channel], np.float32) / 255 for channel in range(3)]
