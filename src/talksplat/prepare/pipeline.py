"""From a raw video to a portrait folder: the order of the steps, and what each depends on.

Every step writes whole files and is remembered by a key; killed at any moment, the same command goes on where it
stopped, and a second run redoes only what changed. ``portrait.json`` is written last.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from talksplat import __version__, weights
from talksplat.clock import FRAME_RATE, SAMPLE_RATE
from talksplat.errors import InputError, UnreadableMedia, UnsuitableClip
from talksplat.media.video import VideoInfo, probe, read_frames
from talksplat.portrait import FORMAT, Portrait, PortraitInfo, Provenance, read_info, read_tracks
from talksplat.prepare.background import background_plate
from talksplat.prepare.crop import Crop, square_crop
from talksplat.prepare.face import Detections, track
from talksplat.prepare.headpose import HeadPoses, solve_head_poses
from talksplat.prepare.masks import write_masks
from talksplat.prepare.quality import judge, report_lines, write_sheet
from talksplat.prepare.record import StepRecord
from talksplat.prepare.synchrony import Synchrony, synchrony_of
from talksplat.prepare.tracks import load_measurements, save_measurements, tracks_of
from talksplat.progress import Reporter
from talksplat.speech.prior import SHIPPED, shipped_prior
from talksplat.storage import existing_file, replacing, sha256_of_file, write_bytes

SHORTEST = 5
"""Seconds of the shortest clip: less holds too few lip shapes."""
CROP_SAMPLES = 24
"""Frames from which the crop is found."""
JPEG_QUALITY = 95
VERSIONS = {"crop": 1, "frames": 1, "faces": 1, "poses": 2, "masks": 1, "background": 1}
VERSIONS |= {"offset": 1, "sound": 2, "speech": 2}
"""Raised when a step's result changes, so that portraits are redone."""


@dataclass(frozen=True)
class PrepareConfig:
    """Options of a preparation."""

    consent: str
    """How the speaker's consent was given, in words."""
    size: int = 512
    """Edge of the square pictures, pixels."""
    speech: tuple[str, ...] = ("embedding",)
    """Speech encoders to run."""
    av_offset: float | None = None
    """Frames by which the lips are late against the sound; None has it estimated."""
    workers: int = 2
    """Threads that work on frames side by side."""


def prepare(video: Path, out: Path, config: PrepareConfig, reporter: Reporter) -> Portrait:
    """Make (or finish, or bring up to date) the portrait folder ``out`` of ``video``.

    Raises:
        MissingInput, UnreadableMedia: no file, not a video, no sound.
        UnsuitableClip: shorter than five seconds, or consent not stated.
        UnsuitableFace: no face, two faces, or a face too small.
        PortraitError: ``out`` holds something else.
    """
    return _Preparation(video, out, config, reporter).run()


