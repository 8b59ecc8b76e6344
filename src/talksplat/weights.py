"""Pretrained files: where they come from, what they must hash to, and where they are looked for.

Three places are searched, in this order: the folder named by the environment variable TALKSPLAT_WEIGHTS, the
folder shipped inside the package, and the user's cache ``~/.cache/talksplat/weights``. A file is identified by
its SHA-256 wherever it is found. Nothing is ever downloaded unless :func:`download` is called.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from talksplat.errors import MissingWeights
from talksplat.storage import replacing, sha256_of_file

FOLDER_VARIABLE = "TALKSPLAT_WEIGHTS"
"""Environment variable that names the user's own folder of pretrained files."""

SHIPPED = Path(__file__).parent / "assets" / "weights"
"""The files that are part of the package."""

MEDIAPIPE_BUCKET = "https://storage.googleapis.com/mediapipe-models"
MEDIAPIPE_MODULES = "https://raw.githubusercontent.com/google-ai-edge/mediapipe/master/mediapipe/modules"
OPENWAKEWORD_MODELS = "https://raw.githubusercontent.com/dscripka/openWakeWord/v0.4.0/openwakeword/resources/models"
LPIPS_WEIGHTS = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1"
TORCHVISION_MODELS = "https://download.pytorch.org/models"


@dataclass(frozen=True)
class PretrainedFile:
    """One row of the catalogue."""

    name: str
    """What the program calls it."""
    file: str
    """File name it is looked for under, in every folder."""
    url: str
    """Official address."""
    sha256: str
    """Hexadecimal SHA-256, whole or its first digits (as in torchvision's file names); empty where unknown."""
    licence: str
    used_for: str

    def verify(self, path: Path) -> None:
        """Compare the content of ``path`` with the known hash; without one there is nothing to compare.

        Raises:
            MissingWeights: the hash is another one; the message names both.
        """
        found = _hash_once(path, _stamp(path))
        if not found.startswith(self.sha256):
            raise MissingWeights(
                f"`{path}` is not the {self.name} file: expected SHA-256 {self.sha256}, found {found}",
                hint=f"delete it and take the official file from {self.url}",
            )


CATALOGUE: tuple[PretrainedFile, ...] = (
    PretrainedFile(
        name="face-landmarker",
        file="face_landmarker.task",
        url=f"{MEDIAPIPE_BUCKET}/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        licence="Apache-2.0",
        used_for="478 face landmarks and 52 blendshapes of a picture",
    ),
    PretrainedFile(
        name="selfie-segmentation",
        file="selfie_segmentation.tflite",
        url=f"{MEDIAPIPE_MODULES}/selfie_segmentation/selfie_segmentation.tflite",
        sha256="8d13b7fae74af625c641226813616a2117bd6bca19eb3b75574621fc08557f27",
        licence="Apache-2.0",
        used_for="telling the person from the background",
    ),
    PretrainedFile(
        name="selfie-multiclass",
        file="selfie_multiclass_256x256.tflite",
        url=f"{MEDIAPIPE_BUCKET}/image_segmenter/selfie_multiclass_256x256/float32/latest/"
        "selfie_multiclass_256x256.tflite",
        sha256="",
        licence="Apache-2.0",
        used_for="telling hair, face, body and clothes apart (optional, better masks)",
    ),
    PretrainedFile(
        name="speech-melspectrogram",
        file="speech_melspectrogram.onnx",
        url=f"{OPENWAKEWORD_MODELS}/melspectrogram.onnx",
        sha256="ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f",
        licence="Apache-2.0",
        used_for="the mel front end of the speech embedding",
    ),
    PretrainedFile(
        name="speech-embedding",
        file="speech_embedding.onnx",
        url=f"{OPENWAKEWORD_MODELS}/embedding_model.onnx",
        sha256="ba754db3cd768a524c655ea90655ee5e6055a43b8dfd29366a11e93716ae9e51",
        licence="Apache-2.0",
        used_for="Google's 96-dimensional speech embedding",
    ),
    PretrainedFile(
        name="canonical-face",
        file="canonical_face_model.obj",
        url=f"{MEDIAPIPE_MODULES}/face_geometry/data/canonical_face_model.obj",
        sha256="8bac80443397e113f41a8b565ea72c59390bc031d9defab289dba7bc0c54e618",
        licence="Apache-2.0",
        used_for="the face shape that head tracking starts from",
    ),
    PretrainedFile(
        name="lpips-alex-linear",
        file="lpips_alex.pth",
        url=f"{LPIPS_WEIGHTS}/alex.pth",
        sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        licence="BSD-2-Clause",
        used_for="LPIPS 0.1 on AlexNet: weights of its layers' distances",
    ),
    PretrainedFile(
        name="lpips-vgg-linear",
        file="lpips_vgg.pth",
        url=f"{LPIPS_WEIGHTS}/vgg.pth",
        sha256="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        licence="BSD-2-Clause",
        used_for="LPIPS 0.1 on VGG-16: weights of its layers' distances",
    ),
    PretrainedFile(
        name="alexnet",
        file="alexnet-owt-7be5be79.pth",
        url=f"{TORCHVISION_MODELS}/alexnet-owt-7be5be79.pth",
        sha256="7be5be79",
        licence="BSD-3-Clause",
        used_for="LPIPS: the AlexNet backbone",
    ),
    PretrainedFile(
        name="vgg16",
        file="vgg16-397923af.pth",
        url=f"{TORCHVISION_MODELS}/vgg16-397923af.pth",
        sha256="397923af",
        licence="BSD-3-Clause",
        used_for="LPIPS: the VGG-16 backbone",
    ),
)
"""Every pretrained file the program can use."""


