"""A stand-in for the module ``SampleData``: the registration of samples and their loading."""

from __future__ import annotations

import types
from typing import Any

import slicer


class SampleDataSource:
    """One sample; every list must have the same length, as in Slicer."""

    def __init__(
        self,
        sampleName: Any = None,
        sampleDescription: Any = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        checksums: Any = None,
        loadFiles: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: Any = None,
        loadFileType: Any = None,
        loadFileProperties: Any = None,
    ) -> None:
        single = isinstance(uris, str)
        count = 1 if single else len(uris)
        lists = {"fileNames": fileNames, "nodeNames": nodeNames, "checksums": checksums, "loadFiles": loadFiles}
        for name, value in lists.items():
            found = [value] if single else list(value) if value is not None else [None] * count
            if len(found) != count:
                raise ValueError(
                    f"All fields of a sample must have the same length: {name} has {len(found)}, not {count}"
                )
            setattr(self, name, found)
        self.uris = [uris] if single else list(uris)
        self.sampleName, self.sampleDescription = sampleName, sampleDescription or sampleName
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.loadFileType, self.loadFileProperties = loadFileType, loadFileProperties or {}


class SampleDataLogic:
    """Registers and loads samples."""

    @staticmethod
    def registerCustomSampleDataSource(category: str = "Custom", **fields: Any) -> None:
        """Add a sample to a category, once."""
        sources = SampleDataLogic.sampleDataSourcesByCategory()
        known = sources.setdefault(category, [])
        source = SampleDataSource(**fields)
        if not any(source.sampleName == other.sampleName for other in known):
            known.append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category: str | None = None) -> Any:
        """Samples of a category, or all of them by category."""
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources
        return sources if category is None else sources.get(category, [])

    def downloadFromSource(self, source: SampleDataSource) -> Any:
        """What the sample's button does."""
        if source.customDownloader is None:
            raise RuntimeError("The host downloads nothing")
        return source.customDownloader(source)


def make_module() -> types.ModuleType:
    """The module to be imported as ``SampleData``."""
    module = types.ModuleType("SampleData")
    module.__dict__.update(SampleDataSource=SampleDataSource, SampleDataLogic=SampleDataLogic)
    return module
