"""How alike the errors of two methods are, by what evaluations kept."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from PETSuperResLib.studies.evaluation.trials import Results

SCRIPT = Path(__file__).parent / "benchmarks" / "agreement.py"


def test_errors_are_compared_over_the_cases_that_both_methods_have(tmp_path, monkeypatch, capsys):
    """Opposite errors of one size vanish in the middle between both; a case of another truth is left out."""
    truth, error = np.ones((4, 4), np.float32), np.zeros((4, 4), np.float32)
    error[0, 0] = 0.4
    lesion = np.zeros((4, 4), bool)
    for case, other_truth in (("A_real_standard_realistic", truth), ("B_real_standard_realistic", 2 * truth)):
        kept = {"a": {"truth": truth, "near": truth + error}, "b": {"truth": other_truth, "far": truth - 0.5 * error}}
        for folder, slices in kept.items():
            (tmp_path / folder / "cases").mkdir(parents=True, exist_ok=True)
            Results(slices=slices, lesion=lesion).write(tmp_path / folder / "cases", case)
    monkeypatch.setattr(sys, "argv", ["agreement", "near", "far", str(tmp_path / "a"), str(tmp_path / "b")])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    told, _, _, line = capsys.readouterr().out.splitlines()
    assert told.startswith("B_real_standard_realistic: the truths of the folders differ")
    condition, cases, best, gain, *mixed, alike = (cell.strip() for cell in line.strip("|").split("|"))
    assert (condition, cases, alike) == ("real_standard_realistic", "1", "-1.00")
    assert float(best) == pytest.approx(-10 * np.log10(0.16 / 16), abs=0.01)
    assert float(gain) == pytest.approx(20 * np.log10(2), abs=0.01)
    assert [float(m) for m in mixed] == pytest.approx([-20 * np.log10(1 - 1.5 * s) for s in (0.2, 0.35, 0.5)], abs=0.01)
