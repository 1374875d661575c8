"""Change of a measure between two visits, and the limits within which repeated scans differ without any change.

Between two scans of an unchanged lesion the logarithm of a measure differs by a normal deviate of standard deviation
sqrt(2) w, with the within-subject coefficient of variation w (test-retest). The ratio R of two visits has therefore the
95 % interval R exp(+-1.96 sqrt(2) w), and the change is larger than its uncertainty where that does not hold 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..lesions.measures import MEASURES, RECOVERED, Measure

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
WITHIN_SUBJECT |= {name: WITHIN_SUBJECT[name.removesuffix("_recovered")] for name in RECOVERED}


@dataclass(frozen=True)
class Change:
    """Change in per cent with its 95 % interval; ``real``: whether it is larger than the uncertainty."""

    percent: float
    low: float
    high: float

    @property
    def real(self) -> bool:
        """Whether the interval does not hold 0."""
        return self.low > 0 or self.high < 0


def change(measure: str, before: float | None, after: float | None) -> Change | None:
    """Change of a measure (a key of :data:`FOLLOWED`); None where a value is missing or 0."""
    if not before or not after:
        return None
    factor = math.exp(1.96 * math.sqrt(2) * WITHIN_SUBJECT[measure])
    ratio = after / before
    return Change(100 * (ratio - 1), 100 * (ratio / factor - 1), 100 * (ratio * factor - 1))


def change_columns(values: Mapping[str, float | None], first: Mapping[str, float | None], prefix: str) -> dict:
    """``<measure>_<prefix>_percent``, ``.._low``, ``.._high`` and ``.._real`` (yes, no) of every measure."""
    columns: dict[str, float | str] = {}
    for measure in FOLLOWED:
        found = change(measure, first.get(measure), values.get(measure))
        if found is not None:
            name = f"{measure}_{prefix}"
            columns |= {f"{name}_percent": found.percent, f"{name}_low": found.low, f"{name}_high": found.high}
            columns |= {f"{name}_real": "yes" if found.real else "no"}
    return columns
