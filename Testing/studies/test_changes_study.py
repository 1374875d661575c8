"""The study of changes between two visits: what is painted, its rows, and how many intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import small_phantom, table, tiny_prior

from PETSuperResLib.followup import common_errors
from PETSuperResLib.followup.common_errors import ChangeCalibration, read_calibration
from PETSuperResLib.studies.evaluation import changes
from PETSuperResLib.studies.evaluation.lesion_scenes import Scan
from PETSuperResLib.studies.subjects import Subject
from PETSuperResLib.volume import Volume

GRID = Volume(np.zeros((10, 30, 60)), (2.0, 2.0, 3.0))


def row(**values):
    found = {"patient": "p", "input": "image", "status": "paired", "paired": "yes", "factor": 0.7}
    found |= {"volume_ml": 2.0, "mask": "true"}
    found |= {f"{image}_suvmean_percent": -30.0 for image in ("true", *changes.IMAGES)}
    for name in changes.MEASURES:
        ends = {"percent": -30.0, "low": -40.0, "high": -20.0, "real": "yes"}
        found |= {f"{name}_recovered_{end}": v for end, v in ends.items()} | {f"true_{name}_ratio": 0.7}
    return found | values


def test_lesions_change_by_their_factors_and_their_surroundings_stay():
    labels, pet = np.zeros(GRID.shape, np.float32), np.full(GRID.shape, 1.5, np.float32)
    for n in range(5):
        block = (slice(3, 7), slice(10, 18), slice(4 + 11 * n, 10 + 11 * n))
        labels[block], pet[block] = n + 1, 6.5
    given = GRID.with_array(pet, "SUVbw"), GRID.with_array(labels, "label")
    without = changes._without(*given)
    assert np.abs(without.array - 1.5).max() < 1e-3
    seen = [changes._painted(given[0], without, given[1], visit) for visit in (0, 1)]
    contrast = [[image.array[labels == n].mean() - 1.5 for n in range(1, 6)] for (image, _), _ in seen]
    assert contrast[0] == pytest.approx([5, 5, 5, 5, 0], abs=1e-3)
    assert contrast[1] == pytest.approx([3.5, 5, 5.75, 0, 5], abs=1e-3)
    assert [sorted(np.unique(drawn.array)) for (_, drawn), _ in seen] == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 5]]


def test_coverage_counts_the_true_changes_within_their_intervals():
    rows = [row(), row(true_suvmean_ratio=0.85), row(suvmean_recovered_low=None), row(true_suvmean_ratio=0.75)]
    assert changes.coverage(rows, "suvmean") == pytest.approx(200 / 3) and changes.coverage(rows, "tlg") == 100
    lines = changes.changes_lines([row(), row(paired="no")])
    apart = changes.changes_lines([row(suvmean_recovered_low=None), row(suvpeak_recovered_percent=-26.0)])
    assert "| image | -30 % | 2 | 1 | 0.0 | 0.0 | 0.0 | 2.0 | 20 | 20 | 100 | 100 | 100 | 100 | 100 | 100 |" in apart
    assert "Paired rightly, new and vanished ones and all masks included: images 1 of 2." in lines
    assert "| image | -30 % | 2 | 1 | 0.0 | 0.0 | 0.0 | 0.0 | 20 | 20 | 100 | 100 | 100 | 100 | 100 | 100 |" in lines


def test_the_shares_hold_nine_in_ten_of_the_changes_with_the_mask_that_asks_for_most():
    """True ratios at n / 20 of the way from the recovered one to its interval's ends, up and down in turn."""
    low, high = np.log(0.6), np.log(0.8)

    def lesions(reach, **values):
        ends = [(high if n % 2 else low) - np.log(0.7) for n in range(20)]
        ratios = [0.7 * np.exp(reach * (n + 1) / 20 * end) for n, end in enumerate(ends)]
        return [row(patient=str(n), true_suvpeak_ratio=ratio, **values) for n, ratio in enumerate(ratios)]

    rows = [*lesions(0.4), *lesions(0.6, mask="one voxel larger"), *lesions(0.2, mask="one voxel smaller")]
    rows += [row(suvpeak_recovered_low=None, true_suvpeak_ratio=5.0), *lesions(2.0, input="sinogram")]
    found = changes.calibrated(rows, {"command": "c"})
    assert found.shares["image"]["suvpeak"] == pytest.approx(0.6 * 19 / 20)  # 0.9 x 21 / 20 of 20 scores: the 19th
    assert found.shares["sinogram"]["suvpeak"] == pytest.approx(2.0 * 19 / 20) and found.made["command"] == "c"
    assert ChangeCalibration.from_dict(found.to_dict()) == found


def test_another_seed_is_another_noise_and_none_of_the_draws(tmp_path, monkeypatch):
    anatomies, seen = [Subject("one", {}, lambda: None)], []
    monkeypatch.setattr("PETSuperResLib.studies.evaluation.lesion_scenes.lesion_subjects", lambda *_: anatomies)
    monkeypatch.setattr(changes, "pair_rows", lambda one, *_, **__: seen.append(one.seed) or [row()])
    prior = tiny_prior(tmp_path)
    monkeypatch.setattr(changes.Prior, "load", lambda *_: prior)
    for seed in ({}, {"seed": 1}):
        changes.changes_study(tmp_path / f"out{seed}", "data", draws=2, limit=1, **seed)
    assert seen[:2] == [96_000, 97_000] and len(set(seen)) == 4


@pytest.mark.slow
def test_the_study_compares_two_visits_of_a_subject(tmp_path, monkeypatch):
    phantom, prior = small_phantom(), tiny_prior(tmp_path)
    scan = Scan(Subject("one painting 1", {"a": 1}, lambda: (phantom.pet, phantom.ct, phantom.labels)), "standard")
    monkeypatch.setattr(changes, "scans", lambda *_: [scan])
    monkeypatch.setattr(changes.Prior, "load", lambda *_: prior)
    written = changes.changes_study(tmp_path / "out", "data", device="cpu")
    rows = table(tmp_path / "out" / "changes.csv")
    assert [r["status"] for r in rows] == ["paired"] * len(rows) and {r["paired"] for r in rows} == {"yes"}
    assert {r["mask"] for r in rows} == {"true", "one voxel larger"}  # a smaller mask holds no voxel
    assert all(float(r["suvmean_recovered_low"]) < float(r["suvmean_recovered_high"]) for r in rows)
    assert float(rows[0]["true_suvmean_percent"]) < -15 and "## By change" in written.read_text()
    by_mask = {r["mask"]: r for r in rows if r["lesion"] == rows[0]["lesion"]}
    true, larger = (float(by_mask[mask]["tlg_recovered_percent"]) for mask in ("true", "one voxel larger"))
    assert larger > true + 5
    assert float(rows[0]["true_tlg_ratio"]) == pytest.approx(float(rows[0]["true_suvmean_ratio"]))
    assert (tmp_path / "out" / "changes.png").is_file()
    path = changes.changes_study(tmp_path / "calibrated", "data", device="cpu", calibrate=True, command="c")
    shares = read_calibration(path).shares["sinogram"]
    assert set(shares) == set(changes.MEASURES) and all(share > 0 for share in shares.values())
    plain = table(tmp_path / "calibrated" / "changes.csv")[0]
    width, own = (np.log1p(float(r["suvpeak_recovered_high"]) / 100) - np.log1p(float(r["suvpeak_recovered_low"]) / 100)
                  for r in (plain, rows[0]))  # fmt: skip
    assert own / width == pytest.approx(common_errors.calibration().shares["sinogram"]["suvpeak"], rel=1e-6)
