"""The loader: which library is taken, and what is said when there is none."""

import ctypes
from pathlib import Path

import pytest

from talksplat import native
from talksplat.errors import MissingNative


@pytest.fixture
def nothing_loaded():
    """Forgets loaded libraries before and after a test that moves the folders."""
    native.load.cache_clear()
    native._chosen.cache_clear()
    yield
    native.load.cache_clear()
    native._chosen.cache_clear()


def test_widest_runnable_library_is_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(native.CHOICE, raising=False)
    names = native.runnable()
    assert "portable" in names
    widths = [native.LANES[name] for name in names]
    assert widths == sorted(widths, reverse=True)
    assert native.library() is native.load(names[0])


def test_named_library_is_taken(monkeypatch: pytest.MonkeyPatch):
    for name in native.runnable():
        monkeypatch.setenv(native.CHOICE, name)
        assert native.library().ts_lanes() == native.LANES[name]


def test_unknown_name_lists_what_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(native.CHOICE, "v9")
    with pytest.raises(MissingNative, match=r"TALKSPLAT_NATIVE is 'v9'; this processor runs .*portable"):
        native.library()


def test_missing_libraries_are_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nothing_loaded: None):
    monkeypatch.setattr(native, "_folders", lambda: [tmp_path])
    monkeypatch.delenv(native.CHOICE, raising=False)
    with pytest.raises(MissingNative, match=r"no compiled library at .*libtalksplat_portable\.so") as missing:
        native.library()
    assert "pip install ." in missing.value.hint


def test_damaged_library_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nothing_loaded: None):
    (tmp_path / "libtalksplat_portable.so").write_bytes(b"not a library")
    monkeypatch.setattr(native, "_folders", lambda: [tmp_path])
    with pytest.raises(MissingNative, match="cannot be loaded"):
        native.library()


def test_narrower_vectors_are_slower(monkeypatch: pytest.MonkeyPatch):
    rates = {}
    for name in native.runnable():
        monkeypatch.setenv(native.CHOICE, name)
        rates[name] = native.multiply_add_rate(0.02)
    assert all(rate > 0.5 for rate in rates.values())
    if "v3" in rates:
        assert rates["v3"] > rates["portable"]


def test_addresses_of_arrays():
    import numpy as np
    import torch

    tensor = torch.arange(3.0)
    assert ctypes.c_float.from_address(native.address(tensor[1:]).value or 0).value == 1
    assert native.address(np.zeros(2)).value is not None
    assert native.address(None).value is None
