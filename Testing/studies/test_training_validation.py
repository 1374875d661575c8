"""Validation during training, and what a run tells of itself: tables, sheets, TensorBoard."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from tiny import small_phantom, tiny_network
from training_factory import SETTINGS, same, table

from PETSuperResLib.prior import Prior
from PETSuperResLib.progress import Event, Reporter
from PETSuperResLib.studies.training.logs import Log, Table
from PETSuperResLib.studies.training.train import train
from PETSuperResLib.studies.training.validation import SIGMAS, validate, validation_scans


def test_validation_is_told_by_noise_level_and_by_reconstruction_and_shown(tmp_path):
    out = tmp_path / "run"
    seen: list[Event] = []
    settings = replace(SETTINGS, steps=3, validate_every=2)
    train(None, out, settings, device="cpu", progress=seen.append)
    rows = table(out / "validation.csv")
    assert [row["step"] for row in rows] == ["2", "3"]
    levels = [float(rows[-1][f"loss_{sigma:g}"]) for sigma in SIGMAS]
    assert np.isclose(np.mean(levels), float(rows[-1]["loss"]), atol=1e-5) and min(levels) > 0
    assert 10 < float(rows[-1]["psnr_phantom"]) < 60
    sheets = sorted((out / "sheets").glob("*.png"))
    assert [sheet.name for sheet in sheets] == ["step_0000002.png", "step_0000003.png"]
    assert plt.imread(sheets[0]).std() > 0.1
    assert any("dB" in event.message and event.message.startswith("step 3 ") for event in seen)
    fractions = [event.fraction for event in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    train(None, out, settings, device="cpu")  # nothing is left to do, nor to validate
    assert table(out / "validation.csv") == rows


@pytest.mark.slow
def test_validation_does_not_change_what_is_learned(tmp_path):
    train(None, tmp_path / "without", SETTINGS, device="cpu")
    train(None, tmp_path / "with", replace(SETTINGS, validate_every=4), device="cpu")
    assert same(tmp_path / "with", tmp_path / "without")


@pytest.mark.slow
def test_validation_loss_tells_a_trained_prior_from_an_untrained_one():
    scans, _ = validation_scans(None, None, replace(SETTINGS, pixel_mm=2.0), torch.device("cpu"), Reporter(None))
    untrained = Prior(tiny_network())
    good, bad = validate(Prior.load(), scans[:1]).figures, validate(untrained, scans[:1]).figures
    assert bad == validate(untrained, scans[:1]).figures  # all that is random is fixed
    assert all(good[name] < 0.8 * bad[name] for name in good if name.startswith("loss"))
    assert good["psnr_phantom"] > bad["psnr_phantom"]


def test_validation_is_on_the_splits_validation_patients(tmp_path):
    phantom = small_phantom()
    for name in ("a", "b"):
        phantom.pet.write(tmp_path / name / "PET_SUV.nii.gz")
        phantom.ct.write(tmp_path / name / "CT_HU.nii.gz")
    split, messages = tmp_path / "split.json", []
    settings = replace(SETTINGS, steps=1, validate_every=1, phantom_share=0.0, paintings=1)
    split.write_text(json.dumps({"train": ["a"], "validation": ["b"]}))
    train(tmp_path, tmp_path / "run", settings, device="cpu")
    (row,) = table(tmp_path / "run" / "validation.csv")
    assert {"psnr_real", "psnr_painted"} <= row.keys()
    split.write_text(json.dumps({"train": ["a"], "validation": []}))
    train(tmp_path, tmp_path / "other", settings, device="cpu", progress=lambda e: messages.append(e.message))
    assert not (tmp_path / "other" / "validation.csv").exists()
    assert any("no validation" in message for message in messages)


def test_curves_go_to_tensorboard_where_it_is_installed(tmp_path, monkeypatch):
    class Writer:
        shown: list[tuple[str, float, int]] = []

        def __init__(self, folder, purge_step):
            self.add_scalar = lambda *row: self.shown.append(row)

        def close(self):
            self.shown.append(("closed", 0.0, 0))

    board = ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    log = Log(tmp_path, 0)
    log.trained(1, 0.5, 10.0, 1e-4)
    log.validated(1, {"loss": 0.4, "psnr_real": 30.0}, 2.0)
    log.close()
    assert ("training/loss", 0.5, 1) in Writer.shown and ("validation/psnr_real", 30.0, 1) in Writer.shown
    assert Writer.shown[-1][0] == "closed"
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert Log(tmp_path, 1).board is None


def test_a_table_drops_what_lies_beyond_the_step_that_is_gone_on_from(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n1,0.5\n2,0.4\n3,0.3\n4")
    log = Table(path, 2)
    log.add(3, {"loss": "0.35", "psnr": "30"})
    assert [tuple(row.values()) for row in table(path)] == [("1", "0.5", ""), ("2", "0.4", ""), ("3", "0.35", "30")]
    assert log.last == 3
