"""Memory that is freed is served again: large arrays come from where the last ones lay."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
from talksplat.heap import keep_freed_memory
import numpy as np

def fill():
    for array in [np.empty(500_000) for _ in range(30)]:
        array.fill(1)

kept = {keep} and keep_freed_memory()
fill()
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    fill()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> tuple[bool, int]:
    """Whether the heap was told, and pages mapped for five times thirty arrays of 4 MB."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM.format(keep=keep)], capture_output=True, text=True, check=True)
    told, count = ran.stdout.split()
    return told == "1", int(count)


def test_large_arrays_are_served_from_what_was_freed() -> None:
    told, kept = faults(True)
    if not told:
        pytest.skip("this C library's heap cannot be told")
    assert kept * 10 < faults(False)[1]
