"""The derived DICOM series: SUVs come back by every path of the header, identity is kept, nothing half is left."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_factory import PET_CLASS, Scan, pet_slices, set_private, tracer, write_series
from geometry import data_dir, rotation

from PETSuperResLib import suv_volume
from PETSuperResLib.cli import run
from PETSuperResLib.dicom import write as dicom_write
from PETSuperResLib.dicom.read import read_series
from PETSuperResLib.dicom.write import write_derived
from PETSuperResLib.errors import GeometryError, InputError, OutputError, UnitsError
from PETSuperResLib.results import Result
from PETSuperResLib.volume import Volume

OBLIQUE = tuple(rotation((1, 2, 3), 25)[:, :2].T.ravel())


def finer(pet: Volume) -> Volume:
    """What a reconstruction might give: half the voxel size in the plane, values of its own."""
    grid = pet.grid((pet.spacing[0] / 2, pet.spacing[1] / 2, pet.spacing[2]))
    values = np.random.default_rng(0).gamma(1.0, 2.0, grid.shape)
    values[:, 0] = 0
    values[1] = 0  # an empty slice
    return grid.with_array(values.astype(np.float32), "SUVbw")


def assert_same_suv(back: Volume, volume: Volume) -> None:
    """Within 0.1 % (of the voxel, or of a hundredth of the slice's highest) and at the same place."""
    assert back.unit == "SUVbw" and back.same_grid(volume, 1e-3)
    top = volume.array.max(axis=(1, 2), keepdims=True)
    allowed = 1e-3 * np.maximum(volume.array, 0.01 * top)
    assert (np.abs(back.array - volume.array) <= allowed + 1e-12).all()


def philips(slices):
    """Counts with Philips' factor of SUV per count."""
    for dataset in slices:
        set_private(dataset, 0x7053, "Philips PET Private Group", 0x00, "DS", "0.001")
    return slices


SERIES = {
    "Bq/mL to scan start": (pet_slices(), "BQML"),
    "Bq/mL to injection": (pet_slices(Scan(decay="ADMIN")), "BQML"),
    "Bq/mL not corrected for decay": (pet_slices(Scan(decay="NONE")), "BQML"),
    "SUV": (pet_slices(Scan(units="GML")), "GML"),
    "Philips' counts": (philips(pet_slices(Scan(units="CNTS", scale=1000.0))), "BQML"),
    "oblique": (pet_slices(Scan(orientation=OBLIQUE)), "BQML"),
}


@pytest.fixture(params=SERIES)
def series(request, tmp_path):
    slices, units = SERIES[request.param]
    return write_series(slices, tmp_path / "source"), units


@pytest.fixture
def source(tmp_path) -> Path:
    """The usual series: Bq/mL, corrected for decay to the scan's start."""
    return write_series(pet_slices(), tmp_path / "source")


def test_no_series_is_written_of_a_source_of_two_patients(tmp_path):
    datasets = pet_slices()
    volume = finer(suv_volume(write_series(datasets, tmp_path / "source")))
    datasets[1].PatientID = "OTHER"
    with pytest.raises(InputError, match="of 2 patients"):
        write_derived(volume, write_series(datasets, tmp_path / "source"), tmp_path / "out")
    datasets[1].PatientID = ""  # by mistake: the patient is that of the other slices
    files = write_derived(volume, write_series(datasets, tmp_path / "source"), tmp_path / "out")
    assert {pydicom.dcmread(file).PatientID for file in files} == {datasets[0].PatientID}


def test_the_suvs_are_read_back(series, tmp_path):
    source, units = series
    volume = finer(suv_volume(source))
    files = write_derived(volume, source, tmp_path / "out")
    assert [f.name for f in files] == sorted(p.name for p in (tmp_path / "out").iterdir())
    back = suv_volume(tmp_path / "out")
    assert_same_suv(back, volume)
    assert back.metadata["suv"]["units"] == units


def test_the_suv_follows_from_the_header_by_the_textbook(tmp_path):
    """SUV = C W / (D 2^(-t/T)), t from injection to SeriesTime, with another reader's voxels: as any viewer does it."""
    scan = Scan(injected=datetime(2025, 1, 1, 23, 30), started=datetime(2025, 1, 2, 0, 40))
    source = write_series(pet_slices(scan), tmp_path / "source")
    volume = finer(suv_volume(source))
    files = write_derived(volume, source, tmp_path / "out")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "out")))
    image = reader.Execute()
    header = pydicom.dcmread(files[0])
    item = header.RadiopharmaceuticalInformationSequence[0]
    stamp = "%Y%m%d%H%M%S.%f"
    injected = datetime.strptime(item.RadiopharmaceuticalStartDateTime, stamp)
    waited = (datetime.strptime(header.SeriesDate + header.SeriesTime, stamp) - injected).total_seconds()
    assert waited == 70 * 60
    dose = item.RadionuclideTotalDose * 2 ** (-waited / item.RadionuclideHalfLife)
    suv = sitk.GetArrayFromImage(image) * header.PatientWeight * 1000 / dose
    assert_same_suv(Volume.from_sitk(image).with_array(suv.astype(np.float32), "SUVbw"), volume)


