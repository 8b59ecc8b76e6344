"""The compiled part: finds the library for this processor and declares its functions. Named nowhere else.

Each library is the same source built for one vector width: ``portable`` (4 lanes, any processor), ``v3`` (AVX2,
8 lanes), ``v4`` (AVX-512, 16 lanes). ``TALKSPLAT_NATIVE`` picks one by name.
"""

from __future__ import annotations

from pathlib import Path

LANES = {"portable": 4, "v3": 8, "v4": 16}


def _folders() -> list[Path]:
    """Where the libraries may lie: beside the package, and where an editable install puts them."""
    import talksplat

    return [Path(folder) / "lib" for folder in talksplat.__path__]
