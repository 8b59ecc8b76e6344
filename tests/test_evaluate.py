"""Evaluation with a painter and a tracker made by hand: what is perfect scores so, what is missing is said."""

import dataclasses
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from drawn import draw_portrait
from talksplat.dataset import PortraitDataset
from talksplat.errors import InputError, MissingInput, PortraitError
from talksplat.evaluate.areas import squares
from talksplat.evaluate.baselines import nearest_poses, nearest_speech
from talksplat.evaluate.evaluation import (
    EvaluationOptions,
    Trial,
    evaluate,
    headline,
    plan,
    run_trial,
    write_everything,
)
from talksplat.evaluate.foreign import foreign_voices, judged_voice, open_foreign
from talksplat.evaluate.judges import pairwise
from talksplat.evaluate.observations import Observations
from talksplat.evaluate.painter import AvatarPainter, Drive
from talksplat.evaluate.summary import eyes
from talksplat.landmarks import EYELIDS
from talksplat.methods.avatar_file import SavedAvatar, save_avatar
from talksplat.methods.catalogue import METHODS
from talksplat.metrics.image import psnr
from talksplat.prepare.face import Face
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import choose_rasterizer
from talksplat.report.figures import (
    AVATAR,
    BASELINES,
    LINEAR,
    NEAREST_POSE,
    NEAREST_SPEECH,
    TRUTH,
    UNDEFORMED,
    EvaluationReport,
    Subject,
    plain,
)
from talksplat.report.gallery import Gallery

FRAMES = 150
SIZE = 96
QUIET = Reporter(quiet=True)
OPTIONS = EvaluationOptions(judged=20, shown=4, silent=10, workers=1)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Small tensors gain nothing from several threads, and wait for each other where the cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PortraitDataset:
    return PortraitDataset(draw_portrait(tmp_path_factory.mktemp("drawn") / "anna", FRAMES, SIZE), "embedding")


class DarkMouthTracker:
    """Takes the dark pixels of the drawn mouth for its opening; a plain gray picture shows no face."""

    def detect(self, picture: np.ndarray) -> list[Face]:
        if picture.std() == 0:
            return []
        dark = ((picture[..., 0] < 90) & (picture[..., 1] < 30)).sum()
        landmarks = np.zeros((478, 3), np.float32)
        landmarks[263, 0] = SIZE * 0.2
        landmarks[14, 1] = dark / SIZE
        return [Face(landmarks, np.zeros(52, np.float32))]

    def close(self) -> None:
        pass


class Repeater:
    """A painter whose speech is the recording some frames late, and whose mouth stays shut otherwise."""

    def __init__(self, dataset: PortraitDataset, lag: int = 0, faceless: frozenset[int] = frozenset()) -> None:
        self.portrait, self.lag, self.faceless = dataset.portrait, lag, faceless
        self.shut = int(dataset.portrait.tracks.mouth[:, 0].argmin())

    def __call__(self, index: int, drive: Drive) -> np.ndarray:
        if index in self.faceless:
            return np.full((SIZE, SIZE, 3), 128, np.uint8)
        return self.portrait.image(index - self.lag if drive is Drive.SPEECH else self.shut)


def tried(dataset: PortraitDataset, painter: Repeater) -> tuple[EvaluationReport, Gallery]:
    subject = Subject("a.avatar", "anna", "a.mp4", "own", "m", "quick", "embedding", SIZE, 100, 50, 50, 20)
    judges = ({"psnr": pairwise(psnr)}, ["LPIPS is not available."])
    trial = Trial(dataset, dataset.closed_mouth, painter, judges, DarkMouthTracker, OPTIONS)
    return run_trial(trial, subject, QUIET, time.perf_counter())


def test_a_perfect_avatar_scores_perfectly(dataset: PortraitDataset):
    report, gallery = tried(dataset, Repeater(dataset))
    for area in ("frame", "face", "mouth"):
        score = report.score(AVATAR, area, "psnr")
        assert score is not None
        assert (score.value, score.low, score.high) == (100, 100, 100)
        for baseline in (UNDEFORMED, NEAREST_POSE, NEAREST_SPEECH):
            gain, rival = report.gain(baseline, area, "psnr"), report.score(baseline, area, "psnr")
            assert gain is not None
            assert rival is not None
            assert gain.value == pytest.approx(100 - rival.value)
            assert gain.low > 0
    lip = report.lip(AVATAR)
    assert lip.correlation.value == pytest.approx(1)
    assert (lip.lag, lip.faces_missing) == (0, 0)
    assert lip.distance.value == pytest.approx(0, abs=1e-5)
    assert report.head.rendered == report.head.true
    assert report.silence.silent < 0.1 * report.silence.wide
    assert report.notes == ["LPIPS is not available."]
    assert len(gallery.exhibits) == OPTIONS.shown
    assert len(gallery.silent) > 2


