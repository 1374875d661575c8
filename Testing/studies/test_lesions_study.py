"""The study of recovered lesion uptake: its rows, the calibration by them, and its tables."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import small_phantom, table, tiny_prior, write_phantom

from PETSuperResLib.errors import InputError
from PETSuperResLib.lesions.intervals import PET_ALONE, STRATA_ML, read_calibration
from PETSuperResLib.physics.protocols import Protocol
from PETSuperResLib.studies.evaluation import lesion_scenes, lesions
from PETSuperResLib.studies.evaluation.lesion_report import coverage, lesions_lines
from PETSuperResLib.studies.evaluation.lesion_scenes import Scan, without_header
from PETSuperResLib.studies.subjects import Subject


def painted_rows(count: int = 400, seed: int = 0, kind: str = "sinogram") -> list[dict]:
    """Rows of lesions whose recovered values are off by a skewed error of known size."""
    random = np.random.default_rng(seed)
    rows = []
    for n in range(count):
        volume, error, suv = 10 ** random.uniform(-1, 1.5), random.uniform(0.05, 0.2), random.uniform(2, 9)
        row = {"patient": f"p{n % 25}", "input": kind, "condition": "standard", "seed": n, "mask": "true", "label": 1}
        row |= {"volume_ml": volume, "background": 1.0, "fwhm_mm": 6.0, "noise": 0.1, "described": True}
        row |= {"lesion_suvmean": suv, "header": True}
        for name in ("suvmean", "suvpeak", "suvmax"):
            row[name] = suv * np.exp(error * (random.gamma(2.0) - 1.5))
            row |= {f"{known}_{name}": suv for known in ("true", "image", "pet")}
        ends = (row["suvmean"] * np.exp(side * 1.645 * error) for side in (-1, 1))
        row |= {"wider": row["suvmean"], **dict(zip(("low", "high"), ends, strict=True))}
        rows.append(row | {"tlg": row["suvmean"] * volume, "true_tlg": suv * volume})
    return rows


def test_calibrated_intervals_cover_what_they_claim_on_other_lesions():
    made = lesions.calibrated(painted_rows(2000), {"seeds": [0]})
    assert [stratum.volume_ml for stratum in made.strata] == list(zip(STRATA_ML[:-1], STRATA_ML[1:], strict=True))
    others = [row | lesions.calibrated_row(row, made) for row in painted_rows(4000, seed=1)]
    for measure in ("suvmean", "suvpeak", "suvmax", "tlg"):
        assert 88 < coverage(others, measure) < (96 if measure == "suvmax" else 93)  # no maximum is below a mean
    ratio = np.array([row["suvmean"] / row["true_suvmean"] for row in others])
    assert np.median(ratio) == pytest.approx(1, abs=0.015)
    below, above = (np.mean([row[f"suvmean_{end}"] > row["true_suvmean"] for row in others]) for end in ("low", "high"))
    assert below < 0.035 and 0.9 < above < 0.97  # 2 % and 92 % are aimed at


def guesses(count: int, seed: int, error: float) -> list[dict]:
    """Rows of images whose recovered values are off by another ``error`` that no fit knows of."""
    random = np.random.default_rng(seed)
    rows = [row | {"described": False} for row in painted_rows(count, seed, "image")]
    for row in rows:
        factor = np.exp(error * random.standard_normal())
        row |= {name: row[name] * factor for name in ("suvmean", "suvpeak", "low", "high", "wider")}
    return rows


def test_where_the_filter_is_a_guess_intervals_are_as_much_wider_as_such_lesions_ask_for():
    known = painted_rows(1500, kind="image")
    made, plain = lesions.calibrated([*known, *guesses(1500, 2, 0.4)], {}), lesions.calibrated(known, {})
    assert made.strata == plain.strata and plain.guessed == {}  # guesses widen no interval but their own
    assert made.guessed["image"]["suvmean"] > 1.5 > made.guessed["image"]["suvmax"] >= 1
    others = guesses(2000, 3, 0.4)
    told, narrow = ([row | lesions.calibrated_row(row, table) for row in others] for table in (made, plain))
    assert 88 < coverage(told, "suvmean") < 94 and coverage(narrow, "suvmean") < 75
    assert lesions.calibrated([*known, *guesses(1500, 2, 0.0)], {}).guessed["image"]["suvmean"] < 1.1


def test_the_factor_of_a_guess_is_by_the_mask_that_asks_for_most():
    rows = [*painted_rows(800, kind="image"), *guesses(800, 2, 0.1)]
    small = [row | {"mask": "one voxel smaller"} for row in guesses(800, 4, 0.6)]
    before, after = (lesions.calibrated(found, {}).guessed["image"]["suvmean"] for found in (rows, rows + small))
    assert after > 1.2 * before


def test_of_an_image_without_its_header_the_scanner_alone_is_known(scan, imaged, tmp_path, monkeypatch):
    image, simulation, known = imaged
    monkeypatch.setattr(lesion_scenes, "simulate", lambda *_, **more: simulation)
    (bare,) = without_header([scan, image, replace(image, condition="vereos")])  # whose header says no filter
    assert bare == replace(image, header=False)
    guess = lesions.scan_rows(bare, tiny_prior(tmp_path), "draft", tmp_path, "cpu")
    assert {row["described"] for row in known} == {True} != {row["described"] for row in guess} == {False}
    assert [row["true_suvmean"] for row in known] == [row["true_suvmean"] for row in guess]
    assert {row["fwhm_mm"] for row in known} != {row["fwhm_mm"] for row in guess}
    simulated = bare.simulate(*scan.subject.load()[:2], "cpu").lr.metadata
    assert simulated["model"] and "reconstruction_method" not in simulated


def test_a_stratum_of_few_lesions_takes_those_of_the_smaller_one():
    rows = [row for row in painted_rows() if row["volume_ml"] < 10]
    few = [row | {"volume_ml": 20.0, "seed": 1000 + n} for n, row in enumerate(painted_rows(5, seed=2))]
    middle, large = lesions.calibrated([*rows, *few], {}).strata[1:]
    assert large.lesions == middle.lesions + 5


def test_a_patient_with_many_lesions_weighs_no_more_than_another():
    rows, many = painted_rows(400), [row | {"patient": "many", "suvmean": 1.0} for row in painted_rows(400, seed=3)]
    before, after = (lesions.calibrated(found, {}).strata[1].quantiles["suvmean"] for found in (rows, rows + many))
    assert after[0] == pytest.approx(before[0], abs=0.4) and after[1] < before[1] + 1


def test_the_lower_end_covers_nine_in_ten_lesions_whose_mask_is_too_small():
    rows = painted_rows(1200)
    small = [row | {"mask": "one voxel smaller"} for row in painted_rows(1200, seed=5)]
    for row in small:
        row |= {name: row[name] * 1.7 for name in ("suvmean", "tlg", "low", "high", "wider")}
    made = lesions.calibrated([*rows, *small], {})
    alone = lesions.calibrated(rows, {})
    assert made.strata[1].centres == alone.strata[1].centres  # by the true masks
    assert made.strata[1].quantiles["suvmean"][1] == alone.strata[1].quantiles["suvmean"][1]
    others = [row | lesions.calibrated_row(row, made) for row in small]
    assert 89 < coverage(others, "suvmean") < 94
    assert coverage([row | lesions.calibrated_row(row, alone) for row in small], "suvmean") < 70


def test_moved_labels_keep_to_themselves():
    labels = small_phantom().labels
    larger, smaller = (lesions.moved_labels(labels, n) for n in (1, -1))
    for label in (1, 2):
        own, grown, less = (volume.array == label for volume in (labels, larger, smaller))
        assert (grown & own).sum() == own.sum() < grown.sum() and (less & own).sum() == less.sum() < own.sum()


@pytest.fixture(scope="module")
def scan():
    phantom = small_phantom()
    return Scan(Subject("one painting 1", {"a": 1}, lambda: (phantom.pet, phantom.ct, phantom.labels)), "standard")


@pytest.fixture(scope="module")
def kept(scan, tmp_path_factory):
    """The scan's rows, with the prior and the folder that keeps them."""
    folder = tmp_path_factory.mktemp("kept")
    prior = tiny_prior(folder)
    return lesions.scan_rows(scan, prior, "draft", folder, "cpu"), prior, folder


