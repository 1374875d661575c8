"""Whether the slices of a series are of one patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from ..errors import InputError
from ..headers.attributes import text


def one_patient(datasets: Sequence[Dataset], name: str) -> list[str]:
    """Give slices without a PatientID that of the others; returns what to tell of it.

    ``name`` is the series' for messages, which have no PatientID. Raises :class:`InputError` where slices have
    different ones.
    """
    identities = [text(dataset, "PatientID") for dataset in datasets]
    known = Counter(filter(None, identities)).most_common()
    if not known:
        return []
    usual = known[0][0]
    others = [d for d, own in zip(datasets, identities, strict=True) if own not in ("", usual)]
    if others:
        file = getattr(others[0], "filename", None)
        named = f", such as {Path(str(file)).name}" if file else ""
        differ = f"another PatientID in {len(others)} of {len(datasets)}{named}"
        raise InputError(
            f"{name} has slices of {len(known)} patients ({differ}): give a folder with one patient's series alone."
        )
    missing = [dataset for dataset, own in zip(datasets, identities, strict=True) if not own]
    for dataset in missing:
        dataset.PatientID = usual
    if not missing:
        return []
    return [
        f"{name} has no PatientID in {len(missing)} of {len(datasets)} slices, which are taken as of the same patient: "
        "check that they are one series."
    ]
