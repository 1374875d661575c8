"""Stand-ins for the ctk widgets that scripted modules use, and the module ``ctk`` they are imported from."""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtWidgets

from . import dialogs
from .pythonqt import raw, stand_in


@stand_in
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A header that shows or hides what lies below it."""

    contentsCollapsed = QtCore.Signal(bool)
    HEADER = 24

    def __init__(self, text: Any = None, parent: Any = None) -> None:
        title = text if isinstance(text, str) else ""
        super().__init__(parent if isinstance(text, str) else text or parent)
        self._hidden: list[Any] = []
        self.setText(title)
        self.setCheckable(True)
        self.setChecked(True)
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
        self.setMaximumHeight(16777215 if checked else self.HEADER)
        raw(self, "contentsCollapsed").emit(not checked)

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    def _collapsed(self) -> bool:
        return not self.isChecked()

    collapsed = QtCore.Property(bool, _collapsed, setCollapsed, notify=contentsCollapsed)

    def hitButton(self, position: Any) -> bool:
        return position.y() < self.HEADER

    def _open_layout(self) -> Any:
        return self.layout() if self.isChecked() else None

    def sizeHint(self) -> Any:
        layout = self._open_layout()
        return self._with_header(layout.sizeHint() if layout is not None else None)

    def hasHeightForWidth(self) -> bool:
        layout = self._open_layout()
        return layout is not None and layout.hasHeightForWidth()

    def heightForWidth(self, width: int) -> int:
        layout = self._open_layout()
        return self.HEADER + (layout.heightForWidth(width) if layout is not None else 0)

    def minimumSizeHint(self) -> Any:
        layout = self._open_layout()
        return self._with_header(layout.minimumSize() if layout is not None else None)

    def _with_header(self, size: Any) -> Any:
        inside = QtCore.QSize(120, 0) if size is None else size
        return QtCore.QSize(max(120, inside.width()), inside.height() + self.HEADER)

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
class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box that folds."""

    def setCollapsed(self, collapsed: bool) -> None:
        self.setCheckable(True)
        self.setChecked(not collapsed)

    def _collapsed(self) -> bool:
        return self.isCheckable() and not self.isChecked()

    collapsed = QtCore.Property(bool, _collapsed, setCollapsed)


class _DoubleSpinBox(QtWidgets.QWidget):
    """A spin box of floats; in ctk not a QDoubleSpinBox either, so the parameter node does not bind it."""

    valueChanged = QtCore.Signal(float)
    editingFinished = QtCore.Signal()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QDoubleSpinBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        raw(self._box, "valueChanged").connect(raw(self, "valueChanged").emit)
        raw(self._box, "editingFinished").connect(raw(self, "editingFinished").emit)

    def spinBox(self) -> Any:
        return self._box


class _SliderWidget(QtWidgets.QWidget):
    """A slider beside a spin box of floats."""

    valueChanged = QtCore.Signal(float)
    STEPS = 1000

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QDoubleSpinBox(self)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, self.STEPS)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        raw(self._box, "valueChanged").connect(self._moved)
        raw(self._slider, "sliderMoved").connect(self._dragged)

    def _span(self) -> float:
        return (self._box.maximum - self._box.minimum) or 1.0

    def _moved(self, value: float) -> None:
        self._slider.setValue(round(self.STEPS * (value - self._box.minimum) / self._span()))
        raw(self, "valueChanged").emit(value)

    def _dragged(self, step: int) -> None:
        self._box.setValue(self._box.minimum + self._span() * step / self.STEPS)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._box.setRange(minimum, maximum)


def _forward(cls: type, **properties: type) -> None:
    """Give a class properties and setters that act on its spin box."""
    for name, kind in properties.items():
        setter = f"set{name[0].upper()}{name[1:]}"

        def get(self: Any, name: str = name) -> Any:
            return getattr(self._box, name)

        def put(self: Any, value: Any, setter: str = setter) -> None:
            getattr(self._box, setter)(value)

        setattr(cls, setter, put)
        setattr(cls, name, QtCore.Property(kind, get, put))


class _PathLineEdit(QtWidgets.QWidget):
    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)
    Dirs, Files, Readable, Writable, Executable = 0x1, 0x2, 0x10, 0x20, 0x40

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._values: dict[str, Any] = {"filters": 0x7, "nameFilters": [], "label": "", "settingKey": ""}
        self._edit = QtWidgets.QLineEdit(self)
        self._button = QtWidgets.QToolButton(self)
        self._button.setText("...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit, 1)
        layout.addWidget(self._button)
        raw(self._edit, "textChanged").connect(raw(self, "currentPathChanged").emit)
        raw(self._button, "clicked").connect(self.browse)

    def comboBox(self) -> Any:
        return self._edit

    def browse(self) -> None:
        path = dialogs.next_file()
        if path:
            self._edit.setText(path)

    def setCurrentPath(self, path: str) -> None:
        self._edit.setText(path)

    def _path(self) -> str:
        return self._edit.text

    currentPath = QtCore.Property(str, _path, setCurrentPath, notify=currentPathChanged)

    def addCurrentPathToHistory(self) -> None:
        return None


def _plain(cls: type, **properties: type) -> None:
    """Give a class properties and setters that only keep their value."""
    for name, kind in properties.items():

        def get(self: Any, name: str = name) -> Any:
            return self._values.get(name)

        def put(self: Any, value: Any, name: str = name) -> None:
            self._values[name] = value

        setattr(cls, f"set{name[0].upper()}{name[1:]}", put)
        setattr(cls, name, QtCore.Property(kind, get, put))


def _with(base: type, name: str, add: Any, **properties: Any) -> type:
    """A finished subclass: Qt reads the properties of a class when the class is made."""
    holder = type("holder", (), {})
    add(holder, **properties)
    return stand_in(type(name, (base,), {k: v for k, v in vars(holder).items() if not k.startswith("__")}))


_NUMBERS = {"value": float, "minimum": float, "maximum": float, "singleStep": float, "decimals": int}
_TEXTS = {"prefix": str, "suffix": str}
ctkDoubleSpinBox = _with(_DoubleSpinBox, "ctkDoubleSpinBox", _forward, **_NUMBERS, **_TEXTS)
ctkSliderWidget = _with(_SliderWidget, "ctkSliderWidget", _forward, **_NUMBERS, **_TEXTS)
ctkPathLineEdit = _with(
    _PathLineEdit, "ctkPathLineEdit", _plain, filters=int, nameFilters="QStringList", label=str, settingKey=str
)


@stand_in
class ctkComboBox(QtWidgets.QComboBox):
    """A combo box; in ctk a class of its own, so the parameter node does not bind it."""


@stand_in
class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box."""


@stand_in
class ctkMessageBox(dialogs.QMessageBox):
    """The message box of slicer.util's displays."""


@stand_in
class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """Text as tall as it needs."""


CLASSES = (
    ctkCollapsibleButton,
    ctkCollapsibleGroupBox,
    ctkDoubleSpinBox,
    ctkSliderWidget,
    ctkPathLineEdit,
    ctkComboBox,
    ctkCheckBox,
    ctkMessageBox,
    ctkFittedTextBrowser,
)


def make_module() -> types.ModuleType:
    """The module to be imported as ``ctk``."""
    module = types.ModuleType("ctk")
    module.__dict__.update({cls.__name__: cls for cls in CLASSES})
    return module
