"""A picture of a plot chart node: bars, lines or points of its series."""

from __future__ import annotations

import math
from itertools import groupby
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import stand_in
from .watch import Watch

LEGEND_LINE = 18  # pixels


@stand_in
class qMRMLPlotView(QtWidgets.QWidget):
    """Draws the chart of its plot view node."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self._node, self._chart = node, None
        self._watch, self._parts = Watch(self), Watch(self)
        self.setMinimumSize(160, 120)
        self._watch.modified(node, self._follow)
        self._follow()

    def _follow(self) -> None:
        self._parts.clear()
        self._chart = self._node.GetPlotChartNode()
        nodes = [self._chart] if self._chart is not None else []
        for series in self.series():
            nodes += [series, series.GetTableNode()]
        for node in nodes:
            if node is not None:
                self._parts.modified(node, self.update)
        self.update()

    def series(self) -> list[Any]:
        """The series nodes of the chart."""
        count = self._chart.GetNumberOfPlotSeriesNodes() if self._chart is not None else 0
        return [s for s in (self._chart.GetNthPlotSeriesNode(n) for n in range(count)) if s is not None]

    def values(self, series: Any) -> tuple[list[str], list[float]]:
        """What the axis shows under each value of a series, and the values.

        As Slicer's: numbers of the X column for a scatter bar, 0, 1, 2 for a bar; a label column is for tool tips only.
        """
        table = series.GetTableNode().GetTable()
        names = series.GetYColumnName(), series.GetXColumnName()
        column, places = (table.GetColumnByName(name or "") for name in names)
        count = table.GetNumberOfRows() if column is not None else 0
        if series.GetPlotType() == series.PlotTypeBar:
            places = None
        labels = [f"{places.GetTuple1(n):g}" if places is not None else str(n) for n in range(count)]
        return labels, [column.GetTuple1(n) for n in range(count)]

    def paintEvent(self, _event: Any) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect, QtCore.Qt.GlobalColor.white)
        painter.setPen(QtCore.Qt.GlobalColor.black)
        if self._chart is None:
            return
        place = self.rect.adjusted(0, 4, 0, 0)
        painter.drawText(place, QtCore.Qt.AlignmentFlag.AlignHCenter, self._chart.GetTitle() or "")
        data = [(series, *self.values(series)) for series in self.series() if series.GetTableNode() is not None]
        numbers = [v for _, _, values in data for v in values if math.isfinite(v)]
        if not numbers:
            return
        legend = self._legend(painter, [series for series, _, _ in data])
        area = QtCore.QRectF(self.rect.adjusted(50, 28, -12, -44 - legend))
        top, bottom = max(0.0, *numbers), min(0.0, *numbers)
        span = (top - bottom) or 1.0
        painter.drawRect(area)
        for part in range(5):
            value = bottom + span * part / 4
            painter.drawText(QtCore.QPointF(4, area.bottom() - area.height() * part / 4 + 4), f"{value:.3g}")
        across, zero = self._across(data, area), area.bottom() + area.height() * bottom / span
        bars = [one for one in data if one[0].GetPlotType() != one[0].PlotTypeScatter]
        for index, (series, labels, values) in enumerate(bars):
            wide = 0.8 / len(bars) if len(values) > 1 else 0.1
            for n, (label, value) in enumerate(zip(labels, values, strict=True)):
                if index == 0:
                    painter.drawText(QtCore.QPointF(across(float(label)) - 3, area.bottom() + 14), labels[n])
                if not math.isfinite(value):
                    continue
                left = float(label) + wide * (index - len(bars) / 2)
                width = across(left + 0.95 * wide) - across(left)
                bar = QtCore.QRectF(across(left), zero, width, -area.height() * value / span).normalized()
                painter.fillRect(bar, QtGui.QColor.fromRgbF(*series.GetColor()))
        for series, labels, values in data:
            if series.GetPlotType() == series.PlotTypeScatter:
                heights = [area.bottom() - area.height() * (v - bottom) / span for v in values]
                places = [QtCore.QPointF(across(float(x)), y) for x, y in zip(labels, heights, strict=True)]
                self._line(painter, series, places)
                for place, label in zip(places, labels, strict=True):
                    if not bars:
                        painter.drawText(QtCore.QPointF(place.x(), area.bottom() + 14), label)
        painter.drawText(QtCore.QPointF(4, 22), self._chart.GetYAxisTitle() or "")
        title = self.rect.adjusted(0, 0, 0, -8 - legend)
        painter.drawText(title, QtCore.Qt.AlignHCenter | QtCore.Qt.AlignBottom, self._chart.GetXAxisTitle() or "")

    def _across(self, data: list[Any], area: Any) -> Any:
        """Where a number of the X columns lies; around bars there is room for a half."""
        numbers = [float(label) for _, labels, _ in data for label in labels]
        bars = any(series.GetPlotType() != series.PlotTypeScatter for series, _, _ in data)
        low, high = min(numbers), max(numbers)
        margin = 0.5 if bars else 0.1 * ((high - low) or 1.0)
        if bars:
            low, high = math.floor(low + 0.5), math.ceil(high - 0.5)
        return lambda number: area.left() + area.width() * (number - low + margin) / (high - low + 2 * margin)

    def _line(self, painter: Any, series: Any, places: list[Any]) -> None:
        """Points, and the line between them, which ends where a value is missing."""
        pen = QtGui.QPen(QtGui.QColor.fromRgbF(*series.GetColor()), series.GetLineWidth())
        painter.save()
        painter.setPen(pen)
        shown = [place for place in places if math.isfinite(place.y())]
        for place in shown if series.GetMarkerStyle() != series.MarkerStyleNone else ():
            painter.drawEllipse(place, 4, 4)
        styles = {series.LineStyleDash: QtCore.Qt.PenStyle.DashLine, series.LineStyleDot: QtCore.Qt.PenStyle.DotLine}
        pen.setStyle(styles.get(series.GetLineStyle(), QtCore.Qt.PenStyle.SolidLine))
        painter.setPen(pen)
        if series.GetLineStyle() != series.LineStyleNone:
            for whole, part in groupby(places, lambda place: math.isfinite(place.y())):
                if whole:
                    painter.drawPolyline(list(part))
        painter.restore()

    def _legend(self, painter: Any, series: list[Any]) -> int:
        """The names of the series in as many lines along the lower edge as they need; returns their height."""
        lines: list[list[tuple[float, Any]]] = [[]]
        x = left = 56.0
        for one in series:
            wide = 30 + painter.fontMetrics().horizontalAdvance(one.GetName() or "")
            if lines[-1] and x + wide > self.width:
                lines.append([])
                x = left
            lines[-1].append((x, one))
            x += wide
        for number, line in enumerate(reversed(lines)):
            y = self.height - 12 - LEGEND_LINE * number
            for x, one in line:
                painter.fillRect(QtCore.QRectF(x, y - 10, 10, 10), QtGui.QColor.fromRgbF(*one.GetColor()))
                painter.drawText(QtCore.QPointF(x + 14, y), one.GetName() or "")
        return LEGEND_LINE * len(lines)
