"""Runtime shape checks for the whole package, and the fixtures that several tests share."""

import os
from pathlib import Path

# Threads that spin at barriers starve one another when cores are busy; this must be set before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from jaxtyping import install_import_hook

_checks = install_import_hook("talksplat", "beartype.beartype")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files come first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips; tests that need it are marked ``clips``."""
    folder = Path(os.environ.get("TALKSPLAT_CLIPS", Path(__file__).parents[2] / "shared" / "clips"))
    if not folder.is_dir():
        pytest.skip(f"no folder of real clips at {folder}")
    return folder


@pytest.fixture
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fastest library whose networks compute in float32: a matrix unit's operands are rounded to bfloat16."""
    from talksplat import native

    monkeypatch.setenv(native.CHOICE, next(name for name in native.runnable() if name != "amx"))
