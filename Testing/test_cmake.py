"""A file missing from a CMake list is not packaged; a listed file that is missing stops the build."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def listed(folder: str, name: str) -> set[str]:
    text = (ROOT / folder / "CMakeLists.txt").read_text(encoding="utf-8")
    block = re.search(rf"set\({name}\s(.*?)\)", text, re.DOTALL)
    assert block is not None, f"{folder}/CMakeLists.txt has no {name}"
    return {line.strip() for line in block.group(1).splitlines() if line.strip()}


def in_tree(folder: str, scripts: bool) -> set[str]:
    base = ROOT / folder
    files = (p.relative_to(base) for p in base.rglob("*") if p.is_file())
    kept = (p.as_posix() for p in files if "__pycache__" not in p.parts and not p.name.startswith("."))
    return {p for p in kept if p.endswith(".py") == scripts and not p.endswith("CMakeLists.txt")}


@pytest.mark.parametrize("folder", ["PETSuperRes", "PETSuperResLib"])
@pytest.mark.parametrize(("name", "scripts"), [("MODULE_PYTHON_SCRIPTS", True), ("MODULE_PYTHON_RESOURCES", False)])
def test_every_file_is_packaged_and_every_listed_file_exists(folder, name, scripts):
    here, there = listed(folder, name), in_tree(folder, scripts)
    assert not there - here, f"add to {name} in {folder}/CMakeLists.txt: {sorted(there - here)}"
    assert not here - there, f"remove from {name} in {folder}/CMakeLists.txt: {sorted(here - there)}"


def test_project_and_folders_bear_the_extension_name():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "project(PETSuperRes)" in text
    for folder in re.findall(r"add_subdirectory\((\w+)\)", text):
        assert (ROOT / folder / "CMakeLists.txt").is_file()


def metadata(name: str) -> str:
    """An EXTENSION_* value of the top CMakeLists.txt."""
    return re.search(rf'EXTENSION_{name} "(.*?)"', (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")).group(1)


@pytest.mark.parametrize("name", ["ICONURL", "SCREENSHOTURLS"])
def test_extension_pictures_are_there(name):
    for url in metadata(name).split():
        path = url.partition("/main/")[2]
        assert (ROOT / path).is_file() and path.startswith("Resources/")


def test_the_entry_for_the_index_says_what_the_extension_says():
    entry = json.loads((ROOT / "Resources" / "ExtensionsIndex" / "PETSuperRes.json").read_text(encoding="utf-8"))
    # of schema v1.0.2, which allows no other keys
    known = {"$schema", "category", "scm_url", "scm_revision", "build_dependencies", "build_subdirectory", "tier"}
    assert set(entry) == known and "v1.0.2" in entry["$schema"]
    assert entry["scm_url"] == metadata("HOMEPAGE") and entry["build_dependencies"] == metadata("DEPENDS").split()
    pictures = metadata("ICONURL").replace("raw.githubusercontent.com", "github.com")
    assert pictures.startswith(f"{entry['scm_url']}/{entry['scm_revision']}/")
    module = (ROOT / "PETSuperRes" / "PETSuperRes.py").read_text(encoding="utf-8")
    assert f'"{entry["category"]}")]' in module
    assert 1 <= entry["tier"] <= 5
