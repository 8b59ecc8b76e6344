"""Rules about the tree that no other tool checks."""

import ast
import hashlib
import re
from pathlib import Path
from typing import get_args

import pytest

from talksplat import weights

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "talksplat"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = [path for name in ("benchmarks", "examples", "tests") for path in sorted((ROOT / name).rglob("*.py"))]
NATIVE = [path for suffix in ("*.cpp", "*.h") for path in sorted((ROOT / "native").glob(suffix))]
BANNED = {"utils", "util", "helpers", "helper", "common", "misc", "base", "stuff"}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES + SCRIPTS + NATIVE, ids=relative)
def test_no_file_is_longer_than_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES + SCRIPTS, ids=relative)
def test_no_function_is_longer_than_60_lines(path: Path) -> None:
    functions = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)]
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno and f.end_lineno - f.lineno >= 60}
    assert not long


def test_names_say_what_things_are() -> None:
    parts = {part for path in MODULES for part in path.relative_to(PACKAGE).with_suffix("").parts}
    assert not parts & BANNED
    functions = [
        f"{relative(path)}: {node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith(("get_", "do_"))
    ]
    assert not functions


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_every_module_says_what_it_owns(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_every_public_function_has_a_docstring() -> None:
    """A method needs none where it does what a method of that name is documented to do elsewhere, or in torch."""
    documented, bare = {"forward"}, []
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            inside = node.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_") else []
            for member in [node, *inside]:
                if not isinstance(member, ast.FunctionDef | ast.ClassDef) or member.name.startswith("_"):
                    continue
                if not ast.get_docstring(member):
                    bare.append((path, member.name, member in inside))
                elif member in inside:
                    documented.add(member.name)
    missing = [f"{relative(path)}: {name}" for path, name, method in bare if not (method and name in documented)]
    assert "\n".join(missing) == ""


def dotted(path: Path) -> str:
    """What ``import`` calls a module; a folder stands for its ``__init__``."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imported_by(path: Path) -> set[str]:
    """Everything of ours that a file imports, as modules and as names within modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("talksplat"):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_every_module_is_tried_by_some_test() -> None:
    """A test is named after it or imports it, or imports a neighbour in its folder whose work it is a part of."""
    tests = sorted((ROOT / "tests").rglob("*.py"))
    tried = {name for path in tests for name in imported_by(path)}
    named = {path.stem for path in tests}
    folders = {path: dotted(path.parent / "__init__.py") for path in MODULES}
    reached = [path for path in MODULES if dotted(path) in tried or f"test_{path.stem}" in named]
    for path in reached:
        neighbours = {name for name in imported_by(path) if name.startswith(folders[path] + ".")}
        if folders[path] != "talksplat":
            reached += [other for other in MODULES if dotted(other) in neighbours and other not in reached]
    untried = [relative(path) for path in MODULES if path not in reached and not path.stem.startswith("__")]
    assert "\n".join(untried) == ""


def test_every_method_has_its_section_in_the_docs_and_its_row_in_the_readme() -> None:
    from talksplat.methods.catalogue import METHODS

    headings = re.findall(r"^## .*$", (ROOT / "docs" / "methods.md").read_text(), re.MULTILINE)
    readme = (ROOT / "README.md").read_text()
    for method in METHODS:
        assert f"## {method.name}" in headings
        assert f"| `{method.name}` |" in readme


def test_the_command_line_offers_what_there_is() -> None:
    from talksplat import cli
    from talksplat.methods.catalogue import METHODS
    from talksplat.speech.encoders import ENCODERS

    assert set(get_args(cli.MethodName)) == {method.name for method in METHODS}
    assert set(get_args(cli.SpeechName)) == set(ENCODERS)


def test_the_notice_lists_every_shipped_weight_with_its_real_hash() -> None:
    notice = (ROOT / "NOTICE").read_text()
    sections = {section.split(maxsplit=1)[0]: section for section in notice.split("\n\n") if section.strip()}
    shipped = [
        path for path in weights.SHIPPED.iterdir() if path.name != "SHA256SUMS" and not path.name.startswith(".")
    ]
    assert len(shipped) >= 5
    known = {pretrained.file for pretrained in weights.CATALOGUE}
    for path in shipped:
        assert hashlib.sha256(path.read_bytes()).hexdigest() in sections[path.name]
        assert path.name in known


def test_formats_in_the_docs_are_those_of_the_code() -> None:
    from talksplat import portrait
    from talksplat.methods import avatar_file
    from talksplat.report import figures

    docs = (ROOT / "docs" / "formats.md").read_text()
    assert f"## Portrait folder, format {portrait.FORMAT}\n" in docs
    assert f"## Avatar file, format {avatar_file.FORMAT}\n" in docs
    assert f"## Report folder, format {figures.FORMAT}\n" in docs


def test_version_is_the_same_everywhere() -> None:
    import tomllib

    from talksplat import __version__

    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__
