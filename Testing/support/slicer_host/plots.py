"""A picture of a plot chart node: bars, lines or points of its series."""

from __future__ import annotations

import math
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import stand_in
from .watch import Watch


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
        area = QtCore.QRectF(self.rect.adjusted(50, 28, -12, -62))
        top, bottom = max(0.0, *numbers), min(0.0, *numbers)
        span = (top - bottom) or 1.0
        painter.drawRect(area)
        for part in range(5):
            value = bottom + span * part / 4
            painter.drawText(QtCore.QPointF(4, area.bottom() - area.height() * part / 4 + 4), f"{value:.3g}")
        groups = max(len(values) for _, _, values in data)
        for index, (series, labels, values) in enumerate(data):
            colour = QtGui.QColor.fromRgbF(*series.GetColor())
            wide = area.width() / groups / (len(data) + 1)
            if series.GetPlotType() == series.PlotTypeScatter:
                self._line(
                    painter, area, series, labels, [area.bottom() - area.height() * (v - bottom) / span for v in values]
                )
            for n, value in enumerate(values if series.GetPlotType() != series.PlotTypeScatter else ()):
                if not math.isfinite(value):
                    continue
                left = area.left() + area.width() * n / groups + wide * (index + 0.5)
                high = area.height() * value / span
                zero = area.bottom() + area.height() * bottom / span
                painter.fillRect(QtCore.QRectF(left, zero - high, wide * 0.9, high).normalized(), colour)
                if index == 0:
                    painter.drawText(QtCore.QPointF(left, area.bottom() + 14), labels[n])
        self._legend(painter, [series for series, _, _ in data])
        painter.drawText(QtCore.QPointF(4, 22), self._chart.GetYAxisTitle() or "")
        title = self.rect.adjusted(0, 0, 0, -26)
        painter.drawText(title, QtCore.Qt.AlignHCenter | QtCore.Qt.AlignBottom, self._chart.GetXAxisTitle() or "")

    def _line(self, painter: Any, area: Any, series: Any, labels: list[str], heights: list[float]) -> None:
        """Points at the numbers of the X column, and the line between them."""
        numbers = [float(label) for label in labels]
        low, reach = min(numbers), (max(numbers) - min(numbers)) or 1.0
        across = [area.left() + area.width() * (0.1 + 0.8 * (number - low) / reach) for number in numbers]
        places = [QtCore.QPointF(x, y) for x, y in zip(across, heights, strict=True) if math.isfinite(y)]
        pen = QtGui.QPen(QtGui.QColor.fromRgbF(*series.GetColor()), 2)
        painter.save()
        painter.setPen(pen)
        for place in places if series.GetMarkerStyle() != series.MarkerStyleNone else ():
            painter.drawEllipse(place, 4, 4)
        styles = {series.LineStyleDash: QtCore.Qt.PenStyle.DashLine, series.LineStyleDot: QtCore.Qt.PenStyle.DotLine}
        pen.setStyle(styles.get(series.GetLineStyle(), QtCore.Qt.PenStyle.SolidLine))
        painter.setPen(pen)
        if series.GetLineStyle() != series.LineStyleNone:
            painter.drawPolyline(places)
        painter.restore()
        for x, label in zip(across, labels, strict=True):
            painter.drawText(QtCore.QPointF(x, area.bottom() + 14), label)

    def _legend(self, painter: Any, series: list[Any]) -> None:
        """The names of the series along the lower edge, as many as there is room for."""
        x = 56.0
        for one in series:
            name = one.GetName() or ""
            painter.fillRect(QtCore.QRectF(x, self.height - 22, 10, 10), QtGui.QColor.fromRgbF(*one.GetColor()))
            painter.drawText(QtCore.QPointF(x + 14, self.height - 12), name)
            x += 30 + painter.fontMetrics().horizontalAdvance(name)
