"""The section of the panel that shows PET and CT as readers are used to it, with one button."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from PETSuperResSlicer.mrml import inputs, provenance
from PETSuperResSlicer.mrml.petct import PetCt
from PETSuperResSlicer.panel.status import Status
from PETSuperResSlicer.panel.widgets import offer


class PetCtPanel:
    """The button, and window and opacity while it is pressed."""

    def __init__(self, ui: Any, status: Status) -> None:
        self.ui, self.status = ui, status
        self._told = ""
        self.params: Any = None
        self.found: Any = None
        self.display = PetCt(self._changed)
        self._following = False
        ui.petctButton.connect("clicked(bool)", self.on_show)
        ui.fitButton.connect("clicked(bool)", self.on_fit)

    def update(self, params: Any, found: Any) -> None:
        """Follow the parameters: what is shown, and how; ``found`` is the unit of the PET (units.Recognition)."""
        self.params, self.found = params, found
        ct, pets = self._volumes()
        if self.display.is_on and not self._following:
            if pets:
                self._show(ct, pets)
            else:
                self.display.end()
        offer(self.ui.petctButton, "" if pets else self._lacking())
        self._button()

    def close(self) -> None:
        """The scene or the module closes: put back what was there."""
        self.display.end()
        self._button()

    def on_show(self, *_unused: Any) -> None:
        """Show PET and CT, or put back what was there."""
        if self.display.is_on:
            self.display.end()
        else:
            self._show(*self._volumes())
            names = {"pet": self.display.pets[-1].GetName(), "ct": self.display.ct.GetName()}
            self._told = _("Shown: {pet} over {ct}; press again to put the views back.").format(**names)
            self.status.say(self._told)
        self._button()

    def on_fit(self, *_unused: Any) -> None:
        """The PET's window by its own values."""
        self.params.petTop = self.display.fit()

    def _volumes(self) -> tuple[Any, list[Any]]:
        """CT and PETs of the result, or else those that are chosen; no PET where there is nothing to show."""
        params = self.params
        result = None if params is None else params.result
        pet, ct = (None, None) if result is None else provenance.inputs_of(result)
        if ct is not None:
            return ct, [node for node in (pet, result) if node is not None]
        if params is None or params.ct is None or params.pet in (None, params.ct) or not self.found.usable:
            return None, []
        return params.ct, [params.pet]

    def _lacking(self) -> str:
        """Why there is nothing to show, and what to do."""
        pet, ct = (None, None) if self.params is None else (self.params.pet, self.params.ct)
        return inputs.missing(pet, ct) or f"{self.found.refusal(pet.GetName())}."

    def _show(self, ct: Any, pets: list[Any]) -> None:
        self._following = True
        self.display.show(ct, pets, self.params.ctWindow, self.params.petTop, self.params.petOpacity)
        self._following = False

    def _changed(self) -> None:
        """The window was changed with the mouse, or the layout was left."""
        if self.display.is_on and not self._following:
            top = round(self.display.top, 1)
            self.params.petTop = min(max(top, 0.5), 100.0)
        self._button()

    def _button(self) -> None:
        self.ui.petctButton.setChecked(self.display.is_on)
        offer(self.ui.fitButton, "" if self.display.is_on else _("Press Show PET/CT first."))
        if not self.display.is_on:
            self.status.withdraw(self._told)
