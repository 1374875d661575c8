"""Change of a measure between two visits, and the limits within which it differs without any change of the lesion.

Between two scans of an unchanged lesion the logarithm of a measure differs by a normal deviate of standard deviation
sqrt(2) w, with the within-subject coefficient of variation w (test-retest). The ratio R of two visits has therefore the
95 % interval R exp(+-1.96 sqrt(2) w), and the change is larger than its uncertainty where that does not hold 1.

What was recovered has intervals of its own (:mod:`~PETSuperResLib.lesions.intervals`). Those of both visits give the
one of their ratio, with their level of 90 %: on the logarithms the distances from the values to the opposite ends add
in quadrature (Zou and Donner, Stat Med 2008;27:1693), times a calibrated share (:mod:`.common_errors`). It is of
the uptake at the two scans, whatever has changed it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..lesions.measures import MEASURES, RECOVERED, Measure

NOT_YET = "not yet"  # the status of a lesion that is drawn at a later visit
STILL_HOT = "place still hot"  # beside the status of a lesion that is not drawn, where its place has nearly its uptake
ABSENT = ("vanished", NOT_YET)  # statuses of lesions that are measured at their place alone
#: SUVs: 12 % (limits -28 and +39 %), somewhat more than the 10 % of careful protocols (Lodge, J Nucl Med 2017;58:523).
#: MTV and TLG: no agreed value; the ratio 1.75 that PERCIST calls progression
WITHIN_SUBJECT = {"suvmax": 0.12, "suvmean": 0.12, "suvpeak": 0.12, "sulpeak": 0.12}
VOLUMES = math.log(1.75) / (1.96 * math.sqrt(2))
WITHIN_SUBJECT |= {"mtv_ml": VOLUMES, "tlg": VOLUMES}

#: the measures that are followed, as in tables of lesions
FOLLOWED: dict[str, Measure] = {
    "sulpeak": Measure("SULpeak", "g/mL", "SUVpeak by lean body mass in place of weight", "SULpeak"),
    **{name: MEASURES[name] for name in ("suvpeak", "suvmax", "suvmean", "mtv_ml", "tlg")},
    **{name: MEASURES[name.removesuffix("_recovered")] for name in RECOVERED},
}
Values = Mapping[str, float | None]
Ends = tuple[float, float]


@dataclass(frozen=True)
class Change:
    """Change in per cent with its interval, None where the uncertainty is not known.

    ``real``: whether the change is larger than the uncertainty.
    """

    percent: float
    low: float | None = None
    high: float | None = None

    @property
    def real(self) -> bool | None:
        """Whether the interval does not hold 0; None without one."""
        return None if self.low is None or self.high is None else self.low > 0 or self.high < 0


def change(measure: str, before: Values, after: Values, share: float = 1.0) -> Change | None:
    """Change of a measure (a key of :data:`FOLLOWED`) from one visit's values to another's, by their names.

    Of a recovered measure the interval reaches ``share`` times as far as those of both visits together. None where the
    measure is missing or 0 at one of them.
    """
    first, last = before.get(measure), after.get(measure)
    if not first or not last:
        return None
    ratio = last / first
    if measure in WITHIN_SUBJECT:
        down = up = 1.96 * math.sqrt(2) * WITHIN_SUBJECT[measure]
    else:
        ends = ends_of(measure, before), ends_of(measure, after)
        if ends[0] is None or ends[1] is None:
            return Change(100 * (ratio - 1))
        down = share * math.hypot(math.log(last / ends[1][0]), math.log(ends[0][1] / first))
        up = share * math.hypot(math.log(ends[1][1] / last), math.log(first / ends[0][0]))
    return Change(100 * (ratio - 1), 100 * (ratio * math.exp(-down) - 1), 100 * (ratio * math.exp(up) - 1))


def ends_of(measure: str, values: Values) -> Ends | None:
    """The interval of a recovered measure (``suvmean_recovered``: ``suvmean_low`` and ``suvmean_high``) or None."""
    name = measure.removesuffix("_recovered")
    low, high = (values.get(f"{name}_{end}") for end in ("low", "high"))
    return (low, high) if name != measure and low and high else None


def change_columns(values: Values, first: Values, shares: Mapping[str, float]) -> dict[str, float | str | None]:
    """``<measure>_change_percent``, ``.._low``, ``.._high`` and ``.._real`` (yes, no) of every measure.

    ``shares``: of recovered measures, by :func:`.common_errors.shares_of` the visits; 1 where there is none.
    """
    columns: dict[str, float | str | None] = {}
    for measure in FOLLOWED:
        found = change(measure, first, values, shares.get(measure.removesuffix("_recovered"), 1.0))
        if found is not None:
            name = f"{measure}_change"
            columns |= {f"{name}_percent": found.percent, f"{name}_low": found.low, f"{name}_high": found.high}
            columns[f"{name}_real"] = None if found.real is None else "yes" if found.real else "no"
    return columns


def is_real(row: Mapping[str, Any], measure: str) -> bool:
    """Whether a row with :func:`change_columns` says that a measure has changed by more than its uncertainty."""
    return bool(row.get(f"{measure}_change_real") == "yes")
