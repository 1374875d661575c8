"""The benchmark: peers project the same thing as ours, and the figures are strict JSON."""

from __future__ import annotations

import io
import json
import sys
from functools import cache, partial

import pytest
import torch
from tiny import relative, tiny_network, without_progress

from PETSuperResLib.cli import run
from PETSuperResLib.errors import OutputError
from PETSuperResLib.prior import Prior
from PETSuperResLib.studies.benchmarks import benchmark as bench
from PETSuperResLib.studies.benchmarks import timing
from PETSuperResLib.studies.benchmarks.projector_peers import Geometry, check, disc, peers
from PETSuperResLib.studies.benchmarks.update_speed import update_speed

SMALL = Geometry(48, 4, 20)


def test_every_peer_that_runs_here_projects_the_disc_that_ours_does():
    found = {peer.name: check(peer, SMALL) for peer in peers(SMALL)}
    assert {"PETSuperRes", "scipy CSR, plain matrix", "torch CSR, plain matrix", "torch, rotate and sum"} <= set(found)
    for name, figures in found.items():
        assert figures["disc_error_percent"] < (10 if name.startswith(("scikit", "deepinv")) else 2), name
        assert figures["mismatch"] < (1e-5 if "PETSuperRes" in name or "CSR" in name else 1e-2), name


def test_independent_strip_projectors_agree_with_ours():
    image = disc(SMALL)[0].expand(2, -1, -1) + torch.rand(2, 48, 48, generator=torch.Generator().manual_seed(0))
    made = {peer.name: peer for peer in peers(SMALL)}
    ours = made["PETSuperRes"].forward(image)
    for name in ("torch CSR, plain matrix", "scipy CSR, plain matrix", "ASTRA CPU, strip"):
        if name in made:
            assert relative(made[name].forward(image), ours) < 1e-4, name
            assert relative(made[name].adjoint(ours), made["PETSuperRes"].adjoint(ours)) < 1e-4, name


PROJECTORS, UPDATES = cache(bench.projectors), cache(partial(update_speed, slices=3, size=48))


@pytest.fixture
def quickened(monkeypatch) -> None:
    """The benchmark with small geometries and a tiny network, without machine limits and whole runs.

    What does not depend on who looks at it is measured once for all tests.
    """
    monkeypatch.setattr(bench, "GEOMETRIES", (SMALL, Geometry(64, 2, 10)))
    monkeypatch.setattr(timing, "PEER_SECONDS", 0.0)
    monkeypatch.setattr(bench, "timed", lambda work, seconds=0.0, device=timing.CPU: timing.timed(work, 0.0, device))
    monkeypatch.setattr(bench, "projectors", PROJECTORS)
    monkeypatch.setattr(bench, "SIZE", 32)
    monkeypatch.setattr(bench, "limits", lambda device: {k: 1.0 for k in bench.LIMIT_COLUMNS})
    monkeypatch.setattr(bench, "benchmark_prior", lambda: (Prior(tiny_network(neighbours=1)), "tiny"))
    monkeypatch.setattr(bench, "update_speed", UPDATES)
    monkeypatch.setattr(bench, "whole_runs", lambda prior: [dict.fromkeys(bench.RUN_COLUMNS, 1)])


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_it_prints_tables_and_writes_strict_json(quick, quickened, tmp_path, capsys):
    seen = []
    figures = bench.benchmark(tmp_path, quick, progress=lambda event: seen.append(event.fraction))
    written = json.loads((tmp_path / "benchmark.json").read_text(), parse_constant=pytest.fail)
    assert written["projector"][0]["name"] == "PETSuperRes" and written["machine"]["torch"] == torch.__version__
    assert len({row["geometry"] for row in written["projector"]}) == (1 if quick else 2)
    assert written["network"]["images_per_s"] > 0 and figures["projector"][0]["adjoint_times_ours"] == 1.0
    parts = {row["name"]: row["cpu_ms"] for row in written["update"]}
    assert parts["whole update"] > 0 and len(parts) == 6
    text = capsys.readouterr().out
    assert "x ours" in text and "images/s" in text and "GFLOP/s" in text
    assert len(set(seen)) == (6 if quick else 7) and seen == sorted(seen) and (seen[0], seen[-1]) == (0.0, 1.0)


def test_the_command_in_a_pipe_prints_the_tables_and_no_bar(quickened, tmp_path, capsys):
    assert run(["benchmark", "--quick", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "benchmark.json").read_text())
    assert len({row["geometry"] for row in written["projector"]}) == 1
    text = capsys.readouterr()
    assert "Machine limits" in text.out and "reconstruct, 16 slices" in text.out and not without_progress(text.err)


def test_the_command_on_a_terminal_keeps_its_bar_below_the_tables(quickened, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    assert run(["benchmark", "--quick"]) == 0
    written = screen.getvalue()
    assert "machine limits" in written and "network" in written and "%|" in written and " left" in written
    # what stays on the screen: of every line, the text after the last carriage return
    lines = [line.rsplit("\r", 1)[-1] for line in written.split("\n")]
    assert "Machine limits" in lines and any(line.startswith("  PETSuperRes ") for line in lines)
    assert not any("%|" in line for line in lines)


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        bench.benchmark(tmp_path / "file" / "deeper")


def test_a_device_that_is_not_there_is_refused_before_any_work(capsys):
    assert run(["benchmark", "--device", "cuda:99"]) != 0
    assert "cuda:99" in capsys.readouterr().err


def test_a_gpu_s_tables_have_no_processor_times_and_digits_for_short_ones():
    columns = bench.columns_for(torch.device("cuda"), bench.PROJECTOR_COLUMNS)
    assert not any("CPU" in heading for heading, _ in columns.values())
    assert columns["forward_ms_per_slice"][1].format(0.00123) == "0.00123"
    assert bench.columns_for(torch.device("cpu"), bench.PROJECTOR_COLUMNS) is bench.PROJECTOR_COLUMNS
