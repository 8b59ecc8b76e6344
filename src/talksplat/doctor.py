"""What this machine can do: every part that the main job or an option needs, looked at for real.

Nothing is downloaded and nothing is changed. A part that the main job needs and that is missing is a problem with
a hint; a missing option is only reported.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import sys
from pathlib import Path
from typing import Any

from talksplat import __version__
from talksplat.errors import MissingNative, TalksplatError

VECTOR_FLAGS = ("avx2", "fma", "avx512f", "avx512bw", "avx512_bf16", "amx_bf16", "asimd", "sve")
"""Processor features that the compiled part or torch make use of."""
SYSTEM_LIBRARIES = ("libEGL.so.1", "libGLESv2.so.2", "libGL.so.1", "libglib-2.0.so.0")
"""What MediaPipe is linked against."""
INSTALL_LIBRARIES = "apt-get install libegl1 libgles2 libgl1 libglib2.0-0"
ENCODERS = ("libx264", "aac")
"""Codecs that `speak` writes with."""
DECODERS = ("h264", "hevc", "vp9", "av1", "prores", "aac", "opus")
"""Codecs that common recordings use."""
UNWANTED = ("torchvision", "torchaudio")
"""Not used here; present but broken they break packages that look for them."""


def examine() -> dict[str, Any]:
    """Everything found, as one JSON-able value; ``problems`` lists what the main job lacks, each with a hint."""
    found: dict[str, Any] = {
        "talksplat": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "torch": _torch(),
        "native": _native(),
        "cuda": _cuda(),
        "libraries": {name: _loads(name) for name in SYSTEM_LIBRARIES},
        "codecs": _codecs(),
        "weights": _weights(),
        "speech_encoders": _speech_encoders(),
        "perceptual": _perceptual(),
        "unwanted_packages": {name: _package_state(name) for name in UNWANTED},
    }
    found["problems"] = problems(found)
    return found


def problems(found: dict[str, Any]) -> list[dict[str, str]]:
    """What stands in the way of the main job on this machine."""
    listed: list[dict[str, str]] = []

    def add(message: str, hint: str) -> None:
        listed.append({"message": message, "hint": hint})

    if "error" in found["native"]:
        add(found["native"]["error"], found["native"]["hint"])
    missing = [name for name, loads in found["libraries"].items() if not loads]
    if missing and sys.platform == "linux":
        add(f"system libraries missing for the face tracker: {', '.join(missing)}", INSTALL_LIBRARIES)
    for codec in ENCODERS:
        if not found["codecs"]["encoders"].get(codec):
            add(f"PyAV cannot encode {codec}", "pip install --force-reinstall av")
    for weight in found["weights"]:
        if weight["state"] != "found" and (weight["shipped"] or weight["state"] == "damaged"):
            add(f"pretrained file {weight['file']}: {weight['state']}", weight["hint"])
    for name, state in found["speech_encoders"].items():
        if state != "usable":
            add(f"speech encoder {name}: {state}", "pip install --force-reinstall talksplat")
    for name, state in found["unwanted_packages"].items():
        if state.startswith("broken"):
            add(f"{name} is installed but broken, and can break other packages: {state}", f"pip uninstall {name}")
    return listed


def table(found: dict[str, Any]) -> str:
    """The findings as text for a terminal."""
    processor, torch, native, cuda = (found[name] for name in ("processor", "torch", "native", "cuda"))
    rows = [
        ("talksplat", f"{found['talksplat']} on Python {found['python']}, {found['system']}"),
        ("processor", f"{processor['name']}, {processor['cores']} cores, {processor['memory_gb']} GB memory"),
        ("vector features", " ".join(processor["features"]) or "none known"),
        ("torch", f"{torch['version']}, {torch['threads']} threads"),
        ("native part", _native_text(native)),
        ("CUDA", f"{cuda['device'] or 'no device'}; gsplat {cuda['gsplat'] or 'not installed (optional)'}"),
        ("system libraries", _yes_no(found["libraries"])),
        ("encoders", _yes_no(found["codecs"]["encoders"])),
        ("decoders", _yes_no(found["codecs"]["decoders"])),
        *((f"weights {row['name']}", _weight_text(row)) for row in found["weights"]),
        *((f"speech {name}", state) for name, state in found["speech_encoders"].items()),
        ("training sees with", found["perceptual"]),
        *((name, state) for name, state in found["unwanted_packages"].items()),
    ]
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{name:<{width}}" + text.replace("\n", "\n" + " " * width) for name, text in rows]
    lines += ["", *(f"problem: {item['message']}\n  hint: {item['hint']}" for item in found["problems"])]
    if not found["problems"]:
        lines.append("This machine can prepare, train, speak and evaluate.")
    return "\n".join(lines)


def _processor() -> dict[str, Any]:
    name, flags = platform.processor() or platform.machine(), ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            if key.strip() in ("flags", "Features"):
                flags = value
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = 0
    with contextlib.suppress(OSError, ValueError, AttributeError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    features = [flag for flag in VECTOR_FLAGS if flag in flags.split()]
    return {"name": name, "cores": cores, "memory_gb": round(memory / 2**30, 1), "features": features}


def _torch() -> dict[str, Any]:
    import torch

    return {"version": torch.__version__, "threads": torch.get_num_threads()}


def _native() -> dict[str, Any]:
    """The library that is chosen here, its width, and how fast this core multiplies and adds with it."""
    from talksplat import native

    try:
        fitting = native.runnable()
        native.library()
        chosen = os.environ.get(native.CHOICE) or fitting[0]
        rate = native.multiply_add_rate()
    except MissingNative as error:
        return {"error": error.message, "hint": error.hint}
    return {"chosen": chosen, "lanes": native.LANES[chosen], "runnable": fitting, "gflops_a_core": round(rate, 1)}


def _cuda() -> dict[str, Any]:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"device": device, "gsplat": _version("gsplat")}


def _codecs() -> dict[str, dict[str, bool]]:
    from av.codec import Codec
    from av.codec.codec import UnknownCodecError

    def known(name: str, mode: str) -> bool:
        try:
            Codec(name, mode)  # type: ignore[arg-type]
        except UnknownCodecError:
            return False
        return True

    return {
        "encoders": {name: known(name, "w") for name in ENCODERS},
        "decoders": {name: known(name, "r") for name in DECODERS},
    }


def _weights() -> list[dict[str, Any]]:
    """Every pretrained file: found, missing or damaged, where, and where to get it."""
    from talksplat import weights

    shipped, rows = _manifest(weights.SHIPPED), []
    for pretrained in weights.CATALOGUE:
        row: dict[str, Any] = {
            "name": pretrained.name,
            "file": pretrained.file,
            "used_for": pretrained.used_for,
            "shipped": pretrained.file in shipped,
            "path": None,
            "hint": f"save {pretrained.url} as `{pretrained.file}` in a folder named by {weights.FOLDER_VARIABLE}",
        }
        try:
            path = weights.available(pretrained.name)
            row |= {"state": "found" if path else "missing", "path": str(path) if path else None}
        except TalksplatError as error:
            row |= {"state": "damaged", "hint": error.hint}
        rows.append(row)
    return rows


def _manifest(shipped: Path) -> set[str]:
    """Names of the files that belong to the package, whether or not they are still there."""
    with contextlib.suppress(OSError):
        return {line.split()[-1] for line in (shipped / "SHA256SUMS").read_text().splitlines() if line.strip()}
    return set()


def _speech_encoders() -> dict[str, str]:
    """Whether every encoder turns a tenth of a second of sound into features."""
    import numpy as np

    from talksplat.speech.encoders import ENCODERS as SPEECH_ENCODERS
    from talksplat.speech.encoders import find_encoder

    states = {}
    for name in SPEECH_ENCODERS:
        try:
            find_encoder(name).encode(np.zeros(1600, np.float32))
            states[name] = "usable"
        except TalksplatError as error:
            states[name] = f"not usable: {error.message}"
    return states


def _perceptual() -> str:
    """What the perceptual loss would be computed with."""
    from talksplat.progress import Reporter
    from talksplat.train.perception import find_perception

    found = find_perception(Reporter(quiet=True))
    return found.name if found else "no perceptual network; pip install 'talksplat[perceptual]' adds one"


def _package_state(name: str) -> str:
    """Absent, working, or broken: such a package fails with any kind of exception, not only ImportError."""
    if importlib.util.find_spec(name) is None:
        return "absent (not needed)"
    try:
        importlib.import_module(name)
    except Exception as error:
        return f"broken: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return f"{_version(name)} (not needed)"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _native_text(native: dict[str, Any]) -> str:
    if "error" in native:
        return f"missing: {native['error']}"
    fitting = ", ".join(native["runnable"])
    return f"{native['chosen']}, {native['lanes']} lanes, {native['gflops_a_core']} GFLOP/s a core (runs: {fitting})"


def _weight_text(row: dict[str, Any]) -> str:
    if row["state"] == "found":
        return f"found: {row['path']}"
    return f"{row['state']}{'' if row['shipped'] else ' (not needed)'}: {row['used_for']}\n{row['hint']}"


def _yes_no(parts: dict[str, bool]) -> str:
    return ", ".join(name if there else f"{name} MISSING" for name, there in parts.items())
