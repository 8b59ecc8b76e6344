"""The whole main job on real clips: prepare, train, speak, evaluate; one table and one JSON line a clip.

    python benchmarks/clips.py CLIP... --method gstalker --preset quick --out DIR [--speech WAV] [--portraits DIR]
    python benchmarks/clips.py --pool

Each stage is the command line in a process of its own, so times and peak memory are those that a user sees. A finished
cell (clip, method, preset, speech features, settings, code version) is a small JSON file in benchmarks/results/clips
that is kept; a second run of the same code reads it instead of computing it again, and an interrupted one goes on where
it was. ``--pool`` computes nothing: it judges the kept cells, the newest of each clip where the current code has none.

Clips that lie prepared in ``--portraits`` DIR, as CLIP/portrait, are not prepared again, and cells say nothing of it.
A prior that tells speech features is fitted on ``--people`` (a pool of `talksplat prior`) without the clip's person.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from cells import RESULTS, USUAL_SIZE, Cell, kept_cells, show
from offsets import SAME_PERSON, priors_without
from version import code_version

from talksplat.portrait import read_info
from talksplat.speech.encoders import find_encoder
from talksplat.storage import write_bytes
from talksplat.train.options import TrainOptions

ROOT = Path(__file__).resolve().parents[1]
SPEECH = ROOT.parent / "shared" / "speech" / "english-radio31.wav"
PEOPLE = ROOT.parent / "shared" / "speech-lips"
DEFAULT_FEATURES = TrainOptions().speech


@dataclass(frozen=True)
class Job:
    """One cell to be computed."""

    clip: Path
    method: str
    preset: str
    settings: tuple[str, ...]
    version: str
    size: int
    consent: str
    speech: Path
    folder: Path
    """Where portraits, avatars, videos and reports go; nothing in it is needed once the cell is finished."""
    features: str = DEFAULT_FEATURES
    """Speech features that drive the avatar."""
    people: Path = PEOPLE
    portraits: Path | None = None
    """Folder of portraits that are there already, by clip."""

    @property
    def name(self) -> str:
        """Name of the cell's file; `embedding` and 512 pixels, once the only ones, are not named."""
        features = "" if self.features == "embedding" else f"-{self.features}"
        size = "" if self.size == USUAL_SIZE else f"-{self.size}px"
        return cell_name(self.clip.stem, self.method, self.preset + features + size, self.settings, self.version)

    def prior_without_person(self) -> Path:
        """The file of a prior that has not seen the clip's person, fitted if it is not there yet.

        Raises:
            RuntimeError: it could not be fitted; why is on standard error already.
        """
        person = SAME_PERSON.get(self.clip.stem, self.clip.stem)
        found = self.folder / f"prior-without-{person}-{self.version}.safetensors"
        if not found.is_file():
            # In a process of its own: a stage's largest memory begins with that of the process that starts it.
            fitting = get_context("spawn").Process(target=_fit_without, args=(person, self.people, found))
            fitting.start()
            fitting.join()
            if fitting.exitcode:
                raise RuntimeError(f"no prior could be fitted on `{self.people}` without {person}")
        return found

    @property
    def portrait(self) -> Path:
        prepared = self.portraits and self.portraits / self.clip.stem
        return (prepared or self.folder / f"{self.clip.stem}-{self.size}px-{self.version}") / "portrait"

    @property
    def work(self) -> Path:
        return self.folder / self.name

    def commands(self) -> dict[str, list[str]]:
        """The command of each stage, as a user would give it."""
        avatar, portrait = str(self.work / "speaker.avatar"), str(self.portrait)
        prepare = ["prepare", str(self.clip), "--out", portrait, "--consent", self.consent, "--size", str(self.size)]
        train = ["train", portrait, "--out", avatar, "--method", self.method, "--preset", self.preset, "--resume"]
        train += ["--speech", self.features]
        if find_encoder(self.features).articulates:
            train += ["--prior", str(self.prior_without_person())]
        for setting in self.settings:
            train += ["--set", setting]
        return {
            **({} if self.portraits else {"prepare": prepare}),
            "train": train,
            "speak": ["speak", avatar, "--audio", str(self.speech), "--out", str(self.work / "speech.mp4")],
            "evaluate": ["evaluate", avatar, portrait, "--out", str(self.work / "report")],
        }


def _fit_without(person: str, people: Path, path: Path) -> None:
    priors_without([person], people)[0].save(path)


def cell_name(clip: str, method: str, preset: str, settings: Iterable[str], version: str) -> str:
    """``clip-method-preset[-settings]-version``."""
    chosen = "".join(f"-{setting.replace('=', '_')}" for setting in settings)
    return f"{clip}-{method}-{preset}{chosen}-{version}"


