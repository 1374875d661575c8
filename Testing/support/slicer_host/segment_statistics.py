"""A stand-in for ``SegmentStatistics`` and ``SegmentStatisticsPlugins``: what a plugin of that module meets there.

The base of plugins keeps which measures are asked for in a parameter node and shows them as check boxes; the logic
runs the registered plugins over the segments.
"""

from __future__ import annotations

from typing import Any

import qt
import slicer


class SegmentStatisticsPluginBase:
    """The base of plugins."""

    def __init__(self) -> None:
        self.name, self.title = "", ""
        self.keys: list[str] = []
        self.defaultKeys: list[str] = []
        self.requestedKeysCheckboxes: dict[str, Any] = {}
        self.parameterNode: Any = None

    @staticmethod
    def createCodedEntry(codeValue: str, codingScheme: str, codeMeaning: str, returnAsString: bool = False) -> Any:
        """A coded entry, or its text."""
        entry = slicer.vtkCodedEntry()
        entry.SetValueSchemeMeaning(codeValue, codingScheme, codeMeaning)
        return entry.GetAsString() if returnAsString else entry

    @staticmethod
    def createMeasurementInfo(name: str, description: str, units: str, **dicomCodes: Any) -> dict[str, Any]:
        """What is told of a measure: ``quantityDicomCode`` becomes ``DICOM.QuantityCode``, and so the others."""
        info = {"name": name, "description": description, "units": units}
        for key, value in ((key, value) for key, value in dicomCodes.items() if value):
            kind = key.removesuffix("DicomCode")
            info[f"DICOM.{kind[0].upper()}{kind[1:]}Code"] = value
        return info

    def toLongKey(self, key: str) -> str:
        """A key with the plugin's name."""
        return f"{type(self).__name__}.{key}"

    def setDefaultParameters(self, parameterNode: Any, overwriteExisting: bool = False) -> None:
        """Enable the plugin and its default measures."""
        enabled = f"{type(self).__name__}.enabled"
        if not parameterNode.GetParameter(enabled):
            parameterNode.SetParameter(enabled, "True")
        for key in self.keys:
            name = f"{self.toLongKey(key)}.enabled"
            if overwriteExisting or not parameterNode.GetParameter(name):
                parameterNode.SetParameter(name, str(key in self.defaultKeys))

    def getRequestedKeys(self) -> list[str]:
        """The measures that are asked for."""
        return [k for k in self.keys if self.parameterNode.GetParameter(f"{self.toLongKey(k)}.enabled") == "True"]

    def setParameterNode(self, parameterNode: Any) -> None:
        """Take another parameter node, and make the widget of the options."""
        self.parameterNode = parameterNode
        self.setDefaultParameters(parameterNode)
        self.createDefaultOptionsWidget()

    def getParameterNode(self) -> Any:
        """The parameter node."""
        return self.parameterNode

    def createDefaultOptionsWidget(self) -> None:
        """A check box for every measure."""
        self.optionsWidget = qt.QWidget()
        form = qt.QFormLayout(self.optionsWidget)
        asked = self.getRequestedKeys()
        for key in self.keys:
            box = qt.QCheckBox(self.getMeasurementInfo(key)["name"], self.optionsWidget)
            box.setChecked(key in asked)
            form.addRow(box)
            self.requestedKeysCheckboxes[key] = box


class SegmentStatisticsLogic:
    """Runs the plugins."""

    registeredPlugins: list[type] = []

    def __init__(self) -> None:
        self.plugins = [plugin() for plugin in self.registeredPlugins]
        self.node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
        for plugin in self.plugins:
            plugin.setParameterNode(self.node)

    @staticmethod
    def registerPlugin(plugin: Any) -> None:
        """Add the class of a plugin."""
        if isinstance(plugin, SegmentStatisticsPluginBase):
            SegmentStatisticsLogic.registeredPlugins.append(type(plugin))

    def getParameterNode(self) -> Any:
        """The parameter node: ``Segmentation``, ``ScalarVolume`` and what is asked for."""
        return self.node

    def computeStatistics(self) -> dict[tuple[str, str], Any]:
        """The measures of all segments, by segment's ID and key."""
        segmentation = slicer.mrmlScene.GetNodeByID(self.node.GetParameter("Segmentation")).GetSegmentation()
        found = {}
        for name in segmentation.GetSegmentIDs():
            for plugin in self.plugins:
                found |= {(name, key): value for key, value in plugin.computeStatistics(name).items()}
        return found
