"""Which code a kept figure is of."""

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def code_version(root: Path = ROOT) -> str:
    """Twelve digits of the SHA-256 of ``src`` and ``native``: paths and contents, without what is built from them."""
    digest = hashlib.sha256()
    files = [path for part in ("src", "native") for path in sorted((root / part).rglob("*")) if path.is_file()]
    for path in files:
        place = path.relative_to(root)
        built = path.suffix in (".pyc", ".so", ".dylib", ".o") or any(
            part.endswith(".egg-info") for part in place.parts
        )
        if not built and not path.name.startswith("."):
            content = path.read_bytes()
            digest.update(f"{place.as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]
