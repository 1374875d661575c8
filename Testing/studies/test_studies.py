"""The studies behind the documentation: the NEMA phantom measured on its own truth, wrong models, the front."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from tiny import table, write_phantom

from PETSuperResLib.cli import run
from PETSuperResLib.errors import InputError
from PETSuperResLib.lesions.blobs import find_blobs as blobs_of
from PETSuperResLib.prior import Prior
from PETSuperResLib.sampling import PROFILES, standard
from PETSuperResLib.sampling.standard import sample_standard
from PETSuperResLib.studies import subjects
from PETSuperResLib.studies.benchmarks import scaling
from PETSuperResLib.studies.evaluation import blob_evidence, nema, quality_vs_time, robustness, spread
from PETSuperResLib.studies.evaluation.false_lesions import contrast, false_lesions


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    for name, shift in (("one", 0), ("two", 2)):
        write_phantom(folder / name, shift)
    (folder / "split.json").write_text(json.dumps({"validation": ["one", "two"], "test": []}))
    return folder


@pytest.fixture(scope="module")
def phantom():
    return nema.image_quality_phantom()


def test_the_truth_recovers_every_sphere_without_noise(phantom):
    found = nema.image_quality(phantom.pet, phantom)
    assert [r["diameter_mm"] for r in found] == list(nema.SPHERES_MM)
    recovery = [r["contrast_recovery_percent"] for r in found]
    assert recovery == sorted(recovery) and recovery[0] > 80 and 94 < recovery[-1] < 100  # border pixels are not full
    assert max(r["background_variability_percent"] for r in found) < 0.1


def test_blur_loses_small_spheres_first_and_noise_shows_in_the_background(phantom):
    sigma = [8.0 / 2.355 / s for s in phantom.pet.spacing[::-1]]
    blurred = gaussian_filter(phantom.pet.array, sigma)
    noisy = blurred + np.random.default_rng(0).normal(0, 0.3, blurred.shape).astype(np.float32)
    recovery = [r["contrast_recovery_percent"] for r in nema.image_quality(phantom.pet.with_array(blurred), phantom)]
    assert recovery == sorted(recovery) and recovery[0] < 50 < 75 < recovery[-1]
    spread = [r["background_variability_percent"] for r in nema.image_quality(phantom.pet.with_array(noisy), phantom)]
    assert spread[0] > spread[-1] > 0.1


def test_spheres_lie_on_the_ring_and_the_insert_is_cold(phantom):
    radii = [np.hypot(x, y) for x, y, _ in phantom.centres]
    assert np.allclose(radii, nema.RING_MM)
    k, j, i = (n // 2 for n in phantom.pet.shape)
    assert phantom.pet.array[k, j, i] == 0 and phantom.ct.array[k, j, i] < -500


def test_the_command_makes_table_and_plot(prior_file, tmp_path, monkeypatch):
    small = nema.image_quality_phantom(4.0, 10.0, 5)
    monkeypatch.setattr(nema, "image_quality_phantom", lambda ratio: small)
    words = ["study", "nema", "--prior", str(prior_file), "--out", str(tmp_path), "--setting", "standard"]
    assert run([*words, "--counts", "high", "--methods", "lr", "psf-osem"]) == 0
    found = table(tmp_path / "nema.csv")
    assert len(found) == 18 and (tmp_path / "nema.png").stat().st_size > 10_000
    recovery = {(r["method"], float(r["diameter_mm"])): float(r["contrast_recovery_percent"]) for r in found}
    assert recovery["truth", 37.0] > recovery["lr", 37.0] > recovery["lr", 10.0]


@pytest.mark.parametrize("name", ["nema", "robustness", "spread", "quality_vs_time", "lesions", "changes"])
def test_every_study_that_draws_random_numbers_takes_a_seed(name, tmp_path, monkeypatch):
    seen = []

    def study(*given, **chosen):
        seen.extend([one.seed for one in given if isinstance(one, subjects.Cohort)] or [chosen["seed"]])
        return tmp_path / "made"

    module = import_module(f"PETSuperResLib.studies.evaluation.{name}")
    monkeypatch.setattr(module, name if name == "quality_vs_time" else f"{name}_study", study)
    words = ["study", name.replace("_", "-"), *([] if name == "nema" else ["--data", str(tmp_path)])]
    assert run([*words, "--out", str(tmp_path / "out")]) == 0
    assert run([*words, "--out", str(tmp_path / "out"), "--seed", "3"]) == 0
    assert seen == [0, 3]


def test_the_seed_reaches_the_samplers_whose_time_is_measured(data, tmp_path, monkeypatch, prior_file):
    seen = []
    monkeypatch.setattr(quality_vs_time, "_plot", lambda *_: None)
    monkeypatch.setattr(quality_vs_time, "_variants", lambda: [("draft", "", PROFILES["draft"])])
    monkeypatch.setattr(standard, "sample_standard", lambda *given: seen.append(given[4]) or sample_standard(*given))
    cohort = subjects.Cohort(data, references=["real"], limit=1, slices=2, prior=prior_file, seed=3)
    quality_vs_time.quality_vs_time(cohort, tmp_path)
    assert seen == [3]


@pytest.mark.slow
def test_every_departure_from_the_truth_is_tried_on_every_patient(data, prior_file, tmp_path):
    cohort = subjects.Cohort(data, references=["real"], prior=prior_file)
    robustness.robustness_study(cohort, tmp_path, quality="draft")
    found = table(tmp_path / "robustness.csv")
    assert len(found) == 2 * len(robustness.VARIANTS["sinogram"])
    assert all(float(r["change_db"]) == 0 for r in found if r["variant"] == "as it is")
    assert all(float(r["change_db"]) != 0 for r in found if "FWHM" in r["variant"])
    told = (tmp_path / "robustness.md").read_text()
    assert "another patient's CT" in told and f"in the {2 * int(found[0]['slices'])} slices without a lesion" in told
    assert all(int(r["slices"]) > 0 and float(r["false_contrast"]) > 0.8 for r in found)
    blobs = table(tmp_path / "robustness_blobs.csv")
    assert {r["variant"] for r in blobs} <= {r["variant"] for r in found} and {r["patient"] for r in blobs}
    assert "Evidence of hot blobs" in told and (tmp_path / "robustness.png").is_file()


def test_a_blob_is_false_where_the_reference_lacks_most_of_it():
    reference = np.ones((9, 40, 40), np.float32)
    reference[:, :, 20:] = 3.0  # an organ
    k, j, i = np.ogrid[:9, :40, :40]
    near = {x: (k - 4) ** 2 + (j - 20) ** 2 + (i - x) ** 2 <= 4 for x in (8, 21, 31)}
    result = reference + 0.3
    for place in near.values():
        result[place] += 3.0
    reference[near[8]] += 2.0  # two thirds of it
    spacing = (2.0, 2.0, 2.0)
    found = {
        blob.peak[2]: blob_evidence.lacking(blob, result, reference, spacing) for blob in blobs_of(result, spacing)
    }
    assert len(found) == 3
    for x, share in found.items():
        assert share == pytest.approx(1 / 3 if x < 12 else 1.0, abs=0.2)


def test_the_table_of_evidence_counts_blobs_on_either_side_of_the_flag():
    found = [(10.0, 0.1), (2.0, 0.2), (1.0, 0.9), (4.0, 0.6)]
    rows = [
        {"patient": "p", "reference": "real", "variant": "v", "evidence_sigma": sigma, "lacking": share}
        | {"false": share >= blob_evidence.FALSE}
        for sigma, share in found
    ]
    lines = blob_evidence.evidence_lines(rows)
    assert "| v | 2 | 2 | 0.75 | 0.75 to 0.75 | 1 | 1.00 | 1 | 1 |" in lines


@pytest.mark.parametrize(("loss", "false", "missed"), [(0.2, 1, 0), (0.6, 1, 1), (0.2, 3, 1)])
def test_aims_of_robustness_are_missed_beyond_their_limits(loss, false, missed):
    changes = {"FWHM 20 % too wide": -loss, "twice the noise stated": -0.1, robustness.NO_CT: -2.0}
    changes |= {robustness.OTHER_CT: -0.1, "twice the counts, their dispersion not measured": -2.0}
    rows = [{"reference": "real", "variant": name, "change_db": change} for name, change in changes.items()]
    seen = [robustness.OTHER_CT] * false + [robustness.NO_CT] * 2
    blobs = [{"reference": "real", "variant": name, "false": True} for name in seen]
    lines = robustness._aims(rows, blobs)
    assert sum("**missed**" in line for line in lines) == missed
    assert f"- a wrong FWHM, counts or noise costs at most 0.5 dB: {loss:.2f} dB (FWHM 20 % too wide)" in "".join(lines)


def test_the_area_under_the_curve_is_the_chance_that_a_true_blob_has_more_evidence():
    assert blob_evidence.roc_area(np.array([5.0, 9.0]), np.array([1.0, 2.0])) == 1
    assert blob_evidence.roc_area(np.array([1.0, 4.0]), np.array([2.0, 3.0])) == 0.5
    assert np.isnan(blob_evidence.roc_area(np.array([1.0]), np.array([])))


@pytest.mark.slow
def test_wrong_statements_on_an_image_are_tried_with_its_header_as_the_truth(data, prior_file, tmp_path):
    chosen = {"references": ["real"], "slices": 3, "prior": prior_file}
    cohort = subjects.Cohort(data, **chosen, protocol="mct-osem", input="image")
    robustness.robustness_study(cohort, tmp_path, quality="draft")
    found = {r["variant"]: float(r["change_db"]) for r in table(tmp_path / "robustness.csv")}
    assert set(found) == {variant.name for variant in robustness.VARIANTS["image"]}
    assert found.pop("as it is") == 0 and all(change != 0 for change in found.values())
    assert "Images of mct-osem, realistic counts, draft." in (tmp_path / "robustness.md").read_text()


@pytest.mark.slow
def test_the_spread_is_compared_with_the_error_in_sinograms_and_images(data, prior_file, tmp_path, monkeypatch):
    monkeypatch.setattr(subjects, "SHARP_TORSOS", {"validation": (0, 0)})
    monkeypatch.setattr(spread, "QUALITY", "draft")
    spread.spread_study(subjects.Cohort(data, limit=1, slices=3, prior=prior_file), tmp_path, ["mct-osem"], 2)
    found = table(tmp_path / "spread.csv")
    assert {(r["input"], r["setting"]) for r in found} == {("sinogram", "standard"), ("image", "mct-osem")}
    assert len(found) == 2 * spread.PARTS and all(float(r["ratio"]) > 0 for r in found)
    made = json.loads((tmp_path / "spread.json").read_text())
    assert set(made["factors"]) == {"sinogram", "image"} and made["prior_sha256"] == Prior.load(prior_file).sha256
    assert "from the others" in (tmp_path / "spread.md").read_text() and (tmp_path / "spread.png").is_file()


@pytest.fixture
def flat():
    """A body of SUV 2 in air with a true lesion of twice that, and where a spot would be false."""
    body = np.zeros((3, 60, 60), bool)
    body[:, 10:50, 8:52] = True
    truth = np.where(body, 2.0, 0.0)
    truth[:, 28:33, 20:25] = 4.0
    return truth, body


def test_contrast_is_that_of_the_spot_and_knows_the_body(flat):
    truth, body = flat
    found = contrast(truth, body, (2.0, 2.0))
    assert found[1, 30, 22] == pytest.approx(2.0, rel=0.01)
    assert found[1, 30, 44] == pytest.approx(1.0) and found[1, 12, 30] == pytest.approx(1.0)  # no air in the ring
    assert found[1, 5, 30] == 0


@pytest.mark.parametrize(("height", "spots"), [(0.4, 0), (0.8, 1)])  # contrasts of 1.2 and 1.4
def test_only_what_the_reference_lacks_is_a_false_lesion(flat, height, spots):
    truth, body = flat
    result = truth.copy()
    result[:, 28:33, 38:43] += height
    number, highest, slices = false_lesions(truth, result, body, None, (2.0, 2.0))
    assert (number, slices) == (spots, 3) and highest == pytest.approx(1 + height / 2, rel=0.02)
    assert false_lesions(truth, truth, body, None, (2.0, 2.0))[0] == 0  # the lesion of the reference is none
    lesions = np.zeros_like(body)
    lesions[:2, 28:33, 20:25] = True
    assert false_lesions(truth, result, body, lesions, (2.0, 2.0))[2] == 1
    assert false_lesions(truth, result, body, np.ones_like(body), (2.0, 2.0)) == (0, 0.0, 0)


def test_false_lesions_on_either_side_of_a_slice_with_a_lesion_are_two(flat):
    truth, body = flat
    result, lesions = truth.copy(), np.zeros_like(body)
    result[:, 28:33, 38:43] += 0.8
    lesions[1, 28:33, 20:25] = True
    assert false_lesions(truth, result, body, lesions, (2.0, 2.0))[::2] == (2, 2)


def test_another_patients_ct_is_of_no_subject_of_the_same_patient():
    chosen = [subjects.Subject(name, {}, lambda: None, kind) for kind, name in
              (("real", "A"), ("sharp", "A"), ("sharp", "torso_1"))]  # fmt: skip
    assert [robustness._another(chosen, n).name for n in range(3)] == ["torso_1", "torso_1", "A"]
    with pytest.raises(InputError, match="choose two patients or more"):
        robustness._another(chosen[:2], 0)


@pytest.mark.slow
def test_quality_against_time_has_the_profiles_and_counts_their_work(data, prior_file, tmp_path, monkeypatch):
    monkeypatch.setattr(subjects, "SHARP_TORSOS", {"validation": (0, 0)})
    monkeypatch.setattr(quality_vs_time, "STEPS", (1, 2))
    monkeypatch.setattr(quality_vs_time, "SLICES", 2)
    monkeypatch.setattr(
        quality_vs_time, "_variants", lambda made=quality_vs_time._variants: [v for v in made() if v[0] != "paper"]
    )
    words = ["study", "quality-vs-time", "--data", str(data), "--prior", str(prior_file), "--limit", "1"]
    assert run([*words, "--out", str(tmp_path)]) == 0
    found = {(r["sampler"], r["change"], r["reference"]): r for r in table(tmp_path / "quality_vs_time.csv")}
    assert ("draft", "", "sharp") in found and ("standard", '{"steps": 2}', "real") in found
    assert int(found["standard", "", "real"]["evaluations"]) == PROFILES["standard"].steps
    assert (tmp_path / "quality_vs_time.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory as POSIX tells it")
def test_scaling_measures_each_load_in_processes_of_its_own(tmp_path, monkeypatch):
    load = scaling.Load("slices", 4, 96)
    loads = [load, replace(load, axis="processes", processes=2), replace(load, axis="views", views=24)]
    monkeypatch.setattr(scaling, "LOADS", loads)
    assert run(["study", "scaling", "--vary", "slices", "processes", "views", "--out", str(tmp_path)]) == 0
    found = table(tmp_path / "scaling.csv")
    assert [(r["axis"], r["processes"], r["views"] == "24") for r in found] == [
        ("slices", "1", False),
        ("processes", "2", False),
        ("views", "1", True),
    ]
    assert all(float(r["peak_mb"]) >= float(r["base_mb"]) > 100 and float(r["seconds"]) > 0.1 for r in found)
    assert all((r["quality"], r["device"], r["gpu_peak_mb"]) == ("draft", "cpu", "") for r in found)
    both = next(r for r in found if r["processes"] == "2")
    assert float(both["cases_per_hour"]) <= 2 * 3600 / float(both["seconds"])
    assert (tmp_path / "scaling.png").stat().st_size > 10_000


def test_a_case_of_any_size_keeps_its_values_and_fills_its_field():
    small, large = scaling.case(8, 96)[0], scaling.case(40, 300)[0]
    assert small.shape == (8, 96, 96) and large.shape == (40, 300, 300)
    np.testing.assert_array_equal(large.array[32:], large.array[:8])
    assert large.array[:, :150, :150].max() == large.array[:, 150:, 150:].max() > 1