class _Preparation:
    """The steps of one preparation, in order."""

    def __init__(self, video: Path, out: Path, config: PrepareConfig, reporter: Reporter) -> None:
        self.video, self.out, self.config, self.reporter = existing_file(video, "video"), out, config, reporter
        self.clip = _suitable(self.video, config)
        self.sha256 = sha256_of_file(self.video)
        self.fresh = not out.exists()
        self.record = StepRecord(out, self.sha256)

    def run(self) -> Portrait:
        """Do what is not done; a video that turns out unsuitable leaves nothing behind."""
        try:
            return self._steps()
        except InputError:
            if self.fresh:
                shutil.rmtree(self.out)
            raise

    def _steps(self) -> Portrait:
        crop, key = self._crop()
        key = self._frames(crop, key)
        faces, key = self._faces(key)
        poses, poses_key = self._poses(faces, crop, key)
        masks_key = self._masks(faces, key)
        self._background(masks_key)
        synchrony, key = self._offset(poses_key)
        self._speech(self._sound(synchrony, key))
        return self._finish(faces, poses, synchrony)

    def _step(self, step: str, depends: list[Any], outputs: list[Path], work: Callable[[], None]) -> str:
        """Do ``work`` unless it was done for the same ``depends`` and its outputs are there; returns its key.

        An output that is a folder holds one file a frame.
        """
        key = self.record.key(step, VERSIONS[step.split(" ")[0]], *depends)
        if not (self.record.is_done(step, key) and all(map(self._is_whole, outputs))):
            self.record.begin(step, key, *outputs)
            (self.out / "portrait.json").unlink(missing_ok=True)
            work()
            self.record.finish(step, key)
        return key

    def _is_whole(self, output: Path) -> bool:
        if not output.is_dir():
            return output.is_file()
        return sum(1 for _ in output.iterdir()) == self.clip.frames

    def _crop(self) -> tuple[Crop, str]:
        path = self.record.folder / "crop.npy"

        def work() -> None:
            every = -(-self.clip.frames // CROP_SAMPLES)
            samples = [picture for n, picture in enumerate(read_frames(self.video)) if n % every == every // 2]
            found = track(lambda n: samples[n], len(samples), workers=self.config.workers)
            crop = square_crop(found.landmarks[found.detected], self.clip.height, self.clip.width)
            _save_array(path, np.array([crop.left, crop.top, crop.edge]))

        key = self._step("crop", [self.sha256], [path], work)
        left, top, edge = np.load(path).tolist()
        return Crop(left=left, top=top, edge=edge), key

    def _frames(self, crop: Crop, above: str) -> str:
        import simplejpeg

        folder, size = self.out / "frames", self.config.size

        def work() -> None:
            folder.mkdir(exist_ok=True)
            done = next(
                (n for n in range(self.clip.frames) if not (folder / f"{n:06d}.jpg").exists()), self.clip.frames
            )
            pictures = self.reporter.track(read_frames(self.video, done), "frames", self.clip.frames - done)
            for n, picture in enumerate(pictures, start=done):
                data = simplejpeg.encode_jpeg(crop.apply(picture, size), JPEG_QUALITY, colorsubsampling="444")
                write_bytes(folder / f"{n:06d}.jpg", data)

        return self._step("frames", [above, size], [folder], work)

    def _faces(self, above: str) -> tuple[Detections, str]:
        path = self.record.folder / "faces.safetensors"

        def work() -> None:
            found = track(self.picture, self.clip.frames, workers=self.config.workers, reporter=self.reporter)
            save_measurements(path, found)

        key = self._step("faces", [above], [path], work)
        return load_measurements(path, Detections), key

    def _poses(self, faces: Detections, crop: Crop, above: str) -> tuple[HeadPoses, str]:
        path, tracks = self.record.folder / "poses.safetensors", self.out / "tracks.safetensors"

        def work() -> None:
            principal = crop.principal_point(self.clip.height, self.clip.width, self.config.size)
            poses = solve_head_poses(faces.landmarks, faces.detected, principal, self.config.size)
            save_measurements(path, poses)
            tracks_of(faces, poses).save(tracks)

        key = self._step("poses", [above], [path, tracks], work)
        return load_measurements(path, HeadPoses), key

    def _masks(self, faces: Detections, above: str) -> str:
        folder = self.out / "masks"

        def work() -> None:
            folder.mkdir(exist_ok=True)
            write_masks(self.picture, faces.landmarks, folder, workers=self.config.workers, reporter=self.reporter)

        # A better segmenter that has come is a reason to do them again.
        return self._step("masks", [above, weights.available("selfie-multiclass")], [folder], work)

    def _background(self, above: str) -> None:
        from PIL import Image

        path = self.out / "background.png"

        def work() -> None:
            plate = background_plate(self.picture, self.mask, self.clip.frames)
            with replacing(path) as temporary:
                Image.fromarray(plate).save(temporary)

        self._step("background", [above], [path], work)

    def _offset(self, above: str) -> tuple[Synchrony, str]:
        from talksplat.media.audio import read_soundtrack

        path = self.record.folder / "offset.json"

        def work() -> None:
            tracks = read_tracks(self.out / "tracks.safetensors")
            samples = read_soundtrack(self.video, self.clip.frames).samples
            mouth, seen = tracks.mouth.numpy(), tracks.usable.numpy()
            synchrony_of(samples, mouth, seen, shipped_prior(), self.config.av_offset).save(path)

        key = self._step("offset", [above, sha256_of_file(SHIPPED), self.config.av_offset], [path], work)
        return Synchrony.load(path), key

    def _sound(self, synchrony: Synchrony, above: str) -> str:
        import soundfile

        from talksplat.media.audio import read_soundtrack

        path = self.out / "audio.wav"

        def work() -> None:
            sound = read_soundtrack(self.video, self.clip.frames, synchrony.delay)
            with replacing(path) as temporary:
                soundfile.write(temporary, sound.samples, SAMPLE_RATE, subtype="PCM_16", format="WAV")

        return self._step("sound", [above], [path], work)

    def _speech(self, above: str) -> None:
        import soundfile
        import torch
        from safetensors.torch import save_file

        from talksplat.speech.encoders import find_encoder
        from talksplat.speech.standardization import Standardization

        for name in dict.fromkeys(find_encoder(name).stored for name in self.config.speech):
            encoder = find_encoder(name)
            path = self.out / "speech" / f"{name}.safetensors"

            def work(encoder: Any = encoder, path: Path = path) -> None:
                samples, _ = soundfile.read(self.out / "audio.wav", dtype="float32")
                raw = encoder.encode(samples)
                moments = Standardization.of(raw)
                arrays = {"features": moments.apply(raw), "mean": moments.mean, "deviation": moments.deviation}
                tensors = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()}
                with replacing(path) as temporary:
                    save_file(tensors, temporary)

            self._step(f"speech {name}", [above], [path], work)

    def _finish(self, faces: Detections, poses: HeadPoses, synchrony: Synchrony) -> Portrait:
        """Quality figures, ``portrait.json`` and the contact sheet, unless they are those of these steps."""
        sheet = self.out / "quality.png"
        if (self.out / "portrait.json").is_file() and sheet.is_file():
            known = read_info(self.out)
            if known.steps == self.record.finished and known.provenance.consent == self.config.consent.strip():
                return Portrait(self.out)
        middle = np.median(poses.head_to_camera, 0)
        left, _, right = np.linalg.svd(middle[:3, :3])
        middle[:3, :3] = left @ right  # the rotation nearest to the entries' medians
        info = PortraitInfo(
            format=FORMAT,
            provenance=Provenance(
                consent=self.config.consent.strip(),
                source=self.video.name,
                source_sha256=self.sha256,
                created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                tool=f"talksplat {__version__}",
            ),
            frames=self.clip.frames,
            size=self.config.size,
            intrinsics=poses.intrinsics.tolist(),
            reference_pose=middle.tolist(),
            head_scale=float(poses.scale),
            steps=self.record.finished,
            quality=judge(self.out, self.config.size, faces, poses, synchrony),
        )
        info.save(self.out)
        portrait = Portrait(self.out)
        write_sheet(portrait, sheet)
        for line in report_lines(info.quality):
            self.reporter.note(line)
        return portrait

    def picture(self, index: int) -> np.ndarray:
        """Stored crop of frame ``index``."""
        import simplejpeg

        return simplejpeg.decode_jpeg((self.out / "frames" / f"{index:06d}.jpg").read_bytes(), colorspace="RGB")

    def mask(self, index: int) -> np.ndarray:
        """Stored label map of frame ``index``."""
        from PIL import Image

        return np.asarray(Image.open(self.out / "masks" / f"{index:06d}.png"))


def _suitable(video: Path, config: PrepareConfig) -> VideoInfo:
    """What the video is; refuses what cannot become a portrait before anything is written."""
    if not config.consent.strip():
        raise UnsuitableClip(
            "no consent was stated; expected how the person in the video agreed to this use",
            hint='add --consent "how it was given", for example --consent "own recording"',
        )
    clip = probe(video)
    if not clip.has_sound:
        raise UnreadableMedia(
            f"`{video}` has no sound; expected the speech of the person in it",
            hint="give the original recording, or mux its sound track into the file",
        )
    if clip.frames < SHORTEST * FRAME_RATE:
        raise UnsuitableClip(
            f"`{video}` is {clip.frames / FRAME_RATE:.1f} s long; expected at least {SHORTEST} s of speech",
            hint="give a longer recording; ten seconds to five minutes are best",
        )
    return clip


def _save_array(path: Path, values: np.ndarray) -> None:
    with replacing(path) as temporary:
        np.save(temporary, values)
