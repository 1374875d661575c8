"""What is recovered from the data in the panel, with the real worker: the table follows segments without a wait."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import slicer
import torch
from panel_case import FakeRunner
from PETSuperResSlicer import sample_data as sample
from PETSuperResSlicer.mrml import lesion_chart, provenance
from PETSuperResSlicer.mrml import volumes as mrml
from PETSuperResSlicer.mrml.segments import segmentation_from_labels
from PETSuperResSlicer.worker import client
from PETSuperResSlicer.worker.recovery import Recovery
from slicer_host.latency import run_delay

from PETSuperResLib.errors import InputError
from PETSuperResLib.inputs import Inputs
from PETSuperResLib.lesions.segments import Segment
from PETSuperResLib.phantoms.demo_case import demo_case
from PETSuperResLib.request import Request

GROUND_S = 300.0  # on a busy machine, where the worker has the lowest priority


@pytest.fixture(scope="module")
def phantom():
    """A generated case, its inputs and the problem that they pose."""
    made = demo_case(shape=(24, 96, 128), lesions=2)
    inputs = Inputs.of(Request(made.simulation.lr, made.phantom.ct, "Paper standard"))
    return made, inputs, inputs.problem(2.0, torch.device("cpu"))


@pytest.fixture(scope="module")
def worker(host):
    """A worker for all panels here, which end none of its jobs: its start takes longer than what they ask."""
    made = client.WorkerClient()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made, "close", lambda grace_s=0.0: host.spin(GROUND_S, until=lambda: not made.running))
        patch.setattr(client, "WorkerClient", lambda: made)
        yield made
    made.close()


@pytest.fixture
def shown(panel, host, worker, phantom):
    """An interpolated phantom in the place of a result, with ten cubes as lesions."""
    made, inputs, problem = phantom
    volumes = {"pet": made.simulation.lr, "ct": made.phantom.ct, "labels": made.phantom.labels}
    pet, ct, _ = sample.add_nodes(volumes, {"lesions": made.names})
    result = made.simulation.lr.resample_to(problem.grid)
    labels = np.zeros(result.shape, np.float32)
    for n in range(10):
        k, j, i = 4 + 8 * (n % 2), 20 + 30 * (n % 3), 10 + 24 * (n // 2)
        labels[k : k + 4, j : j + 6, i : i + 6] = n + 1
    node = mrml.node_from_volume(result.with_array(result.array, "SUVbw"), "SR", slicer.mrmlScene)
    report = {"measurement": "image", "resolution": inputs.resolution.to_dict(), **problem.facts}
    provenance.record(node, pet, ct, {"quality": "standard"}, report)
    segments = segmentation_from_labels(result.with_array(labels, "label"), pet, "Lesions")
    panel.params.pet, panel.params.ct, panel.params.segmentation = pet, ct, segments
    panel.params.result = node
    assert host.spin(GROUND_S, until=lambda: recovered(panel) is not None), panel.ui.lesionsLabel.text
    return segments


def recovered(panel):
    """The recovered SUVmeans by name; None while the data have not been fitted."""
    lesions = [] if panel.lesions.measured is None else panel.lesions.measured.columns["sr"]
    fitted = bool(lesions) and all(lesion.evidence_sigma is not None for lesion in lesions)
    return {lesion.name: lesion.suvmean_recovered for lesion in lesions} if fitted else None


def edit(segments, panel, name="Lesion 3"):
    """Erase a voxel of a segment."""
    identifier = segments.GetSegmentation().GetSegmentIdBySegmentName(name)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(segments, identifier, panel.params.result)
    mask[tuple(np.argwhere(mask)[0])] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segments, identifier, panel.params.result)


def test_the_table_has_recovered_values_intervals_and_evidence(panel, host, shown):
    table = panel.ui.lesionsTable
    rows = [row for row in range(table.rowCount) if table.columnSpan(row, 0) == 1]
    assert len(rows) == 10
    assert table.horizontalHeaderItem(0).text() == "SUVpeak [g/mL]"
    assert "For research use only" in panel.ui.lesionsLabel.text
    told = [table.item(row, 0).text() for row in range(table.rowCount) if row not in rows]
    assert any("outside the interval" in text or "Not supported" in text for text in told)
    texts = [table.item(row, 5).text() for row in rows]
    undetermined = [text for text in texts if " to " not in text]
    assert set(undetermined) <= {"-"} and len(undetermined) < 5
    assert bool(undetermined) == any("do not determine" in text for text in told)
    assert all(table.item(row, 6).text() != "-" for row in rows)
    node = panel.lesions.table
    assert node.GetTable().GetValueByName(0, "suvmean_low").ToDouble() > 0
    panel.ui.compareButton.click()
    panel.ui.plotButton.click()
    host.spin(0.2)
    chart = panel.params.chart
    names = [chart.GetNthPlotSeriesNode(n).GetName() for n in range(chart.GetNumberOfPlotSeriesNodes())]
    assert names == list(lesion_chart.COLOURS)


def test_only_the_changed_lesion_changes_and_a_process_that_ended_is_replaced(panel, host, shown):
    """The new process gets the data again."""
    before, recovery = recovered(panel), panel.logic._recovery
    edit(shown, panel)
    assert host.spin(GROUND_S, until=lambda: (recovered(panel) or before) != before)
    after = recovered(panel)
    assert {name for name in before if after[name] != before[name]} == {"Lesion 3"}
    edit(shown, panel)
    assert host.spin(5, until=lambda: recovery.task.running)
    os.kill(recovery.client.process.pid, signal.SIGKILL)
    assert host.spin(GROUND_S, until=lambda: (recovered(panel) or after) != after), panel.ui.lesionsLabel.text


def test_a_waiting_question_that_cannot_be_asked_any_more_is_answered(nodes):
    """As when the PET's voxels are removed while another question is computed."""
    recovery, answers = Recovery(), []
    recovery.client = FakeRunner()
    recovery.client.process = None
    segments = [Segment(1, "Liver", nodes.labels)]
    for _question in range(2):
        recovery.start(nodes.result, {"pet": nodes.pet}, segments, 2.5, answers.append, answers.append)
    nodes.pet.SetAndObserveImageData(None)
    recovery.client.say("result", report={"lesions": []})
    recovery.client.deliver()
    [error] = answers
    assert isinstance(error, InputError) and "has no voxels" in str(error)


@pytest.mark.timing
@pytest.mark.skipif(
    not Path("/proc/self/schedstat").is_file(), reason="reads what processes wait for as Linux tells it"
)
def test_an_edit_is_followed_within_a_second_and_holds_no_click_up(panel, host, shown):
    """Of ten lesions one changes: 95 % of the answers within a second, 99 % of the clicks within 100 ms.

    The time in which this process or the worker was ready to go on but other programs had the processors is taken off.
    """
    took, waited, worker = [], [], panel.logic._recovery.client.process.pid
    with host.latency() as seen:
        for _ in range(8):
            before, began = recovered(panel), time.perf_counter()
            others = run_delay() + run_delay(worker)
            edit(shown, panel)
            assert host.spin(GROUND_S, until=lambda before=before: (recovered(panel) or before) != before)
            waited.append(time.perf_counter() - began)
            took.append(waited[-1] - (run_delay() + run_delay(worker) - others))
    print(f"95 % of the edits within {np.percentile(took, 95):.2f} s, with others {np.percentile(waited, 95):.2f} s")
    print(f"99 % of the clicks within {1000 * seen.own:.0f} ms, with others {1000 * seen.p99:.0f} ms")
    assert np.percentile(took, 95) < 1.0 and seen.own <= 0.1
