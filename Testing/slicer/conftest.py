"""Nodes in a scene of their own, for tests of the module without its panel."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def scene() -> Any:
    """The scene, empty."""
    import mrml_scene

    found = mrml_scene.start()
    found.Clear(0)
    mrml_scene.load_module()
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
