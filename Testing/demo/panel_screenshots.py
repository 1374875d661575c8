"""The pictures of the panel in README and tutorial: ``python Testing/demo/panel_screenshots.py [FOLDER] [QUALITY]``.

The unmodified module in the GUI host (Testing/support/slicer_host, not 3D Slicer itself) runs the generated phantom
with its worker process. Takes a minute or two on a CPU.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
sys.path[:0] = list(map(str, (_HERE, _HERE.parent / "support", _HERE.parents[1])))

import slicer  # noqa: E402
import slicer_host  # noqa: E402

FOLDER = _HERE.parents[1] / "Resources" / "Screenshots"
SHOWN_PERCENT = 55  # of the job, in the picture of it: within a step, not between two
LIVER_RAS = (76.0, -4.0, -8.0)  # mm, in the phantom


def main(folder: Path = FOLDER, quality: str = "standard") -> None:
    """Write start.png (PET over CT), running.png (preview), petct.png (spheres), panel.png (comparison), and the
    sections' pictures: advanced.png, lesions.png and followup.png; statistics.png, of Segment Statistics."""
    folder.mkdir(parents=True, exist_ok=True)
    host = slicer_host.start()
    panel = host.open_module()
    host.window.resize(1500, 1040)
    from PETSuperResSlicer import sample_data as PETSuperResSampleData
    from PETSuperResSlicer.panel.parameters import Quality

    nodes = PETSuperResSampleData.load()
    panel.params.pet, panel.params.ct, panel.params.segmentation = nodes
    panel.params.quality = Quality(quality)
    panel.ui.advancedButton.collapsed = False
    wait(host, lambda: panel.settings.facts is not None, 60)
    panel.ui.lesionsButton.collapsed = panel.ui.resultButton.collapsed = True
    host.spin(0.3)
    host.screenshot(panel.parent, folder / "advanced.png")
    panel.ui.advancedButton.collapsed = True
    panel.ui.lesionsButton.collapsed = panel.ui.resultButton.collapsed = False
    panel.ui.petctButton.click()
    host.spin(1)
    host.screenshot(host.window, folder / "start.png")
    panel.ui.petctButton.click()
    panel.ui.applyButton.click()
    wait(host, lambda: panel.run.preview is not None and panel.ui.progressBar.value >= SHOWN_PERCENT, 600)
    host.spin(0.3)
    host.screenshot(host.window, folder / "running.png")
    wait(host, lambda: not panel.run.running, 900)
    wait(host, lambda: panel.lesions.measured is not None and recovered(panel), 120)
    pet_ct(host, panel, folder)
    panel.ui.viewButton.collapsed = panel.ui.spheresButton.collapsed = True
    panel.ui.plotButton.click()
    panel.ui.compareButton.click()
    wait(host, lambda: panel.params.result.GetNodeReference("PETSuperRes.Difference") is not None, 60)
    panel.ui.lesionsTable.cellClicked(0, 0)
    panel.ui.lesionsTable.selectRow(0)
    host.spin(0.5)
    host.screenshot(host.window, folder / "panel.png")
    host.screenshot(panel.ui.lesionsButton, folder / "lesions.png")
    statistics(host, panel, folder)
    follow_up(host, panel, folder)
    for problem in (*host.errors, *host.messages):
        print(problem)
    host.reset()


def recovered(panel: Any) -> bool:
    """Whether the table has what was recovered of every lesion."""
    return all(lesion.suvmean_recovered is not None for lesion in panel.lesions.measured.columns["sr"])


def pet_ct(host: Any, panel: Any, folder: Path) -> None:
    """Write petct.png: the result over the CT with its projection, a lesion and a reference in spheres."""
    from PETSuperResSlicer.mrml import spheres
    from PETSuperResSlicer.mrml.lesion_table import jump_to

    sections = (panel.ui.scannerButton, panel.ui.lesionsButton)
    for section in sections:
        section.collapsed = True
    panel.ui.petctButton.click()
    panel.params.spheres = points = spheres.new_list(slicer.mrmlScene)
    centre = panel.lesions.measured.centres[2]  # in the liver's dome
    for name, place, diameter in (("lesion", centre, spheres.ML_MM), ("liver", LIVER_RAS, 30.0)):
        index = points.AddControlPoint(*place, name)
        points.SetNthControlPointDescription(index, f"{diameter:g}")
    jump_to(slicer.mrmlScene, centre)
    host.spin(1)
    host.screenshot(host.window, folder / "petct.png")
    panel.ui.petctButton.click()
    slicer.mrmlScene.RemoveNode(points)
    for section in sections:
        section.collapsed = False
    host.spin(0.3)


