"""The command line: one frozen dataclass a verb, one line to the library each.

Heavy imports happen inside the verbs, so that ``talksplat --help`` answers at once. Exit codes: 0 done, 2 wrong
usage or input (one message, no traceback), 130 interrupted; a traceback (1) is always a fault of the program.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, UseAppendAction, arg, subcommand

from talksplat import __version__
from talksplat.cli_prior import Prior
from talksplat.errors import DiskFull, InputError, TalksplatError
from talksplat.progress import Reporter
from talksplat.verb import Switch, Verb

if TYPE_CHECKING:
    from talksplat.rasterize.rasterizer import Rasterizer

Device = Literal["auto", "cpu", "cuda"]
SpeechName = Literal["embedding", "articulation", "mel"]
MethodName = Literal["gstalker", "talking-gaussian", "gaussian-talker", "gaussian-talker-fast"]
Torso = Literal["own", "recorded"]


@dataclass(frozen=True, kw_only=True)
class Prepare(Verb):
    """Turn a video of one person talking into a portrait folder."""

    video: Positional[Annotated[Path, arg(metavar="VIDEO")]]
    """Video of one person talking to the camera, at least 5 seconds, any format and frame rate."""
    out: Path
    """Portrait folder to make; a second run with the same folder redoes only what changed."""
    consent: str
    """How the person in the video agreed to it, e.g. "own recording". Kept in everything made from it."""
    size: int = 512
    """Edge of the square pictures, pixels."""
    speech: Annotated[list[SpeechName], UseAppendAction] = field(default_factory=lambda: ["embedding"])
    """Speech features to compute besides; may be given several times."""
    av_offset: float | None = None
    """Frames (1/25 s) by which the lips are late against the sound; without it that is estimated and taken out."""
    workers: int = 0
    """Parallel workers; 0 takes one a core."""

    def run(self, reporter: Reporter) -> dict[str, Any]:
        from talksplat.prepare.pipeline import PrepareConfig, prepare

        config = PrepareConfig(
            consent=self.consent,
            size=self.size,
            speech=tuple(dict.fromkeys(self.speech)),
            av_offset=self.av_offset,
            workers=self.workers or os.cpu_count() or 1,
        )
        portrait = prepare(self.video, self.out, config, reporter)
        return {"portrait": str(self.out), "frames": len(portrait), **portrait.info.quality}


@dataclass(frozen=True, kw_only=True)
class Train(Verb):
    """Train an avatar from a portrait folder."""

    portrait: Positional[Annotated[Path, arg(metavar="PORTRAIT")]]
    """Portrait folder made by `prepare`."""
    out: Path
    """Avatar file to write, e.g. anna.avatar."""
    method: MethodName = "gstalker"
    """Published method to train."""
    preset: Literal["quick", "full"] = "quick"
    """Quick takes about ten minutes on two cores, full the paper's iterations (it says first how long)."""
    speech: SpeechName = "articulation"
    """Speech features that drive the avatar; `prepare` must have computed them (for articulation, embedding's)."""
    prior: Path | None = None
    """Prior of speech and lips that `articulation` adapts to the person, instead of the shipped one."""
    device: Device = "auto"
    """Where to compute; auto takes CUDA where gsplat runs, else the processor."""
    seed: int = 0
    """Seed of everything random; the same seed on the same machine gives the same avatar."""
    resume: Switch = False
    """Go on with the interrupted run that this avatar file's name belongs to."""
    restart: Switch = False
    """Throw an interrupted run away and begin again."""
    torso: Torso = "own"
    """Own trains a torso that speaks anywhere; recorded lays the frames' torso behind the head, as the papers do."""
    set: Annotated[list[str], UseAppendAction] = field(default_factory=list)
    """One setting of the method that differs from the preset, as name=value; may be given several times."""

    def run(self, reporter: Reporter) -> dict[str, Any]:
        from talksplat.train.loop import train
        from talksplat.train.options import TrainOptions

        device, rasterizer = rasterizer_for(self.device)
        options = TrainOptions(
            method=self.method,
            preset=self.preset,
            speech=self.speech,
            prior=self.prior,
            device=device,
            seed=self.seed,
            resume=self.resume,
            restart=self.restart,
            settings=(f"torso={self.torso}", *self.set),
        )
        return {"avatar": str(self.out), **train(self.portrait, self.out, options, rasterizer, reporter)}


@dataclass(frozen=True, kw_only=True)
class Speak(Verb):
    """Make an avatar say new speech: a video with sound, as long as the sound."""

    avatar: Positional[Annotated[Path, arg(metavar="AVATAR")]]
    """Avatar file made by `train` (the checkpoint of an interrupted run will do)."""
    audio: Path
    """Speech to say: any sound file, or a video with sound; any sample rate, mono or stereo, any length."""
    out: Path
    """Video to write, .mp4."""
    start: float = 0.0
    """Second of the recording at which the head's motion starts."""
    rest_in_silence: bool = True
    """Close the mouth where the sound is silent."""
    preview: bool = True
    """Also write a contact sheet of the video beside it, .png."""
    layers: Path | None = None
    """Folder for pictures of every layer, its alpha, and the method's attention, of every fifth frame."""
    torso: Torso = "own"
    """Recorded: behind the head lies what was recorded there (needs --portrait), and it moves as recorded alone."""
    portrait: Path | None = None
    """Portrait folder of the avatar, for --torso recorded."""
    device: Device = "auto"
    """Where to compute; auto takes CUDA where gsplat runs, else the processor."""

    def run(self, reporter: Reporter) -> dict[str, Any]:
        if (self.torso == "recorded") != (self.portrait is not None):
            raise InputError(
                f"--torso {self.torso} {'without' if self.portrait is None else 'with'} a --portrait",
                hint="give both `--torso recorded` and `--portrait FOLDER`, or neither",
            )
        # Threads that spin while they wait take the video encoder's core; this must be set before torch is loaded.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        from talksplat.speak import SpeakConfig, speak

        device, rasterizer = rasterizer_for(self.device)
        config = SpeakConfig(
            start=self.start,
            rest_in_silence=self.rest_in_silence,
            preview=self.preview,
            device=device,
            layers=self.layers,
            recorded=self.portrait,
        )
        return dataclasses.asdict(speak(self.avatar, self.audio, self.out, config, rasterizer, reporter))


