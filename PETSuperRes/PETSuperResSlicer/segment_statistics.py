"""SUVs in Slicer's module Segment Statistics: SUVpeak, SULpeak, MTV and TLG by the rules in use, recovered SUVmean.

Imported only where that module is there, when Slicer starts; so what takes time to load is imported at its use.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from SegmentStatisticsPlugins import SegmentStatisticsPluginBase
from slicer.i18n import tr as _

from PETSuperResLib.errors import PETSuperResError
from PETSuperResLib.lesions import codes

RULES = {"fixed": _("fixed SUV"), "41": _("41 % of SUVmax"), "50": _("50 % of SUVmax"), "PERCIST": _("PERCIST liver")}
THRESHOLD = "threshold"  # the parameter of the fixed rule
LIVER = "liver"
SUV = 2.5  # of the fixed rule, unless another is set


@dataclass(frozen=True)
class _Shown:
    """A measure in Slicer's table: name, meaning, unit, and its DICOM codes."""

    name: str
    description: str
    unit: str
    quantity: codes.Coded
    unit_code: codes.Coded
    derivation: codes.Coded
    method: codes.Coded | None = None


def _shown() -> dict[str, _Shown]:
    peak = _("Highest mean over a sphere of 1 mL centred in the segment")
    lean = _("{peak}, by lean body mass (Janmahasatian)").format(peak=peak)
    found = {
        "SUVpeak": _Shown("SUVpeak", peak, "g/mL", codes.SUVBW, codes.SUV_UNIT, codes.PEAK),
        "SULpeak": _Shown("SULpeak", lean, "g/mL", codes.SUL, codes.SUL_UNIT, codes.PEAK),
    }
    for rule, words in RULES.items():
        for key, unit, measure in (("MTV", "mL", "mtv_ml"), ("TLG", "g", "tlg")):
            about = codes.CODES[measure]
            name = f"{key} ({words})"
            # the derivation heads the column in Slicer's table
            derivation = (f"{key}_{rule}", codes.OWN, name)
            found[f"{key}_{rule}"] = _Shown(name, name, unit, about.concept, about.unit, derivation)
    return found | _shown_recovered("")


def _shown_recovered(source: str) -> dict[str, _Shown]:
    """What is recovered, its names and descriptions with the ``source`` of the data."""
    found = {}
    for key, (column, *words) in _recovered().items():
        name, description = (f"{text} ({source})" if source else text for text in words)
        evidence = column == "evidence_sigma"
        about = codes.CODES["evidence_sigma" if evidence else "suvmean"]
        derivation, method = (key, codes.OWN, name), None if evidence else codes.RECOVERED
        unit = "1" if evidence else "g/mL"
        found[key] = _Shown(name, description, unit, about.concept, about.unit, derivation, method)
    return found


def _recovered() -> dict[str, tuple[str, str, str]]:
    """What is recovered: the lesion's field, name and meaning, by key."""
    mean = _("SUVmean of the segment, fitted to the PET and its blur")
    end = _("End of its interval of 90 %")
    evidence = _("Evidence of the PET for uptake above the surroundings, in sigma")
    return {
        "recovered": ("suvmean_recovered", _("SUVmean recovered"), mean),
        "recovered_low": ("suvmean_low", _("SUVmean recovered, low"), end),
        "recovered_high": ("suvmean_high", _("SUVmean recovered, high"), end),
        "evidence": ("evidence_sigma", _("Evidence [sigma]"), evidence),
    }


