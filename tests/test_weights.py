"""Pretrained files: the shipped ones are whole, wrong ones are refused, missing ones say where to get them."""

import dataclasses
import hashlib
from pathlib import Path

import pytest

from talksplat import weights
from talksplat.errors import MissingWeights

SHIPPED_NAMES = (
    "face-landmarker",
    "selfie-segmentation",
    "speech-melspectrogram",
    "speech-embedding",
    "canonical-face",
)


@pytest.fixture(autouse=True)
def _no_folders_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.delenv(weights.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def small(monkeypatch, tmp_path) -> weights.PretrainedFile:
    """A catalogue of one small file, whose official address is a file of this test."""
    source = tmp_path / "official" / "small.bin"
    source.parent.mkdir()
    source.write_bytes(b"official content")
    row = weights.PretrainedFile(
        name="small",
        file="small.bin",
        url=source.as_uri(),
        sha256=hashlib.sha256(b"official content").hexdigest(),
        licence="Apache-2.0",
        used_for="this test",
    )
    monkeypatch.setattr(weights, "CATALOGUE", (row,))
    return row


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_shipped_files_are_found_and_verified(name):
    assert weights.find(name).parent == weights.SHIPPED


def test_sums_and_notice_agree_with_the_catalogue():
    lines = (weights.SHIPPED / "SHA256SUMS").read_text().split("\n")
    sums = {file: sha256 for sha256, file in (line.split() for line in lines if line)}
    expected = {row.file: row.sha256 for row in weights.CATALOGUE if row.name in SHIPPED_NAMES}
    assert sums == expected
    notice = (Path(__file__).parents[1] / "NOTICE").read_text()
    assert all(file in notice and sha256 in notice for file, sha256 in expected.items())


def test_names_and_files_are_unique_and_prefixes_come_from_the_file_names():
    assert len({row.name for row in weights.CATALOGUE}) == len({row.file for row in weights.CATALOGUE})
    for name in ("alexnet", "vgg16"):
        row = weights.row(name)
        assert row.file.endswith(f"-{row.sha256}.pth")
        assert len(row.sha256) == 8


def test_missing_file_says_what_where_and_how():
    assert weights.available("alexnet") is None
    with pytest.raises(MissingWeights) as caught:
        weights.find("alexnet")
    text = str(caught.value)
    for part in (weights.row("alexnet").url, "alexnet-owt-7be5be79.pth", "TALKSPLAT_WEIGHTS", "LPIPS"):
        assert part in text


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(MissingWeights, match="face-landmarker"):
        weights.find("face-landmaker")


def test_own_folder_comes_before_the_shipped_one(monkeypatch, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    content = (weights.SHIPPED / "canonical_face_model.obj").read_bytes()
    (own / "canonical_face_model.obj").write_bytes(content)
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(own))
    assert weights.find("canonical-face").parent == own


def test_wrong_content_is_an_error_naming_both_hashes(monkeypatch, tmp_path):
    (tmp_path / "canonical_face_model.obj").write_bytes(b"something else")
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(MissingWeights) as caught:
        weights.find("canonical-face")
    assert weights.row("canonical-face").sha256 in str(caught.value)
    assert hashlib.sha256(b"something else").hexdigest() in str(caught.value)


def test_a_prefix_is_compared_as_a_prefix(small, tmp_path):
    path = tmp_path / "small.bin"
    path.write_bytes(b"official content")
    dataclasses.replace(small, sha256=small.sha256[:8]).verify(path)
    wrong = ("0" if small.sha256[0] != "0" else "1") + small.sha256[1:8]
    with pytest.raises(MissingWeights):
        dataclasses.replace(small, sha256=wrong).verify(path)


def test_a_file_is_hashed_once_and_again_when_it_changes(small, tmp_path, monkeypatch):
    path = tmp_path / "small.bin"
    path.write_bytes(b"official content")
    hashed = []
    monkeypatch.setattr(weights, "sha256_of_file", lambda p: hashed.append(p) or small.sha256)
    small.verify(path)
    small.verify(path)
    assert len(hashed) == 1
    path.write_bytes(b"another content, longer")
    small.verify(path)
    assert len(hashed) == 2


def test_download_verifies_and_is_then_found(small):
    path = weights.download("small")
    assert path == weights.cache_folder() / "small.bin"
    assert path.read_bytes() == b"official content"
    assert weights.find("small") == path


def test_download_of_wrong_content_leaves_nothing(small, tmp_path):
    (tmp_path / "official" / "small.bin").write_bytes(b"tampered")
    with pytest.raises(MissingWeights, match="expected SHA-256"):
        weights.download("small")
    assert list(weights.cache_folder().iterdir()) == []


def test_download_from_a_dead_address_says_so(small, tmp_path):
    (tmp_path / "official" / "small.bin").unlink()
    with pytest.raises(MissingWeights, match="could not be downloaded"):
        weights.download("small")
