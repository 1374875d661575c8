"""Stand-ins for the ctk widgets of the module's panel and of slicer.util, and the module ``ctk``."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtWidgets

from . import dialogs
from .pythonqt import raw, stand_in


@stand_in
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A header that shows or hides what lies below it."""

    contentsCollapsed = QtCore.Signal(bool)
    HEADER, REST = 24, 10  # pixels

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._hidden: list[Any] = []
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setContentsMargins(0, self.HEADER, 0, 0)
        raw(self, "toggled").connect(self._toggle)

    def _toggle(self, checked: bool) -> None:
        children = [c for c in self.children() if isinstance(c, QtWidgets.QWidget)]
        if checked:
            for child in self._hidden:
                child.setVisible(True)
            self._hidden = []
        else:
            self._hidden = [c for c in children if not c.isHidden()]
            for child in self._hidden:
                child.setVisible(False)
        self.setMaximumHeight(16777215 if checked else self.HEADER + self.REST)
        raw(self, "contentsCollapsed").emit(not checked)

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    def _collapsed(self) -> bool:
        return not self.isChecked()

    collapsed = QtCore.Property(bool, _collapsed, setCollapsed, notify=contentsCollapsed)

    def hitButton(self, position: Any) -> bool:
        return position.y() < self.HEADER

    def sizeHint(self) -> Any:
        """As in CTK: of the layout, which knows the header as a margin; closed, the header and CTK's rest below it."""
        if not self.isChecked():
            return QtCore.QSize(120, self.HEADER + self.REST)
        return super().sizeHint().expandedTo(QtCore.QSize(120, self.HEADER + self.REST))

    def minimumSizeHint(self) -> Any:
        if not self.isChecked():
            return self.sizeHint()
        return super().minimumSizeHint().expandedTo(QtCore.QSize(120, self.HEADER))

    def event(self, event: Any) -> bool:
        if event.type() == QtCore.QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().event(event)

    def paintEvent(self, _event: Any) -> None:
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        painter = QtWidgets.QStylePainter(self)
        area = QtCore.QRect(0, 0, self.width, self.HEADER)
        painter.fillRect(area, option.palette.button())
        arrow = "-" if self.isChecked() else "+"
        painter.drawText(area.adjusted(6, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, f"{arrow}  {self.text}")


@stand_in
class ctkMessageBox(dialogs.QMessageBox):
    """The message box of slicer.util's displays."""


@stand_in
class ctkSliderWidget(QtWidgets.QWidget):
    """A slider of a thousand steps and a spin box, which have one value."""

    valueChanged = QtCore.Signal(float)
    STEPS = 1000

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, self.STEPS)
        self._box = QtWidgets.QDoubleSpinBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        raw(self._box, "valueChanged").connect(self._take)
        raw(self._slider, "sliderMoved").connect(lambda step: self._box.setValue(self._at(step)))

    def _at(self, step: int) -> float:
        return self._box.minimum + step * (self._box.maximum - self._box.minimum) / self.STEPS

    def _take(self, value: float) -> None:
        span = (self._box.maximum - self._box.minimum) or 1.0
        self._slider.setValue(round(self.STEPS * (value - self._box.minimum) / span))
        raw(self, "valueChanged").emit(value)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    value = QtCore.Property(float, lambda self: self._box.value, setValue, notify=valueChanged)
    minimum = QtCore.Property(float, lambda self: self._box.minimum, lambda self, v: self._box.setMinimum(v))
    maximum = QtCore.Property(float, lambda self: self._box.maximum, lambda self, v: self._box.setMaximum(v))
    singleStep = QtCore.Property(float, lambda self: self._box.singleStep, lambda self, v: self._box.setSingleStep(v))
    decimals = QtCore.Property(int, lambda self: self._box.decimals, lambda self, v: self._box.setDecimals(v))


CLASSES = (ctkCollapsibleButton, ctkMessageBox, ctkSliderWidget)
