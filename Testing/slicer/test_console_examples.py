"""The examples for Slicer's Python console run as they stand, in the tutorial and in the logic's own documentation."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import slicer
from geometry import ROOT
from panel_case import make_case
from PETSuperResSlicer import logic as PETSuperResLogic
from PETSuperResSlicer.mrml import volumes as mrml

from PETSuperResLib.volume import Volume


def tutorial() -> list[str]:
    """The Python blocks of the tutorial."""
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def documentation() -> list[str]:
    """The examples in the documentation of the logic."""
    text = textwrap.dedent("    " + PETSuperResLogic.PETSuperResLogic.__doc__)
    return [textwrap.dedent(block) for block in re.findall(r"::\n\n((?:    .*\n|\n)+)", text)]


@pytest.fixture
def patients(tmp_path, monkeypatch) -> Path:
    """A folder of two patients, the second with lesions; and Slicer's functions for files, which are not there."""
    case = make_case()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        case.volume.write(tmp_path / name / "PET_SUV.nii.gz")
        mrml.volume_from_node(case.ct).write(tmp_path / name / "CT_HU.nii.gz")
    case.labels.write(tmp_path / "second" / "GTV.nii.gz")

    def loadVolume(filename, properties=None, returnNode=False):
        read = Volume.read(filename)
        return mrml.node_from_volume(read.with_array(read.array, ""), Path(filename).stem, slicer.mrmlScene)

    def loadLabelVolume(filename, properties=None, returnNode=False):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "GTV")
        mrml.set_voxels(node, Volume.read(filename))
        return node

    def saveNode(node, filename, properties=None):
        Path(filename).write_text(node.GetName(), encoding="utf-8")
        return True

    for function in (loadVolume, loadLabelVolume, saveNode):
        monkeypatch.setattr(slicer.util, function.__name__, function)
    return tmp_path


@pytest.mark.parametrize("examples", [tutorial, documentation])
def test_the_examples_run_as_they_stand(host, fake, patients, examples):
    host.reset()
    case = make_case()
    case.segments.SetName("Segmentation")
    blocks = examples()
    assert sum("process(" in block for block in blocks) == 3 and "/data/patients" in blocks[-1]
    console = {"slicer": slicer, "getNode": slicer.util.getNode}
    first = next(number for number, block in enumerate(blocks) if "process(" in block)
    blocks.insert(0, blocks.pop(first))  # others look at a result
    for block in blocks:
        fake.automatic = "waitForCompletion=False" not in block
        block = block.replace("/data/patients", str(patients))
        block = block.replace("NAME SR (SCANNER)", "PET SR (Siemens Biograph mCT)")
        exec(compile(block, "example", "exec"), console)
    assert len(fake.jobs) == 4 and fake.cancels == 1
    assert console["table"].GetNumberOfRows() == 2
    made = [file for name in ("PET_SR.nii.gz", "lesions.csv") for file in patients.rglob(name)]
    made = sorted(file.relative_to(patients).as_posix() for file in made)
    assert made == ["first/PET_SR.nii.gz", "second/PET_SR.nii.gz", "second/lesions.csv"]
    host.reset()
