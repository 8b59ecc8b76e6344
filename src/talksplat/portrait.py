"""The portrait folder: everything that is known of a person after ``prepare``, and all that ``train`` reads.

    portrait.json          format, source, consent, camera, quality, keys of the finished steps
    frames/%06d.jpg        the square crop, sRGB, quality 95, one a frame at 25 frames/s
    masks/%06d.png         label map (talksplat.frame.Label), 8 bit
    background.png         the clean background plate
    audio.wav              16 kHz mono, 16 bit, exactly 640 samples a frame
    tracks.safetensors     what was measured in every frame (:class:`Tracks`)
    speech/NAME.safetensors  features of one speech encoder, [2 T, C] on the 50 Hz grid

Frames that could not be tracked keep their place (so sound and picture stay together) and are marked unusable.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from talksplat.camera import Camera
from talksplat.clock import FRAME_RATE
from talksplat.errors import MissingInput, PortraitError
from talksplat.recorded import recorded_torso
from talksplat.storage import replacing, write_json
from talksplat.tensorclass import TensorClass

FORMAT = 2
PREPARE_AGAIN = "run `talksplat prepare` again; it redoes only what is missing"


class Tracks(TensorClass):
    """Measurements of every frame; pixels are those of the stored square crop."""

    head_to_camera: Float[torch.Tensor, "T 4 4"]
    """Rigid head pose, metres."""
    landmarks: Float[torch.Tensor, "T 478 3"]
    """MediaPipe's landmarks: x and y in pixels, z in pixels towards the back, relative to the head's centre."""
    blendshapes: Float[torch.Tensor, "T 52"]
    """MediaPipe's, in the order of its model, 0 to 1."""
    action_units: Float[torch.Tensor, "T 7"]
    """AU1, 4, 5, 6, 7, 25, 45 on OpenFace's 0-5 scale, each less the clip's 5th percentile."""
    eye_opening: Float[torch.Tensor, " T"]
    """Area between the eyelids by squared inter-ocular distance; the clip's 95th percentile is 1."""
    mouth: Float[torch.Tensor, "T 3"]
    """Inner-lip opening (13-14), width (78-308), outer opening (0-17) by the clip's median distance 33-263."""
    reprojection: Float[torch.Tensor, " T"]
    """Root mean square distance between tracked and fitted rigid landmarks, pixels."""
    usable: Bool[torch.Tensor, " T"]
    """False where no face was found or the fit is bad; other fields are interpolated there."""
    face_shape: Float[torch.Tensor, "468 3"]
    """The person's mean face (MediaPipe's vertices), metres in head coordinates; the same for every frame."""

    def save(self, path: Path) -> None:
        """Write ``tracks.safetensors`` whole."""
        fields = {field.name: getattr(self, field.name).contiguous() for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        with replacing(path) as temporary:
            save_file({**fields, "usable": self.usable.to(torch.uint8)}, temporary)


@dataclass(frozen=True)
class Provenance:
    """Where a likeness comes from; carried from the portrait into the avatar and every medium it makes."""

    consent: str
    """How the speaker's consent was given, in the user's words."""
    source: str
    """File name of the source video."""
    source_sha256: str
    """Hash of the source video."""
    created: str
    """ISO time of preparation, UTC."""
    tool: str
    """Name and version of the program."""


@dataclass(frozen=True)
class PortraitInfo:
    """Contents of ``portrait.json``."""

    format: int
    provenance: Provenance
    frames: int
    size: int
    """Edge of the square crop, pixels."""
    intrinsics: list[list[float]]
    """3 x 3, pixels of the crop."""
    reference_pose: list[list[float]]
    """4 x 4 ``head_to_camera`` of the reference camera: the clip's median pose."""
    head_scale: float
    """Size of the face's rigid part against MediaPipe's canonical face with the same distance of the eye corners."""
    steps: dict[str, str] = field(default_factory=dict)
    """Key (hash of inputs, options and code version) of every finished step of preparation."""
    quality: dict[str, Any] = field(default_factory=dict)
    """Figures of the quality report."""
    fps: int = FRAME_RATE

    def save(self, folder: Path) -> None:
        """Write ``portrait.json``, the last file of a preparation."""
        value = {**vars(self), "provenance": vars(self.provenance)}
        write_json(folder / "portrait.json", value)


class Portrait:
    """A finished portrait folder, read lazily: pictures are decoded when asked for."""

    def __init__(self, folder: Path) -> None:
        """Open and check ``folder``.

        Raises:
            MissingInput: no such folder.
            PortraitError: incomplete, damaged, or of another format number.
        """
        self.folder = Path(folder)
        self.info = read_info(self.folder)
        self._check_files()
        self.tracks = read_tracks(self.folder / "tracks.safetensors")
        if len(self.tracks.usable) != self.info.frames:
            raise PortraitError(
                f"portrait is incomplete: {self.info.frames} frames but {len(self.tracks.usable)} tracked",
                hint=PREPARE_AGAIN,
            )

    def __len__(self) -> int:
        return self.info.frames

    @property
    def size(self) -> int:
        """Edge of the square pictures, pixels."""
        return self.info.size

    @property
    def reference_camera(self) -> Camera:
        """The fixed view that the torso is drawn with."""
        return self._camera(torch.tensor(self.info.reference_pose, dtype=torch.float32))

    def camera(self, index: int) -> Camera:
        """The view of frame ``index``."""
        return self._camera(self.tracks.head_to_camera[index])

    def image(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """Picture of frame ``index``, sRGB."""
        import simplejpeg

        return simplejpeg.decode_jpeg(self.frame_path(index).read_bytes(), colorspace="RGB")

    def labels(self, index: int) -> UInt8[np.ndarray, "H W"]:
        """Label map of frame ``index``."""
        from PIL import Image

        return np.asarray(Image.open(self.mask_path(index)))

    def background(self) -> UInt8[np.ndarray, "H W 3"]:
        """The clean background plate, sRGB."""
        from PIL import Image

        return np.asarray(Image.open(self.folder / "background.png").convert("RGB"))

    def behind_head(self, index: int) -> Float[torch.Tensor, "H W 3"]:
        """Recorded torso and neck of frame ``index`` over the plate, sRGB in [0, 1]; see :mod:`talksplat.recorded`."""
        image, plate = (picture.astype(np.float32) / 255 for picture in (self.image(index), self.background()))
        return torch.from_numpy(recorded_torso(image, self.labels(index), plate))

    def audio(self) -> Float[np.ndarray, " samples"]:
        """The recording's sound, 16 kHz mono in [-1, 1], 640 samples a frame."""
        import soundfile

        samples, _ = soundfile.read(self.folder / "audio.wav", dtype="float32")
        return samples

    def speech(self, encoder: str) -> Float[torch.Tensor, "steps channels"]:
        """Standardised features of the recording's speech on the 50 Hz grid, two steps a frame.

        Raises:
            PortraitError: this encoder was not run.
        """
        path = self.folder / "speech" / f"{encoder}.safetensors"
        if not path.is_file():
            found = sorted(p.stem for p in path.parent.glob("*.safetensors"))
            raise PortraitError(
                f"portrait `{self.folder}` has no speech features `{encoder}`; found: {', '.join(found) or 'none'}",
                hint=f"run `talksplat prepare` again with `--speech {encoder}`",
            )
        return load_file(path)["features"].float()

    def frame_path(self, index: int) -> Path:
        """File of picture ``index``."""
        return self.folder / "frames" / f"{index:06d}.jpg"

    def mask_path(self, index: int) -> Path:
        """File of label map ``index``."""
        return self.folder / "masks" / f"{index:06d}.png"

    def _camera(self, pose: torch.Tensor) -> Camera:
        intrinsics = torch.tensor(self.info.intrinsics, dtype=torch.float32)
        return Camera(head_to_camera=pose, intrinsics=intrinsics, height=self.size, width=self.size)

    def _check_files(self) -> None:
        for what, suffix in (("frames", "jpg"), ("masks", "png")):
            found = sum(1 for _ in (self.folder / what).glob(f"*.{suffix}"))
            if found != self.info.frames:
                raise PortraitError(
                    f"portrait is incomplete: `{self.folder}` should have {self.info.frames} {what}, found {found}",
                    hint=PREPARE_AGAIN,
                )
        for name in ("background.png", "audio.wav", "tracks.safetensors"):
            if not (self.folder / name).is_file():
                raise PortraitError(f"portrait is incomplete: `{self.folder / name}` is missing", hint=PREPARE_AGAIN)


def read_tracks(path: Path) -> Tracks:
    """The contents of a ``tracks.safetensors``.

    Raises:
        PortraitError: missing, damaged or incomplete.
    """
    try:
        arrays = load_file(path)
        arrays["usable"] = arrays["usable"].bool()
        return Tracks(**arrays)
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise PortraitError(f"tracks `{path}` cannot be read: {error}", hint=PREPARE_AGAIN) from error


def read_info(folder: Path) -> PortraitInfo:
    """The checked contents of ``portrait.json``.

    Raises:
        MissingInput: no such folder.
        PortraitError: no portrait.json (never finished), not JSON, or another format number.
    """
    path = Path(folder) / "portrait.json"
    if not Path(folder).is_dir():
        raise MissingInput(
            f"portrait `{folder}`: no such folder",
            hint="make one with `talksplat prepare VIDEO --out FOLDER`",
        )
    if not path.is_file():
        raise PortraitError(f"portrait is incomplete: `{path}` is missing", hint=PREPARE_AGAIN)
    try:
        value = json.loads(path.read_text())
        found = value.get("format")
        if found == FORMAT:
            return PortraitInfo(**{**value, "provenance": Provenance(**value["provenance"])})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PortraitError(f"`{path}` is damaged: {error}", hint=PREPARE_AGAIN) from error
    raise PortraitError(
        f"portrait `{folder}` has format {found}; this version reads format {FORMAT}",
        hint="prepare the video again with this version, or install the version that made it",
    )
