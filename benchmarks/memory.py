"""Memory of training on a long clip: a portrait repeated to five minutes, a few steps of every stage.

    python benchmarks/memory.py PORTRAIT [--frames 7500] [--method gstalker] [--set name=value]

The long portrait lies in a temporary folder and links the short one's pictures. Peak memory is that of the training
process alone. Ends with one line of JSON: frames, peak memory of the short and of the long portrait, MB.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import soundfile
import torch
from safetensors.torch import save_file

from talksplat.portrait import Portrait, Tracks

SHORT: dict[str, tuple[str, ...]] = {
    "gstalker": (
        *("static_steps=30", "head_steps=60", "torso_static_steps=10", "torso_steps=20", "joint_steps=20"),
        "warm_speech_steps=20",
    ),
    "talking-gaussian": ("pace=500", "mouth_pace=1", "warm_speech_steps=20"),
    "gaussian-talker": (
        *("static_steps=30", "steps=60", "torso_static_steps=10", "torso_steps=20", "joint_steps=20"),
        "warm_speech_steps=20",
    ),
}
SHORT["gaussian-talker-fast"] = SHORT["gaussian-talker"]


def repeated(portrait: Portrait, frames: int, folder: Path) -> Path:
    """A portrait folder of ``frames`` frames: the short one's, over and over."""
    source = [n % len(portrait) for n in range(frames)]
    for kind, name in (("frames", "jpg"), ("masks", "png")):
        (folder / kind).mkdir(parents=True)
        for n, original in enumerate(source):
            (folder / kind / f"{n:06d}.{name}").symlink_to(
                (portrait.folder / kind / f"{original:06d}.{name}").resolve()
            )
    (folder / "background.png").symlink_to((portrait.folder / "background.png").resolve())
    samples = torch.from_numpy(portrait.audio()).reshape(len(portrait), -1)
    soundfile.write(folder / "audio.wav", samples[source].flatten().numpy(), 16_000, subtype="PCM_16")
    fields = {field.name: getattr(portrait.tracks, field.name) for field in dataclasses.fields(portrait.tracks)}  # type: ignore[arg-type]
    long = {name: value if name == "face_shape" else value[source] for name, value in fields.items()}
    Tracks(**long).save(folder / "tracks.safetensors")
    (folder / "speech").mkdir()
    features = portrait.speech("embedding").reshape(len(portrait), 2, -1)[source].flatten(0, 1)
    save_file({"features": features.contiguous()}, folder / "speech" / "embedding.safetensors")
    dataclasses.replace(portrait.info, frames=frames).save(folder)
    return folder


def peak_memory(portrait: Path, avatar: Path, method: str, settings: list[str]) -> float:
    """Largest resident memory of a short training run, MB."""
    command = [sys.executable, "-m", "talksplat", "train", str(portrait), "--out", str(avatar), "--method", method]
    command += [part for setting in (*SHORT[method], *settings) for part in ("--set", setting)]
    process = subprocess.Popen([*command, "--quiet"])
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"`{' '.join(command)}` failed")
    return usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("portrait", type=Path)
    parser.add_argument("--frames", type=int, default=7_500)
    parser.add_argument("--method", default="gstalker", choices=sorted(SHORT))
    parser.add_argument("--set", action="append", default=[], help="a setting of the method, name=value")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        short = peak_memory(chosen.portrait, folder / "short.avatar", chosen.method, chosen.set)
        long = repeated(Portrait(chosen.portrait), chosen.frames, folder / "long")
        found = peak_memory(long, folder / "long.avatar", chosen.method, chosen.set)
    print(f"{len(Portrait(chosen.portrait))} frames: {short:.0f} MB; {chosen.frames} frames: {found:.0f} MB")
    figures = {"method": chosen.method, "frames": chosen.frames, "short_mb": round(short), "long_mb": round(found)}
    print(json.dumps({"benchmark": "memory", **figures}))


if __name__ == "__main__":
    main()