@pytest.fixture(scope="module")
def imaged(scan, tmp_path_factory):
    """A scan by a protocol whose header says PSF and filter: the scan, what it gives, and its rows."""
    image, made = replace(scan, condition="discovery-690-vpfx", input="image"), []
    simulate, folder = lesion_scenes.simulate, tmp_path_factory.mktemp("imaged")

    def keep(*given, **more):
        made.append(simulate(*given, **more))
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lesion_scenes, "simulate", keep)
        rows = lesions.scan_rows(image, tiny_prior(folder), "draft", folder, "cpu")
    return image, made[0], rows


def test_a_scan_gives_truth_image_and_recovered_values_and_is_kept(scan, kept, monkeypatch):
    found, prior, folder = kept
    assert {"true", "one voxel larger"} <= {row["mask"] for row in found}
    assert {row["patient"] for row in found} == {"one"}
    for row in found:
        assert row["suvmean"] > 0 and row["true_suvmean"] > 0 and row["low"] < row["high"]
    monkeypatch.setattr(lesions, "recover", None)  # not called again
    assert lesions.scan_rows(scan, prior, "draft", folder, "cpu") == found


def test_an_image_is_also_measured_without_a_result(imaged):
    found = imaged[2]
    by_input = {kind: [row for row in found if row["input"] == kind] for kind in ("image", PET_ALONE)}
    assert len(by_input["image"]) == len(by_input[PET_ALONE]) == len(found) / 2
    for of_result, alone in zip(*by_input.values(), strict=True):
        assert [of_result[k] for k in ("mask", "label")] == [alone[k] for k in ("mask", "label")]
        assert "image_suvmean" in of_result and "image_suvmean" not in alone
        assert alone["fwhm_mm"] == of_result["fwhm_mm"] and alone["true_suvmean"] == of_result["true_suvmean"]
    hot = [row for row in by_input[PET_ALONE] if lesions.is_lesion(row)]
    assert all(abs(np.log(row["suvmean"] / row["true_suvmean"])) < 0.5 for row in hot) and hot
    made = lesions.calibrated([*painted_rows(), *painted_rows(kind=PET_ALONE)], {})
    assert {stratum.input for stratum in made.strata} == {"sinogram", PET_ALONE}
    text = "\n".join(lesions_lines([row | lesions.calibrated_row(row, made) for row in hot]))
    assert f"| {PET_ALONE} | discovery-690-vpfx |" in text


