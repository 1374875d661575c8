"""A file missing from a CMake list is not packaged; a listed file that is missing stops the build."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import slicer_host

ROOT = Path(__file__).resolve().parents[2]


def listed(folder: str, name: str) -> set[str]:
    text = (ROOT / folder / "CMakeLists.txt").read_text(encoding="utf-8")
    block = re.search(rf"set\({name}\s(.*?)\)", text, re.DOTALL)
    assert block is not None, f"{folder}/CMakeLists.txt has no {name}"
    return {line.strip() for line in block.group(1).splitlines() if line.strip()}


def in_tree(folder: str, scripts: bool) -> set[str]:
    base = ROOT / folder
    files = (p.relative_to(base) for p in base.rglob("*") if p.is_file())
    kept = (p.as_posix() for p in files if "__pycache__" not in p.parts and not p.name.startswith("."))
    packaged = {p for p in kept if not p.startswith("studies/") and not p.endswith("CMakeLists.txt")}
    return {p for p in packaged if p.endswith(".py") == scripts}


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


def install(folder: Path) -> Path:
    """What CMake installs, where: the module's files flat, the library as a package beside them."""
    target = folder / "lib" / "Slicer-5.12" / "qt-scripted-modules"
    for part, place in (("PETSuperRes", target), ("PETSuperResLib", target / "PETSuperResLib")):
        for name in ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"):
            for file in listed(part, name):
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / part / file, place / file)
    return target


INSTALLED = """
import sys
from pathlib import Path
installed, testing = sys.argv[1:]
sys.path.append(testing)
import slicer_host
host = slicer_host.start()
panel = host.open_module(Path(installed) / "PETSuperRes.py")
import PETSuperResLib
from PETSuperResLib.prior.card import card
from PETSuperResSlicer.worker.process import LIBRARY
for file in (PETSuperResLib.__file__, sys.modules["PETSuperRes"].__file__, panel.resourcePath("UI/PETSuperRes.ui")):
    assert Path(file).is_relative_to(installed), file
assert str(LIBRARY) == installed, LIBRARY
assert "trained on" in card()
facts = []
panel.logic.askDevices(facts.append)
assert host.spin(60, until=lambda: facts)
assert facts[0]["type"] == "pong" and facts[0]["versions"]["PETSuperRes"] == "as installed", facts
from PETSuperResSlicer import sample_data as sample
panel.params.pet, panel.params.ct, panel.params.segmentation = sample.load()
panel.ui.applyButton.click()
assert panel.run.running, panel.ui.statusLabel.text
assert host.spin(120, until=lambda: panel.ui.progressBar.value > 0 or not panel.run.running)
assert panel.run.running, panel.ui.statusLabel.text
panel.ui.applyButton.click()
assert host.spin(5, until=lambda: not panel.run.running)
panel.logic.close()
assert not host.errors and not host.messages
print("done", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(slicer_host.missing()), reason=slicer_host.missing())
def test_the_module_and_its_worker_run_as_they_are_installed(tmp_path):
    """Without the source tree: sample data, prior, worker and panel find what they need among the listed files."""
    target = install(tmp_path)
    package = target / "PETSuperResLib" / "version.py"  # a version of its own, to see which library the worker has
    text = package.read_text(encoding="utf-8")
    package.write_text(re.sub('__version__ = ".*"', '__version__ = "as installed"', text), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [sys.executable, "-c", INSTALLED, str(target), str(ROOT / "Testing" / "support")]
    environment["QT_QPA_PLATFORM"] = "offscreen"
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stderr[-2000:]


def test_the_module_folder_holds_one_python_file():
    """Slicer takes every .py of a module's folder for a module; the rest lives in the package PETSuperResSlicer."""
    assert [p.name for p in (ROOT / "PETSuperRes").glob("*.py")] == ["PETSuperRes.py"]