def test_the_linear_baseline_finds_the_channel_that_moves_the_mouth(dataset: PortraitDataset):
    report, _ = tried(dataset, Repeater(dataset))
    assert report.lip(LINEAR).correlation.value > 0.9
    assert math.isnan(report.lip(LINEAR).distance.value)
    # The mouth shut throughout does not correlate with anything.
    assert math.isnan(report.lip(UNDEFORMED).correlation.value)


def test_late_lips_are_found_late(dataset: PortraitDataset):
    report, _ = tried(dataset, Repeater(dataset, lag=4))
    lip = report.lip(AVATAR)
    assert lip.lag == 4
    assert lip.best > 0.99 > lip.correlation.value
    assert report.lip_gain.value < 0


def test_pictures_without_a_face_are_counted_and_the_rest_is_judged(dataset: PortraitDataset):
    missing = frozenset({dataset.test_frames[3], dataset.test_frames[20]})
    report, _ = tried(dataset, Repeater(dataset, faceless=missing))
    assert report.lip(AVATAR).faces_missing == 2
    assert report.lip(AVATAR).correlation.value == pytest.approx(1)
    first = report.series.frames[0]
    gaps = np.flatnonzero(np.isnan(report.series.openings[AVATAR])) + first
    assert set(gaps.tolist()) == missing
    assert not np.isnan(report.series.openings[TRUTH]).any()
    assert report.silence.faces_missing == 1


def test_distances_and_errors_of_the_mouth_are_kept_by_frame(dataset: PortraitDataset):
    report, _ = tried(dataset, Repeater(dataset, lag=2))
    for name in (AVATAR, *BASELINES):
        assert np.nanmean(report.series.distances[name]) == pytest.approx(
            report.lip(name).relative_distance.value, rel=1e-3
        )
    for area, errors in (("frame", report.series.errors), ("mouth", report.series.mouth_errors)):
        for metric, series in errors.items():
            assert np.nanmean(np.minimum(series, 100)) == pytest.approx(
                report.score(AVATAR, area, metric).value, rel=1e-3
            )


def test_the_report_is_the_same_again(dataset: PortraitDataset):
    first, second = (plain(tried(dataset, Repeater(dataset, lag=2))[0]) for _ in range(2))
    for volatile in ("speed", "machine"):
        first.pop(volatile)
        second.pop(volatile)
    assert first == second