class PETSuperResStatisticsPlugin(SegmentStatisticsPluginBase):
    """Measures of every segment in a PET in SUV; a measure that is not known, or a volume in no SUV, shows nothing.

    The threshold of the fixed rule is a parameter. PERCIST's needs a segment named liver, SULpeak a PET in the DICOM
    database whose header has weight, height and sex. What is recovered needs a PET whose resolution is known, by its
    header or as the module's panel states it, or a result of this module whose PET is in the scene; it is computed for
    all segments at once. The columns' names say which of both it is, and ``note`` says it in words, or why nothing is
    known.
    """

    def __init__(self) -> None:
        super().__init__()
        self.name = "PET SUV"
        self.title = _("PET SUV")
        self.shown = _shown()
        self.keys = list(self.shown)
        self.note, self.noteLabel = "", None
        self._kept: tuple[Any, dict[str, Any]] = (None, {})  # what was recovered, by segment's ID, and of which images
        self.defaultKeys = ["SUVpeak", "SULpeak", "MTV_41", "TLG_41"]

    def computeStatistics(self, segmentID: str) -> dict[str, float]:
        """The requested measures of a segment, by key."""
        keys = self.getRequestedKeys()
        parameters = self.getParameterNode()
        segmentation, pet = (
            slicer.mrmlScene.GetNodeByID(parameters.GetParameter(role) or "")
            for role in ("Segmentation", "ScalarVolume")
        )
        if not keys or segmentation is None or not _in_suv(pet):
            return {}
        try:
            return self._measured(keys, segmentation, segmentID, pet)
        except PETSuperResError:  # no voxel of the segment is in the volume
            return {}

    def _measured(self, keys: list[str], segmentation: Any, segmentID: str, pet: Any) -> dict[str, float]:
        from PETSuperResLib.lesions.measures import measure_lesions
        from PETSuperResLib.lesions.segments import Segment
        from PETSuperResSlicer.mrml import volumes as mrml
        from PETSuperResSlicer.mrml.segments import mask_of_segment

        volume, mask = mrml.voxels_of_node(pet).volume(), mask_of_segment(segmentation, segmentID)
        if mask is None:
            return {}
        segment = Segment(1, segmentID, mask)

        def measured(threshold: float | str) -> Any:
            return measure_lesions(volume, [segment], threshold=threshold)[0]

        found: dict[str, float] = {}
        if "SUVpeak" in keys or "SULpeak" in keys:
            peak, factor = measured(SUV).suvpeak, _sul_factor(pet)
            found = {"SUVpeak": peak} | ({} if factor is None else {"SULpeak": factor * peak})
        for rule in RULES:
            if {f"MTV_{rule}", f"TLG_{rule}"} & set(keys):
                threshold = self._threshold(rule, volume, segmentation)
                if threshold is not None:
                    lesion = measured(threshold)
                    found |= {f"MTV_{rule}": lesion.mtv_ml, f"TLG_{rule}": lesion.tlg}
        asked = {key: column for key, (column, *_words) in _recovered().items() if key in keys}
        if asked:
            lesion = self._recovered_lesions(segmentation, pet).get(segmentID)
            values = {key: getattr(lesion, column, None) for key, column in asked.items()}
            found |= {key: value for key, value in values.items() if value is not None}
        return {key: value for key, value in found.items() if key in keys}

    def _recovered_lesions(self, segmentation: Any, volume: Any) -> dict[str, Any]:
        """The lesions of all segments with what is recovered of them, by ID; computed anew when an image changes."""
        from PETSuperResSlicer.mrml.recovered import recovered_lesions, state_of

        stated = _stated(volume)
        state = state_of(volume, segmentation, stated)
        if state != self._kept[0]:
            self._kept = state, {}
            try:
                lesions, source = recovered_lesions(volume, segmentation, stated)
                self._kept, self.note = (state, lesions), _("Recovered from {source}").format(source=source)
            except PETSuperResError as error:
                self.note = _("Nothing is recovered. {error}").format(error=error)
                logging.warning("PETSuperRes: %s", error)
            if self.noteLabel is not None:
                self.noteLabel.setText(self.note)
        return self._kept[1]

    def _threshold(self, rule: str, volume: Any, segmentation: Any) -> float | str | None:
        if rule == "fixed":
            return float(self.getParameterNode().GetParameter(self.toLongKey(THRESHOLD)) or SUV)
        if rule != "PERCIST":
            return f"{rule}%"
        from PETSuperResLib.lesions.rules import percist_threshold
        from PETSuperResSlicer.mrml.segments import reference_segment

        liver = reference_segment(segmentation, LIVER)
        return None if liver is None else percist_threshold(volume, liver)

    def getMeasurementInfo(self, key: str) -> dict[str, Any] | None:
        """Name, description, unit and DICOM codes of a measure."""
        about = (self.shown | _shown_recovered(self._source())).get(key)
        if about is None:
            return None
        entry = self.createCodedEntry
        return self.createMeasurementInfo(
            name=about.name,
            description=about.description,
            units=about.unit,
            quantityDicomCode=entry(*about.quantity, True),
            unitsDicomCode=entry(*about.unit_code, True),
            derivationDicomCode=entry(*about.derivation, True),
            measurementMethodDicomCode=None if about.method is None else entry(*about.method, True),
        )

    def _source(self) -> str:
        """What uptake is recovered from, as the names of its columns say it; empty before a volume is chosen."""
        from PETSuperResSlicer.mrml import provenance

        parameters = self.getParameterNode()
        node = slicer.mrmlScene.GetNodeByID((parameters and parameters.GetParameter("ScalarVolume")) or "")
        if node is None:
            return ""
        return str(_("SR") if provenance.kind_of(node) else _("PET alone"))

    def setDefaultParameters(self, parameterNode: Any, overwriteExisting: bool = False) -> None:
        """The base's, and the SUV of the fixed rule."""
        super().setDefaultParameters(parameterNode, overwriteExisting)
        name = self.toLongKey(THRESHOLD)
        if overwriteExisting or not parameterNode.GetParameter(name):
            parameterNode.SetParameter(name, str(SUV))

    def createDefaultOptionsWidget(self) -> None:
        """The base's check boxes, and the SUV of the fixed rule."""
        super().createDefaultOptionsWidget()
        self.thresholdBox = qt.QDoubleSpinBox(self.optionsWidget)
        self.thresholdBox.setRange(0.0, 100.0)
        self.thresholdBox.setSingleStep(0.5)
        self.thresholdBox.setValue(float(self.getParameterNode().GetParameter(self.toLongKey(THRESHOLD)) or SUV))
        self.thresholdBox.connect("valueChanged(double)", self._take_threshold)
        self.optionsWidget.layout().addRow(_("SUV of the fixed rule:"), self.thresholdBox)
        self.noteLabel = qt.QLabel(self.note, self.optionsWidget)
        self.noteLabel.setWordWrap(True)
        self.optionsWidget.layout().addRow(self.noteLabel)

    def _take_threshold(self, value: float) -> None:
        self.getParameterNode().SetParameter(self.toLongKey(THRESHOLD), f"{value:g}")


