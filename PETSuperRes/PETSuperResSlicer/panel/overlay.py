"""The choice of a map over the result."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from PETSuperResSlicer.mrml import overlay
from PETSuperResSlicer.mrml.provenance import MAPS


class OverlayPanel(VTKObservationMixin):
    """Fills the combo box with the maps of the result, and shows the chosen one."""

    def __init__(self, ui: Any) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.overlay = ui, overlay.Overlay()
        self._offered: tuple[Any, tuple[str, ...]] = (None, ())  # result, its maps
        ui.overlayComboBox.connect("currentIndexChanged(int)", self.on_chosen)
        self._offer(None)

    def update(self, params: Any) -> None:
        """Follow the parameters."""
        result = None if params is None else params.result
        if result is not self._offered[0]:
            self.removeObservers()
            if result is not None:
                self.addObserver(result.GetScene(), slicer.vtkMRMLScene.NodeRemovedEvent, self._removed)
        self._offer(result)

    def close(self) -> None:
        """The scene closes."""
        self.removeObservers()
        self.overlay.end()
        self._offer(None)

    def _removed(self, *_unused: Any) -> None:
        """A node was deleted: a map that is gone is not offered."""
        result = self._offered[0]
        if result is not None and result.GetScene() is not None:
            self._offer(result)

    def _offer(self, result: Any) -> None:
        keys = () if result is None else tuple(overlay.maps_of(result))
        box = self.ui.overlayComboBox
        box.setEnabled(bool(keys))
        box.setToolTip(
            _("A map over the result in the slice views")
            if keys
            else _("This result has no maps: check the evidence, or draw samples, and press Apply")
        )
        if (result, keys) == self._offered and box.count:
            return
        self.overlay.end()
        self._offered = (result, keys)
        box.blockSignals(True)
        box.clear()
        box.addItems([_("none"), *(MAPS[key].title for key in keys)])
        box.blockSignals(False)

    def on_chosen(self, index: int) -> None:
        """Show the map of an entry, or none."""
        result, keys = self._offered
        if index > 0:
            self.overlay.show(result, keys[index - 1])
        else:
            self.overlay.end()
