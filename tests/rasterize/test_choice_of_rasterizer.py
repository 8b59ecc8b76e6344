"""Which rasterizer a device means, and what is said when it cannot run."""

import importlib.util
import sys

import pytest
import torch

from talksplat.errors import MachineError, MissingExtra
from talksplat.rasterize import gsplat, rasterizer
from talksplat.rasterize.cpu import rasterize_on_cpu
from talksplat.rasterize.rasterizer import choose_device, choose_rasterizer


def test_cpu_is_the_compiled_rasterizer():
    assert choose_device("cpu") == "cpu"
    assert choose_rasterizer("cpu") is rasterize_on_cpu


def test_auto_needs_both_a_gpu_and_gsplat(monkeypatch: pytest.MonkeyPatch):
    for gpu in (False, True):
        for spec in (None, importlib.util.find_spec("torch")):
            monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
            monkeypatch.setattr(rasterizer, "find_spec", lambda name, spec=spec: spec)
            assert choose_device("auto") == ("cuda" if gpu and spec else "cpu")


def test_missing_gsplat_is_explained(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gsplat, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="gsplat is not installed") as missing:
        choose_rasterizer("cuda")
    assert "talksplat[cuda]" in missing.value.hint


def test_missing_gpu_is_explained(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gsplat, "find_spec", lambda name: importlib.util.find_spec("torch"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MachineError, match="sees no CUDA GPU") as missing:
        choose_rasterizer("cuda")
    assert "--device cpu" in missing.value.hint


def test_choosing_the_cpu_does_not_load_gsplat():
    choose_rasterizer("cpu")
    assert "gsplat" not in sys.modules or torch.cuda.is_available()
