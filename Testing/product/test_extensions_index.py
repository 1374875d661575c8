"""What Slicer's extensions index checks: the entry by its schema 1.0.2, the repository, the code that Slicer imports.

The rules are those of the index's schema (Slicer/Slicer: Schemas), of its scripts/check_description_files.py and
scripts/extension_ai_analysis.py, and of its checklist for a new extension.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from pydicom.datadict import tag_for_keyword

ROOT = Path(__file__).resolve().parents[2]
ENTRY = ROOT / "Resources" / "ExtensionsIndex" / "PETSuperRes.json"
SCHEMA = {  # 1.0.2: its keys, and what they may hold; no others
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "dicom_support_rule": str,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
REQUIRED = {"$schema", "category", "scm_url"}
MOST_BYTES = 100e6  # of a clone: the files and their history
# what can be imported at once; pydicom is not, as the first Apply may install a newer one
IN_SLICER = {"slicer", "vtk", "qt", "ctk", "SimpleITK", "numpy", "scipy", "SegmentStatisticsPlugins"}
OURS = ("PETSuperResSlicer", "PETSuperResLib")
MODULE = sorted((ROOT / "PETSuperRes").rglob("*.py"))
PATH_OF_A_CHECKOUT = "PETSuperRes/PETSuperResSlicer/__init__.py"  # the library is beside the module's folder


@pytest.fixture(scope="module")
def entry() -> dict:
    return json.loads(ENTRY.read_text(encoding="utf-8"))


def metadata(name: str) -> str:
    """An EXTENSION_* value of the top CMakeLists.txt, read as the index reads it."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.search(rf'set\s*\(EXTENSION_{name}\s*"([^"]+)"\s*\)', text).group(1)


def test_the_entry_keeps_to_the_schema(entry):
    assert entry["$schema"].endswith("/slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert REQUIRED <= entry.keys() <= SCHEMA.keys()
    assert {name: value for name, value in entry.items() if type(value) is not SCHEMA[name]} == {}
    assert all(isinstance(name, str) for name in entry["build_dependencies"])
    assert 1 <= entry["tier"] <= 5


def test_the_entry_says_what_the_extension_says(entry):
    assert f"project({ENTRY.stem})" in (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert entry["scm_url"] == metadata("HOMEPAGE") and entry["build_dependencies"] == metadata("DEPENDS").split()
    module = (ROOT / "PETSuperRes" / "PETSuperRes.py").read_text(encoding="utf-8")
    assert f'"{entry["category"]}")]' in module  # one of the index's categories, and where Slicer lists the module


def test_the_repository_is_named_as_the_index_wants_it(entry):
    """By https, and with "Slicer" in its name, which the extension's name must not begin with."""
    scheme, _, place = entry["scm_url"].partition("://")
    assert scheme == "https" and "slicer" in place.rpartition("/")[2].lower()
    assert not ENTRY.stem.lower().startswith("slicer")


def test_the_dicom_rule_compares_attributes_of_dicom(entry):
    """The rule engine's ``NAME == 'value'``; Slicer offers the extension for data that agree."""
    name, value = re.fullmatch(r"(\w+) == '(\w+)'", entry["dicom_support_rule"]).groups()
    assert tag_for_keyword(name) == 0x00080060 and value == "PT"


@pytest.mark.parametrize("name", ["ICONURL", "SCREENSHOTURLS"])
def test_pictures_of_the_extension_are_in_the_repository(entry, name):
    branch = f"{entry['scm_url'].replace('github.com', 'raw.githubusercontent.com')}/{entry['scm_revision']}/"
    for url in metadata(name).split():
        assert url.startswith(branch)
        picture = (ROOT / url.removeprefix(branch)).read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert name == "SCREENSHOTURLS" or [int.from_bytes(picture[n : n + 4], "big") for n in (16, 20)] == [128, 128]


def test_the_licence_is_at_the_root_and_named_in_the_readme():
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "Apache 2.0" in readme


def test_the_readme_has_what_the_checklist_asks_for():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(f"# {ENTRY.stem}\n") and "PET Super-Resolution" in readme  # the extension and its module
    assert re.search(r"!\[[^]]+\]\(Resources/Screenshots/", readme)
    assert "(docs/tutorial.md)" in readme and "\n## Citation\n" in readme and "Sample Data" in readme


def test_a_clone_is_small_enough():
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    if not (ROOT / ".git").exists():
        pytest.skip("needs the repository with its history")
    history = int(git("rev-list", "--disk-usage", "--objects", "HEAD"))
    files = [ROOT / name for name in git("ls-files").splitlines()]
    assert history + sum(file.stat().st_size for file in files if file.is_file()) < MOST_BYTES


def is_definition(node: ast.stmt) -> bool:
    """An import, a definition, a constant or a docstring; the type checker's imports too."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef, ast.Assign, ast.AnnAssign))


@pytest.mark.parametrize("file", MODULE, ids=lambda file: file.name)
def test_no_code_runs_when_a_file_of_the_module_is_imported(file):
    """But for the path to the library in a checkout."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    others = [ast.unparse(node) for node in body if not is_definition(node)]
    if file.relative_to(ROOT).as_posix() == PATH_OF_A_CHECKOUT:
        assert len(others) == 1 and others.pop().endswith("sys.path.append(_SOURCE)")
    assert not others


@cache
def imported_at_once(file: Path) -> frozenset[str]:
    """The modules that a file imports when it is imported itself, by their full names."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            folder = file.parents[node.level - 1].relative_to(ROOT).parts if node.level else ()
            own = [part for part in folder if part != "PETSuperRes"]
            module = ".".join([*own, *([node.module] if node.module else [])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def source(module: str) -> list[Path]:
    """The files that run when a module of ours is imported: its packages' and its own."""
    top = ROOT / "PETSuperRes" if module.startswith(OURS[0]) else ROOT
    parts = module.split(".")
    packages = [top.joinpath(*parts[:n], "__init__.py") for n in range(1, len(parts) + 1)]
    return [file for file in (*packages, top.joinpath(*parts).with_suffix(".py")) if file.is_file()]


def test_importing_the_module_imports_nothing_that_slicer_lacks():
    """Each of its files, and what they import of the library; other packages are imported where they are used."""
    waiting, seen, foreign = list(MODULE), set(), {}
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for module in imported_at_once(file):
            top = module.partition(".")[0]
            if top in OURS:
                waiting += source(module)
            elif top not in IN_SLICER | sys.stdlib_module_names:
                foreign.setdefault(file.relative_to(ROOT).as_posix(), set()).add(top)
    assert any(file.is_relative_to(ROOT / "PETSuperResLib") for file in seen)
    assert not foreign


def test_torch_is_never_installed_by_pip():
    """The PyTorch extension installs it; pip's packages are listed in one place."""
    users = [file for file in MODULE if re.search(r"pip_(?:install|ensure)\(", file.read_text(encoding="utf-8"))]
    assert [file.name for file in users] == ["dependencies.py"]
    text = users[0].read_text(encoding="utf-8")
    assert set(re.findall(r"pip_\w+\((?:list\()?(\w+)", text)) == {"REQUIREMENTS", "lacking"}
    requirements = re.search(r"^REQUIREMENTS = \((.*)\)$", text, re.MULTILINE).group(1)
    assert "pydicom" in requirements and "torch" not in requirements
