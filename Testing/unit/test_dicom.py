"""DICOM series: the right one is found, lies where the scanner put it, and broken ones are refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_factory import Scan, ct_slices, pet_slices, suv_pattern, write_series
from geometry import data_dir, rotation
from pydicom.dataset import Dataset

from PETSuperResLib.dicom.files import list_series
from PETSuperResLib.dicom.read import read_series, suv_volume
from PETSuperResLib.errors import GeometryError, InputError, PETSuperResError, UnitsError
from PETSuperResLib.volume import Volume

ORIENTATIONS = {
    "axial": np.eye(3),
    "oblique": rotation((1, 2, 3), 25),
    "coronal": rotation((1, 0, 0), 90),
    "feet first": rotation((0, 1, 0), 180),
    "prone": rotation((0, 0, 1), 180),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("files", ["in order", "reversed", "shuffled"])
def test_every_voxel_lies_where_its_slice_says(name: str, files: str, tmp_path: Path) -> None:
    axes = ORIENTATIONS[name]
    datasets = pet_slices(Scan(orientation=(*axes[:, 0], *axes[:, 1])))
    names = {"in order": range(6), "reversed": range(5, -1, -1), "shuffled": (3, 0, 5, 1, 4, 2)}[files]
    volume = read_series(write_series(datasets, tmp_path, list(names)))
    for dataset in datasets:
        position = np.array([float(v) for v in dataset.ImagePositionPatient])
        row, column = np.reshape([float(v) for v in dataset.ImageOrientationPatient], (2, 3))
        hot = np.argwhere(np.frombuffer(dataset.PixelData, "<u2").reshape(5, 4) >= 27000 / 1.6)[0]
        # DICOM PS3.3 C.7.6.2.1.1: rows advance by PixelSpacing[0] along the second cosine triple
        there = (
            position + row * float(dataset.PixelSpacing[1]) * hot[1] + column * float(dataset.PixelSpacing[0]) * hot[0]
        )
        i, j, k = np.linalg.solve(volume.ijk_to_lps, [*there, 1.0])[:3]
        assert np.abs([i, j, k] - np.round([i, j, k])).max() < 1e-4
        assert volume.array[round(k), round(j), round(i)] == pytest.approx(4.0, rel=1e-3)


def test_slices_numbered_against_the_normal_give_the_same_volume(tmp_path: Path) -> None:
    datasets = pet_slices()
    first = read_series(write_series(datasets, tmp_path / "a"))
    for k, dataset in enumerate(datasets):
        dataset.InstanceNumber = 100 - k
    second = read_series(write_series(datasets, tmp_path / "b", list(range(5, -1, -1))))
    assert np.array_equal(first.array, second.array) and first.same_grid(second, 1e-6)


def test_mirrored_rows_keep_every_point(tmp_path: Path) -> None:
    """A left-handed set of axes (rows, columns, file order) is the same patient read right-handed."""
    mirrored = pet_slices(Scan(orientation=(-1.0, 0, 0, 0, 1.0, 0)))
    volume = read_series(write_series(mirrored, tmp_path))
    assert np.linalg.det(np.reshape(volume.direction, (3, 3))) == pytest.approx(1.0)
    z = [float(d.ImagePositionPatient[2]) for d in mirrored]
    assert volume.corners()[:, 2].min() == pytest.approx(min(z) - 2.5)
    assert volume.corners()[:, 0].max() == pytest.approx(-10 + 2.0)


def test_ct_is_in_hu_and_its_padding_is_air(tmp_path: Path) -> None:
    hu = np.random.default_rng(1).integers(-1000, 1500, (5, 6, 7)).astype(float)
    datasets = ct_slices(hu)
    ct = read_series(write_series(datasets, tmp_path / "ct"))
    assert ct.unit == "HU" and np.array_equal(ct.array, hu)
    for dataset in datasets:
        dataset.PixelPaddingValue = int(hu[0, 0, 0]) + 1024
    padded = read_series(write_series(datasets, tmp_path / "padded"))
    assert padded.array[0, 0, 0] == -1000


def test_stored_quantity_on_request(tmp_path: Path) -> None:
    folder = write_series(pet_slices(Scan(decay="ADMIN")), tmp_path)
    stored = read_series(folder, suv=False)
    assert stored.unit == "Bq/mL"
    assert stored.array == pytest.approx(suv_pattern() * 350e6 / 70e3, rel=1e-3)


def test_identity_stays_out_of_the_metadata(tmp_path: Path) -> None:
    metadata = read_series(write_series(pet_slices(), tmp_path)).metadata
    assert "SECRET" not in str(metadata) and "Doe" not in str(metadata)
    assert metadata["modality"] == "PT" and metadata["dose"] == 350e6 and len(metadata["patient"]) == 12


def test_one_series_is_chosen_among_several(tmp_path: Path) -> None:
    pet, ct = pet_slices(), ct_slices(np.zeros((4, 6, 7)))
    write_series(pet, tmp_path / "pet")
    write_series(ct, tmp_path / "ct" / "deep")
    (tmp_path / "notes.txt").write_text("not DICOM")
    assert [(s.modality, len(s.files)) for s in list_series(tmp_path)] == [("PT", 6), ("CT", 4)]
    with pytest.raises(InputError, match="2 series to choose from: PT 'factory PT', 6 files.*CT 'factory CT'"):
        read_series(tmp_path)
    assert read_series(tmp_path, modality="CT").shape == (4, 6, 7)
    assert read_series(tmp_path, series=pet[0].SeriesInstanceUID).unit == "SUVbw"
    assert suv_volume(tmp_path).shape == (6, 5, 4)
    assert read_series(tmp_path / "pet" / "PT0003.dcm").shape == (6, 5, 4)
    with pytest.raises(InputError, match="no MR series"):
        read_series(tmp_path, modality="MR")
    with pytest.raises(InputError, match="holds no PET series.*only: CT"):
        suv_volume(tmp_path / "ct")


def test_files_without_a_suffix_are_known_by_their_mark(tmp_path: Path) -> None:
    write_series(pet_slices(), tmp_path)
    for file in list(tmp_path.iterdir()):
        file.rename(tmp_path / file.stem)
    assert Volume.read(tmp_path / "PT0001").unit == "SUVbw"
    assert Volume.read(tmp_path).shape == (6, 5, 4)


def test_a_file_copied_twice_counts_once(tmp_path: Path) -> None:
    datasets = pet_slices()
    write_series(datasets, tmp_path / "a")
    write_series(datasets[:2], tmp_path / "b")
    assert read_series(tmp_path).shape == (6, 5, 4)


def third(**attributes: object) -> Callable[[list[Dataset]], None]:
    """Sets attributes of the third slice; None deletes one."""

    def edit(datasets: list[Dataset]) -> None:
        for keyword, value in attributes.items():
            setattr(datasets[2], keyword, value)
            if value is None:
                delattr(datasets[2], keyword)

    return edit


def shear(datasets: list[Dataset]) -> None:
    for k, dataset in enumerate(datasets):
        dataset.ImagePositionPatient[1] = 20 + 0.8 * k


def move_last(datasets: list[Dataset]) -> None:
    datasets[-1].ImagePositionPatient[2] = float(datasets[-1].ImagePositionPatient[2]) + 2.0


def double(datasets: list[Dataset]) -> None:
    datasets[2].ImagePositionPatient = datasets[1].ImagePositionPatient


def drop_two(datasets: list[Dataset]) -> None:
    del datasets[2:4]


BROKEN: dict[str, tuple[Callable[[list[Dataset]], None], type[PETSuperResError], str]] = {
    "gantry tilt": (shear, GeometryError, "gantry tilt"),
    "uneven": (move_last, GeometryError, "uneven slice distances"),
    "missing": (drop_two, GeometryError, "misses 2 slices"),
    "doubled": (double, GeometryError, "at the position of another"),
    "sizes": (third(Rows=4, Columns=5), GeometryError, "different sizes"),
    "orientations": (third(ImageOrientationPatient=[0, 1, 0, -1, 0, 0]), GeometryError, "different orientation"),
    "no position": (third(ImagePositionPatient=None), GeometryError, "without position"),
    "multi-frame": (third(NumberOfFrames=3), InputError, "multi-frame"),
    "cut pixel data": (third(PixelData=b"0123456789"), InputError, "cannot be decoded"),
    "slope of zero": (third(RescaleSlope=0), UnitsError, "RescaleSlope 0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_series_are_refused(name: str, tmp_path: Path) -> None:
    edit, error, message = BROKEN[name]
    datasets = pet_slices()
    edit(datasets)
    with pytest.raises(error, match=message):
        read_series(write_series(datasets, tmp_path))


def test_a_pet_without_evidence_is_refused_not_guessed(tmp_path: Path) -> None:
    datasets = pet_slices()
    for dataset in datasets:
        dataset.PatientWeight = 0
    with pytest.raises(UnitsError, match="PatientWeight .*weight in kg"):
        read_series(write_series(datasets, tmp_path))
    assert suv_volume(tmp_path, weight_kg=70).array == pytest.approx(suv_pattern(), rel=1e-3)


@pytest.mark.parametrize("kind", ["PET", "CT"])
def test_a_series_of_two_patients_is_refused_by_file_and_without_their_ids(kind: str, tmp_path: Path) -> None:
    datasets = pet_slices() if kind == "PET" else ct_slices(100 * suv_pattern() - 500)
    datasets[2].PatientID = "OTHER-1"
    with pytest.raises(
        InputError, match=rf"The {kind} series .* of 2 patients .*in 1 of 6, such as [PC]T0002.dcm"
    ) as told:
        read_series(write_series(datasets, tmp_path))
    assert "OTHER-1" not in str(told.value) and "4711" not in str(told.value)


def test_slices_without_a_patient_id_are_taken_as_of_the_series_patient_and_told(tmp_path: Path) -> None:
    whole, part, none = pet_slices(), pet_slices(), pet_slices()
    part[0].PatientID, part[3].PatientID = "", " "
    for dataset in none:
        del dataset.PatientID
    read = [read_series(write_series(d, tmp_path / str(n))) for n, d in enumerate((whole, part, none))]
    notes = ["; ".join(volume.metadata["notes"]) for volume in read]
    assert ["no PatientID in 2 of 6 slices" in note for note in notes] == [False, True, False] and not notes[2]
    assert read[0].metadata["patient"] == read[1].metadata["patient"]
    assert [volume.metadata["patient_from"] for volume in read] == ["PatientID", "PatientID", "StudyInstanceUID"]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda p: p / "absent", "No file or folder"),
        (lambda p: p, "no DICOM images: give the folder of a PET or CT series, or a NIfTI file itself"),
        (lambda p: (p / "x.dcm").write_bytes(b"nonsense") and p / "x.dcm", "not a DICOM image"),
    ],
)
def test_nothing_to_read(prepare: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_series(prepare(tmp_path))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    folder = write_series(pet_slices(), tmp_path)
    file = folder / "PT0002.dcm"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(InputError, match="damaged|cut off"):
        read_series(folder)


def test_a_real_pet_ct() -> None:
    """GE Discovery ST: the DICOM gives the same SUV in the same place as its published NIfTI."""
    case, folder = data_dir() / "sts" / "STS_001", data_dir() / "sts_dicom" / "STS_001"
    if not folder.is_dir():
        pytest.skip("sts_dicom is not in the data folder")
    pet, ct = suv_volume(folder), read_series(folder, modality="CT")
    reference = Volume.read(case / "PET_SUV.nii.gz")
    assert pet.same_grid(reference, 0.01)
    assert np.abs(pet.array - reference.array).max() < 1e-4
    assert ct.unit == "HU" and ct.array.min() >= -1024 and 30 < np.median(ct.array[ct.array > -200]) < 80
