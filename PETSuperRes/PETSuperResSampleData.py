"""The phantom in Slicer's Sample Data module: a generated PET/CT with lesions, without a download."""

from __future__ import annotations

from typing import Any

import slicer

CATEGORY = "PET Super-Resolution"
SAMPLE = "PETSuperResPhantom"
SEED, SHAPE, SPACING, LESIONS = 101, (24, 112, 160), (2.0, 2.0, 2.0), 6
SETTING = "Paper standard"  # the preset that the scan is simulated with
SITES = {"node_bed": "Node", "fat": "Fat", "other": "Soft tissue"}


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
        customDownloader=load,
    )


def load(_source: Any = None) -> list[Any]:
    """Generate the case into the scene and show it; returns PET, CT and segmentation node.

    Installs what the backend lacks, after asking. A few seconds of simulation: 8 mm PSF, a tenth of the
    dose, 8 mm voxels, Poisson counts.
    """
    from PETSuperResLogic import PETSuperResLogic

    PETSuperResLogic().ensureDependencies()
    nodes = phantomNodes()
    pet, ct = nodes[:2]
    slicer.util.setSliceViewerLayers(background=ct, foreground=pet, foregroundOpacity=0.5, fit=True)
    return nodes


def phantomNodes(
    seed: int = SEED, shape: tuple[int, int, int] = SHAPE, lesions: int = LESIONS, scene: Any = None
) -> list[Any]:
    """PET, CT and segmentation node of a generated case of ``shape`` (K, J, I) at 2 mm."""
    import PETSuperResMRML as mrml

    from PETSuperResLib.physics.simulation import simulate
    from PETSuperResLib.training.phantoms import torso_phantom

    scene = scene or slicer.mrmlScene
    phantom = torso_phantom(seed, shape, SPACING, lesions)
    scan = simulate(phantom.pet, phantom.ct, setting=SETTING, counts="realistic", seed=0)
    ct = mrml.nodeFromVolume(phantom.ct, scene.GenerateUniqueName("Phantom CT"), scene)
    pet = mrml.nodeFromVolume(scan.lr, scene.GenerateUniqueName("Phantom PET"), scene)
    pet.SetAttribute("PETSuperRes.preset", SETTING)
    mrml.showAsPET(pet)
    if scene.GetNodeByID(mrml.HEAT) is not None:
        pet.GetDisplayNode().SetAndObserveColorNodeID(mrml.HEAT)
    names = {n: f"{n} {SITES.get(one.organ, one.organ.capitalize())}" for n, one in enumerate(phantom.lesions, 1)}
    name = scene.GenerateUniqueName("Phantom lesions")
    segmentation = mrml.segmentationFromLabels(phantom.labels, ct, name, names)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is not None:
        folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "PET/CT phantom")
        for node in (pet, ct, segmentation):
            item = hierarchy.GetItemByDataNode(node)
            if item:
                hierarchy.SetItemParent(item, folder)
            else:
                hierarchy.CreateItem(folder, node)
    return [pet, ct, segmentation]
