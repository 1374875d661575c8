"""A prior's model card, read from its file without torch and without the weights."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

from ..errors import CheckpointError

FORMAT = "PETSuperRes prior 1"
BUNDLED = Path(__file__).parent.parent / "Resources" / "prior.safetensors"
MAX_HEADER_BYTES = 1 << 24


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a prior's safetensors file, as it was written.

    Raises :class:`CheckpointError` for a file that is missing or no prior of this version.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"No prior at {path}: give a .safetensors file made by training.", "prior")
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(os.path.getsize(path), MAX_HEADER_BYTES):
                raise ValueError("no header")
            metadata = json.loads(file.read(length)).get("__metadata__") or {}
        if metadata.get("format") != FORMAT:
            raise ValueError("another format")
    except (OSError, ValueError, struct.error, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not a PETSuperRes prior (damaged or another file): give one made by training.", "prior"
        ) from error
    return dict(metadata)


def card(path: str | Path | None = None) -> str:
    """The model card of a prior in one line: training data, pixel size, licence; of the bundled one without a path.

    Raises :class:`CheckpointError` as :func:`read_metadata` does.
    """
    path = path or BUNDLED
    try:
        info = json.loads(read_metadata(path).get("info", "{}"))
        pixel = f"{info['pixel_mm']:g} mm pixels" if "pixel_mm" in info else ""
        trained = f"trained on {info['trained_on']}" if info.get("trained_on") else ""
        licence = f"licence {info['licence']}" if info.get("licence") else ""
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"The model card in {path} is damaged: give another copy of the file.") from error
    return "; ".join(part for part in (trained, pixel, licence) if part) or "a prior without a model card"
