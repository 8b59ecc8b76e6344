"""The whole way on a short, small film of the synthetic speaker; the examples then work on what it left."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from talksplat import cli
from talksplat.demo import DemoConfig, demonstrate
from talksplat.errors import UnsuitableClip
from talksplat.media.audio import read_audio
from talksplat.media.video import probe
from talksplat.methods.avatar_file import load_avatar
from talksplat.progress import Reporter
from talksplat.rasterize.rasterizer import choose_rasterizer

EXAMPLES = Path(__file__).parents[1] / "examples"
FEW_STEPS = (
    "static_steps=20",
    "head_steps=30",
    "torso_static_steps=10",
    "torso_steps=10",
    "joint_steps=10",
    "warm_speech_steps=20",
    "points=2000",
    "max_points=2500",
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def outcome(folder: Path) -> dict[str, Any]:
    config = DemoConfig(size=256, seconds=5.2, settings=FEW_STEPS)
    return demonstrate(folder, config, choose_rasterizer("cpu"), Reporter(quiet=True))


def example(name: str) -> ModuleType:
    """One of the scripts in examples/, as a module."""
    (path,) = EXAMPLES.glob(f"{name}_*.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_demo_leaves_a_video_and_a_report(folder: Path, outcome: dict[str, Any]) -> None:
    assert {"speaker.mp4", "speaker.avatar", "speech.mp4", "speech.png", "report.html", "report.json"} <= {
        path.name for path in folder.iterdir()
    }
    film = probe(folder / "speech.mp4")
    assert (film.width, film.height) == (256, 256)
    assert film.seconds == pytest.approx(read_audio(folder / "new-speech.wav").seconds, abs=0.04)
    assert outcome["video"] == str(folder / "speech.mp4")
    assert list(outcome["seconds"]) == ["film", "prepare", "train", "speak", "evaluate"]
    assert json.loads((folder / "report.json").read_text())
    json.dumps(outcome)


def test_the_new_voice_was_not_filmed(folder: Path, outcome: dict[str, Any]) -> None:
    filmed, new = read_audio(folder / "speaker.mp4").samples, read_audio(folder / "new-speech.wav").samples
    length = min(len(filmed), len(new))
    assert abs(float(np.corrcoef(filmed[:length], new[:length])[0, 1])) < 0.2


def test_consent_reaches_the_avatar(folder: Path, outcome: dict[str, Any]) -> None:
    saved = load_avatar(folder / "speaker.avatar")
    assert saved.provenance.consent == "a drawn speaker; no person is shown"
    assert saved.provenance.source == "speaker.mp4"


def test_the_examples_run(folder: Path, outcome: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    avatar = folder / "example.avatar"
    example("01").main(folder / "speaker.mp4", folder / "speaker", "a drawn speaker; no person is shown", size=256)
    assert "130 frames" in capsys.readouterr().out
    example("02").main(folder / "speaker", avatar, FEW_STEPS)
    assert load_avatar(avatar).method == "gstalker"
    example("03").main(avatar, folder / "new-speech.wav", folder / "example.mp4")
    assert probe(folder / "example.mp4").frames > 200
    example("04").main(avatar, folder / "layers.png", instant=3)
    with Image.open(folder / "layers.png") as picture:
        assert picture.size == (3 * 256, 256)
    capsys.readouterr()
    example("05").main(avatar)
    for line in capsys.readouterr().out.splitlines():
        assert float(line.split(" levels apart")[0].split()[-1]) < 1.5


def test_the_command_line_speaks_with_the_avatar(
    folder: Path, outcome: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "again.mp4"
    arguments = [str(folder / "speaker.avatar"), "--audio", str(folder / "new-speech.wav"), "--out", str(out)]
    capsys.readouterr()
    assert cli.main(["speak", *arguments, "--start", "2", "--no-preview", "--device", "cpu", "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out)["frames"] == probe(out).frames
    assert not (folder / "again.png").exists()


def test_every_example_is_run_here() -> None:
    tried = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f'example("{path.stem[:2]}").main(' in tried


def test_a_clip_without_consent_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = DemoConfig(video=tmp_path / "clip.mp4", consent="  ")
    with pytest.raises(UnsuitableClip, match="no consent was stated"):
        demonstrate(tmp_path / "demo", config, choose_rasterizer("cpu"), Reporter(quiet=True))
    assert list(tmp_path.iterdir()) == []