def test_everything_is_written_and_is_strict_json(dataset: PortraitDataset, tmp_path: Path):
    report, gallery = tried(dataset, Repeater(dataset))
    write_everything(tmp_path / "out", report, gallery)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.jpg", "report.json"]
    json.loads((tmp_path / "out" / "report.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    figures = headline(report)
    json.dumps(figures, allow_nan=False)
    assert figures["frame_psnr_avatar"] == 100
    assert figures["frame_perceptual_avatar"] is None


def test_test_frames_are_compared_with_training_frames_only(dataset: PortraitDataset):
    chosen = plan(dataset, OPTIONS)
    assert chosen.test == range(100, 150)
    assert list(chosen.drawn) == list(chosen.test)
    assert 10 <= len(chosen.judged) <= OPTIONS.judged
    stand_ins = {*chosen.nearest_pose.values(), *chosen.nearest_speech.values()}
    assert stand_ins <= set(dataset.train_frames)
    assert set(chosen.shown) <= set(chosen.drawn)


def test_too_few_usable_test_frames_are_refused(dataset: PortraitDataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dataset, "test_frames", dataset.test_frames[:9])
    with pytest.raises(PortraitError, match="9 usable test frames; expected at least 10"):
        plan(dataset, OPTIONS)


def test_the_nearest_pose_weighs_turning_as_it_moves_the_head():
    poses = torch.eye(4).repeat(4, 1, 1)
    poses[:, 2, 3] = 0.7
    angle = torch.tensor(0.5)
    poses[1, :3, :3] = torch.tensor(
        [[angle.cos(), 0.0, angle.sin()], [0.0, 1.0, 0.0], [-angle.sin(), 0.0, angle.cos()]]
    )
    poses[2, 0, 3] = 0.005  # Five millimetres beside moves a head less than half a radian turns it.
    assert nearest_poses(poses, [1, 2], [0, 3]).tolist() == [2, 2]
    assert nearest_poses(poses, [0, 1, 2], [1]).tolist() == [1]


def test_the_nearest_speech_is_the_window_itself_where_it_is_repeated():
    sounds = torch.randn(40, 6, 16, generator=torch.Generator().manual_seed(0))
    sounds[30] = sounds[7]
    assert nearest_speech(lambda frame: sounds[frame], range(20), [30]).tolist() == [7]


def test_squares_hold_the_mouth_and_stay_in_the_picture():
    landmarks = np.full((5, 478, 2), 250.0)
    landmarks[:, 61], landmarks[:, 291] = (200, 300), (290, 320)
    landmarks[4] += 240  # The head leaves at the lower right.
    found = squares(landmarks, 512)
    top, left, edge = found[0]["mouth"]
    assert edge % 32 == 0
    assert left <= 200 < 290 <= left + edge
    assert top <= 250 < 320 <= top + edge
    assert {square["mouth"][2] for square in found} == {edge}
    top, left, edge = found[4]["mouth"]
    assert top + edge <= 512 >= left + edge


@pytest.fixture(scope="module")
def saved(dataset: PortraitDataset) -> SavedAvatar:
    """An untrained avatar of the drawn portrait."""
    method, portrait = METHODS[0], dataset.portrait
    config = dataclasses.replace(method.presets["quick"], points=300, levels=4)
    seeds = method.seeds(config, dataset, 0)
    avatar = method.build(config, dataset.channels, portrait.reference_camera, seeds)
    return SavedAvatar(
        avatar=avatar,
        method=method.name,
        preset="quick",
        config=config,
        speech_encoder="embedding",
        channels=dataset.channels,
        provenance=portrait.info.provenance,
        reference_camera=portrait.reference_camera,
        background=torch.from_numpy(portrait.background().copy()),
        head_to_camera=portrait.tracks.head_to_camera,
        expression=dataset.expression,
        rest_speech=dataset.rest_speech,
        closed_mouth=dataset.closed_mouth,
    )


def test_the_painter_draws_by_what_drives(dataset: PortraitDataset, saved: SavedAvatar, monkeypatch):
    expression = dataset.expression.clone()
    expression[dataset.blink_frame, 7] = 0.1
    monkeypatch.setattr(dataset, "expression", expression)
    painter = AvatarPainter(saved, dataset, choose_rasterizer("cpu"))
    index = dataset.test_frames[0]
    conditions = []
    monkeypatch.setattr(
        saved.avatar, "animate", lambda condition: conditions.append(condition) or saved.avatar.canonical()
    )
    drawn = [painter(index, drive) for drive in Drive]
    assert all(np.array_equal(picture, drawn[0]) for picture in drawn)
    speaking, silent, blinking = conditions  # With the deformation off, `animate` is not asked.
    assert torch.equal(speaking.speech, dataset.condition(index).speech)
    assert torch.allclose(silent.speech[4], saved.rest_speech[:, None].expand(-1, 16))
    # AU25 of the recording must not tell how far the lips are apart.
    assert speaking.expression[5] == dataset.expression[dataset.train_frames, 5].median()
    assert float(blinking.expression[7]) == pytest.approx(0.1)
    assert float(speaking.expression[7]) == 1
    assert blinking.expression[5] == speaking.expression[5]
    assert torch.equal(blinking.speech, speaking.speech)
    assert torch.equal(speaking.head_pose, dataset.portrait.tracks.head_to_camera[index])


def test_eyes_are_judged_by_the_persons_own():
    """Half as open as the recorded ones, and left a quarter open where the person shut them to a tenth."""

    def film(openings: np.ndarray, scale: float) -> np.ndarray:
        landmarks = np.zeros((len(openings), 478, 3), np.float32)
        landmarks[:, 263, 0] = 100
        for rim in EYELIDS:  # A triangle: both corners, and a lid in the middle.
            landmarks[:, rim[1:8], 0] = 50
            landmarks[:, rim[1:8], 1] = 20 * openings[:, None]
            landmarks[:, rim[8:], 0] = 100
        return scale * landmarks

    true = 1 + 0.3 * np.sin(np.arange(50.0))
    seen = Observations(
        landmarks={TRUTH: film(true, 1.0), AVATAR: film(true / 2, 3.0)},
        silent=film(true, 1.0),
        blinks=film(np.full(5, 0.25), 2.0),
        judgments={},
        seconds=[],
    )
    found = eyes(seen, film(np.array([0.1]), 1.0), 0)
    assert found.correlation.value == pytest.approx(1)
    assert found.shut == pytest.approx(0.25 / np.median(true), rel=1e-4)
    assert found.recorded == pytest.approx(0.1 / np.median(true), rel=1e-4)
    assert found.frames == 5
    gone = dataclasses.replace(seen, blinks=np.full((5, 478, 3), np.nan, np.float32))
    assert math.isnan(eyes(gone, film(np.array([0.1]), 1.0), 0).shut)


def test_an_avatar_without_a_human_face_still_gets_a_report(
    dataset: PortraitDataset, saved: SavedAvatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(DarkMouthTracker, "detect", lambda self, picture: [])
    monkeypatch.setattr("talksplat.evaluate.evaluation.FaceTracker", DarkMouthTracker)
    monkeypatch.setattr("talksplat.evaluate.evaluation.find_judges", lambda: ({"psnr": pairwise(psnr)}, []))
    save_avatar(tmp_path / "anna.avatar", saved)
    found = evaluate(
        tmp_path / "anna.avatar",
        dataset.portrait.folder,
        tmp_path / "out",
        choose_rasterizer("cpu"),
        QUIET,
        EvaluationOptions(judged=3, shown=2, silent=2, workers=1),
    )
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert Path(found["report"]).is_file()
    assert found["frame_psnr_avatar"] > 0
    assert found["lip_correlation"] is None
    assert any("no face was found" in note for note in report["notes"])


def test_foreign_lips_are_a_truth_for_foreign_speech(dataset: PortraitDataset):
    true = dataset.portrait.tracks.mouth[:, 0].double().numpy()
    late = np.concatenate([true[:1].repeat(2), true[:-2]])
    voice = judged_voice(dataset.portrait, 3 * true + 0.1, 0)
    assert voice.correlation.value == pytest.approx(1)
    assert (voice.lag, voice.frames, voice.source) == (0, FRAMES, "drawn.mp4")
    assert judged_voice(dataset.portrait, late, 0).lag == 2
    gone = np.where(np.arange(FRAMES) % 3 == 0, np.nan, true)[:90]
    assert judged_voice(dataset.portrait, gone, 0).correlation.value == pytest.approx(1)


def test_foreign_speech_is_said_frame_by_frame(
    dataset: PortraitDataset, saved: SavedAvatar, monkeypatch: pytest.MonkeyPatch
):
    asked = []

    def spoken(avatar: SavedAvatar, audio: Path, *rest: object, most: int) -> np.ndarray:
        asked.append((audio, most))
        return dataset.portrait.tracks.mouth.double().numpy()[:most]

    monkeypatch.setattr("talksplat.evaluate.foreign.spoken_mouth", spoken)
    folder = dataset.portrait.folder
    found = foreign_voices(saved, [dataset.portrait] * 2, choose_rasterizer("cpu"), QUIET, "cpu", 0)
    assert asked == [(folder / "audio.wav", FRAMES)] * 2
    assert [voice.correlation.value for voice in found] == pytest.approx([1, 1])


def test_foreign_portraits_are_looked_at_before_anything_is_drawn(
    dataset: PortraitDataset, saved: SavedAvatar, tmp_path: Path
):
    folder = dataset.portrait.folder
    save_avatar(tmp_path / "anna.avatar", saved)
    for foreign, error, says in (
        (folder, InputError, "is the one the avatar was made from"),
        (tmp_path / "nobody", MissingInput, "no such folder"),
    ):
        options = EvaluationOptions(foreign=(foreign,))
        with pytest.raises(error, match=says):
            evaluate(tmp_path / "anna.avatar", folder, tmp_path / "out", choose_rasterizer("cpu"), QUIET, options)
    assert not (tmp_path / "out").exists()
    stranger = dataclasses.replace(saved, provenance=dataclasses.replace(saved.provenance, source_sha256="1" * 64))
    assert [portrait.folder for portrait in open_foreign(stranger, [folder])] == [folder]


def test_an_avatar_of_another_video_is_refused(dataset: PortraitDataset, saved: SavedAvatar, tmp_path: Path):
    stranger = dataclasses.replace(saved.provenance, source_sha256="1" * 64, source="bob.mp4")
    save_avatar(tmp_path / "bob.avatar", dataclasses.replace(saved, provenance=stranger))
    with pytest.raises(InputError, match=r"was made from bob\.mp4"):
        evaluate(tmp_path / "bob.avatar", dataset.portrait.folder, tmp_path / "out", choose_rasterizer("cpu"), QUIET)
    assert not (tmp_path / "out").exists()
