"""Values of DICOM headers, all read by one rule: text, numbers, sequences and private attributes.

A value of the wrong form raises :class:`~PETSuperResLib.errors.InputError` with its tag, file and content.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from ..errors import InputError, UnitsError

REMEDY = "correct the header or export the series again"


#: what pydicom raises for damaged elements
UNREADABLE = (
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError, NotImplementedError),
    *(OSError, EOFError, struct.error, BytesLengthException, InvalidDicomError),
)


def tag_name(tag: str | int | tuple[int, int]) -> str:
    """``PatientWeight (0010,1030)`` for a keyword or a tag."""
    t = Tag(tag_for_keyword(tag) or 0) if isinstance(tag, str) else Tag(tag)
    return f"{keyword_for_tag(t) or 'private'} ({t.group:04X},{t.element:04X})"


def value_of(dataset: Dataset, keyword: str) -> Any:
    """The attribute's value, None when it is missing or empty; :class:`InputError` for one that cannot be read."""
    tag = tag_for_keyword(keyword)
    value = None if tag is None else _value(dataset, Tag(tag))
    return None if value is None or (isinstance(value, (str, bytes, MultiValue)) and len(value) == 0) else value


def _value(dataset: Dataset, tag: BaseTag | tuple[int, int]) -> Any:
    try:
        element = dataset.get(tag)
        return None if element is None else element.value
    except UNREADABLE as error:
        raise InputError(f"{_where(dataset, tag)} cannot be read ({error}): {REMEDY}.") from error


def text(dataset: Dataset, keyword: str) -> str:
    """An attribute as stripped text, ``""`` when it is missing or empty; several values are joined by a backslash."""
    return _as_text(value_of(dataset, keyword))


def words(dataset: Dataset, keyword: str) -> list[str]:
    """The values of a text attribute in capitals, as of ImageType."""
    return [word.strip().upper() for word in text(dataset, keyword).split("\\") if word.strip()]


def number(dataset: Dataset, keyword: str) -> float | None:
    """A finite number, None when it is missing or empty."""
    return as_number(text(dataset, keyword), _where(dataset, keyword))


def whole(dataset: Dataset, keyword: str) -> int | None:
    """A whole number, None when it is missing or empty."""
    value = number(dataset, keyword)
    if value is not None and value != int(value):
        raise InputError(f"{_where(dataset, keyword)} is {value:g}, not a whole number: {REMEDY}.")
    return None if value is None else int(value)


def vector(dataset: Dataset, keyword: str, length: int) -> np.ndarray | None:
    """``length`` finite numbers (float64), None when the attribute is missing or empty."""
    content = text(dataset, keyword)
    if not content:
        return None
    where = _where(dataset, keyword)
    values = [as_number(part.strip(), where) for part in content.split("\\")]
    if len(values) != length or None in values:
        raise InputError(f"{where} is {content!r}, not {length} numbers: {REMEDY}.")
    return np.array(values, float)


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence, empty when it is missing."""
    value = value_of(dataset, keyword)
    if value is None:
        return []
    if isinstance(value, (str, bytes)) or not all(isinstance(item, Dataset) for item in value):
        raise InputError(f"{_where(dataset, keyword)} is not a sequence: {REMEDY}.")
    return list(value)


def as_number(content: str, where: str) -> float | None:
    """A finite number from text, None for empty text."""
    if not content:
        return None
    try:
        result = float(content) if "_" not in content else math.nan
    except ValueError:
        result = math.nan
    if not math.isfinite(result):
        raise InputError(f"{where} is {content!r}, not a number: {REMEDY}.")
    return result


def numbers(datasets: Sequence[Dataset], keyword: str) -> list[float | None]:
    """The number of every slice, None where it is missing or empty."""
    return [number(d, keyword) for d in datasets]


def one_of(values: set[str], where: str) -> str:
    """The one value of all slices; raises :class:`UnitsError` where they differ."""
    if len(values) > 1:
        shown = ", ".join(repr(v) for v in sorted(values)[:4])
        raise UnitsError(
            f"The PET slices contradict each other in {where} ({shown}): convert one consistent series at a time."
        )
    return values.pop() if values else ""


def one_text(datasets: Sequence[Dataset], keyword: str) -> str:
    """The attribute that all slices must share, as text (``""`` when missing or empty)."""
    return one_of({text(d, keyword) for d in datasets}, tag_name(keyword))


def one_number(datasets: Sequence[Dataset], keyword: str) -> float | None:
    """The number that all slices must share, None when it is missing or empty."""
    values = {number(d, keyword) for d in datasets}
    return as_number(one_of({"" if v is None else f"{v:.17g}" for v in values}, tag_name(keyword)), tag_name(keyword))


def private(dataset: Dataset, group: int, element: int, creators: str) -> str:
    """A private attribute as text: from its creator's block, or at xx10 in a file without the creator."""
    for block in range(0x10, 0x100):
        if (group, block) in dataset and _as_text(_value(dataset, (group, block))).lower().startswith(creators.lower()):
            if (found := _value(dataset, (group, (block << 8) | element))) is not None:
                return _as_text(found)
    return "" if (group, 0x10) in dataset else _as_text(_value(dataset, (group, 0x1000 | element)))


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (MultiValue, list, tuple)):
        return "\\".join(_as_text(part) for part in value)
    raw = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)  # implicit VR comes as UN
    return raw.strip(" \0\t\r\n")


def _where(dataset: Dataset, keyword: str | int | tuple[int, int]) -> str:
    """``PatientWeight (0010,1030) of IM0001.dcm``."""
    file = getattr(dataset, "filename", None)
    return tag_name(keyword) + (f" of {Path(str(file)).name}" if file else "")
