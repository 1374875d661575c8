"""When the tracer was injected, on the clock of the scan."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from pydicom.dataset import Dataset

from ..errors import UnitsError
from ..headers.attributes import one_of, one_text, private, tag_name, words
from ..headers.time import parse_dt, parse_tm
from .evidence import Evidence, Overrides, tracer_datasets
from .frames import DAY, FIRST_YEAR, FrameTimes, on_day
from .timing import AGREEMENT

BEFORE_INJECTION_S = 600.0  # a dynamic scan may start this long before the injection
HALF_LIVES_AT_MOST = 10.0  # later, no activity is left to image
UNUSUAL_HALF_LIVES = 5.0  # FDG after 9 hours: told
DATELESS_HALF_LIFE_S = 12 * 3600.0  # longer-lived tracers are imaged days later: a time without a date is ambiguous
ZONES_S = 12 * 3600.0  # between two time zones
ZONE = re.compile(r"[+-]\d{4}$")


class Injection:
    """Finds the time of the injection for a scan with a reference time (a moment of the scan) and a half-life in s."""

    def __init__(self, datasets: Sequence[Dataset], times: FrameTimes, reference: datetime, half_life_s: float):
        self.datasets, self.times, self.reference = datasets, times, reference
        self.half_life_s = half_life_s
        self.warnings: list[str] = []

    def find(self, overrides: Overrides) -> Evidence:
        """The user's, or else the header's; refused if it is impossible for the scan."""
        stated = overrides.injected()
        evidence = self._header() if stated is None else self._own(stated)
        uptake = (self.reference - evidence.value).total_seconds()
        if not self._possible(evidence.value):
            raise UnitsError(
                f"The injection ({evidence.value:%Y-%m-%d %H:%M:%S}, {evidence.source}) and the PET's reference time "
                f"({self.reference:%Y-%m-%d %H:%M:%S}) are {uptake / 60:.0f} min apart, impossible for a half-life of "
                f"{self.half_life_s / 60:.1f} min: state the true injection time.",
                "injection_time",
            )
        if uptake > UNUSUAL_HALF_LIVES * self.half_life_s:
            self.warnings.append(
                f"the injection ({evidence.source}) is {uptake / 3600:.1f} h before the scan, "
                f"{uptake / self.half_life_s:.1f} half-lives: check it (a 12-hour clock?)"
            )
        return evidence

    def _possible(self, moment: datetime) -> bool:
        uptake = (self.reference - moment).total_seconds()
        return -BEFORE_INJECTION_S <= uptake <= HALF_LIVES_AT_MOST * self.half_life_s

    def _header(self) -> Evidence:
        tracers = tracer_datasets(self.datasets)
        keywords = ("RadiopharmaceuticalStartDateTime", "RadiopharmaceuticalStartTime")
        (stamp, where), (time, where_time) = ((one_text(tracers, keyword), tag_name(keyword)) for keyword in keywords)
        if not stamp:
            stamp = one_of({private(d, 0x09, 0x3B, "GEMS_PETD") for d in self.datasets}, "(0009,103B)")
            where = "GE administration date-time (0009,103B)"
        if not stamp and not time:
            raise UnitsError(
                f"The PET header has neither {where_time} nor {tag_name('RadiopharmaceuticalStartDateTime')}: "
                "state the injection time.",
                "injection_time",
            )
        if not stamp:
            return self._of_day(parse_tm(time, where_time), where_time)
        moment = parse_dt(stamp, where, self.times.zone)
        apart = abs(_time_of_day(moment) - parse_tm(time, where_time)).total_seconds() if time else 0.0
        apart = min(apart, 86400 - apart)
        if apart > 1 and math.expm1(math.log(2) * apart / self.half_life_s) > AGREEMENT:
            raise UnitsError(
                f"{where} ({stamp}) and {where_time} ({time}) differ by {apart:.0f} s: state the true injection time.",
                "injection_time",
            )
        if not time:
            self._tell_zone(bool(ZONE.search(stamp)), where)
        return self._on_the_scans_day(moment, where)

    def _own(self, stated: datetime | timedelta) -> Evidence:
        where = "your injection_time"
        if isinstance(stated, timedelta):
            return self._of_day(stated, where)
        self._tell_zone(stated.tzinfo is not None, where)
        if stated.tzinfo is not None:
            if self.times.zone is not None:
                stated = stated.astimezone(timezone(self.times.zone))
            stated = stated.replace(tzinfo=None)
        return self._on_the_scans_day(stated, where)

    def _tell_zone(self, zoned: bool, where: str) -> None:
        """Where only the injection has a time zone: from 1 % of SUV in the hours that zones may be apart."""
        if zoned and self.times.zone is None and math.expm1(math.log(2) * ZONES_S / self.half_life_s) > AGREEMENT:
            self.warnings.append(f"{where} has a time zone and the scan's times have none: one clock is taken for both")

    def _on_the_scans_day(self, moment: datetime, where: str) -> Evidence:
        """A date and time; where dates were removed or shifted by an anonymisation, its time of day alone."""
        shifted = set(words(self.datasets[0], "LongitudinalTemporalInformationModified")) & {"REMOVED", "MODIFIED"}
        if self.times.dated and moment.year >= FIRST_YEAR and (self._possible(moment) or not shifted):
            return Evidence(moment, "", where, "date and time")
        self.warnings.append(f"dates were removed or changed (anonymisation): only the time of day of {where} is used")
        return self._of_day(_time_of_day(moment), where)

    def _of_day(self, of_day: timedelta, where: str) -> Evidence:
        """A time of day on the scan's date, or on the day before if the scan is past midnight."""
        if self.half_life_s > DATELESS_HALF_LIFE_S:
            raise UnitsError(
                f"{where} has no date that goes with the scan's, and a tracer with a half-life of "
                f"{self.half_life_s / 3600:.0f} h may be days older than the scan: state the injection's date "
                "and time.",
                "injection_time",
            )
        moment = on_day(self.reference, of_day)
        if (self.reference - moment).total_seconds() < -BEFORE_INJECTION_S:
            rule = "time only, put on the day before because the scan is past midnight"
            return Evidence(moment - DAY, "", where, rule)
        return Evidence(moment, "", where, "time only, put on the day of the scan")


def _time_of_day(moment: datetime) -> timedelta:
    return moment - moment.replace(hour=0, minute=0, second=0, microsecond=0)
