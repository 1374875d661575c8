"""The scanner's and the advanced settings: the preset of a new PET, its physics, prior, devices, region."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from PETSuperResLib.errors import PETSuperResError
from PETSuperResLib.grid import axial
from PETSuperResLib.physics.noise_width import noise_widths
from PETSuperResLib.prior.card import card
from PETSuperResLib.resolution import resolution_of
from PETSuperResLib.scanner import Scanner
from PETSuperResSlicer.mrml.inputs import guess_preset, header_of, place_region
from PETSuperResSlicer.mrml.volumes import voxels_of_node
from PETSuperResSlicer.panel.parameters import device_labels, fill_physics, resolution_options, scanner_of
from PETSuperResSlicer.panel.status import Status
from PETSuperResSlicer.panel.widgets import ERROR, style


class SettingsPanel:
    """Binds the parameters to all widgets and follows what they depend on."""

    def __init__(self, ui: Any, logic: Any, status: Status) -> None:
        self.ui, self.logic, self.say = ui, logic, status.say
        self.params: Any = None
        self.facts: Any = None  # the worker's answer about devices
        self._devices: list[tuple[str, str]] = []  # as they are listed: (value, text)
        self._tag: Any = None  # of the binding
        self._pet: Any = None  # the PET whose scanner was looked up last
        # a PET, what its header says, and the widths of its noise
        self._header: tuple[Any, dict[str, Any], tuple[float, float] | None] = (None, {}, None)
        self._prior: str | None = None  # the prior whose card is shown
        self._waiting = False  # for the worker's answer
        ui.resetPhysicsButton.connect("clicked(bool)", self.on_reset_physics)
        ui.priorButton.connect("clicked(bool)", self.on_choose_prior)
        ui.deviceComboBox.connect("currentIndexChanged(int)", self.on_device)
        ui.advancedButton.connect("contentsCollapsed(bool)", self.on_advanced)
        ui.regionSelector.connect("nodeAddedByUser(vtkMRMLNode*)", self.on_new_region)

    def bind(self, params: Any) -> None:
        """Connect the widgets to other parameters; None disconnects them."""
        if self.params is not None:
            self.params.disconnectGui(self._tag)
        self.params, self._prior = params, None
        if params is not None:
            self._pet = params.pet if params.preset else None
            bound = {widget.property("SlicerParameterName"): widget for widget in vars(self.ui).values()}
            bound.pop(None, None)
            self._tag = params.connectParametersToGui(bound)
            self.ui.presetComboBox.setItemText(0, _("Choose the scanner"))

    def update(self) -> None:
        """Follow the parameters: a new PET may name its scanner, a preset has its physics, a prior its card."""
        params = self.params
        if params is None:
            return
        if params.pet is not self._pet:
            self._pet = params.pet
            guess = guess_preset(params.pet)
            if guess is not None and guess != params.preset:
                params.preset = guess
                self.say(_("Scanner of the PET: {name}.").format(name=guess))
        fill_physics(params)
        self._show_resolution()
        self._show_device()
        if params.prior != self._prior:
            self._prior = params.prior
            try:
                text, look = card(params.prior), ""
            except PETSuperResError as error:
                text, look = str(error), style(ERROR, self.ui.priorLabel, bold=True)
            self.ui.priorLabel.setText(text)
            self.ui.priorLabel.setStyleSheet(look)

    def on_reset_physics(self, *_unused: Any) -> None:
        """Back to the preset's own values."""
        self.params.physicsOf = ""

    def on_choose_prior(self, *_unused: Any) -> None:
        """Choose a file of one's own training."""
        path = qt.QFileDialog.getOpenFileName(None, _("Choose a prior"), "", "safetensors (*.safetensors)")
        if path:
            self.params.prior = path

    def on_new_region(self, roi: Any) -> None:
        """A ROI made by the selector has no place yet: give it one to start from."""
        place_region(roi, self.params)

    def on_advanced(self, collapsed: bool) -> None:
        """When the section is opened, get the devices from the worker, once."""
        if collapsed or self.facts is not None or self._waiting:
            return
        self._waiting = True
        self.ui.deviceComboBox.setToolTip(_("Looking for devices..."))
        self.logic.askDevices(self._take_devices)

    def on_device(self, index: int) -> None:
        """A device was chosen."""
        self.params.device = self._devices[index][0]

    def _show_resolution(self) -> None:
        """Say the image's resolution, and what of it is assumed."""
        params, ui = self.params, self.ui
        ui.postFilterSpinBox.enabled = params.fwhm == 0
        if params.pet is not self._header[0]:
            self._header = (params.pet, header_of(params.pet), _noise_widths(params.pet))
        scanner = scanner_of(params)
        if params.pet is None or (scanner is None and params.fwhm == 0):
            ui.resolutionLabel.setText("")
            return
        spacing = params.pet.GetSpacing()
        voxel = (spacing[0], spacing[2])
        try:
            chosen = None if scanner is None else Scanner.get(scanner)
            _pet, header, noise_mm = self._header
            found = resolution_of(chosen, header, voxel, **resolution_options(params), noise_mm=noise_mm)
        except PETSuperResError as error:
            ui.resolutionLabel.setText(str(error))
            ui.resolutionLabel.setStyleSheet(style(ERROR, ui.resolutionLabel, bold=True))
            return
        ui.resolutionLabel.setText("\n".join([found.words(), *found.warnings]))
        ui.resolutionLabel.setStyleSheet("")

    def _show_device(self) -> None:
        """List the devices; the chosen one is among them, marked where this machine lacks it."""
        box, chosen, labels = self.ui.deviceComboBox, self.params.device, device_labels(self.facts)
        if chosen not in dict(labels):
            labels.append((chosen, f"{chosen} (not on this machine)"))
        blocked = box.blockSignals(True)
        if labels != self._devices:
            self._devices = labels
            box.clear()
            box.addItems([text for _value, text in labels])
        box.setCurrentIndex([value for value, _text in labels].index(chosen))
        box.blockSignals(blocked)

    def _take_devices(self, facts: Any) -> None:
        self._waiting = False
        if facts.get("type") == "error":
            self.say(str(facts.get("message")), status=False, log=facts.get("log") or ())
            return
        self.facts = facts
        self.ui.deviceComboBox.setToolTip(
            _("Where to compute. Choose CPU when the GPU's memory is too small or in use")
        )
        if self.params is not None:
            self._show_device()


def _noise_widths(pet: Any) -> tuple[float, float] | None:
    """The widths of a PET node's noise; None without a node, or where it is no image in SUV."""
    if pet is None:
        return None
    try:
        volume = voxels_of_node(pet).volume()
    except PETSuperResError:
        return None
    return noise_widths(axial(volume)) if volume.unit in ("", "SUVbw") else None