def run_stage(command: list[str]) -> dict[str, Any]:
    """Run one command; its wall time, largest resident memory and result.

    Raises:
        RuntimeError: it exited with an error; what it wrote is on standard error already.
    """
    began = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(
        [sys.executable, "-m", "talksplat", *command, "--json"], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    try:
        written = process.stdout.read().decode()
        # wait4 gives the memory of this one process; Popen must not wait for it a second time.
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"`talksplat {command[0]}` exited with {process.returncode}")
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "peak_memory_mb": round(usage.ru_maxrss / 1024, 1),
        "result": named(json.loads(written.splitlines()[-1])),
    }


def named(value: Any) -> Any:
    """A result without anything that is a path on this machine."""
    if isinstance(value, dict):
        return {name: named(item) for name, item in value.items() if not _is_path(item)}
    if isinstance(value, list):
        return [named(item) for item in value if not _is_path(item)]
    return value


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and ("/" in value or "\\" in value)


def fill(job: Job, results: Path, run: Callable[[list[str]], dict[str, Any]] = run_stage) -> Cell:
    """The finished cell: read where it is kept, else computed stage by stage and kept.

    A stage that was finished before an interruption is not run again; its record lies in the work folder.

    Raises:
        RuntimeError: a stage failed, or the clip lies prepared in another size than the job's.
    """
    kept = results / f"{job.name}.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    if job.portraits and (size := read_info(job.portrait).size) != job.size:
        raise RuntimeError(
            f"`{job.portrait}` is of {size} pixels, expected {job.size}; prepare it again or give --size"
        )
    stages = {}
    for stage, command in job.commands().items():
        record = (job.portrait.parent if stage == "prepare" else job.work) / f"{stage}.json"
        if record.is_file():
            stages[stage] = json.loads(record.read_text())
            continue
        resumed = record.with_suffix(".began").is_file()
        write_bytes(record.with_suffix(".began"), b"")
        print(f"== {job.clip.stem}: {stage}", file=sys.stderr, flush=True)
        stages[stage] = {**run(command), "resumed": resumed}
        write_bytes(record, json.dumps(stages[stage]).encode())
    cell = finished(job, stages, json.loads((job.work / "report" / "report.json").read_text()))
    write_bytes(kept, (json.dumps(cell, allow_nan=False) + "\n").encode())
    return cell


def finished(job: Job, stages: dict[str, Any], report: dict[str, Any]) -> Cell:
    """What is kept of a cell: every figure, every series, no picture, no path."""
    return {
        "clip": job.clip.stem,
        "method": job.method,
        "preset": job.preset,
        "features": job.features,
        "settings": list(job.settings),
        "size": job.size,
        "speech": job.speech.stem,
        "version": job.version,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": report["machine"]["processor"], "cores": os.cpu_count(), "system": platform.system()},
        "stages": stages,
        "report": {name: report[name] for name in report if name != "machine"},
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, help="videos; with --pool, names of clips (none: all)")
    parser.add_argument("--method", default="gstalker")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--features", default=DEFAULT_FEATURES, help="speech features that drive the avatar")
    parser.add_argument("--people", type=Path, default=PEOPLE, help="pool of speech and lips for the prior")
    parser.add_argument("--set", action="append", default=[], help="a setting of the method, name=value")
    parser.add_argument("--out", type=Path, help="folder for portraits, avatars, videos and reports")
    parser.add_argument("--speech", type=Path, default=SPEECH, help="sound to speak")
    parser.add_argument("--portraits", type=Path, help="folder of clips that are prepared already, CLIP/portrait")
    parser.add_argument("--size", type=int, default=USUAL_SIZE)
    parser.add_argument("--consent", default="published clip, used for measuring")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of kept cells")
    parser.add_argument("--pool", action="store_true", help="judge kept cells, compute nothing")
    chosen = parser.parse_args(arguments)
    version = code_version()
    if chosen.pool:
        kept = kept_cells(
            chosen.results,
            method=chosen.method,
            preset=chosen.preset,
            features=chosen.features,
            settings=chosen.set,
            size=chosen.size,
            version=version,
        )
        names = {clip.stem for clip in chosen.clips} or set(kept)
        return show([cell for clip, cell in kept.items() if clip in names], [])
    if not chosen.clips or chosen.out is None:
        parser.error("expected CLIP... and --out DIR, or --pool")
    for path in (chosen.speech, *chosen.clips):
        if not path.is_file():
            parser.error(f"`{path}` is not a file")
    cells, failed = [], []
    for clip in chosen.clips:
        job = Job(
            clip=clip,
            method=chosen.method,
            preset=chosen.preset,
            settings=tuple(chosen.set),
            version=version,
            size=chosen.size,
            consent=chosen.consent,
            speech=chosen.speech,
            folder=chosen.out,
            features=chosen.features,
            people=chosen.people,
            portraits=chosen.portraits,
        )
        try:
            cells.append(fill(job, chosen.results))
        except RuntimeError as error:
            print(f"{clip.stem}: {error}", file=sys.stderr)
            failed.append(clip.stem)
    return show(cells, failed)


if __name__ == "__main__":
    sys.exit(main())
