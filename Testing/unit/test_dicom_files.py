"""Which files are read as which series: odd files, odd headers, several series in a folder."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_factory import Scan, ct_slices, pet_slices, suv_pattern, write_series
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.fileset import FileSet
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from study_factory import again

from PETSuperResLib.cli import run
from PETSuperResLib.cohort.cases import find_cases
from PETSuperResLib.dicom.pixels import stored_pixels
from PETSuperResLib.dicom.read import read_series
from PETSuperResLib.errors import InputError
from PETSuperResLib.volume import Volume

SUV = pytest.approx(suv_pattern(), rel=2e-3, abs=2e-4)


def write_text(file: Path, keyword: str, value: bytes) -> None:
    """Put any bytes in place of an attribute's value, of the same length."""
    raw, element = file.read_bytes(), pydicom.dcmread(file)[keyword]
    start = raw.index(element.tag.group.to_bytes(2, "little") + element.tag.element.to_bytes(2, "little")) + 8
    length = int.from_bytes(raw[start - 2 : start], "little")
    file.write_bytes(raw[:start] + value.ljust(length)[:length] + raw[start + length :])


# -- numbers ------------------------------------------------------------------------------------------
NUMBERS = [
    ("PT", "ImagePositionPatient", b"-10,0\\20,0\\-300,0"), ("PT", "PixelSpacing", b"3\\x"),
    ("PT", "PixelSpacing", b"3"),
    ("PT", "RescaleSlope", b"0,01"), ("PT", "PatientWeight", b"70kg"), ("PT", "ImageOrientationPatient", b"1\\0\\0"),
    ("PT", "RescaleSlope", b"1\\2"), ("CT", "RescaleIntercept", b"-1,0"), ("CT", "RescaleSlope", b"n/a"),
    ("PT", "FrameReferenceTime", b"9,5"), ("PT", "PatientSize", b"nan"),
]  # fmt: skip


@pytest.mark.parametrize(("modality", "keyword", "value"), NUMBERS)
def test_a_number_that_is_none_is_one_sentence_with_tag_file_and_content(tmp_path, modality, keyword, value):
    folder = write_series(pet_slices() if modality == "PT" else ct_slices(np.zeros((4, 5, 6))), tmp_path)
    file = sorted(folder.iterdir())[1]
    write_text(file, keyword, value)
    with pytest.raises(InputError, match=rf"{keyword} .* of {file.name} is '") as error:
        read_series(folder)
    assert str(error.value).count("\n") == 0 and value.decode().split("\\")[0] in str(error.value)


# -- files ----------------------------------------------------------------------------------------------
def test_files_without_preamble_and_mark_are_read(tmp_path):
    folder = write_series(pet_slices(), tmp_path)
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        data.save_as(file, implicit_vr=True, little_endian=True)
        raw = file.read_bytes()
        file.write_bytes(raw[144 + int.from_bytes(raw[140:144], "little") :])
    assert read_series(folder).array == SUV
    assert Volume.read(next(folder.iterdir())).array == SUV


def test_a_damaged_file_with_the_mark_is_an_error_not_a_missing_slice(tmp_path):
    folder = write_series(pet_slices(), tmp_path)
    last = sorted(folder.iterdir())[-1]
    last.write_bytes(last.read_bytes()[:400])
    with pytest.raises(InputError, match=f"holds 1 damaged DICOM file beside .*{last.name}"):
        read_series(folder)


def test_a_file_cut_off_before_its_pixels_is_named(tmp_path):
    folder = write_series(pet_slices(), tmp_path)
    third = sorted(folder.iterdir())[2]
    raw = third.read_bytes()
    third.write_bytes(raw[: raw.index(b"\x54\x00\x01\x10")])  # from Units (0054,1001) on
    with pytest.raises(InputError, match=f"{third.name} has no pixel data"):
        read_series(folder)


