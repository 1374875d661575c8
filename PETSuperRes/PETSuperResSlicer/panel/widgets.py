"""How widgets tell: colours that are legible on light and dark panels, and buttons that say why they are disabled."""

from __future__ import annotations

from typing import Any

import qt

ERROR, DOUBT = ("#B3261E", "#FFB4AB"), ("#8A4B08", "#E8B36B")  # on a light and on a dark panel
MIDDLE = 128  # of the lightness, from 0 to 255
USUAL = "usualToolTip"  # property: a button's tool tip while it can be pressed


def colour(pair: tuple[str, str], widget: Any) -> str:
    """The one of two colours that is legible on a widget."""
    return pair[widget.palette.color(qt.QPalette.Window).lightness() < MIDDLE]


def style(pair: tuple[str, str], widget: Any, bold: bool = False) -> str:
    """A style sheet with that colour."""
    return f"color: {colour(pair, widget)};" + (" font-weight: bold;" if bold else "")


def offer(button: Any, lacking: str = "") -> None:
    """Enable a button, or disable it with what is ``lacking`` as its tool tip."""
    if button.property(USUAL) is None:
        button.setProperty(USUAL, button.toolTip)
    button.setEnabled(not lacking)
    button.setToolTip(lacking or button.property(USUAL))
