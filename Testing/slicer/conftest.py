"""The module loaded in its host, and nodes in a scene of their own for tests without its panel."""

from __future__ import annotations

from typing import Any

import pytest
import slicer_host

if not slicer_host.missing():
    import mrml_scene

    slicer_host.start()
    mrml_scene.load_module()  # what the tests import


def pytest_pycollect_makemodule() -> None:
    """Skip the folder where the host cannot run."""
    if slicer_host.missing():
        pytest.skip(slicer_host.missing(), allow_module_level=True)


@pytest.fixture
def result(panel: Any, host: Any, fake: Any, case: Any) -> Any:
    """A case that was chosen, run and measured in the panel: its result."""
    from panel_case import choose, finish

    choose(panel, host, case)
    finish(panel, host, fake, case)
    return panel.params.result


@pytest.fixture
def scene() -> Any:
    """The scene, empty."""
    found = mrml_scene.start()
    found.Clear(0)
    return found


@pytest.fixture
def nodes(scene: Any) -> Any:
    """A case as ``make_case`` has it, without units, and another volume ``result`` with the PET's voxels."""
    from panel_case import make_case
    from PETSuperResSlicer.mrml import volumes as mrml

    case = make_case()
    case.result = mrml.node_from_volume(case.volume, "Result", scene)
    for node in (case.pet, case.ct, case.result):
        node.SetVoxelValueUnits(None)
        node.SetVoxelValueQuantity(None)
    return case
