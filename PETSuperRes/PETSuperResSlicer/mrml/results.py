"""A finished result in the scene: its nodes, their units, provenance, window and place."""

from __future__ import annotations

from typing import Any

from PETSuperResSlicer.mrml import provenance
from PETSuperResSlicer.mrml import volumes as mrml


def add_result(nodes: tuple[Any, Any, Any], volumes: dict[str, Any], request: Any, report: dict[str, Any]) -> Any:
    """Put the super-resolved volume of a request, and the maps beside it, into the scene; returns the first.

    ``nodes`` are PET, CT and scene, ``volumes`` the library's, by the name ``sr`` and those of the maps.
    """
    petNode, ctNode, scene = nodes
    scanner = report.get("scanner") or (request.scanner.to_dict() if request.scanner else {})
    preset = str(scanner.get("name", ""))  # empty for an image of stated FWHM
    name = f"{petNode.GetName()} SR{f' ({preset})' if preset else ''}".replace("/", "-")  # saved under its name
    node = mrml.add_derived(volumes["sr"], scene.GenerateUniqueName(name), provenance.SUPER_RESOLVED, petNode, scene)
    used = {name: getattr(request, name) for name in ("quality", "samples", "seed")}
    provenance.record(node, petNode, ctNode, used, report)
    provenance.set_preset(node, preset)
    mrml.show_like(node, petNode)
    for key, one in provenance.MAPS.items():
        if key in volumes:
            title, window = f"{node.GetName()} {one.kind}", _window(key, volumes[key])
            beside = mrml.add_derived(volumes[key], title, one.kind, petNode, scene, window)
            provenance.record(beside, petNode, ctNode, used, {"version": report.get("version", "")})
            node.SetNodeReferenceID(one.role, beside.GetID())
    return node


def _window(key: str, volume: Any) -> tuple[float, float]:
    """Window and level of a map: of one in sigma always the same, of one in SUV up to its largest values."""
    if key == "std":
        return mrml.spread_window(volume)
    if key == "ct_effect":
        top, _level = mrml.spread_window(volume.with_array(abs(volume.array)))
        return 2 * top, 0.0
    return mrml.SIGMA_WINDOW
