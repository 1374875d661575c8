"""DICOM dates and times (DA, TM, DT) as local clock times."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from ..errors import UnitsError


def parse_tm(value: str, where: str) -> timedelta:
    """Time of day from a DICOM TM (``HH[MM[SS[.F]]]``, also the old ``HH:MM:SS``)."""
    match = re.fullmatch(r"(\d{2})(?:(\d{2})(?:(\d{2})(\.\d{0,6})?)?)?", value.strip().replace(":", ""))
    parts = [float(g or 0) for g in match.groups()] if match else [99.0] * 4
    if parts[0] > 23 or parts[1] > 59 or parts[2] > 60:
        raise UnitsError(f"{where} of the PET header is {value!r}, not a DICOM time: correct the header.")
    return timedelta(hours=parts[0], minutes=parts[1], seconds=parts[2] + parts[3])


def parse_da(value: str, where: str) -> datetime:
    """Midnight of a DICOM DA (``YYYYMMDD``, also the old ``YYYY.MM.DD``)."""
    try:
        return datetime.strptime(value.strip().replace(".", "").replace("-", ""), "%Y%m%d")
    except ValueError:
        raise UnitsError(f"{where} of the PET header is {value!r}, not a DICOM date: correct the header.") from None


def parse_offset(value: str, where: str) -> timedelta | None:
    """A time-zone offset (``+ZZXX``), None for empty text."""
    if not value:
        return None
    match = re.fullmatch(r"([+-])(\d{2})(\d{2})", value)
    if match is None:
        raise UnitsError(f"{where} of the PET header has the time-zone offset {value!r}: correct the header.")
    return (-1 if match[1] == "-" else 1) * timedelta(hours=int(match[2]), minutes=int(match[3]))


def parse_dt(value: str, where: str, local: timedelta | None = None) -> datetime:
    """Local clock time of a DICOM DT (``YYYYMMDDHHMM[SS[.F]][+ZZXX]``).

    An offset in the value is converted to the series' own (``local``, TimezoneOffsetFromUTC); a
    series without one is assumed to use the value's clock.
    """
    match = re.fullmatch(r"(\d{8})(\d{2}[\d.]*)([+-]\d{4})?", value.strip())
    if match is None:
        raise UnitsError(f"{where} of the PET header is {value!r}, not a DICOM date with time: correct the header.")
    moment = parse_da(match[1], where) + parse_tm(match[2], where)
    offset = parse_offset(match[3] or "", where)
    return moment if offset is None or local is None else moment - offset + local
