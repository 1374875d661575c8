"""What the jobs of the worker have in common.

A job is made from a message (``from_message``: its options, checked) and runs with the worker's tools:
:class:`Tools`. It answers with files by name and a report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..progress import Callback
from ..request import from_plain, option

if TYPE_CHECKING:
    from ..prior import Prior

Answer = tuple[dict[str, Path], dict[str, Any]]


@dataclass(frozen=True)
class Tools:
    """What a running job uses: ``load`` gives the prior of a path (None: the bundled one), ``progress`` takes events
    and may raise to stop the job, ``show`` takes the file of a preview, which is removed when the job ends."""

    load: Callable[[Any], Prior]
    progress: Callback
    show: Callable[[Path], None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every job may have: ``private``, the client's folder, which a worker removes whose client has died."""

    private: str | None = option("text", None)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Job:
        """The job of a message; raises :class:`InputError` naming a missing, unknown or wrong field."""
        return from_plain(cls, {k: v for k, v in message.items() if k not in ("version", "id", "type")})

    def run(self, tools: Tools) -> Answer:
        """Do it; (files by name, report). All files appear, or none. Raises the library's errors."""
        raise NotImplementedError
