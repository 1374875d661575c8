"""The work of the module without its panel: for Slicer's Python console, scripts and the panel itself."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

_SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.isdir(os.path.join(_SOURCE, "PETSuperResLib")) and _SOURCE not in sys.path:
    sys.path.append(_SOURCE)  # run from the source tree; an installed extension has the library beside this file

DEFAULT_PRESET = "Siemens Biograph mCT"
RESEARCH_USE = "For research use only; not for diagnosis."
REQUIREMENTS = ("safetensors>=0.4", "pydicom>=2.4", "scipy>=1.11", "scikit-image>=0.22")


class PETSuperResLogic(ScriptedLoadableModuleLogic):
    """The work without the panel: use it from Slicer's Python console or a script."""

    def presetNames(self) -> list[str]:
        """Names of the bundled scanner presets."""
        from PETSuperResLib.scanner import presets

        return list(presets())

    def ensureDependencies(self) -> None:
        """Install what the backend lacks, after asking; torch through the PyTorch extension."""
        from PETSuperResLib.errors import PETSuperResError

        try:
            import torch  # noqa: F401
        except ImportError:
            try:
                import PyTorchUtils
            except ImportError as error:
                raise PETSuperResError(
                    "PyTorch is missing: install the PyTorch extension from the Extensions Manager and restart Slicer."
                ) from error
            if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True) is None:
                raise PETSuperResError("PyTorch was not installed, so the PET cannot be super-resolved.") from None
        packaging = getattr(slicer, "packaging", None)
        if packaging is not None:
            packaging.pip_ensure(list(REQUIREMENTS), requester="PETSuperRes")

    def process(
        self,
        petNode: Any,
        ctNode: Any,
        preset: Any = DEFAULT_PRESET,
        quality: str = "standard",
        waitForCompletion: bool = True,
        samples: int = 1,
        seed: int = 0,
        device: str = "auto",
        region: Any = None,
        progress: Callable[[Any], None] | None = None,
        measurement: Any = None,
    ) -> Any:
        """Super-resolve a PET volume node (SUVbw) with its CT; returns the new vtkMRMLScalarVolumeNode.

        ``preset`` is a scanner's name, JSON file or Scanner, ``quality`` draft, standard or paper,
        ``region`` as in :func:`PETSuperResLib.reconstruct`, and ``measurement`` a simulated or given
        sinogram in place of the one made from the PET. The node enters the scene only on success,
        beside the PET in the subject hierarchy, marked as SUVbw and with its provenance as node
        attributes ``PETSuperRes.*``; with ``samples`` above 1 a second node holds their standard deviation
        (node reference ``PETSuperRes.StandardDeviation``). Raises the library's errors; ``progress`` may
        raise Cancelled.
        """
        import PETSuperResMRML as mrml

        from PETSuperResLib import reconstruct
        from PETSuperResLib.errors import InputError

        if petNode is None or ctNode is None:
            raise InputError(f"No {'PET' if petNode is None else 'CT'} volume is selected: choose one.")
        if not waitForCompletion:
            raise InputError("Running in the background is not available yet: call with waitForCompletion=True.")
        pet, ct = mrml.volumeFromNode(petNode), mrml.volumeFromNode(ctNode, "HU")
        extra = {} if measurement is None else {"measurement": measurement}
        result = reconstruct(
            pet,
            ct,
            scanner=preset,
            quality=quality,
            samples=samples,
            seed=seed,
            device=device,
            region=region,
            progress=progress,
            **extra,
        )
        scene = petNode.GetScene() or slicer.mrmlScene
        node = mrml.nodeFromVolume(result.volume, scene.GenerateUniqueName(f"{petNode.GetName()} SR"))
        self._copyUnits(petNode, node, result.volume.unit)
        self._provenance(node, petNode, ctNode, {"quality": quality, "samples": samples, "seed": seed}, result.report)
        node.SetAttribute("PETSuperRes.preset", str(getattr(preset, "name", preset)))
        mrml.addNode(node, scene)
        node.AddNodeReferenceID("PETSuperRes.PET", petNode.GetID())
        node.AddNodeReferenceID("PETSuperRes.CT", ctNode.GetID())
        mrml.placeBeside(node, petNode, scene)
        mrml.showAsPET(node)
        if samples > 1 and result.std is not None:
            spread = mrml.nodeFromVolume(result.std, f"{node.GetName()} standard deviation", scene)
            node.AddNodeReferenceID("PETSuperRes.StandardDeviation", spread.GetID())
            mrml.placeBeside(spread, petNode, scene)
        return node

    def compareLesions(self, petNode: Any, srNode: Any, segmentationNode: Any, referenceNode: Any = None) -> Any:
        """Lesion SUVs in the PET and the super-resolved PET; returns a new vtkMRMLTableNode.

        One row per segment; SUVmax, SUVmean, SUVpeak, MTV and TLG in both and the change in per cent,
        and, with ``referenceNode``, in the reference. The same mask is measured on each image's own
        voxels. Raises :class:`InputError` for an empty segmentation and :class:`GeometryError` for a
        segment outside the PET.
        """
        import PETSuperResMRML as mrml

        from PETSuperResLib import measure_lesions

        nodes = {"PET": petNode, "SR": srNode} | ({} if referenceNode is None else {"reference": referenceNode})
        images = {title: mrml.volumeFromNode(node) for title, node in nodes.items()}
        masks = mrml.masksFromNode(segmentationNode)
        columns = []
        for title, volume in images.items():
            found = []
            for label, (name, mask) in enumerate(masks, 1):
                mask = mask.with_array(mask.array * label)
                found += measure_lesions(volume, mask, names={label: name}, skip_outside=title == "SR")
            columns.append((title, found))
        scene = petNode.GetScene() or slicer.mrmlScene
        table = slicer.vtkMRMLTableNode()
        table.SetName(scene.GenerateUniqueName(f"{petNode.GetName()} lesions"))
        mrml.fillLesionTable(table, columns)
        scene.AddNode(table)
        table.SetAttribute("PETSuperRes.note", RESEARCH_USE)
        mrml.placeBeside(table, petNode, scene)
        return table

    @staticmethod
    def _copyUnits(source: Any, node: Any, unit: str) -> None:
        import PETSuperResMRML as mrml

        if unit in mrml.CODES:
            mrml.markUnit(node, unit)
        elif source.GetVoxelValueUnits() is not None:
            node.SetVoxelValueQuantity(source.GetVoxelValueQuantity())
            node.SetVoxelValueUnits(source.GetVoxelValueUnits())

    @staticmethod
    def _provenance(node: Any, pet: Any, ct: Any, settings: dict[str, Any], report: dict[str, Any]) -> None:
        for key, value in {**settings, "PET": pet.GetName(), "CT": ct.GetName(), "note": RESEARCH_USE}.items():
            node.SetAttribute(f"PETSuperRes.{key}", str(value))
        for key, value in report.items():
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            node.SetAttribute(f"PETSuperRes.report.{key}", text)
        uids = pet.GetAttribute("DICOM.instanceUIDs")
        if uids:
            node.SetAttribute("PETSuperRes.sourceInstanceUIDs", uids)
