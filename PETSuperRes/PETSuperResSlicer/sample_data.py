"""The phantom in Slicer's Sample Data module: a generated PET/CT with lesions, without a download."""

from __future__ import annotations

from typing import Any

import slicer

from PETSuperResLib.errors import Cancelled, PETSuperResError

CATEGORY = "PET Super-Resolution"
SAMPLE = "PETSuperResPhantom"
_making: list[Any] = []  # the tasks under way: one at most


def register(thumbnail: str = "") -> None:
    """Add the phantom to the Sample Data module (called when Slicer has started)."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE,
        uris="",  # nothing is downloaded
        fileNames="",
        nodeNames="Phantom PET",
        thumbnailFileName=thumbnail,
        customDownloader=_download_now,
    )


def _download_now(source: Any) -> list[Any]:
    """:func:`download` of the package as it is at the click: the developer's Reload replaces it."""
    from PETSuperResSlicer import sample_data

    return sample_data.download(source)


def download(_source: Any) -> list[Any]:
    """:func:`load` for the sample's button: a failure is shown, and nothing is loaded."""
    try:
        return load()
    except Cancelled:
        return []
    except (PETSuperResError, RuntimeError) as error:
        log = "\n".join(getattr(error, "log", ()))
        slicer.util.errorDisplay(f"The phantom was not made: {error}", **({"detailedText": log} if log else {}))
        return []


def load() -> list[Any]:
    """Generate the case into the scene and show it; returns PET, CT and segmentation node.

    Installs missing packages of the backend, after a question. A worker process does the simulation of some seconds;
    Slicer stays usable. Another click before the end does nothing.
    """
    from PETSuperResSlicer.logic import PETSuperResLogic

    if _making:
        return []
    logic = PETSuperResLogic()
    logic.ensureDependencies()
    try:
        task = logic.startPhantom(add_nodes, lambda event: slicer.util.showStatusMessage(f"Phantom: {event.message}"))
        _making.append(task)
        nodes: list[Any] = task.wait()
    finally:
        slicer.app.processEvents()  # clicks wait for one step at a time
        _making.clear()
        logic.close()
        slicer.util.showStatusMessage("")
    slicer.app.processEvents()  # the worker's end took a moment
    pet, ct = nodes[:2]
    slicer.util.setSliceViewerLayers(background=ct, foreground=pet, foregroundOpacity=0.5, fit=True)
    return nodes


def phantom_nodes(**changes: Any) -> list[Any]:
    """PET, CT and segmentation node of a case made in this process, which waits (for tests and scripts).

    ``changes`` are those of :func:`PETSuperResLib.phantoms.demo_case.demo_case`: seed, shape, lesions.
    """
    from PETSuperResLib.phantoms.demo_case import demo_case

    case = demo_case(**changes)
    volumes = {"pet": case.simulation.lr, "ct": case.phantom.ct, "labels": case.phantom.labels}
    return add_nodes(volumes, {"lesions": case.names})


def add_nodes(volumes: dict[str, Any], report: dict[str, Any]) -> list[Any]:
    """Put a generated case into the scene, under a folder of its own; ``report`` names the lesions by label."""
    from PETSuperResLib.phantoms.demo_case import SETTING
    from PETSuperResSlicer.mrml import provenance
    from PETSuperResSlicer.mrml import volumes as mrml
    from PETSuperResSlicer.mrml.segments import segmentation_from_labels

    scene = slicer.mrmlScene
    ct = mrml.node_from_volume(volumes["ct"], scene.GenerateUniqueName("Phantom CT"), scene)
    pet = mrml.node_from_volume(volumes["pet"], scene.GenerateUniqueName("Phantom PET"), scene)
    provenance.set_preset(pet, SETTING)
    mrml.show_as_pet(pet)
    if scene.GetNodeByID(mrml.HEAT) is not None:
        pet.GetDisplayNode().SetAndObserveColorNodeID(mrml.HEAT)
    names = {int(label): name for label, name in report["lesions"].items()}
    segmentation = segmentation_from_labels(volumes["labels"], ct, scene.GenerateUniqueName("Phantom lesions"), names)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "PET/CT phantom")
    for node in (pet, ct, segmentation):
        mrml.place_under(node, folder, hierarchy)
    return [pet, ct, segmentation]
