"""Who may import whom: dependencies flow one way, without circles, and the backend needs no Slicer."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "PETSuperResLib"
LAYERS = (  # from the ground up; a module imports from its own room, its own layer and those below
    {"errors", "interrupt", "version", "widths", "headers"},
    {
        "files",
        "outputs",
        "progress",
        "device",
        "scanner",
        "resolution",
        "image_resolution",
        "vendor_strings",
        "volume",
        "nifti",
        "grid",
        "difference",
        "tracer",
        "dicom",
        "suv",
    },
    {"physics", "prior", "lesions"},
    {"problem", "dispersion", "sampling", "residual", "support", "spread"},
    {"request", "inputs", "checks", "alignment", "reconstruction", "remeasure", "pet_alone", "results"},
    {"phantoms"},
    {"followup"},
    {"cohort", "worker"},
    {"studies"},
    {"commands"},
    {"cli"},
    {"__init__", "__main__"},
)
FOREIGN = {"slicer", "qt", "vtk", "ctk", "mrml", "PETSuperRes", "PETSuperResSlicer"}


def name_of(file: Path) -> str:
    """``physics.model`` of a file, ``physics`` of a package's ``__init__``, ``__init__`` of the root's."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


FILES = {name_of(file): file for file in PACKAGE.rglob("*.py")}


def imports(name: str, when_loaded: bool = False) -> tuple[set[str], set[str]]:
    """The package's modules and the top-level names of other packages that a module imports, wherever it does.

    ``when_loaded``: only what it imports when it is imported itself.
    """
    package = name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]
    package = "" if name == "__init__" else package
    own, others = set(), set()
    tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
    for node in tree.body if when_loaded else ast.walk(tree):
        if isinstance(node, ast.Import):
            others |= {alias.name.partition(".")[0] for alias in node.names}
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level == 0:
            others.add((node.module or "").partition(".")[0])
            continue
        above = package.split(".") if package else []
        above = above[: len(above) - node.level + 1]
        module = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            inner = f"{module}.{alias.name}".lstrip(".")
            own.add(inner if inner in FILES else module or "__init__")
    return own - {name}, others


@cache
def graph() -> dict[str, set[str]]:
    return {name: imports(name)[0] for name in FILES}


def room(name: str) -> str:
    return name.partition(".")[0]


def layer(name: str) -> int:
    found = [n for n, rooms in enumerate(LAYERS) if room(name) in rooms]
    assert found, f"{room(name)} has no layer: give it one"
    return found[0]


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_module_imports_from_its_layer_and_those_below(name):
    higher = {other for other in graph()[name] if layer(other) > layer(name)}
    assert not higher, f"{name} imports {sorted(higher)}, which are above it"


def test_no_modules_import_one_another_in_a_circle():
    TopologicalSorter(graph()).prepare()  # its error names the circle


def test_no_packages_load_one_another_in_a_circle():
    """As suv takes from headers, and dicom from both; Volume.read imports the readers where it needs them."""
    rooms: dict[str, set[str]] = {}
    for name in FILES:
        rooms.setdefault(room(name), set()).update(map(room, imports(name, when_loaded=True)[0]))
    TopologicalSorter({one: others - {one} for one, others in rooms.items()}).prepare()


def test_studies_are_used_by_the_command_line_alone():
    users = {room(name) for name, found in graph().items() for other in found if room(other) == "studies"}
    assert users == {"studies", "commands"}
    slicer = [file.read_text(encoding="utf-8") for file in (PACKAGE.parent / "PETSuperRes").rglob("*.py")]
    assert slicer and not any("PETSuperResLib.studies" in text for text in slicer)


def test_the_backend_needs_no_slicer():
    foreign = {name: sorted(imports(name)[1] & FOREIGN) for name in FILES}
    assert not {name: found for name, found in foreign.items() if found}