def test_the_study_writes_its_tables_and_its_calibration(scan, tmp_path, monkeypatch):
    monkeypatch.setattr(lesions, "scans", lambda *_: [scan])
    monkeypatch.setattr(lesions, "scan_rows", lambda *_: painted_rows(100))
    prior = tiny_prior(tmp_path)
    monkeypatch.setattr(lesions.Prior, "load", lambda *_: prior)
    path = lesions.lesions_study(tmp_path / "table", "data", calibrate=True, command="petsuperres study lesions")
    assert read_calibration(path).made["command"] == "petsuperres study lesions"
    written = lesions.lesions_study(tmp_path / "out", "data")
    text = written.read_text()
    assert "| sinogram | 1 to 10 mL |" in text and "| sinogram | standard | 100 | 25 |" in text
    assert len(table(tmp_path / "out" / "lesions.csv")) == 100 and (tmp_path / "out" / "lesions.png").is_file()


def test_segments_that_were_recovered_too_faint_are_counted(scan, tmp_path, monkeypatch):
    """They are no lesions by what was recovered, some are by the truth: a table without them would hide that."""
    rows = painted_rows(100)
    for row, truth in zip(rows[:3], (6.0, 3.0, 1.0), strict=True):
        row |= {"suvmean": 1.2, "background": 1.0, "true_suvmean": truth}
    rows[3] |= {"volume_ml": 0.01, "suvmean": 1.2, "background": 1.0, "true_suvmean": 6.0}  # too small
    monkeypatch.setattr(lesions, "scans", lambda *_: [scan])
    monkeypatch.setattr(lesions, "scan_rows", lambda *_: rows)
    prior = tiny_prior(tmp_path)
    monkeypatch.setattr(lesions.Prior, "load", lambda *_: prior)
    text = lesions.lesions_study(tmp_path / "out", "data").read_text()
    assert "| sinogram | standard | 96 |" in text and "true contrast of 1.5 or more" in text
    assert "| sinogram | 3 | 2 | " in text.partition("## Left out")[2]


def test_a_folder_without_cts_is_told(tmp_path):
    """Its anatomies would be missing in the table, and in a calibration, without a word."""
    (tmp_path / "split.json").write_text('{"test": ["one"]}')
    write_phantom(tmp_path / "one")
    with pytest.raises(InputError, match=r"none has no folder with CT_HU.nii.gz"):
        lesions.scans("test", tmp_path, tmp_path / "none")


def test_every_anatomy_is_scanned_by_each_protocol_that_is_named(tmp_path, monkeypatch):
    seen = []
    anatomies = [Subject(name, {}, lambda: None) for name in ("one", "two")]
    monkeypatch.setattr("PETSuperResLib.studies.evaluation.lesion_scenes.lesion_subjects", lambda *_: anatomies)
    monkeypatch.setattr(lesions, "scan_rows", lambda one, *_: seen.append(one) or painted_rows(100, kind="image"))
    prior = tiny_prior(tmp_path)
    monkeypatch.setattr(lesions.Prior, "load", lambda *_: prior)
    lesions.lesions_study(tmp_path / "out", "data", protocols=["vision", "Mct-OSEM", "vision"])
    assert [(one.subject.name, one.condition) for one in seen] == [
        *(("one", "vision"), ("one", "mct-osem"), ("two", "vision"), ("two", "mct-osem"))
    ]
    assert all(one.input == "image" and one.header for one in seen)
    (tmp_path / "own.json").write_text(json.dumps([Protocol.get("vision").to_dict() | {"name": "mine"}]))
    with pytest.raises(InputError, match="'mine' is none of those of this version: use mct-lesions"):
        lesions.lesions_study(tmp_path / "out", "data", protocols=[str(tmp_path / "own.json")])


