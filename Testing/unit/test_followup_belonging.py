"""Studies of different patients and results of another PET are refused; what is doubtful is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_factory import in_frame_of_ct

from PETSuperResLib.cli import run
from PETSuperResLib.errors import GeometryError, InputError
from PETSuperResLib.files import file_hash, file_hashes, to_json
from PETSuperResLib.followup.belonging import check_studies
from PETSuperResLib.followup.compare import compare
from PETSuperResLib.followup.visit import Visit
from PETSuperResLib.lesions.segments import segments_of
from PETSuperResLib.volume import Volume

GRID = Volume(np.ones((12, 12, 12)), (4.0, 4.0, 4.0), unit="SUVbw")


def lesion() -> np.ndarray:
    array = np.zeros(GRID.shape, np.float32)
    array[4:8, 4:8, 4:8] = 1
    return array


def study(name: str, **metadata: Any) -> Visit:
    pet = replace(GRID.with_array(1 + 5 * lesion(), "SUVbw"), metadata=metadata)
    return Visit(name, {"pet": pet}, tuple(segments_of(GRID.with_array(lesion(), "label"))))


# -- patients -------------------------------------------------------------------------------------------
def test_studies_of_different_patients_are_refused_by_name():
    with pytest.raises(GeometryError, match=r"The PET of before and the PET of after are .*PatientID"):
        compare([study("before", patient="a"), study("after", patient="b")])
    ct = replace(GRID, metadata={"patient": "b"})
    with pytest.raises(GeometryError, match="PET of before and the CT of after"):
        check_studies([study("before", patient="a"), replace(study("after"), ct=ct)])


def test_nothing_is_said_of_one_patient_or_where_the_patient_is_not_known():
    known, unknown = study("one", patient="a"), study("three", patient="c", patient_from="StudyInstanceUID")
    assert check_studies([known, study("two", patient="a"), unknown, study("four")]) == []


# -- time -----------------------------------------------------------------------------------------------
def test_an_order_that_is_not_that_of_time_is_told():
    spring, summer = study("spring", series_date="20260301"), study("summer", acquisition_first="20260701 101010")
    assert check_studies([spring, study("undated", acquisition_first="101010"), summer]) == []
    told = compare([summer, spring], aligned=True).warnings
    assert "not in the order of time (summer of 2026-07-01, spring of 2026-03-01)" in told[0]
    reprocessed = study("winter", series_date="20260801", acquisition_first="20260101 101010")
    assert check_studies([reprocessed, spring]) == []


def test_a_series_given_twice_is_told():
    (told,) = check_studies(
        [study("one", series_uid="1.2"), study("two", series_uid="1.3"), study("3", series_uid="1.2")]
    )
    assert told.startswith("one and 3 are the same PET")


# -- tracers --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("fdg", "fdg", False),
        ("fdg", "68ga-psma-11", True),
        ("fdg", "ga-68", True),
        ("psma-11", "psma-1007", True),
        ("ga-68 psma-11", "f-18 psma", True),
        ("68ga-psma-11", "ga-68 psma", False),
        ("[68ga]dotatate", "ga-68", False),
        ("psma-11", "gallium psma-11", False),  # an element without its mass
        ("ga-68 psma-11", "ga-psma", False),
        ("gallium", "ga-68 psma-11", False),
        ("gallium psma-11", "copper psma-11", True),
        ("rubidium", "fdg", True),
        ("naf", "sodium fluoride", False),
        ("fdg", None, False),
    ],
)
def test_different_tracers_are_told(first, second, told):
    found = check_studies([study("before", tracer=first), study("after", tracer=second), study("no header")])
    words = f"different tracers (before of {first.upper()}, after of {str(second).upper()})"
    assert len(found) == told and (not told or words in found[0])


# -- results --------------------------------------------------------------------------------------------
def result(folder: Path, pet: Path, **settings: Any) -> str:
    """A folder as 'reconstruct' writes it of a PET."""
    folder.mkdir()
    GRID.write(folder / "sr.nii.gz")
    files = {"pet": str(pet)}
    facts = {"files": files, "files_sha256": file_hashes(files), **settings}
    hashes = {"sr.nii.gz": file_hash(folder / "sr.nii.gz")}
    (folder / "report.json").write_text(to_json({**facts, "outputs_sha256": hashes}), encoding="utf-8")
    return str(folder)


@pytest.fixture
def pets(tmp_path) -> list[Path]:
    for n in (1, 2):
        GRID.with_array(1 + n * lesion(), "SUVbw").write(tmp_path / f"pet{n}.nii.gz")
    GRID.with_array(lesion(), "label").write(tmp_path / "seg.nii.gz")
    return [tmp_path / f"pet{n}.nii.gz" for n in (1, 2)]


def words(pets: list[Path], *results: str) -> list[str]:
    folder = pets[0].parent
    masks = [str(folder / "seg.nii.gz")] * 2
    return ["compare", "--pet", *map(str, pets), "--segmentation", *masks, "--results", *results,
            "--out", str(folder / "out")]  # fmt: skip


def test_results_of_another_pet_are_refused(pets, tmp_path, capsys):
    own = [result(tmp_path / f"r{n}", pet) for n, pet in enumerate(pets)]
    assert run(words(pets, *own)) == 0
    assert "differ" not in capsys.readouterr().out
    assert run(words(pets, own[1], own[0])) == 2
    error = capsys.readouterr().err
    assert "results of study 1 were made from another PET" in error and str(pets[1]) in error and "--results" in error


def test_a_file_given_twice_and_results_of_different_settings_are_told(pets, tmp_path, capsys):
    settings = [
        {"sampler": {"name": name}, "resolution": {"stated_mm": fwhm}}
        for name, fwhm in (("draft", None), ("paper", 6.0))
    ]
    own = [result(tmp_path / f"r{n}", pets[0], **values) for n, values in enumerate(settings)]
    assert run(words([pets[0], pets[0]], *own)) == 0
    text = capsys.readouterr().out
    assert "study 1 and study 2 are the same PET" in text
    assert "The results differ in quality, FWHM: the limits hold for the same reconstruction only." in text


@pytest.mark.parametrize("body", [("--weight", "80000"), ("--weight", "80", "0.5"), ("--height", "1.75")])
def test_a_body_in_other_units_is_refused(pets, tmp_path, capsys, body):
    own = [result(tmp_path / f"r{n}", pet) for n, pet in enumerate(pets)]
    assert run([*words(pets, *own), *body]) == 2
    error = capsys.readouterr().err
    assert body[0] in error and body[-1] in error and not (tmp_path / "out").exists()


def test_results_that_were_measured_unlike_are_told():
    """An image and a sinogram, whose sampler has values of its own under one name; and images of other noise."""
    known = {"sampler": {"name": "draft", "steps": 2}, "prior": {"sha256": "a"}, "measurement": "image",
             "resolution": {"fwhm_mm": [6, 5], "psf_modelled": True, "penalised": False},
             "noise": {"percent_at_suv_1": 10.0}}  # fmt: skip
    counted = known | {"measurement": "sinogram", "resolution": None, "sampler": {"name": "draft", "steps": 3},
                       "scanner": {"fwhm_transaxial_mm": 8, "fwhm_axial_mm": 0}, "trues_per_slice": 9e4}  # fmt: skip
    for other, words in (
        (counted, "measurement (image or sinogram)"),
        (known | {"noise": {"percent_at_suv_1": 20}}, "noise"),
    ):
        (told,) = check_studies([replace(study("a"), report=known), replace(study("b"), report=other)])
        assert told.startswith(f"The results differ in {words}: ") and "Errors do not cancel" in told
    assert check_studies([replace(study("a"), report=known)] * 2) == []


@pytest.mark.parametrize("part", [1.0, 0.9])
def test_what_was_recovered_with_another_mask_is_left_out_and_told(pets, tmp_path, part):
    folder, volume = Path(result(tmp_path / "r", pets[0])), float(lesion().sum()) * GRID.voxel_ml
    name = Visit.read("a", pets[0], segmentation=tmp_path / "seg.nii.gz").segments[0].name
    (folder / "lesions.csv").write_text(f"lesion,suvpeak_recovered,volume_ml\n{name},5.0,{part * volume}\n")
    report = json.loads((folder / "report.json").read_text())
    report["outputs_sha256"]["lesions.csv"] = file_hash(folder / "lesions.csv")
    (folder / "report.json").write_text(json.dumps(report))
    read = Visit.read("a", pets[0], segmentation=tmp_path / "seg.nii.gz", results=folder)
    assert (name in read.recovered) == (part == 1)
    assert any(f"recovered of {name} is of another mask" in note for note in read.notes) == (part != 1)


def test_results_of_dicom_folders_are_told_apart_by_their_places(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    both = [replace(study(f.name), file=f, report={"files": {"pet": str(f)}}) for f in folders]
    assert check_studies(both) == []
    with pytest.raises(InputError, match="results of a were made from another PET"):
        check_studies([replace(both[0], report=both[1].report), both[1]])
    assert check_studies([replace(both[0], report={"files": {"pet": "moved"}}), both[1]]) == []


def test_results_of_another_dicom_series_are_refused():
    own = replace(study("before", series_uid="1.2"), report={"series_uids": {"pet": "1.2", "ct": None}})
    assert check_studies([own, study("after", series_uid="1.3")]) == []
    with pytest.raises(InputError, match=r"results of before were made from another PET \(1.4\)"):
        check_studies([replace(own, report={"series_uids": {"pet": "1.4"}}), study("after", series_uid="1.3")])


# -- contours -------------------------------------------------------------------------------------------
def test_contours_in_the_frame_of_reference_of_the_ct_are_used_and_told(tmp_path):
    in_frame_of_ct(tmp_path)
    found = Visit.read("v", tmp_path / "1-PET", tmp_path / "2-CT", tmp_path / "9-RT")
    assert [segment.name for segment in found.segments] == ["GTV_1"]
    assert any("Contours in the CT's frame of reference are used" in note for note in found.notes)
    with pytest.raises(InputError, match="another frame of reference"):
        Visit.read("v", tmp_path / "1-PET", segmentation=tmp_path / "9-RT")