def row(name: str) -> PretrainedFile:
    """The catalogue's row ``name``.

    Raises:
        MissingWeights: the catalogue has no such name; the message lists those it has.
    """
    for pretrained in CATALOGUE:
        if pretrained.name == name:
            return pretrained
    raise MissingWeights(
        f"no pretrained file is called `{name}`; known: {', '.join(p.name for p in CATALOGUE)}",
        hint="choose one of the known names",
    )


def folders() -> tuple[Path, ...]:
    """The folders that are searched, first to last."""
    own = os.environ.get(FOLDER_VARIABLE)
    return (*((Path(own).expanduser(),) if own else ()), SHIPPED, cache_folder())


def cache_folder() -> Path:
    """Where :func:`download` puts files."""
    return Path.home() / ".cache" / "talksplat" / "weights"


def available(name: str) -> Path | None:
    """The verified file of ``name`` in the first folder that has it, or None.

    Raises:
        MissingWeights: a file of that name is there but its SHA-256 is another one, or ``name`` is unknown.
    """
    pretrained = row(name)
    for folder in folders():
        path = folder / pretrained.file
        if path.is_file():
            pretrained.verify(path)
            return path
    return None


def find(name: str) -> Path:
    """The verified file of ``name``.

    Raises:
        MissingWeights: it is in none of the folders, or its SHA-256 is another one.
    """
    path = available(name)
    if path is not None:
        return path
    pretrained = row(name)
    searched = ", ".join(f"`{folder}`" for folder in folders())
    raise MissingWeights(
        f"the pretrained file `{pretrained.file}` ({pretrained.used_for}) is in none of {searched}",
        hint=f"download {pretrained.url} ({pretrained.licence}), save it as `{pretrained.file}` in a folder "
        f"and name that folder in the environment variable {FOLDER_VARIABLE}",
    )


def download(name: str, folder: Path | None = None) -> Path:
    """Fetch ``name`` from its official address into ``folder`` (the user's cache by default) and verify it.

    An existing good file is kept. A file with a wrong hash is never left under its name.

    Raises:
        MissingWeights: the address cannot be read, or what came has another SHA-256.
        DiskFull: no space left.
    """
    pretrained = row(name)
    target = (folder or cache_folder()) / pretrained.file
    if target.is_file() and _hash_once(target, _stamp(target)).startswith(pretrained.sha256):
        return target
    with replacing(target) as temporary:
        _fetch(pretrained, temporary)
        pretrained.verify(temporary)
    return target


def _fetch(pretrained: PretrainedFile, path: Path) -> None:
    try:
        source = urllib.request.urlopen(pretrained.url, timeout=60)
    except (urllib.error.URLError, TimeoutError) as error:
        raise MissingWeights(
            f"{pretrained.name} could not be downloaded from {pretrained.url}: {error}",
            hint=f"fetch it on another machine, save it as `{pretrained.file}` in a folder "
            f"and name that folder in {FOLDER_VARIABLE}",
        ) from error
    with source, open(path, "wb") as file:
        while block := source.read(1 << 20):
            file.write(block)


def _stamp(path: Path) -> tuple[int, int]:
    """What changes when a file is written anew: modification time and size."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=64)
def _hash_once(path: Path, stamp: tuple[int, int]) -> str:
    """SHA-256 of ``path``; hashed again only when ``stamp`` changes."""
    return sha256_of_file(path)
