"""The avatar file: one ``.safetensors`` that holds all that is needed to speak. No pickle.

Tensors under ``avatar/`` are the module's state, under ``track/`` the driving track, under ``view/`` the reference
camera and the background plate. The metadata holds the format number, method, preset, config, speech encoder and
provenance as one JSON text. A checkpoint of a run is such a file with further tensors under ``optimizer/``, so that
an interrupted run can already speak.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from talksplat.camera import Camera
from talksplat.errors import AvatarError, InputError
from talksplat.gaussians import RawGaussians
from talksplat.methods.catalogue import find_method
from talksplat.model.avatar import Avatar
from talksplat.model.conditioning import SpeechChannels
from talksplat.portrait import Portrait, Provenance
from talksplat.speech.articulator import Articulator
from talksplat.storage import existing_file, replacing

FORMAT = 3
UNTOLD_FORMAT = 2
"""Still read where nothing is told of the lips: there the two are the same."""


@dataclass(frozen=True)
class SavedAvatar:
    """Everything in an avatar file."""

    avatar: Avatar
    method: str
    preset: str
    config: Any
    speech_encoder: str
    channels: SpeechChannels
    provenance: Provenance
    reference_camera: Camera
    """The fixed view of the torso; also carries intrinsics and size."""
    background: UInt8[Tensor, "H W 3"]
    head_to_camera: Float[Tensor, "T 4 4"]
    """Recorded head poses, for driving."""
    expression: Float[Tensor, "T units"]
    """Recorded upper-face units, for driving."""
    rest_speech: Float[Tensor, " channels"]
    """Standardised speech features of the person's own rest state: what silence is replaced by."""
    closed_mouth: float
    """The person's median inner-lip opening at rest, in inter-ocular distances."""
    articulator: Articulator | None = None
    """What adds articulation to the speech features, where the encoder wants it."""


def save_avatar(path: Path, saved: SavedAvatar, extra: Mapping[str, Tensor] | None = None, note: Any = None) -> None:
    """Write an avatar file whole; ``extra`` tensors and a JSON-able ``note`` make it a checkpoint."""
    camera = saved.reference_camera
    tensors = {f"avatar/{name}": value for name, value in saved.avatar.state_dict().items()}
    tensors |= {
        "view/head_to_camera": camera.head_to_camera,
        "view/intrinsics": camera.intrinsics,
        "view/background": saved.background,
        "track/head_to_camera": saved.head_to_camera,
        "track/expression": saved.expression,
        "track/rest_speech": saved.rest_speech,
    }
    if saved.articulator is not None:
        tensors |= {f"speech/{name}": torch.from_numpy(value) for name, value in saved.articulator.tensors().items()}
    tensors |= dict(extra or {})
    about = {
        "format": FORMAT,
        "method": saved.method,
        "preset": saved.preset,
        "config": dataclasses.asdict(saved.config),
        "speech_encoder": saved.speech_encoder,
        "channels": saved.channels.total,
        "told": saved.channels.told,
        "provenance": dataclasses.asdict(saved.provenance),
        "height": camera.height,
        "width": camera.width,
        "closed_mouth": saved.closed_mouth,
        "prior": saved.articulator.prior.about() if saved.articulator else None,
        "gaussians": {name: len(cloud) for name, cloud in _clouds(saved.avatar).items()},
        "note": note,
    }
    own = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with replacing(path) as temporary:
        save_file(own, temporary, metadata={"talksplat": json.dumps(about)})


