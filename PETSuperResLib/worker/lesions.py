"""The job that recovers the lesions of a result, as often as its segments change."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..lesions.measures import MTV
from ..lesions.segments import Segment
from ..request import option
from .job import Answer, Job, Tools
from .raw_arrays import read_raw

if TYPE_CHECKING:
    from ..remeasure import Remeasurement

_kept: dict[str, Remeasurement] = {}  # the last result, by its name


@dataclass(frozen=True, kw_only=True)
class LesionsJob(Job):
    """The SUVs of segments in a result, with what is recovered of them; the answer's report has ``lesions``.

    ``result``: a name that the client gives it. With ``volume`` come the result's file, its ``report`` and its data:
    ``measurement``, a sinogram's file, or ``pet``. They are kept, so that the next jobs of the same ``result`` need
    only ``masks`` (files of the segments) and ``names``.
    """

    result: str = option("text")
    volume: str | None = option("file", None)
    pet: str | None = option("file", None)
    measurement: str | None = option("file", None)
    report: dict[str, Any] | None = option("object", None)
    masks: list[str] = option("list")
    names: list[str] = option("list")
    threshold: float | str = option("threshold", MTV)
    out: str | None = option("text", None)  # a client's folder for files, of which this job has none

    def run(self, tools: Tools) -> Answer:
        """Recover; raises :class:`InputError` for a result that is not known."""
        if self.volume is not None:
            _kept.clear()
            _kept[self.result] = self._opened(self.volume)
        if self.result not in _kept:
            raise InputError(f"The result '{self.result}' is not known: send its volume, report and data.")
        named = enumerate(zip(self.names, self.masks, strict=True), 1)
        segments = [Segment(label, name, read_raw(mask)) for label, (name, mask) in named]
        lesions = _kept[self.result].lesions(segments, self.threshold)
        return {}, {"lesions": [asdict(lesion) for lesion in lesions]}

    def _opened(self, volume: str) -> Remeasurement:
        from ..physics.measurement import Measurement
        from ..remeasure import Remeasurement, measurement_of

        if self.measurement is not None:
            return Remeasurement(read_raw(volume), Measurement.read(self.measurement))
        if self.pet is None:
            raise InputError("There is neither a PET nor a measurement: give what the result was made from.")
        return Remeasurement(read_raw(volume), measurement_of(read_raw(self.pet), self.report or {}))