@pytest.mark.parametrize("modality", ["PET", "CT"])
def test_multi_frame_files_are_read_as_their_slices(tmp_path, modality):
    """An independent writer: highdicom, where it is installed."""
    hd = pytest.importorskip("highdicom", reason="highdicom is not installed: pip install highdicom")
    hu = np.random.default_rng(0).integers(-1000, 1000, (6, 5, 4))
    slices = pet_slices(Scan(decay="NONE")) if modality == "PET" else ct_slices(hu)
    for dataset in slices:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.AccessionNumber = dataset.PatientBirthDate = dataset.PositionReferenceIndicator = ""
        dataset.ImageType, dataset.BurnedInAnnotation, dataset.BodyPartExamined = ["ORIGINAL", "PRIMARY"], "NO", "CHEST"
        dataset.AcquisitionDate = dataset.get("AcquisitionDate", "20250101")
        dataset.AcquisitionTime = dataset.get("AcquisitionTime", "110000")
        with_id(dataset)
    kind = getattr(hd.legacy, f"LegacyConvertedEnhanced{modality}Image")
    kind(slices, hd.UID(), 9, hd.UID(), 1).save_as(tmp_path / "all.dcm")
    volume = read_series(tmp_path)
    expected = read_series(write_series(slices, tmp_path / "single"))
    assert volume.same_grid(expected, 1e-6) and volume.metadata["notes"] == []
    np.testing.assert_allclose(volume.array, expected.array, rtol=1e-5)
    assert volume.array == (SUV if modality == "PET" else pytest.approx(hu))


def test_a_multi_frame_pet_without_units_is_refused(tmp_path):
    dataset = pet_slices()[0]
    del dataset.Units
    dataset.NumberOfFrames = 1
    dataset.PerFrameFunctionalGroupsSequence = [Dataset()]
    with pytest.raises(InputError, match="multi-frame DICOM of a form that is not supported"):
        read_series(write_series([dataset], tmp_path))


def test_files_that_are_not_images_stay_out_of_the_way(tmp_path):
    folder = write_series(pet_slices(), tmp_path)
    (folder / "._PT0001.dcm").write_bytes(b"\0\5\x16\7" + 200 * b"x")  # as macOS writes on foreign disks
    (folder / "notes").write_bytes(b"\x08\0 this begins as a data set does" + 200 * b" ")
    assert read_series(folder).array == SUV


def test_fewer_slices_than_the_header_says_are_told(tmp_path):
    datasets = pet_slices()
    whole = read_series(write_series(datasets, tmp_path / "whole"))
    part = read_series(write_series(datasets[:4], tmp_path / "part"))
    assert whole.metadata["notes"] == []
    assert "4 of 6 slices" in part.metadata["notes"][0]
    datasets[2].NumberOfSlices = 5
    more = read_series(write_series(datasets, tmp_path / "more"))
    assert "6 slices where NumberOfSlices says 5" in more.metadata["notes"][0]


def test_a_directory_file_stands_for_its_disc(tmp_path):
    disc = FileSet()
    for file in sorted(write_series([with_id(d) for d in pet_slices()], tmp_path / "raw").iterdir()):
        disc.add(file)
    disc.write(tmp_path / "disc")
    assert Volume.read(tmp_path / "disc" / "DICOMDIR", modality="PT").array == SUV


def with_id(dataset: Dataset) -> Dataset:
    dataset.StudyDate = dataset.get("StudyDate", "20250101")
    dataset.StudyTime, dataset.StudyID, dataset.SeriesNumber = "110000", "1", 4
    return dataset


def test_jpeg_that_pydicom_cannot_decode_is_read(tmp_path):
    folder = write_series(pet_slices(suv=np.tile(suv_pattern(), (1, 4, 4))), tmp_path / "pet")
    before = read_series(folder).array
    for file in folder.iterdir():
        compress(file, tmp_path / "jpeg.dcm")
    assert read_series(folder).array == pytest.approx(before)