def load_avatar(path: Path) -> SavedAvatar:
    """Read an avatar file (or a checkpoint), ready for inference on the CPU.

    Raises:
        MissingInput: no such file.
        AvatarError: truncated, damaged, not an avatar, or of another format number.
    """
    tensors, about = read_avatar_file(path)
    method = find_method(about["method"])
    try:
        config = type(method.presets["full"])(**about["config"])
    except TypeError as error:
        raise AvatarError(
            f"avatar `{path}` was made by another version of talksplat: its settings do not fit ({error})",
            hint="train it again with this version, or install the version that made it",
        ) from error
    camera = Camera(
        head_to_camera=tensors["view/head_to_camera"],
        intrinsics=tensors["view/intrinsics"],
        height=about["height"],
        width=about["width"],
    )
    state = {name.removeprefix("avatar/"): value for name, value in tensors.items() if name.startswith("avatar/")}
    empty = {name: placeholder() for name in about["gaussians"]}
    channels = SpeechChannels(about["channels"], about.get("told", 0))
    try:
        avatar = method.build(config, channels, camera, empty)
        avatar.load_state_dict(state)
    except (RuntimeError, KeyError) as error:
        raise _damaged(path, f"its tensors do not fit the method {method.name}: {str(error)[:200]}") from error
    avatar.eval()
    return SavedAvatar(
        avatar=avatar,
        method=about["method"],
        preset=about["preset"],
        config=config,
        speech_encoder=about["speech_encoder"],
        channels=channels,
        provenance=Provenance(**about["provenance"]),
        reference_camera=camera,
        background=tensors["view/background"],
        head_to_camera=tensors["track/head_to_camera"],
        expression=tensors["track/expression"],
        rest_speech=tensors["track/rest_speech"],
        closed_mouth=about["closed_mouth"],
        articulator=_articulator(tensors, about.get("prior")),
    )


def _articulator(tensors: Mapping[str, Tensor], about: dict[str, Any] | None) -> Articulator | None:
    if about is None:
        return None
    return Articulator.of_tensors(
        {name.removeprefix("speech/"): value.numpy() for name, value in tensors.items() if name.startswith("speech/")},
        about,
    )


def refuse_strangers(saved: SavedAvatar, portrait: Portrait, avatar: Path | str) -> None:
    """Raise :class:`InputError` when the avatar was made from another video than the portrait."""
    made, recorded = saved.provenance, portrait.info.provenance
    if made.source_sha256 != recorded.source_sha256 or saved.reference_camera.width != portrait.size:
        raise InputError(
            f"avatar `{avatar}` was made from {made.source} at {saved.reference_camera.width} pixels; "
            f"portrait `{portrait.folder}` is of {recorded.source} at {portrait.size}",
            hint="give the portrait folder that the avatar was trained on",
        )


def read_avatar_file(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of an avatar file, unchecked beyond format and integrity.

    Raises:
        MissingInput: no such file.
        AvatarError: truncated, damaged, not an avatar, or of another format number.
    """
    existing_file(path, "avatar")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(metadata["talksplat"])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise _damaged(path, f"{error}") from error
    found = about.get("format")
    if found != FORMAT and (found != UNTOLD_FORMAT or about.get("told")):
        raise AvatarError(
            f"avatar `{path}` has format {found}{' with articulation' if about.get('told') else ''}; "
            f"this version reads format {FORMAT}",
            hint="train it again with this version (--restart where a run was interrupted), "
            "or install the version that made it",
        )
    return tensors, about


def _damaged(path: Path, why: str) -> AvatarError:
    return AvatarError(
        f"`{path}` is not a whole avatar file: {why}",
        hint="copy it again if it was copied; otherwise run `talksplat train` with --resume to write it anew",
    )


def _clouds(avatar: Avatar) -> dict[str, Any]:
    from talksplat.model.cloud import GaussianCloud
    from talksplat.model.torso import TorsoLayer

    found = {name: module for name, module in avatar.named_children() if isinstance(module, GaussianCloud)}
    found |= {name: module.cloud for name, module in avatar.named_children() if isinstance(module, TorsoLayer)}
    return found


def placeholder() -> RawGaussians:
    """One Gaussian with harmonics of degree 0; loading the state puts the real ones in its place."""
    return RawGaussians(
        means=torch.zeros(1, 3),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]),
        log_scales=torch.zeros(1, 3),
        logit_opacities=torch.zeros(1),
        harmonics=torch.zeros(1, 1, 3),
    )