def _in_suv(node: Any) -> bool:
    if node is None or not node.IsA("vtkMRMLScalarVolumeNode") or node.GetImageData() is None:
        return False
    from PETSuperResSlicer.mrml import volumes as mrml
    from PETSuperResSlicer.mrml.units import recognise

    return mrml.unit_of_node(node) == "SUVbw" or recognise(node).usable


def _stated(pet: Any) -> dict[str, Any]:
    """What the module's panel states of a PET's scanner, resolution and noise, where this is the PET chosen there."""
    panel = getattr(slicer.modules, "PETSuperResWidget", None)
    params = None if panel is None else panel.params
    if params is None or params.pet is not pet:
        return {}
    from PETSuperResSlicer.panel.parameters import resolution_options, scanner_of

    return {"scanner": scanner_of(params), "noise": params.noise or None, **resolution_options(params)}


def _sul_factor(node: Any) -> float | None:
    """SUL / SUVbw by the header of the PET, or of the PET that a result was made from; None where it is not known."""
    from PETSuperResSlicer.mrml import provenance
    from PETSuperResSlicer.mrml.inputs import dicom_file

    pet = (provenance.inputs_of(node)[0] or node) if provenance.kind_of(node) else node
    file = dicom_file(pet)
    if not file:
        return None
    from PETSuperResLib.dicom.files import read_dataset
    from PETSuperResLib.suv.body import sul_factor

    return sul_factor([read_dataset(Path(file), pixels=False)])


def register() -> None:
    """Offer the plugin in Segment Statistics, once, in place of one from before the developer's Reload."""
    from SegmentStatistics import SegmentStatisticsLogic

    plugins = SegmentStatisticsLogic.registeredPlugins
    plugins[:] = [plugin for plugin in plugins if plugin.__name__ != PETSuperResStatisticsPlugin.__name__]
    SegmentStatisticsLogic.registerPlugin(PETSuperResStatisticsPlugin())