def test_a_series_time_that_was_changed_later_is_put_right(tmp_path):
    """Other viewers trust SeriesTime; ours found the true reference time, and writes it there."""
    slices = pet_slices()
    for dataset in slices:
        dataset.SeriesTime = "150000"
    source = write_series(slices, tmp_path / "source")
    volume = finer(suv_volume(source))
    header = pydicom.dcmread(write_derived(volume, source, tmp_path / "out")[0])
    assert abs(datetime.strptime(header.SeriesTime, "%H%M%S.%f") - datetime(1900, 1, 1, 11)) < timedelta(seconds=1)
    assert_same_suv(suv_volume(tmp_path / "out"), volume)


def test_a_header_without_a_dose_gets_suvs_stored(tmp_path):
    slices = pet_slices()
    for item in tracer(slices):
        del item.RadionuclideTotalDose
    source = write_series(slices, tmp_path / "source")
    volume = finer(suv_volume(source, dose_bq=350e6))
    write_derived(volume, source, tmp_path / "out")
    back = suv_volume(tmp_path / "out")
    assert_same_suv(back, volume)
    assert back.metadata["suv"]["units"] == "GML"


def test_a_part_of_the_slices_keeps_their_own_times(tmp_path):
    """Slices of the second bed alone, not corrected for decay: each keeps the timing of the slice it lies in."""
    source = write_series(pet_slices(Scan(decay="NONE")), tmp_path / "source")
    whole = finer(suv_volume(source))
    part = whole.crop((1, 2, 3), (*whole.shape[:0:-1], 6))
    files = write_derived(part, source, tmp_path / "out")
    assert_same_suv(suv_volume(tmp_path / "out"), part)
    original = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, source.iterdir())}
    for file in files:
        dataset = pydicom.dcmread(file)
        origin = original[dataset.SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert dataset.AcquisitionTime == origin.AcquisitionTime
        distance = np.subtract(dataset.ImagePositionPatient, origin.ImagePositionPatient)[2]
        assert abs(distance) < 1e-3


def test_a_left_handed_volume_lies_where_it_was(source, tmp_path):
    volume = finer(suv_volume(source))
    turned = dataclasses.replace(
        volume,
        array=volume.array[::-1],
        origin=tuple((volume.ijk_to_lps @ [0, 0, volume.shape[0] - 1, 1])[:3]),
        direction=tuple((np.reshape(volume.direction, (3, 3)) * [1, 1, -1]).ravel()),
    )
    write_derived(turned, source, tmp_path / "out")
    assert_same_suv(suv_volume(tmp_path / "out"), volume)


def test_negative_values_stay_negative(source, tmp_path):
    volume = finer(suv_volume(source))
    volume = volume.with_array(volume.array - 0.5)
    write_derived(volume, source, tmp_path / "out")
    np.testing.assert_allclose(suv_volume(tmp_path / "out").array, volume.array, atol=1e-3)


def test_the_series_says_what_it_is(source, tmp_path):
    report = {"scanner": {"name": "Siemens Biograph mCT"}, "seed": 7, "prior": {"sha256": "ab12"}}
    files = write_derived(finer(suv_volume(source)), source, tmp_path / "out", report)
    datasets = [pydicom.dcmread(f) for f in files]
    origin = pydicom.dcmread(next(source.iterdir()))
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName", "PatientWeight"):
        assert {d[keyword].value for d in datasets} == {origin[keyword].value}
    assert len({d.SeriesInstanceUID for d in datasets} | {origin.SeriesInstanceUID}) == 2
    assert len({d.SOPInstanceUID for d in datasets}) == len(datasets) == len({d.InstanceNumber for d in datasets})
    assert len({str(d.RescaleSlope) for d in datasets}) > 2  # each slice has its own
    for d in datasets:
        assert d.SOPClassUID == d.file_meta.MediaStorageSOPClassUID == PET_CLASS and d.Modality == "PT"
        assert d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID
        assert list(d.ImageType) == ["DERIVED", "PRIMARY"] and d.RescaleIntercept == 0
        assert d.DecayCorrection == "START" and d.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose
        assert "research" in d.SeriesDescription.lower() and "Research use only" in d.ImageComments
        for fact in ("Siemens Biograph mCT", "seed 7", "ab12"):
            assert fact in d.DerivationDescription
        assert d.ContributingEquipmentSequence[0].Manufacturer == "PETSuperRes"
        assert len(d.SeriesDescription) <= 64 and len(d.DerivationDescription) <= 1024


def test_another_series_of_the_study_can_be_named_by_its_files(tmp_path):
    """Files as Slicer's DICOM database gives them, two series of one folder mixed."""
    first, second = pet_slices(), pet_slices(Scan(weight_kg=50.0))
    folder = write_series(first, tmp_path / "both")
    write_series(second, folder, range(100, 100 + len(second)))
    files = sorted(folder.iterdir())
    volume = finer(read_series(folder, first[0].SeriesInstanceUID, "PT"))
    write_derived(volume, files[: len(first)], tmp_path / "out")
    assert_same_suv(suv_volume(tmp_path / "out"), volume)
    with pytest.raises(InputError, match="not one PET series"):
        write_derived(volume, files, tmp_path / "out2")


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"unit": "Bq/mL"}, UnitsError, "not SUVbw"),
        ({"origin": (0.0, 0.0, 900.0)}, GeometryError, "outside the slices"),
        ({"direction": (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}, GeometryError, "slice direction"),
    ],
)
def test_a_volume_of_something_else_is_refused(source, tmp_path, change, error, told):
    volume = dataclasses.replace(finer(suv_volume(source)), **change)
    with pytest.raises(error, match=told):
        write_derived(volume, source, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_a_folder_in_use_is_left_alone(source, tmp_path):
    before = {p.name for p in source.iterdir()}
    with pytest.raises(OutputError, match="not empty"):
        write_derived(finer(suv_volume(source)), source, source)
    assert {p.name for p in source.iterdir()} == before


def test_a_failure_half_way_leaves_nothing(source, tmp_path, monkeypatch):
    volume, save, calls = finer(suv_volume(source)), dicom_write._save, []

    def fail(dataset, path):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        save(dataset, path)

    monkeypatch.setattr(dicom_write, "_save", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_derived(volume, source, tmp_path / "new" / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_the_command_line_writes_a_series(source, tmp_path, capsys):
    volume = finer(suv_volume(source))
    Result(volume, report={"seed": 5}).write(tmp_path)
    words = ["dicom", "--volume", str(tmp_path / "sr.nii.gz"), "--source", str(source)]
    assert run([*words, "--out", str(tmp_path / "out")]) == 0
    assert run(["suv", str(tmp_path / "out"), "--out", str(tmp_path / "back.nii.gz")]) == 0
    assert_same_suv(Volume.read(tmp_path / "back.nii.gz", "SUVbw"), volume)
    assert "seed 5" in pydicom.dcmread(next((tmp_path / "out").iterdir())).DerivationDescription
    assert run([*words, "--out", str(tmp_path / "out")]) == 2
    assert "not empty" in capsys.readouterr().err


@pytest.mark.parametrize("which", ["pet", "no report", "another report", "changed"])
def test_the_command_line_writes_no_volume_that_its_report_does_not_record(source, tmp_path, capsys, which):
    volume = finer(suv_volume(source))
    Result(volume, report={"seed": 5}).write(tmp_path / "one")
    Result(volume.with_array(2 * volume.array), report={"seed": 6}).write(tmp_path / "two")
    chosen, report = tmp_path / "one" / "sr.nii.gz", tmp_path / "one" / "report.json"
    if which == "pet":
        chosen = suv_volume(source).write(tmp_path / "pet.nii.gz")
    elif which == "no report":
        report.unlink()
    elif which == "another report":
        report = tmp_path / "two" / "report.json"
    else:
        volume.with_array(0.5 * volume.array).write(chosen)
    words = ["--volume", str(chosen), "--source", str(source), "--report", str(report), "--out", str(tmp_path / "out")]
    assert run(["dicom", *words]) == 2
    told = capsys.readouterr().err
    assert "report" in told and str(chosen) in told and not (tmp_path / "out").exists()


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))  # writing beyond fails, as on a full disk
from PETSuperResLib.cli import main
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_is_told_in_one_sentence(source, tmp_path):
    Result(finer(suv_volume(source)), report={"seed": 5}).write(tmp_path)
    words = ["dicom", "--volume", str(tmp_path / "sr.nii.gz"), "--source", str(source), "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", LIMITED, *words], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert "could not be written: File too large" in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.data
def test_a_real_series_comes_back(tmp_path):
    source = data_dir("sts_dicom", "STS_001", "PET")
    volume = finer(suv_volume(source))
    write_derived(volume, source, tmp_path / "out")
    assert_same_suv(suv_volume(tmp_path / "out"), volume)


def test_the_slicer_logic_saves_a_result_with_its_series_from_the_database(source, tmp_path, monkeypatch):
    slicer = pytest.importorskip("slicer", reason="needs the package slicer-core (pip install '.[mrml]')")
    import mrml_scene

    scene, module = mrml_scene.start(), mrml_scene.load_module()
    from PETSuperResSlicer.mrml import volumes as mrml

    scene.Clear(0)
    files = {pydicom.dcmread(f).SOPInstanceUID: str(f) for f in source.iterdir()}
    volume = finer(suv_volume(source))
    node, logic = mrml.node_from_volume(volume, "SR", scene), module.PETSuperResLogic()
    with pytest.raises(InputError, match="DICOM database"):
        logic.saveAsDicom(node, tmp_path / "out")
    node.SetAttribute("PETSuperRes.sourceInstanceUIDs", " ".join(files))
    node.SetAttribute("PETSuperRes.report.seed", "7")

    class Database:
        def fileForInstance(self, uid: str) -> str:
            return files.get(uid, "")

    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    written = logic.saveAsDicom(node, tmp_path / "out")
    assert sorted(Path(f).parent for f in written) == [tmp_path / "out"] * volume.shape[0]
    assert_same_suv(suv_volume(tmp_path / "out"), volume)
    assert "seed 7" in pydicom.dcmread(written[0]).DerivationDescription


def test_reconstruct_writes_its_result_as_dicom_too(tmp_path, capsys, monkeypatch):
    import json

    from dicom_factory import ct_slices, multi_frame
    from geometry import hot_sphere
    from tiny import tiny_network

    from PETSuperResLib.prior import Prior

    sphere, tissue = hot_sphere()
    scan = Scan(spacing=sphere.spacing, origin=sphere.origin)
    pet = write_series(pet_slices(scan, sphere.array), tmp_path / "pet")
    ct = write_series(ct_slices(tissue.array, scan), tmp_path / "ct")
    prior = Prior(tiny_network(), info={"pixel_mm": 4.0}).save(tmp_path / "p.safetensors")
    scanner = {"name": "Small", "fwhm_transaxial_mm": 7.0, "fwhm_axial_mm": 6.0, "views": 24, "bin_size_mm": 4.0}
    (tmp_path / "small.json").write_text(json.dumps(scanner), encoding="utf-8")
    words = ["reconstruct", "--ct", str(ct), "--scanner", str(tmp_path / "small.json"), "--prior", str(prior)]
    words += ["--quality", "draft", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert run([*words, "--pet", str(pet), "--dicom-out", str(tmp_path / "dicom")]) == 0
    assert_same_suv(suv_volume(tmp_path / "dicom"), Volume.read(tmp_path / "out" / "sr.nii.gz", "SUVbw"))
    assert "Small" in pydicom.dcmread(next((tmp_path / "dicom").iterdir())).DerivationDescription
    suv_volume(pet).write(tmp_path / "pet.nii.gz")
    assert run([*words, "--pet", str(tmp_path / "pet.nii.gz"), "--dicom-out", str(tmp_path / "d2")]) == 2
    assert "DICOM series" in capsys.readouterr().err
    frames = write_series([multi_frame(pet_slices(scan, sphere.array))], tmp_path / "frames")
    np.testing.assert_allclose(suv_volume(frames).array, suv_volume(pet).array, rtol=1e-3, atol=1e-4)
    words[-1] = str(tmp_path / "out3")
    assert run([*words, "--pet", str(frames), "--dicom-out", str(tmp_path / "d3")]) == 2
    assert "no series can be derived" in capsys.readouterr().err and not (tmp_path / "out3").exists()
