"""Lesions as DICOM SEG and structured report: an independent reader finds every value, and what it was measured on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from contour_factory import disc, rtstruct, write
from dciodvfy import errors_of, needs_dciodvfy
from dicom_factory import Scan, pet_slices, write_series
from report_reader import ends_of, field, groups, is_recovered, values_of
from tiny import table

from PETSuperResLib import suv_volume
from PETSuperResLib.cli import run
from PETSuperResLib.dicom.write import write_derived
from PETSuperResLib.lesions.dicom_report import beside, measured_rows
from PETSuperResLib.lesions.measures import MEASURES, measure_lesions
from PETSuperResLib.lesions.read import read_segmentation
from PETSuperResLib.lesions.segments import Segment, segments_of, union
from PETSuperResLib.results import Result
from PETSuperResLib.version import NOTICE, __version__
from PETSuperResLib.volume import Volume

SCAN = Scan(spacing=(4.0, 4.0, 5.0), origin=(-30.0, -20.0, 100.0))
MEASURED = (*MEASURES, "volume_ml")
RECOVERED = ("suvmax_recovered", "suvmean_recovered", "suvpeak_recovered", "tlg_recovered")


def suv() -> np.ndarray:
    values = np.ones((8, 18, 20))
    values[2:6, 4:9, 5:9] = 6.0
    values[4:7, 11:14, 11:17] = 3.3
    return values


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    slices = pet_slices(SCAN, suv())
    for dataset in slices:
        dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 100", "Müller^Jörg"
    return write_series(slices, tmp_path_factory.mktemp("pet") / "source")


@pytest.fixture(scope="module")
def pet(source) -> Volume:
    return suv_volume(source)


@pytest.fixture(scope="module")
def result(pet) -> Volume:
    grid = pet.grid((2.0, 2.0, 5.0))
    noise = np.random.default_rng(0).gamma(20.0, 0.05, grid.shape)
    return grid.with_array(pet.resample_to(grid, "nearest").array * noise, "SUVbw")


def segments(pet: Volume) -> list[Segment]:
    labels = np.zeros(pet.shape)
    labels[2:6, 4:9, 5:9], labels[4:7, 11:14, 11:17] = 1, 2
    return segments_of(pet.with_array(labels, "label"), {1: "Läsion 1", 2: "Lesion 2"})


def written(pet, result, source, out, drawn=None, rows=None, **report) -> Path:
    """The folder of series, SEG and report."""
    drawn = segments(pet) if drawn is None else drawn
    rows = measured_rows(drawn, pet, result, report) if rows is None else rows
    write_derived(result, source, out, report, beside=beside(drawn, rows, report))
    return out


def read(folder: Path) -> tuple[pydicom.Dataset, hd.sr.ComprehensiveSR]:
    """SEG and report."""
    return pydicom.dcmread(folder / "SEG.dcm"), hd.sr.srread(folder / "SR.dcm")


@pytest.fixture(scope="module")
def both(source, pet, result, tmp_path_factory) -> Path:
    """The folder of both segments, for tests that only read it."""
    return written(pet, result, source, tmp_path_factory.mktemp("both") / "out", seed=7, threshold=2.5)


def saved(pet, result, folder: Path) -> Path:
    """A reconstruction's folder, with the lesions' table."""
    drawn = segments(pet)
    lesions = {"lr": measure_lesions(pet, drawn), "ours-standard": measure_lesions(result, drawn)}
    Result(result, lesions=lesions, report={"seed": 5, "threshold": 2.5}).write(folder)
    return folder


def test_the_report_has_every_value_of_the_table_to_four_digits(source, pet, result, tmp_path, capsys):
    folder, labels = saved(pet, result, tmp_path / "made"), tmp_path / "labels.nrrd"
    labelled = sum(np.round(segment.label * union([segment], pet).array) for segment in segments(pet))
    pet.with_array(labelled, "label").write(labels)
    rows = table(folder / "lesions.csv")
    for row in rows:  # a label map has no names
        row["lesion"] = row["lesion"].replace("Läsion", "Lesion")
    words = ["--volume", str(folder / "sr.nii.gz"), "--source", str(source), "--out", str(tmp_path / "out")]
    assert run(["report", *words, "--segmentation", str(labels)]) == 2
    assert "no row of 'Lesion 1'" in capsys.readouterr().err and not (tmp_path / "out").exists()

    drawn = [replace(segment, name=segment.name.replace("Läsion", "Lesion")) for segment in segments(pet)]
    lesions = {"lr": measure_lesions(pet, drawn), "ours-standard": measure_lesions(result, drawn)}
    Result(result, lesions=lesions, report={"seed": 5, "threshold": 2.5}).write(folder)
    assert run(["report", *words, "--segmentation", str(labels)]) == 0
    assert "SEG.dcm, SR.dcm" in capsys.readouterr().out
    found = values_of(hd.sr.srread(tmp_path / "out" / "SR.dcm"), "ours-standard")
    wanted = {(row["method"], row["lesion"], name): float(row[name]) for row in rows for name in MEASURED}
    assert found.keys() == wanted.keys() and len(found) == 24
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=5e-5), key


def test_lesions_that_were_not_measured_with_the_result_are_measured(source, pet, result, tmp_path):
    Result(result, report={"threshold": "41%"}).write(tmp_path / "made")
    labels = pet.with_array(segments(pet)[0].mask.resample_to(pet, "nearest").array, "label").write(tmp_path / "l.nrrd")
    words = ["--volume", str(tmp_path / "made" / "sr.nii.gz"), "--source", str(source), "--segmentation", str(labels)]
    assert run(["report", *words, "--out", str(tmp_path / "out")]) == 0
    [before, after] = groups(hd.sr.srread(tmp_path / "out" / "SR.dcm"))
    [expected] = measure_lesions(result, read_segmentation(labels, pet).segments, threshold="41%")
    assert before.method.meaning == "Input PET"
    assert {field(m): m.value for m in after.get_measurements()}["mtv_ml"] == pytest.approx(expected.mtv_ml)


def test_contours_in_the_frame_of_the_ct_that_the_report_names_are_used(source, pet, result, tmp_path, capsys):
    drawn = rtstruct({"Lesion 1": [disc(8.0, (-4.0, 6.0, z)) for z in (110.0, 115.0, 120.0)]}, frame="1.2.3.777")
    words = ["report", "--source", str(source), "--segmentation", str(write(drawn, tmp_path / "rt.dcm"))]
    for name, ct in (("other", "1.2.3.888"), ("made", "1.2.3.777")):
        Result(result, report={"frames_of_reference": {"pet": "1.2.3", "ct": ct}}).write(tmp_path / name)
        place = ["--volume", str(tmp_path / name / "sr.nii.gz"), "--out", str(tmp_path / f"{name} out")]
        assert run([*words, *place]) == (2 if name == "other" else 0)
    told = capsys.readouterr()
    assert "another frame of reference" in told.err and "Contours in the CT's frame of reference are used" in told.out


def test_a_table_that_was_changed_is_refused(source, pet, result, tmp_path, capsys):
    folder = saved(pet, result, tmp_path / "made")
    (folder / "lesions.csv").write_text((folder / "lesions.csv").read_text(encoding="utf-8").replace("6", "7"))
    words = ["--volume", str(folder / "sr.nii.gz"), "--source", str(source), "--out", str(tmp_path / "out")]
    labels = pet.with_array((pet.array > 2).astype(np.float32), "label").write(tmp_path / "l.nrrd")
    assert run(["report", *words, "--segmentation", str(labels)]) == 2
    assert "lesions.csv is missing or was changed" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_objects_belong_to_the_patient_the_study_and_the_images(source, both):
    seg, report = read(both)
    origin = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, source.iterdir())}
    derived = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, both.glob("PT*.dcm"))}
    one = next(iter(origin.values()))
    for made in (seg, report):
        assert (made.PatientID, made.StudyInstanceUID) == (one.PatientID, one.StudyInstanceUID)
        assert str(made.PatientName) == "Müller^Jörg" and "research" in made.SeriesDescription
        assert made.Manufacturer == "PETSuperRes" and made.SoftwareVersions
    assert seg.FrameOfReferenceUID == one.FrameOfReferenceUID
    series = {d.SeriesInstanceUID for d in (*origin.values(), *derived.values(), seg, report)}
    assert len(series) == 4 and len({seg.SeriesNumber, report.SeriesNumber, one.get("SeriesNumber")}) == 3
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == next(iter(derived.values())).SeriesInstanceUID
    for group in groups(report):
        region = group.referenced_segment
        assert region.referenced_sop_instance_uid == seg.SOPInstanceUID
        number = region[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
        assert seg.SegmentSequence[number - 1].SegmentLabel == group.tracking_identifier
        assert seg.SegmentSequence[number - 1].TrackingUID == group.tracking_uid
        where = origin if group.method.meaning == "Input PET" else derived
        used = [where[image.referenced_sop_instance_uid] for image in group.get_measurements()[0].referenced_images]
        heights = sorted(float(d.ImagePositionPatient[2]) for d in used)
        first, last = (2, 5) if group.tracking_identifier == "Läsion 1" else (4, 6)
        assert heights[0] <= 100 + 5 * first and heights[-1] >= 100 + 5 * last and len(used) < len(where)
    texts = {element.value for element in report.iterall() if element.keyword == "TextValue"}
    assert {NOTICE, "seed 7", "MTV and measured TLG from SUV 2.5", "PETSuperRes", __version__} <= texts
    units = {element.value for element in report.iterall() if element.keyword == "CodeValue"}
    assert "g/ml{SUVbw}" in units and "121007" in units  # the observer is a device


def test_a_lesion_keeps_its_tracking_uid(source, pet, result, both, tmp_path):
    """In a second report of the study, and where it was drawn as a SEG that names one."""
    first, second = (pydicom.dcmread(out / "SEG.dcm") for out in (both, written(pet, result, source, tmp_path / "two")))
    uids = [[segment.TrackingUID for segment in seg.SegmentSequence] for seg in (first, second)]
    assert uids[0] == uids[1] and len(set(uids[0])) == 2 and first.SOPInstanceUID != second.SOPInstanceUID
    for segment in first.SegmentSequence:
        segment.TrackingUID, segment.SegmentLabel = hd.UID(), f"{segment.SegmentLabel} again"
    drawn = read_segmentation(write(first, tmp_path / "given.dcm"), pet).segments
    third = pydicom.dcmread(written(pet, result, source, tmp_path / "three", drawn) / "SEG.dcm")
    assert [s.TrackingUID for s in third.SegmentSequence] == [s.TrackingUID for s in first.SegmentSequence]


def test_lesions_of_one_name_are_told_apart(source, pet, result, tmp_path):
    drawn = [replace(segment, name="Lesion") for segment in segments(pet)]
    seg, report = read(written(pet, result, source, tmp_path / "out", drawn))
    assert len({segment.TrackingUID for segment in seg.SegmentSequence}) == 2
    peaks = {(g.tracking_uid, g.method.value): g.get_measurements()[0].value for g in groups(report)}
    assert [round(peaks[s.TrackingUID, "INPUT_PET"], 2) for s in seg.SegmentSequence] == [6.0, 3.3]


def test_contours_come_back_as_a_seg(source, pet, result, tmp_path):
    contours = [disc(13.0, (2.3, 10.6, z)) for z in (105.0, 110.0, 115.0, 120.0)]
    frame = pet.metadata["frame_of_reference"]
    file = write(rtstruct({"GTV": contours}, frame=frame), tmp_path / "rtstruct.dcm")
    drawn = read_segmentation(file, pet).segments
    [back] = read_segmentation(written(pet, result, source, tmp_path / "out", drawn) / "SEG.dcm", pet).segments
    assert back.name == "GTV"
    np.testing.assert_array_equal(union([back], result).array, union(drawn, result).array)
    assert back.mask.array.sum() * back.mask.voxel_ml == pytest.approx(4 * 5 * np.pi * 13**2 / 1000, rel=0.02)


def test_segments_that_overlap_are_whole(source, pet, result, tmp_path):
    one, two = segments(pet)
    whole = Segment(3, "both", union([one, two], pet))
    back = read_segmentation(
        written(pet, result, source, tmp_path / "out", [one, two, whole]) / "SEG.dcm", pet
    ).segments
    for before, after in zip((one, two, whole), back, strict=True):
        np.testing.assert_array_equal(union([after], result).array, union([before], result).array)


def test_of_a_region_only_its_lesions_are_reported(source, pet, result, tmp_path):
    part = result.crop((0, 0, 0), (*result.shape[:0:-1], 4))
    seg, report = read(written(pet, part, source, tmp_path / "out"))
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["Läsion 1"]
    assert {group.tracking_identifier for group in groups(report)} == {"Läsion 1"}
    rows = measured_rows(segments(pet), pet, part, {})
    nothing = part.crop((0, 0, 0), (*part.shape[:0:-1], 2))
    write_derived(nothing, source, tmp_path / "none", beside=beside(segments(pet), rows, {}))
    assert {file.name for file in (tmp_path / "none").iterdir()} == {"PT0001.dcm", "PT0002.dcm"}


def test_what_was_recovered_is_told_with_its_method(source, pet, result, tmp_path):
    rows = measured_rows(segments(pet), pet, result, {})
    for row in rows[2:]:
        row |= {name: 10.0 + n for n, name in enumerate(RECOVERED)} | {"evidence_sigma": 3.5}
    _, report = read(written(pet, result, source, tmp_path / "out", rows=rows))
    for group in groups(report):
        fitted = [m for m in group.get_measurements() if is_recovered(m)]
        found = {f"{field(m)}_recovered": m.value for m in fitted}
        assert found == ({name: row[name] for name in RECOVERED} if group.method.value == "SR_PET" else {})
        sigma = [m.value for m in group.get_measurements() if m.name.value == "EVIDENCE"]
        assert sigma == ([3.5] if found else [])
        assert len(group.get_measurements()) == len(MEASURED) + len(found) + len(sigma)


def test_the_threshold_is_not_stated_for_the_fitted_tlg(source, pet, result, tmp_path):
    drawn = segments(pet)[:1]
    rows = measured_rows(drawn, pet, result, {"threshold": "41%"})
    whole = "Fitted TLG of the whole segment, without a threshold"
    for name, fitted in (("plain", {}), ("fitted", {"tlg_recovered": 10.0})):
        for row in rows:
            row |= fitted
        _, report = read(written(pet, result, source, tmp_path / name, drawn, rows, threshold="41%"))
        texts = {element.value for element in report.iterall() if element.keyword == "TextValue"}
        assert {text for text in texts if "TLG" in text} == {
            "MTV and measured TLG from 41% of SUVmax",
            *([whole] if fitted else []),
        }


def test_the_interval_of_a_recovered_measure_is_its_uncertainty(source, pet, result, tmp_path):
    drawn = segments(pet)[:1]
    rows = measured_rows(drawn, pet, result, {})
    for row in rows:
        row |= {"suvmean_recovered": 7.0, "suvmean_low": 6.75, "suvmean_high": 7.5, "tlg": None}
    _, report = read(written(pet, result, source, tmp_path / "out", drawn, rows))
    for group in groups(report):
        [recovered] = [measurement for measurement in group.get_measurements() if is_recovered(measurement)]
        plain = {field(m): ends_of(m) for m in group.get_measurements() if not is_recovered(m)}
        assert plain == dict.fromkeys(("suvmax", "suvmean", "suvpeak", "mtv_ml", "volume_ml"), {})
        assert recovered.value == 7.0 and ends_of(recovered) == pytest.approx({"+": 0.5, "-": 0.25})


@needs_dciodvfy
@pytest.mark.parametrize(
    "source_has",
    [
        {},
        {"PatientPosition": "HFS", "StudyID": "a long name of it", "SeriesType": ["WHOLEBODY", "IMAGE"]},
        {"BodyPartExamined": "CHEST", "PatientPosition": "FFP"},
        {"BodyPartExamined": "EXTREMITY"},
    ],
)
def test_dciodvfy_finds_no_error(source, pet, result, tmp_path, source_has):
    slices = [pydicom.dcmread(file) for file in sorted(source.iterdir())]
    for dataset in slices:
        for keyword, value in source_has.items():
            setattr(dataset, keyword, value)
    written(pet, result, write_series(slices, tmp_path / "changed"), tmp_path / "out", seed=7, threshold=2.5)
    for name in ("PT0001.dcm", "SEG.dcm", "SR.dcm"):
        assert not errors_of(tmp_path / "out" / name)


@pytest.mark.parametrize(
    ("position", "lies", "first"), [("HFS", "supine", "headfirst"), ("FFDL", "left", "feet-first")]
)
def test_how_the_patient_lies_is_told_by_codes(source, pet, result, tmp_path, position, lies, first):
    slices = [pydicom.dcmread(file) for file in source.iterdir()]
    for dataset in slices:
        dataset.PatientPosition = position
    write_derived(result, write_series(slices, tmp_path / "changed"), tmp_path / "out")
    made = pydicom.dcmread(tmp_path / "out" / "PT0001.dcm")
    [orientation], [gantry] = made.PatientOrientationCodeSequence, made.PatientGantryRelationshipCodeSequence
    [modifier] = orientation.PatientOrientationModifierCodeSequence
    assert orientation.CodeMeaning == "recumbent" and lies in modifier.CodeMeaning and gantry.CodeMeaning == first
    assert "PatientPosition" not in made
