"""What the tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def data_dir() -> Path:
    """The development data set (PETSUPERRES_DATA, or shared/data beside the repository); skips the test without it."""
    stated = os.environ.get("PETSUPERRES_DATA")
    folder = Path(stated) if stated else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the development data set is absent (set PETSUPERRES_DATA to its folder)")
    return folder
