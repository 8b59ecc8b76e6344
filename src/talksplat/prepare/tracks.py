"""Measurements of a clip on disk, and the portrait's tracks made of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from talksplat.portrait import Tracks
from talksplat.prepare.expression import action_units, eye_opening, mouth_measures
from talksplat.prepare.face import Detections
from talksplat.prepare.headpose import HeadPoses
from talksplat.storage import replacing

Record = TypeVar("Record")


def save_measurements(path: Path, record: Any) -> None:
    """Write a frozen dataclass of arrays and JSON-able values whole."""
    fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    arrays = {name: np.ascontiguousarray(value) for name, value in fields.items() if isinstance(value, np.ndarray)}
    plain = {name: value for name, value in fields.items() if name not in arrays}
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"values": json.dumps(plain)})


def load_measurements(path: Path, kind: type[Record]) -> Record:
    """Read what :func:`save_measurements` wrote; lists come back as tuples."""
    with safe_open(str(path), framework="numpy") as file:
        fields: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        plain = json.loads((file.metadata() or {})["values"])
    fields |= {name: _as_tuples(value) for name, value in plain.items()}
    return kind(**fields)


def tracks_of(faces: Detections, poses: HeadPoses) -> Tracks:
    """Everything that is measured in every frame, as the portrait keeps it."""
    landmarks = faces.landmarks
    return Tracks(
        head_to_camera=torch.from_numpy(poses.head_to_camera),
        landmarks=torch.from_numpy(landmarks),
        blendshapes=torch.from_numpy(faces.blendshapes),
        action_units=torch.from_numpy(action_units(faces.blendshapes, landmarks)),
        eye_opening=torch.from_numpy(eye_opening(landmarks)),
        mouth=torch.from_numpy(mouth_measures(landmarks)),
        reprojection=torch.from_numpy(poses.reprojection),
        usable=torch.from_numpy(poses.usable),
        face_shape=torch.from_numpy(poses.shape),
    )


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value
