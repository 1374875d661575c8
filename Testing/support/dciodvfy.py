"""The DICOM validator of David Clunie's dicom3tools, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: apt-get install dicom3tools)"
)


def errors_of(file: Path) -> list[str]:
    """What the validator calls an error in a file; its warnings are left out."""
    told = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True)
    lines = (told.stdout + told.stderr).splitlines()
    assert lines, f"dciodvfy says nothing on {file}"
    return [line for line in lines if line.startswith(("Error", "Abort"))]
