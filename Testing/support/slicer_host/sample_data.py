"""A stand-in for the module ``SampleData``: the registration of samples that the module makes itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

_sources: dict[str, list[Any]] = {}


class SampleDataLogic:
    """Registers and loads samples."""

    @staticmethod
    def registerCustomSampleDataSource(category: str = "Custom", **fields: Any) -> None:
        """Add a sample to a category, once."""
        known = _sources.setdefault(category, [])
        if not any(source.sampleName == fields["sampleName"] for source in known):
            known.append(SimpleNamespace(**fields))

    @staticmethod
    def sampleDataSourcesByCategory(category: str) -> list[Any]:
        """Samples of a category."""
        return _sources.get(category, [])

    def downloadFromSource(self, source: Any) -> Any:
        """What the sample's button does."""
        return source.customDownloader(source)