def test_another_seed_is_another_noise_of_the_same_anatomies(tmp_path, monkeypatch):
    anatomies, seen = [Subject(name, {}, lambda: None) for name in ("one", "two")], []
    monkeypatch.setattr("PETSuperResLib.studies.evaluation.lesion_scenes.lesion_subjects", lambda *_: anatomies)
    monkeypatch.setattr(lesions, "scan_rows", lambda one, *_: seen.append(one) or painted_rows(100))
    prior = tiny_prior(tmp_path)
    monkeypatch.setattr(lesions.Prior, "load", lambda *_: prior)
    for seed in ({}, {"seed": 1}):
        lesions.lesions_study(tmp_path / f"out{seed}", "data", protocols=["vision"], **seed)
    assert [one.subject.name for one in seen] == ["one", "two"] * 2
    assert [one.seed for one in seen[:2]] == [96_000, 96_001]  # as ever
    assert len({one.seed for one in seen}) == 4


def test_a_damaged_kept_result_is_made_again(scan, kept):
    found, prior, folder = kept
    (file,) = folder.glob("*.json")
    whole = file.read_text()
    file.write_text(whole[:100])
    assert lesions.scan_rows(scan, prior, "draft", folder, "cpu") == found and file.read_text() == whole


def test_the_calibration_leaves_protocols_out(scan, tmp_path, monkeypatch):
    names, prior, seen = ("mct-osem", *lesions.UNSEEN), tiny_prior(tmp_path), []
    monkeypatch.setattr(lesions, "scans", lambda *_: [replace(scan, condition=n, input="image") for n in names])
    monkeypatch.setattr(lesions, "scan_rows", lambda one, *_: seen.append(one.condition) or painted_rows(100))
    monkeypatch.setattr(lesions.Prior, "load", lambda *_: prior)
    path = lesions.lesions_study(tmp_path / "out", "data", calibrate=True)
    assert seen == ["mct-osem", "mct-osem"] and read_calibration(path).made["left_out"] == list(lesions.UNSEEN)


def test_the_range_of_the_calibration_is_that_of_known_and_of_guessed_filters():
    wide = [row | {"fwhm_mm": 9.0} for row in guesses(100, 2, 0.0)]
    made = lesions.calibrated([*painted_rows(kind="image"), *wide], {})
    assert made.domain["image"]["fwhm_mm"] == (6.0, 9.0)


def test_the_factor_of_a_guess_is_that_of_the_sort_of_headers_that_asks_for_more():
    known = painted_rows(1500, kind="image")
    own, bare = guesses(300, 2, 0.4), [row | {"header": False} for row in guesses(1500, 3, 0.0)]
    together, alone = (lesions.calibrated([*known, *rows], {}).guessed["image"] for rows in ([*own, *bare], own))
    assert together["suvmean"] == alone["suvmean"] > 1.3


def test_a_calibration_by_protocols_whose_headers_hide_the_filter_is_refused():
    with pytest.raises(InputError, match="No header of these protocols says scanner, PSF and filter"):
        lesions.calibrated(guesses(100, 2, 0.0), {})


def test_images_without_their_headers_are_in_a_table_of_their_own():
    known = [row | {"condition": "vision"} for row in painted_rows(60, kind="image")]
    made = lesions.calibrated([*painted_rows(kind="image"), *guesses(100, 2, 0.0)], {})
    bare = [row | {"header": False, "described": False} for row in known[:40]]
    natural = [row | {"described": False} for row in painted_rows(30, kind="image")]
    lines = lesions_lines([row | lesions.calibrated_row(row, made) for row in (*known, *natural, *bare)])
    for words, count in (("scanner, PSF and filter", 60), ("the scanner alone", 40), ("a header without", 30)):
        assert any(line.startswith(f"| image | {words}") and f"| {count} | 25 |" in line for line in lines)
    assert any(line.startswith("| image | vision | 60 |") for line in lines)


def test_masks_are_compared_on_the_scans_that_have_them():
    rows = [row | lesions.calibrated_row(row, lesions.calibrated(painted_rows(), {})) for row in painted_rows(60)]
    moved = [row | {"mask": "one voxel larger"} for row in rows[:30]]
    lines = lesions_lines([*rows, *moved])
    assert any(line.startswith("| sinogram | one voxel larger | 30 |") for line in lines)
    assert any(line.startswith("| sinogram | true | 30 |") for line in lines)
