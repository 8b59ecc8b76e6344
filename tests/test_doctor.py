import copy
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from talksplat import doctor, weights


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return doctor.examine()


def named(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in found["weights"] if row["name"] == name)


def test_this_machine_can_do_the_main_job(found: dict[str, Any]) -> None:
    assert found["problems"] == []
    assert "This machine can prepare, train, speak and evaluate." in doctor.table(found)


def test_findings_are_plain_json(found: dict[str, Any]) -> None:
    assert json.loads(json.dumps(found)) == found


def test_the_native_part_is_really_run(found: dict[str, Any]) -> None:
    assert found["native"]["lanes"] in (4, 8, 16)
    assert found["native"]["chosen"] in found["native"]["runnable"]
    assert found["native"]["gflops_a_core"] > 0.1


def test_shipped_weights_are_found_and_optional_ones_say_where_to_get_them(found: dict[str, Any]) -> None:
    landmarker = named(found, "face-landmarker")
    assert landmarker["shipped"]
    assert landmarker["state"] == "found"
    assert Path(landmarker["path"]).is_file()
    backbone = named(found, "vgg16")
    assert not backbone["shipped"]
    assert backbone["state"] in ("missing", "found")
    assert "https://download.pytorch.org/models/" in backbone["hint"]
    assert weights.FOLDER_VARIABLE in backbone["hint"]


def test_a_damaged_weight_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: dict[str, Any]) -> None:
    (tmp_path / "canonical_face_model.obj").write_text("v 0 0 0\n")
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    now = doctor.examine()
    assert named(now, "canonical-face")["state"] == "damaged"
    assert [problem["message"] for problem in now["problems"]] == ["pretrained file canonical_face_model.obj: damaged"]
    assert "delete it" in now["problems"][0]["hint"]


def test_a_missing_shipped_weight_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "weights"
    shutil.copytree(weights.SHIPPED, shipped)
    (shipped / "speech_embedding.onnx").unlink()
    monkeypatch.setattr(weights, "SHIPPED", shipped)
    messages = [problem["message"] for problem in doctor.examine()["problems"]]
    assert messages[0] == "pretrained file speech_embedding.onnx: missing"
    assert messages[1].startswith("speech encoder embedding: not usable")


def test_an_installed_but_broken_torchvision_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    now = doctor.examine()
    sys.modules.pop("torchvision", None)
    assert now["unwanted_packages"]["torchvision"].startswith("broken: RuntimeError")
    assert now["problems"][0]["hint"] == "pip uninstall torchvision"


def test_missing_parts_are_problems_with_hints(found: dict[str, Any]) -> None:
    bare = copy.deepcopy(found)
    bare["native"] = {"error": "no compiled library at x", "hint": "build it"}
    bare["libraries"]["libEGL.so.1"] = False
    bare["codecs"]["encoders"]["libx264"] = False
    listed = doctor.problems(bare)
    assert len(listed) == (3 if sys.platform == "linux" else 2)
    assert all(item["hint"] for item in listed)
    bare["problems"] = listed
    text = doctor.table(bare)
    assert "libEGL.so.1 MISSING" in text
    assert "problem: no compiled library at x\n  hint: build it" in text
