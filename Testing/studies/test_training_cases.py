"""Training cases are found in every layout, and DICOM studies come in SUV, in HU and with their contours."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_factory import pet_slices, suv_pattern, write_series
from geometry import data_dir
from pydicom.uid import generate_uid
from study_factory import again, body, in_frame_of_ct, lesions_of, rtstruct, seg, write_case, write_study

from PETSuperResLib.cohort.cases import find_cases, search
from PETSuperResLib.cohort.checks import check_case
from PETSuperResLib.cohort.manifest import split_cases, write_manifest
from PETSuperResLib.errors import InputError


# -- layouts --------------------------------------------------------------------------------------------
def test_cases_are_found_in_every_layout_and_again_by_their_names(tmp_path):
    write_case(tmp_path / "sarcoma_1")
    write_case(tmp_path / "PETCT_ab" / "2003-study", names=("SUV", "CTres", "SEG"))
    write_case(tmp_path / "PETCT_ab" / "2004-study", names=("SUV", "CTres"))
    nnunet, (pet, ct) = tmp_path / "nn" / "imagesTr", body()
    for title in ("fdg_0a1b_2003-1", "fdg_0a1b_2005-1", "lone"):
        ct.write(nnunet / f"{title}_0000.nii.gz")
        pet.write(nnunet / f"{title}_0001.nii.gz")
    pet.with_array(np.ones(pet.shape), "label").write(tmp_path / "nn" / "labelsTr" / "lone.nii.gz")
    write_study(tmp_path / "archive" / "P-1" / "2001-study")
    cases = {case.name: case for case in find_cases(tmp_path)}
    assert {name: case.kind for name, case in cases.items()} == {
        **{"PETCT_ab/2003-study": "nifti", "PETCT_ab/2004-study": "nifti", "sarcoma_1": "nifti"},
        **{"nn/fdg_0a1b_2003-1": "nnunet", "nn/fdg_0a1b_2005-1": "nnunet", "nn/lone": "nnunet"},
        "archive/P-1/2001-study": "dicom",
    }
    assert [find_cases(tmp_path, [name])[0] for name in cases] == list(cases.values())
    assert cases["PETCT_ab/2003-study"].patient == cases["PETCT_ab/2004-study"].patient
    assert cases["nn/fdg_0a1b_2003-1"].patient == cases["nn/fdg_0a1b_2005-1"].patient
    assert len({case.patient for case in cases.values()}) == 5
    assert cases["PETCT_ab/2004-study"].lesions() is None and lesions_of(cases["nn/lone"]).array.all()
    for case in cases.values():
        check_case(case)


def test_a_patients_folder_stands_for_all_its_studies(tmp_path):
    for study in ("b", "a"):
        write_case(tmp_path / "P" / study)
    write_case(tmp_path / "Q")
    assert [c.name for c in find_cases(tmp_path, ["Q", "P"])] == ["Q", "P/a", "P/b"]


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", ""])
def test_a_name_that_leads_out_of_the_data_folder_is_refused(tmp_path, name):
    write_case(tmp_path / "data" / "a")
    write_case(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="not a path within"):
        find_cases(tmp_path / "data", [name])


# -- DICOM ----------------------------------------------------------------------------------------------
def test_a_dicom_study_comes_in_suv_and_hu(tmp_path):
    write_study(tmp_path / "P-1" / "S", units="BQML", decay="START")
    [case] = find_cases(tmp_path)
    np.testing.assert_allclose(case.pet().array, suv_pattern(), rtol=2e-3)
    np.testing.assert_allclose(case.ct().array, np.where(suv_pattern() > 0.5, 40, -900), atol=0.5)
    assert case.pet().unit == "SUVbw" and case.ct().unit == "HU" and case.lesions() is None


def test_the_attenuation_corrected_pet_and_the_pets_own_ct_are_taken(tmp_path):
    pet, ct = write_study(tmp_path / "S")
    longer = again([*pet, *pet], CorrectedImage=["NORM", "DTIM"])  # a NAC series is no less long
    write_series(longer, tmp_path / "S" / "3-NAC")
    write_series(again([*ct, *ct], FrameOfReferenceUID=generate_uid()), tmp_path / "S" / "4-other")
    write_series(again([*ct, *ct], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path / "S" / "5-scout")
    [case] = find_cases(tmp_path)
    assert case.pet_series == pet[0].SeriesInstanceUID and case.ct_series == ct[0].SeriesInstanceUID


def test_studies_in_one_folder_are_told_apart_and_one_patients_stay_together(tmp_path):
    flat = tmp_path / "flat"
    for number, patient in enumerate(("A", "A", "B")):
        pet, ct = write_study(tmp_path / "made", patient)
        write_series([*pet, *ct], flat, range(100 * number, 100 * number + len(pet) + len(ct)))
    cases = find_cases(flat)
    assert len(cases) == 3 and len({c.patient for c in cases}) == 2
    assert [find_cases(flat, [c.name])[0] for c in cases] == cases


def test_a_study_without_ct_is_skipped_with_the_reason(tmp_path):
    write_series(pet_slices(), tmp_path / "data" / "alone")
    with pytest.raises(InputError, match="no CT series"):
        find_cases(tmp_path / "data")
    write_case(tmp_path / "data" / "case")
    content = write_manifest(tmp_path / "data", tmp_path / "manifest.json")
    assert list(content["cases"]) == ["case"] and "no CT series" in content["skipped"]["alone"]


def test_what_else_a_study_holds_is_part_of_it(tmp_path):
    pet, _ = write_study(tmp_path / "S")
    write_series(again([*pet, *pet], ImageType=["DERIVED", "SECONDARY", "MIP"]), tmp_path / "S" / "3-MIP")
    report = again(pet[:1], Modality="SR")[0]
    del report.Rows
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.22"
    write_series([report], tmp_path / "S" / "4-SR")
    found = search(tmp_path)
    assert list(found.cases) == ["S"] and not found.skipped


def test_contours_under_another_studys_uid_are_found_by_their_frame_of_reference_or_told(tmp_path):
    pet, _ = write_study(tmp_path / "S")
    planned = rtstruct(pet)
    planned.StudyInstanceUID = "1.2.3"
    for roi in planned.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = pet[0].FrameOfReferenceUID
    write_series([planned], tmp_path / "S" / "9-RT")
    [case] = find_cases(tmp_path)
    assert [segment.name for segment in case.segmentation(case.pet()).segments] == ["GTV_1"]
    for roi in planned.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = "1.2.3.4"
    write_series([planned], tmp_path / "S" / "9-RT")
    found = search(tmp_path)
    assert not found.cases["S"].lesion_files
    assert list(found.skipped.values()) == ["no PET has the study or the frame of reference of its contours"]


def test_a_folder_of_damaged_files_is_listed_and_the_others_are_read(tmp_path):
    pet, _ = write_study(tmp_path / "S")
    [file] = write_series(pet[:1], tmp_path / "T" / "PET").iterdir()
    file.write_bytes(file.read_bytes()[:300])
    found = search(tmp_path)
    assert list(found.cases) == ["S"]
    assert list(found.skipped) == ["T/PET"] and "cannot be read as DICOM" in found.skipped["T/PET"]


def test_the_tumour_of_an_rtstruct_is_filled_and_its_hole_left_out(tmp_path):
    pet, _ = write_study(tmp_path / "S")
    write_series([rtstruct(pet)], tmp_path / "S" / "9-RT")
    [case] = find_cases(tmp_path)
    lesions = lesions_of(case)
    expected = np.zeros(lesions.shape)
    expected[:, :4, :4] = 1
    expected[:, 1:3, 1:3] = 0
    np.testing.assert_array_equal(lesions.array, expected)
    assert lesions.same_grid(case.pet())


def test_lesions_of_a_study_come_each_by_itself_from_the_files_that_have_some(tmp_path):
    pet, _ = write_study(tmp_path / "S")
    write_series([rtstruct(pet, ("Heart",))], tmp_path / "S" / "8-RT")
    write_series([rtstruct(pet, ("Lesion A", "Lesion B"))], tmp_path / "S" / "9-RT")
    [case] = find_cases(tmp_path)
    found = case.segmentation(case.pet())
    assert [segment.name for segment in found.segments] == ["Lesion A", "Lesion B"]
    assert any("'Heart'" in note for note in found.notes)
    write_manifest(tmp_path, tmp_path / "manifest.json")
    again = split_cases(tmp_path, "train", tmp_path / "manifest.json")
    assert [c.lesion_files for c in again] == [case.lesion_files] and len(case.lesion_files) == 2


def test_a_seg_lands_on_the_voxels_it_marks(tmp_path):
    pet, _ = write_study(tmp_path / "S")
    mask = np.random.default_rng(0).random(suv_pattern().shape) > 0.6
    mask[0] = False  # a slice without a frame
    write_series([seg(pet, mask)], tmp_path / "S" / "8-SEG")
    [case] = find_cases(tmp_path)
    np.testing.assert_array_equal(lesions_of(case).resample_to(case.pet(), "nearest").array, mask)


def test_contours_in_the_frame_of_reference_of_the_ct_are_used(tmp_path):
    in_frame_of_ct(tmp_path / "S")
    [case] = find_cases(tmp_path)
    assert lesions_of(case).array.any()


def test_contours_that_cannot_be_read_or_are_no_lesions_are_left_out(tmp_path):
    pet, _ = write_study(tmp_path / "S")
    folder = write_series([rtstruct(pet, ("Heart", "Liver"))], tmp_path / "S" / "9-RT")
    [case] = find_cases(tmp_path)
    assert case.lesion_files and case.lesions() is None
    [file] = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-200])
    assert case.lesions() is None
    assert "lesions are left out" in check_case(case)["warnings"][0]


def test_the_real_study_agrees_with_its_nifti_form():
    [dicom] = find_cases(data_dir("sts_dicom"))
    [nifti] = find_cases(data_dir("sts"), ["STS_001"])
    np.testing.assert_allclose(dicom.pet().resample_to(nifti.pet()).array, nifti.pet().array, atol=1e-3)
    drawn, expected = (float(m.array.sum()) * m.voxel_ml for m in (lesions_of(dicom), lesions_of(nifti)))
    assert drawn == pytest.approx(expected, rel=0.05)