@dataclass(frozen=True, kw_only=True)
class Evaluate(Verb):
    """Measure an avatar on the part of its recording that it was not trained on."""

    avatar: Positional[Annotated[Path, arg(metavar="AVATAR")]]
    """Avatar file made by `train`."""
    portrait: Positional[Annotated[Path, arg(metavar="PORTRAIT")]]
    """The portrait folder it was trained on."""
    out: Path
    """Folder to write report.html and report.json to."""
    torso: Torso = "own"
    """Recorded: judge the head over the recorded torso and background, as in the published figures."""
    foreign: Annotated[list[Path], UseAppendAction] = field(default_factory=list)
    """Portrait of another person whose speech the avatar is to say; may be given several times."""
    device: Device = "auto"
    """Where to compute; auto takes CUDA where gsplat runs, else the processor."""

    def run(self, reporter: Reporter) -> dict[str, Any]:
        from talksplat.evaluate import EvaluationOptions, evaluate

        device, rasterizer = rasterizer_for(self.device)
        return evaluate(
            self.avatar,
            self.portrait,
            self.out,
            rasterizer,
            reporter,
            EvaluationOptions(device=device, torso=self.torso, foreign=tuple(self.foreign)),
        )


@dataclass(frozen=True, kw_only=True)
class Doctor(Verb):
    """Say what this machine can do, and what is missing."""

    def run(self, reporter: Reporter) -> dict[str, Any]:
        from talksplat.doctor import examine

        return examine()

    def summary(self, result: dict[str, Any]) -> str:
        from talksplat.doctor import table

        return table(result)


@dataclass(frozen=True, kw_only=True)
class Demo(Verb):
    """Go the whole way once: video, portrait, avatar, new speech, report."""

    out: Path = Path("demo")
    """Folder for all that is made; look at speech.mp4 and report.html in it."""
    video: Path | None = None
    """Your own clip; without one, the drawn synthetic speaker is filmed."""
    consent: str = ""
    """How the person in your clip agreed to it; needed with --video."""
    audio: Path | None = None
    """Speech to say; without one, the synthetic voice that the avatar was not trained on."""
    method: MethodName = "gstalker"
    """Published method to train."""
    device: Device = "auto"
    """Where to compute; auto takes CUDA where gsplat runs, else the processor."""

    def run(self, reporter: Reporter) -> dict[str, Any]:
        from talksplat.demo import DemoConfig, demonstrate

        device, rasterizer = rasterizer_for(self.device)
        config = DemoConfig(video=self.video, consent=self.consent, audio=self.audio, method=self.method, device=device)
        return demonstrate(self.out, config, rasterizer, reporter)


Command = (
    Annotated[Prepare, subcommand("prepare")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Speak, subcommand("speak")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Prior, subcommand("prior")]
    | Annotated[Doctor, subcommand("doctor")]
    | Annotated[Demo, subcommand("demo")]
)


def rasterizer_for(device: Device) -> tuple[Literal["cpu", "cuda"], Rasterizer]:
    """The device that ``device`` means on this machine, and the rasterizer for it; memory is kept for drawing."""
    from talksplat.heap import keep_freed_memory
    from talksplat.rasterize.rasterizer import choose_device, choose_rasterizer

    keep_freed_memory()
    return choose_device(device), choose_rasterizer(device)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (wrong usage exits with 2 through :class:`SystemExit`)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"talksplat {__version__}")
        return 0
    chosen: Verb | Prior = tyro.cli(
        Command,  # type: ignore[arg-type]
        args=given,
        prog="talksplat",
        description="From one video of a person talking to the same person saying new words.",
        config=(OmitArgPrefixes, OmitSubcommandPrefixes),
    )
    verb = chosen.action if isinstance(chosen, Prior) else chosen
    try:
        result = verb.run(Reporter(quiet=verb.quiet))
    except TalksplatError as error:
        return _refuse(error)
    except OSError as error:
        return _refuse(_from_system(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    if verb.json:
        print(json.dumps(result, default=str))
    elif not verb.quiet:
        print(verb.summary(result))
    return 0


def _refuse(error: TalksplatError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


def _from_system(error: OSError) -> TalksplatError:
    """What the user can mend of an error of the operating system; any other is raised again."""
    place = error.filename or "the output folder"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(".").free
        return DiskFull(
            f"no space left while writing `{place}`: {free / 1e6:.0f} MB are free",
            hint="free some space or choose another --out, then run the same command again",
        )
    if isinstance(error, PermissionError):
        return InputError(
            f"`{place}` may not be read or written by this user", hint="choose another --out, or change its rights"
        )
    if isinstance(error, NotADirectoryError | FileExistsError):
        return InputError(f"`{place}` is a file; expected a folder", hint="choose another --out")
    if isinstance(error, IsADirectoryError):
        return InputError(f"`{place}` is a folder; expected a file", hint="choose another --out")
    raise error


if __name__ == "__main__":
    sys.exit(main())
