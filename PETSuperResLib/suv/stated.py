"""SUVbw from what a user states, for an activity concentration that came without a header."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import UnitsError
from .evidence import NUCLIDES


@dataclass(frozen=True)
class Stated:
    """What a user states: weight in kg, dose in Bq, times of day; None or empty where nothing is stated."""

    weight_kg: float | None = None
    dose_bq: float | None = None
    injected: str = ""
    scanned: str = ""  # the moment to which the values are decay-corrected
    nuclide: str = "F-18"

    def factor(self) -> tuple[float, dict[str, Any]]:
        """g/mL per Bq/mL, and the evidence: ``SUVbw = C W / (D 2^(-t / T))``.

        C is decay-corrected to the start of the scan, t the time from the injection to it. Raises
        :class:`UnitsError` naming the value that is missing or impossible.
        """
        for value, what in ((self.weight_kg, "patient's weight in kg"), (self.dose_bq, "injected dose in MBq")):
            if not value or value <= 0:
                raise UnitsError(f"SUV needs the {what}: state it.")
        elapsed = _seconds(self.scanned, "start of the scan") - _seconds(self.injected, "time of injection")
        if elapsed < 0:
            raise UnitsError("The scan starts before the injection: check both times (of one day, hh:mm:ss).")
        assert self.weight_kg is not None and self.dose_bq is not None
        factor = self.weight_kg * 1e3 / (self.dose_bq * 2 ** (-elapsed / NUCLIDES[self.nuclide][0]))
        evidence = {"seconds_from_injection": elapsed, "factor": factor, "source": "stated by the user"}
        return factor, asdict(self) | evidence


def _seconds(text: str, what: str) -> float:
    """Seconds since midnight of ``hh:mm`` or ``hh:mm:ss``."""
    found = re.fullmatch(r"\s*(\d{1,2}):(\d{2})(?::(\d{2}))?\s*", text)
    if found is None or int(found[1]) > 23 or int(found[2]) > 59 or int(found[3] or 0) > 59:
        raise UnitsError(f"The {what} is '{text}', not a time: state it as hh:mm:ss.")
    return 3600.0 * int(found[1]) + 60.0 * int(found[2]) + int(found[3] or 0)
