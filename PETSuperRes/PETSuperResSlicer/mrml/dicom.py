"""A result as a derived DICOM series: its content, and writing it in this process."""

from __future__ import annotations

import os
from typing import Any

import slicer

from PETSuperResSlicer.mrml import provenance


def dicom_job(srNode: Any, folder: Any, source: Any = None) -> dict[str, Any]:
    """Volume, source files, target and report of a result; raises :class:`InputError` where the series is unknown."""
    from PETSuperResLib.errors import InputError
    from PETSuperResSlicer.mrml import volumes as mrml

    volume = mrml.voxels_of_node(srNode)
    if source is None:
        database = getattr(slicer, "dicomDatabase", None)
        uids = provenance.source_instances(srNode)
        source = [database.fileForInstance(uid) for uid in uids] if database is not None else []
        if not source or not all(source):
            raise InputError(
                "The DICOM series of the PET is not in Slicer's DICOM database: import it and load the PET from "
                "there, or name the series' folder."
            )
    else:
        source = os.fspath(source)
    out = os.path.abspath(os.fspath(folder))
    return {"volume": volume, "source": source, "out": out, "report": provenance.report_of(srNode)}


def write(job: dict[str, Any]) -> list[str]:
    """Write a job's series in this process, which waits; returns the files."""
    from PETSuperResLib.dicom.write import write_derived

    return [str(file) for file in write_derived(job["volume"].volume(), job["source"], job["out"], job["report"])]
