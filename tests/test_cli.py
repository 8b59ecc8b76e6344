import ast
import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from talksplat import cli
from talksplat.errors import UnsuitableFace
from talksplat.methods.avatar_file import FORMAT
from talksplat.progress import Reporter

VERBS = ("prepare", "train", "speak", "evaluate", "doctor", "demo")


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Two tenths of a second of a tone."""
    path = tmp_path / "speech.wav"
    soundfile.write(path, 0.3 * np.sin(np.arange(3200) * 0.1), 16_000)
    return path


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said when ``arguments`` are refused as they should be: exit code 2, one message, no traceback."""
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert captured.err.startswith("error: ")
    assert "\nhint: " in captured.err
    return captured.err


def breaking(error: BaseException):
    """A verb's work that fails with ``error``."""

    def run(self: cli.Verb, reporter: Reporter) -> dict:
        raise error

    return run


def test_help_answers_without_loading_torch() -> None:
    code = (
        "import sys\nfrom talksplat.cli import main\n"
        "try:\n    main(['speak', '--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'numpy', 'scipy', 'av', 'mediapipe', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "--audio" in answer.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([verb, "--help"])
    assert end.value.code == 0
    assert "--quiet" in capsys.readouterr().out


def test_every_option_is_explained_by_a_sentence() -> None:
    tree = ast.parse(Path(cli.__file__).read_text())
    for verb in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for field, after in zip(verb.body, [*verb.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                assert isinstance(after, ast.Expr), f"{verb.name}.{field.target.id}"
                assert isinstance(after.value, ast.Constant)
                assert str(after.value.value).endswith(".")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["speak"],
        ["speak", "a.avatar", "--audio", "a.wav", "--out", "a.mp4", "--loud"],
        ["prepare", "clip.mp4", "--out", "anna"],
        ["train", "anna", "--out", "a.avatar", "--preset", "slow"],
        ["train", "anna", "--out", "a.avatar", "--seed", "often"],
    ],
    ids=["nothing", "no such verb", "nothing given", "no such option", "no consent", "no such preset", "no number"],
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("talksplat 0.")


def test_a_missing_avatar_is_named(speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new.mp4"
    said = refusal(["speak", "nobody.avatar", "--audio", str(speech), "--out", str(out)], capsys)
    assert "avatar `nobody.avatar`: expected a file, found nothing" in said
    assert not out.exists()


def test_a_file_that_is_no_avatar_is_refused(speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new.mp4"
    said = refusal(["speak", str(speech), "--audio", str(speech), "--out", str(out)], capsys)
    assert "is not a whole avatar file" in said


def test_a_truncated_avatar_is_refused(speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    avatar = tmp_path / "half.avatar"
    save_file({"avatar/x": torch.zeros(1000)}, avatar, metadata={"talksplat": json.dumps({"format": FORMAT})})
    avatar.write_bytes(avatar.read_bytes()[:-100])
    said = refusal(["speak", str(avatar), "--audio", str(speech), "--out", str(tmp_path / "new.mp4")], capsys)
    assert "half.avatar` is not a whole avatar file" in said


def test_an_avatar_of_another_format_is_refused(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    avatar = tmp_path / "future.avatar"
    save_file({"avatar/x": torch.zeros(1)}, avatar, metadata={"talksplat": json.dumps({"format": 99})})
    said = refusal(["speak", str(avatar), "--audio", str(speech), "--out", str(tmp_path / "new.mp4")], capsys)
    assert f"has format 99; this version reads format {FORMAT}" in said


def test_a_missing_portrait_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(["train", str(tmp_path / "nobody"), "--out", str(tmp_path / "a.avatar")], capsys)
    assert "nobody`: no such folder" in said
    assert "talksplat prepare" in said
    assert list(tmp_path.iterdir()) == []


def test_a_missing_video_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(["prepare", "nobody.mp4", "--out", str(tmp_path / "a"), "--consent", "mine"], capsys)
    assert "nobody.mp4`: expected a file, found nothing" in said
    assert list(tmp_path.iterdir()) == []


def test_the_demo_asks_for_consent_before_it_does_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(["demo", "--out", str(tmp_path / "demo"), "--video", "clip.mp4"], capsys)
    assert 'CONSENT="own recording"' in said
    assert list(tmp_path.iterdir()) == []


def test_errors_of_ours_end_with_2_and_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.Doctor, "run", breaking(UnsuitableFace("two faces at 3.2 s", hint="crop the video")))
    assert refusal(["doctor"], capsys) == "error: two faces at 3.2 s\nhint: crop the video\n"


def test_a_full_disk_is_a_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli.Doctor, "run", breaking(OSError(errno.ENOSPC, "No space left on device", "anna/x.jpg")))
    assert "no space left while writing `anna/x.jpg`" in refusal(["doctor"], capsys)


def test_a_forbidden_folder_is_a_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli.Doctor, "run", breaking(PermissionError(errno.EACCES, "Permission denied", "/root/a")))
    assert "`/root/a` may not be read or written by this user" in refusal(["doctor"], capsys)


def test_faults_of_the_program_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.Doctor, "run", breaking(ZeroDivisionError("ours")))
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli.main(["doctor"])
    monkeypatch.setattr(cli.Doctor, "run", breaking(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        cli.main(["doctor"])


def test_an_interruption_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli.Doctor, "run", breaking(KeyboardInterrupt()))
    assert cli.main(["doctor"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_results_as_json_are_one_object_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(self: cli.Verb, reporter: Reporter) -> dict:
        reporter.note("working")
        return {"frames": 3, "place": Path("a")}

    monkeypatch.setattr(cli.Train, "run", run)
    assert cli.main(["train", "anna", "--out", "a.avatar", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"frames": 3, "place": "a"}
    assert "working" in captured.err


def test_quiet_says_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(self: cli.Verb, reporter: Reporter) -> dict:
        reporter.note("working")
        return {"frames": 3}

    monkeypatch.setattr(cli.Train, "run", run)
    assert cli.main(["train", "anna", "--out", "a.avatar", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_options_reach_the_training_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import talksplat.train.loop

    seen = {}

    def train(portrait: Path, out: Path, options: object, rasterizer: object, reporter: Reporter) -> dict:
        seen.update(vars(options), portrait=portrait, out=out)
        return {}

    monkeypatch.setattr(talksplat.train.loop, "train", train)
    arguments = ["train", "anna", "--out", "a.avatar", "--preset", "full", "--device", "cpu", "--seed", "4", "--resume"]
    assert cli.main([*arguments, "--set", "points=99", "--set", "start=surface", "--quiet"]) == 0
    assert seen["portrait"] == Path("anna")
    assert (seen["preset"], seen["device"], seen["seed"], seen["resume"]) == ("full", "cpu", 4, True)
    assert seen["settings"] == ("torso=own", "points=99", "start=surface")


def test_a_real_interruption_ends_with_130() -> None:
    code = (
        "import sys, time\nfrom talksplat import cli\n"
        "def run(self, reporter):\n    print('started', flush=True)\n    time.sleep(60)\n"
        "cli.Doctor.run = run\nsys.exit(cli.main(['doctor']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Shells have what they run in the background ignore interruptions.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said == "interrupted\n"


@pytest.mark.parametrize("given", [["--torso", "recorded"], ["--portrait", "anna"]])
def test_a_recorded_torso_needs_its_portrait(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["speak", "a.avatar", "--audio", "a.wav", "--out", "a.mp4", *given]) == 2
    assert "--torso recorded` and `--portrait FOLDER" in capsys.readouterr().err