@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless", "MR_small_jp2klossless", "MR_small_RLE"])
def test_other_compressions_hold_the_values_of_the_file_without(name):
    """pydicom's own sample files."""
    packed, plain = (pydicom.dcmread(get_testdata_file(f"{n}.dcm", download=False)) for n in (name, "MR_small"))
    assert packed.file_meta.TransferSyntaxUID.is_compressed
    assert np.array_equal(stored_pixels(packed, name), plain.pixel_array)


def compress(file: Path, scratch: Path) -> None:
    """Store the pixels as JPEG Lossless, by GDCM."""
    dataset = pydicom.dcmread(file)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(scratch))
    writer.Execute(sitk.GetImageFromArray(dataset.pixel_array[None]))
    packed = pydicom.dcmread(scratch)
    dataset.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
    dataset.PixelData = packed.PixelData
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.save_as(file)


@pytest.mark.parametrize(("signed", "padding"), [(True, 63536), (True, -2000), (False, 65535), (False, -1)])
def test_padding_is_air_whether_its_sign_is_right_or_not(tmp_path, signed, padding):
    hu = np.full((3, 4, 5), 40.0)
    datasets = ct_slices(hu)
    for dataset in datasets:
        stored = np.full((4, 5), 1064)
        stored[0, 0] = -2000 if signed else 65535
        dataset.PixelRepresentation = int(signed)
        dataset.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
        dataset.add_new(0x00280120, "SS" if padding < 0 else "US", padding)
    ct = read_series(write_series(datasets, tmp_path))
    assert ct.array[0, 0, 0] == -1000 and ct.array[0, 1, 1] == 40


# -- several series ---------------------------------------------------------------------------------------
def nac(pet: list[Dataset]) -> list[Dataset]:
    return again(pet, SeriesDescription="NAC", CorrectedImage=["NORM", "DECY"])


def mip(pet: list[Dataset]) -> list[Dataset]:
    turned = again(pet * 3, SeriesDescription="MIP")
    for k, dataset in enumerate(turned):
        a = 2 * np.pi * k / len(turned)
        dataset.SOPInstanceUID = generate_uid()
        dataset.ImageOrientationPatient = [f"{np.cos(a):.6f}", f"{np.sin(a):.6f}", "0", "0", "0", "-1"]
    return turned


def nac_by_name(pet: list[Dataset]) -> list[Dataset]:
    return again(pet, SeriesDescription="PET WB NAC", CorrectedImage="")


def coronal(pet: list[Dataset]) -> list[Dataset]:
    return again(pet_slices(Scan(orientation=(1.0, 0, 0, 0, 0, -1.0)), suv_pattern((9, 6, 4))), SeriesDescription="COR")


def dynamic(pet: list[Dataset]) -> list[Dataset]:
    return again(pet, SeriesDescription="DYN") + list(again(pet, SeriesDescription="DYN"))


def one_dynamic(pet: list[Dataset]) -> list[Dataset]:
    frames = dynamic(pet)
    for dataset in frames:
        dataset.SeriesInstanceUID = frames[0].SeriesInstanceUID
        dataset.SOPInstanceUID = generate_uid()
    return frames


def secondary(pet: list[Dataset]) -> list[Dataset]:
    return again(pet, SeriesDescription="smoothed", ImageType=["DERIVED", "SECONDARY"])


def one_image(pet: list[Dataset]) -> list[Dataset]:
    return again(pet[:1], SeriesDescription="key image")


OTHERS = {f.__name__: f for f in (nac, nac_by_name, mip, coronal, one_dynamic, secondary, one_image)}


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("name", OTHERS)
def test_the_axial_corrected_original_is_chosen_and_the_choice_told(tmp_path, name, flat):
    pet = pet_slices()
    for dataset in pet:
        dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    other = OTHERS[name](deepcopy(pet))
    write_series(pet, tmp_path)
    write_series(other, tmp_path if flat else tmp_path / "other", list(range(100, 100 + len(other))))
    found = read_series(tmp_path, modality="PT")
    assert found.array == SUV
    (note,) = found.metadata["notes"]
    assert "'factory PT' is read" in note and other[0].SeriesDescription in note