def statistics(host: Any, panel: Any, folder: Path) -> None:
    """Write statistics.png: what the plugin of Segment Statistics tells of the result's lesions, as a table."""
    import qt
    from SegmentStatistics import SegmentStatisticsLogic

    logic, segments = SegmentStatisticsLogic(), panel.params.segmentation.GetSegmentation()
    node = logic.getParameterNode()
    node.SetParameter("Segmentation", panel.params.segmentation.GetID())
    node.SetParameter("ScalarVolume", panel.params.result.GetID())
    [plugin] = [p for p in logic.plugins if type(p).__name__ == "PETSuperResStatisticsPlugin"]
    keys = ["SUVpeak", "MTV_fixed", "MTV_41", "TLG_41", "recovered", "recovered_low", "recovered_high", "evidence"]
    for key in keys:
        node.SetParameter(f"{plugin.toLongKey(key)}.enabled", "True")
    found, about = logic.computeStatistics(), [plugin.getMeasurementInfo(key) for key in keys]
    table = qt.QTableWidget(segments.GetNumberOfSegments(), 1 + len(keys))
    table.setHorizontalHeaderLabels(["Segment", *(f"{one['name']} [{one['units']}]" for one in about)])
    for row, name in enumerate(segments.GetSegmentIDs()):
        values = [found.get((name, key), "") for key in keys]
        texts = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]
        for column, text in enumerate([segments.GetSegment(name).GetName(), *texts]):
            table.setItem(row, column, qt.QTableWidgetItem(text))
    table.resizeColumnsToContents()
    table.resize(table.horizontalHeader().length() + 40, 230)
    table.show()
    host.spin(0.3)
    host.screenshot(table, folder / "statistics.png")
    table.close()


def follow_up(host: Any, panel: Any, folder: Path) -> None:
    """Write followup.png: two simulated studies compared, and their registered CTs over each other."""
    from PETSuperResSlicer.mrml import volumes as mrml
    from PETSuperResSlicer.mrml.segments import segmentation_from_labels
    from visits import two_visits

    from PETSuperResLib.lesions.segments import union

    pair, ui = two_visits(1, mm=4.0, noise=0.05), panel.ui
    for name, visit in (("March", pair.first), ("June", pair.second)):
        pet = mrml.node_from_volume(visit.pet, f"PET {name}", slicer.mrmlScene)
        labels = sum(s.label * union([s], visit.pet).array for s in visit.segments)
        segments = segmentation_from_labels(visit.pet.with_array(labels, "label"), pet, f"Lesions {name}")
        ct = mrml.node_from_volume(visit.ct, f"CT {name}", slicer.mrmlScene)
        for selector, node in (
            (ui.studySelector, pet),
            (ui.studySegmentationSelector, segments),
            (ui.studyCtSelector, ct),
        ):
            selector.setCurrentNode(node)
        ui.studyAddButton.click()
    for name in ("inputs", "scanner", "advanced", "view", "result", "lesions", "spheres"):
        getattr(ui, f"{name}Button").collapsed = True
    ui.followUpButton.collapsed = False
    ui.followUpCompareButton.click()
    wait(host, lambda: not panel.followUp.running, 600)
    ui.followUpPlotButton.click()
    ui.followUpCtButton.click()
    ui.followUpTable.cellClicked(0, 2)
    host.spin(2)  # until the texts have their heights
    host.window.scrollPanelTo(ui.followUpCsvButton)
    host.screenshot(host.window, folder / "followup.png")


def wait(host: Any, until: Any, seconds: float) -> None:
    """Run the event loop until something holds; RuntimeError when it does not in time."""
    if not host.spin(seconds, until=until):
        raise RuntimeError("The panel did not get that far in time.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER, *sys.argv[2:3])