def test_a_localiser_under_the_uid_of_its_ct_is_left_out(tmp_path):
    ct = ct_slices(np.zeros((4, 5, 6)))
    scout = deepcopy(ct[:1])
    scout[0].ImageType, scout[0].SOPInstanceUID = ["ORIGINAL", "PRIMARY", "LOCALIZER"], generate_uid()
    scout[0].ImageOrientationPatient, scout[0].Rows, scout[0].Columns = [1, 0, 0, 0, 0, -1], 6, 5
    write_series([*ct, *scout], tmp_path)
    assert read_series(tmp_path, modality="CT").shape == (4, 5, 6)


def test_pet_and_ct_under_one_series_uid_are_told_apart(tmp_path):
    datasets = [*pet_slices(), *ct_slices(np.zeros((4, 5, 6)))]
    for dataset in datasets:
        dataset.SeriesInstanceUID = "1.2.3"
    write_series(datasets, tmp_path)
    assert read_series(tmp_path, modality="PT").array == SUV
    assert read_series(tmp_path, modality="CT").shape == (4, 5, 6)


def test_files_under_one_instance_uid_are_slices_all_the_same(tmp_path):
    datasets = pet_slices()
    for dataset in datasets:
        dataset.SOPInstanceUID = "1.2.3"
    assert read_series(write_series(datasets, tmp_path)).array == SUV


def test_of_two_suitable_series_one_is_named(tmp_path):
    pet = pet_slices()
    sharper = again(pet, SeriesDescription="PSF")
    write_series(pet, tmp_path)
    write_series(sharper, tmp_path, list(range(100, 106)))
    with pytest.raises(InputError, match="2 series to choose from.*'PSF'.*UID or description") as error:
        read_series(tmp_path, modality="PT")
    assert error.value.option == "series"
    for name in ("psf", sharper[0].SeriesInstanceUID):
        found = read_series(tmp_path, name, "PT")
        assert found.metadata["series_uid"] == sharper[0].SeriesInstanceUID
    with pytest.raises(InputError, match="no PET series 'TOF'"):
        read_series(tmp_path, "TOF", "PT")


def test_the_command_line_names_a_series(tmp_path, capsys):
    pet = pet_slices()
    write_series(pet, tmp_path / "pet")
    write_series(again(pet, SeriesDescription="PSF"), tmp_path / "pet", list(range(100, 106)))
    words = ["suv", str(tmp_path / "pet"), "--out", str(tmp_path / "suv.nii.gz")]
    assert run(words) == 2 and "--series" in capsys.readouterr().err
    assert run([*words, "--series", "PSF"]) == 0
    assert Volume.read(tmp_path / "suv.nii.gz").array == SUV
    assert run(["lesions", "--pet", words[-1], "--segmentation", words[-1], "--series", "PSF"]) == 2
    assert "is not DICOM" in capsys.readouterr().err


@pytest.mark.parametrize("name", OTHERS)
def test_a_cohort_takes_the_same_series_and_tells_it(tmp_path, name):
    pet, ct = pet_slices(), ct_slices(np.zeros((6, 5, 4)))
    for dataset in (*pet, *ct):
        dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = "1.2.9", "1.2.8"
        dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    write_series(pet, tmp_path / "P" / "1")
    write_series(ct, tmp_path / "P" / "2")
    other = OTHERS[name](deepcopy(pet))
    for dataset in other:
        dataset.StudyInstanceUID = "1.2.9"
    write_series(other, tmp_path / "P" / "3")
    (case,) = find_cases(tmp_path)
    assert case.pet().array == SUV
    assert any(other[0].SeriesDescription in note for note in case.pet().metadata["notes"])


def test_a_file_whose_own_header_is_damaged_is_one_sentence(tmp_path):
    """Cut off anywhere before its pixels: never left out as if it were no image."""
    folder = write_series(pet_slices(), tmp_path)
    file = sorted(folder.iterdir())[2]
    raw = file.read_bytes()
    for place in range(132, 330):
        file.write_bytes(raw[:place])
        with pytest.raises(InputError, match="damaged"):
            read_series(folder)
