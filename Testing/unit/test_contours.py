"""Lesions come from every clinic's form of contours: the drawn size, under their own names, or told why not."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
from contour_factory import FRAME, box, disc, rtstruct, seg, write, write_layers
from geometry import data_dir

from PETSuperResLib.dicom.polygons import coverage
from PETSuperResLib.dicom.regions import LESION, OTHER, UNKNOWN, kind_of
from PETSuperResLib.errors import GeometryError, InputError
from PETSuperResLib.grid import reordered
from PETSuperResLib.lesions.measures import measure_lesions
from PETSuperResLib.lesions.read import read_contours, read_segmentation
from PETSuperResLib.lesions.segments import connected_parts, union
from PETSuperResLib.volume import Volume

STEP = 4.0  # between the PET's slices, mm
PET = Volume(np.ones((11, 20, 24)), (5.0, 5.0, STEP), (-57.5, -47.5, -20.0), unit="SUVbw",
             metadata={"frame_of_reference": FRAME})  # fmt: skip
HEIGHTS = [-4.0, 0.0, 4.0]  # of slices


def read(tmp_path, dataset, pet=PET):
    return read_segmentation(write(dataset, tmp_path / "rt.dcm"), pet)


def drawn_ml(segment, volume=PET):
    return float(segment.weights(volume)[0].sum()) * volume.voxel_ml


def square(half, centre=(0.0, 0.0), heights=HEIGHTS):
    x, y = centre
    return [box((x - half, x + half), (y - half, y + half), z) for z in heights]


# -- RTSTRUCT: how much is drawn ---------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(5))
def test_a_polygon_covers_its_area_and_each_cell_the_part_within_it(seed):
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, 12))
    star = 7 + np.c_[np.cos(angles), np.sin(angles)] * random.uniform(0.3, 6, (12, 1))
    area = coverage([star], (14, 15))
    x, y = star.T
    assert area.sum() == pytest.approx(0.5 * abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)), rel=1e-4)
    fine = coverage([20 * star], (280, 300)).reshape(14, 20, 15, 20).mean((1, 3))
    np.testing.assert_allclose(area, fine, atol=0.05)


@pytest.mark.parametrize("radius", [0.3, 1.0, 2.4, 9.7, 21.0])
@pytest.mark.parametrize("centre", [(0, 0), (1.9, -3.3)])
def test_a_contour_has_its_drawn_volume_however_small(tmp_path, radius, centre):
    segment = read(tmp_path, rtstruct({"GTV": [disc(radius, (*centre, z)) for z in HEIGHTS]})).segments[0]
    expected = math.pi * radius**2 * STEP * len(HEIGHTS) / 1000
    assert drawn_ml(segment) == pytest.approx(expected, rel=1e-3)
    assert segment.centre() == pytest.approx((*centre, 0), abs=1)


def test_a_lesion_smaller_than_a_voxel_is_measured_with_its_share(tmp_path):
    values = np.ones(PET.shape)
    values[5, 9, 11] = 9.0  # from x = -5 to 0 and y = -5 to 0
    pet = PET.with_array(values)
    found = read(tmp_path, rtstruct({"GTV": square(0.9, (-2.0, -2.5), [0.0])}), pet)
    [lesion] = measure_lesions(pet, found.segments)
    assert (lesion.suvmax, lesion.suvmean) == (9.0, pytest.approx(9)) and lesion.mtv_ml == pytest.approx(
        1.8**2 * STEP / 1000
    )


def test_a_drawn_voxel_much_smaller_than_the_pets_keeps_its_share(tmp_path):
    mask = Volume(np.ones((1, 1, 1)), (0.3, 0.3, 0.3), (1.1, -2.2, 0.7), unit="label")
    [segment] = read_segmentation(mask, PET).segments
    assert drawn_ml(segment) == pytest.approx(0.3**3 / 1000, rel=0.2)
    assert measure_lesions(PET, [segment])[0].suvmean == pytest.approx(1)


@pytest.mark.parametrize("apart", [1.5, 3.0, 5.0])
def test_contours_of_a_ct_with_other_slices_keep_their_volume(tmp_path, apart):
    heights = -9.3 + apart * np.arange(6)
    segment = read(tmp_path, rtstruct({"GTV": square(8, heights=heights)})).segments[0]
    assert drawn_ml(segment) == pytest.approx(16**2 * 6 * apart / 1000, rel=0.03)


def test_between_pieces_of_one_region_there_is_nothing(tmp_path):
    segment = read(tmp_path, rtstruct({"GTV": square(8, heights=[-16, -12, -8, 8, 12])})).segments[0]
    assert drawn_ml(segment) == pytest.approx(16**2 * 5 * STEP / 1000)
    segment = read(tmp_path, rtstruct({"GTV": square(8, heights=[-16, -4, 0])})).segments[0]
    assert drawn_ml(segment) == pytest.approx(16**2 * 3 * STEP / 1000)
    found = read(tmp_path, rtstruct({"GTV": square(8, heights=[-16, 12])}))
    assert drawn_ml(found.segments[0]) == pytest.approx(16**2 * 2 * STEP / 1000)
    assert "far apart: each is taken as 4.0 mm thick" in found.notes[0]


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
def test_within_a_region_an_inner_contour_is_a_hole_and_a_repeated_one_counts_once(tmp_path, kind):
    contours = [*square(10), *square(4), *square(10)]
    segment = read(tmp_path, rtstruct({"GTV": contours}, kind=kind)).segments[0]
    assert drawn_ml(segment) == pytest.approx((20**2 - 8**2) * STEP * 3 / 1000)


def test_regions_within_one_another_are_lesions_each_by_itself(tmp_path):
    found = read(tmp_path, rtstruct({"GTV_Mass": square(5), "GTV_Edema": square(15)}))
    assert [(s.name, round(drawn_ml(s), 2)) for s in found.segments] == [("GTV_Mass", 1.2), ("GTV_Edema", 10.8)]
    assert union(found.segments, PET).array.sum() * PET.voxel_ml == pytest.approx(10.8)


def test_a_contour_stored_twice_counts_once_wherever_it_begins(tmp_path):
    again = [np.roll(points[::-1], 1, axis=0) for points in square(8)]
    assert drawn_ml(read(tmp_path, rtstruct({"GTV": [*square(8), *again]})).segments[0]) == pytest.approx(3.072)


def test_contours_that_enclose_nothing_are_refused(tmp_path):
    line = [points[[0, 1, 0, 1]] for points in square(8)]
    with pytest.raises(InputError, match="'GTV' enclose nothing"):
        read(tmp_path, rtstruct({"GTV": line}))


def test_a_pet_stored_in_coronal_slices_gets_the_same_lesion(tmp_path):
    coronal = reordered(PET, (0, 2, 1))
    found = read(tmp_path, rtstruct({"GTV": square(8)}), coronal)
    assert drawn_ml(found.segments[0], coronal) == pytest.approx(16**2 * 3 * STEP / 1000)


# -- RTSTRUCT: what is a lesion ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "words", "stated", "kind"),
    [
        *((name, "", UNKNOWN, LESION) for name in ("GTV1", "iGTV", "PET-GTV", "Tumour", "liver metastasis")),
        *((name, "", OTHER, LESION) for name in ("GTVp", "Lesion A")),  # systems that write ORGAN for everything
        *((name, "", UNKNOWN, OTHER) for name in ("Heart", "Lungs-GTV", "Liver minus GTV", "PTV_GTV", "GTV ring")),
        ("Vol_1", "", UNKNOWN, UNKNOWN), ("Vol_1", "", LESION, LESION), ("Vol_1", "Neoplasm, Primary", UNKNOWN, LESION),
        ("Vol_1", "", OTHER, OTHER), ("Massachusetts", "", UNKNOWN, UNKNOWN),
    ],
)  # fmt: skip
def test_lesions_are_told_by_name_and_type(name, words, stated, kind):
    assert kind_of(name, words, stated) == kind


def test_of_organs_and_lesions_the_lesions_are_taken_and_the_rest_is_told(tmp_path):
    rois = {"Heart": square(20), "Vol_1": square(6), "Vol_2": square(8), "Vol_3": square(10)}
    code = {"RTROIIdentificationCodeSequence": []}
    observed = {
        "Heart": {"RTROIInterpretedType": "ORGAN"} | code,
        "Vol_2": {"RTROIInterpretedType": "GTV"},
        "Vol_3": {"ROIObservationLabel": "second lesion", "RTROIInterpretedType": ""},
    }
    found = read(tmp_path, rtstruct(rois, observed=observed))
    assert [s.name for s in found.segments] == ["Vol_2", "Vol_3"]
    assert "'Heart' of rt.dcm, 'Vol_1' of rt.dcm" in found.notes[0]


def test_of_several_files_the_one_with_lesions_is_taken_and_a_lesion_in_two_files_counts_once(tmp_path):
    write(rtstruct({"Heart": square(20)}), tmp_path / "a.dcm")
    write(rtstruct({"GTV": square(5)}), tmp_path / "b.dcm")
    inside = np.zeros(PET.shape[1:])
    inside[9:11, 11:13] = 1
    write(seg([(1, k, inside) for k in (4, 5, 6)], PET, {1: "gtv"}), tmp_path / "c.dcm")
    (tmp_path / "d.dcm").write_bytes((tmp_path / "c.dcm").read_bytes()[:-300])
    found = read_segmentation(tmp_path, PET)
    assert [s.name for s in found.segments] == ["GTV"]
    assert any("Left out: d.dcm has pixel data that cannot be decoded" in note for note in found.notes)
    assert any("'Heart' of a.dcm" in note for note in found.notes)
    assert any("'gtv' of c.dcm is in another file" in note for note in found.notes)


def test_a_file_that_a_user_gives_is_measured_without_a_lesions_name_and_one_that_was_found_is_not(tmp_path):
    path = write(rtstruct({"Heart": square(20), "Liver": square(10)}), tmp_path / "rt.dcm")
    found = read_segmentation(path, PET)
    assert [s.name for s in found.segments] == ["Heart", "Liver"] and "all are measured" in found.notes[0]
    with pytest.raises(InputError, match="None of 'Heart', 'Liver' is a lesion"):
        read_contours([path], PET, chosen=False)


def test_a_folder_without_contours_is_told_as_such(tmp_path):
    with pytest.raises(InputError, match="holds no RTSTRUCT or SEG"):
        read_segmentation(tmp_path, PET)


def test_equal_names_stay_apart(tmp_path):
    names = ("x", "y")
    dataset = rtstruct(dict(zip(names, (square(5), square(5, (20, 0))), strict=True)))
    for item in dataset.StructureSetROISequence:
        item.ROIName = "Lesion"
    assert [s.name for s in read(tmp_path, dataset).segments] == ["Lesion", "Lesion (2)"]


def test_contours_in_another_frame_of_reference_are_refused_or_left_out(tmp_path):
    rois = {"GTV": square(5), "GTV MR": square(8)}
    with pytest.raises(InputError, match="another frame of reference than the PET's .*1.2.3.777"):
        read(tmp_path, rtstruct(rois, frame="1.2.3.777"))
    found = read(tmp_path, rtstruct(rois, frame={"GTV MR": "1.2.3.777"}))
    assert [s.name for s in found.segments] == ["GTV"] and "'GTV MR'" in found.notes[-1]


def test_contours_in_the_frame_of_reference_of_the_ct_are_used_and_told(tmp_path):
    path = write(rtstruct({"GTV": square(5), "GTV MR": square(8)}, frame={"GTV": "1.2.3.777", "GTV MR": "1.2.3.888"}),
                 tmp_path / "rt.dcm")  # fmt: skip
    ct = PET.with_array(PET.array, "HU")
    found = read_segmentation(path, PET, replace(ct, metadata={"frame_of_reference": "1.2.3.777"}))
    assert [s.name for s in found.segments] == ["GTV"]
    assert "Contours in the CT's frame of reference are used" in found.notes[0] and "'GTV MR'" in found.notes[1]


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        (rtstruct({"GTV": []}), "'GTV' has no closed contours"),
        (rtstruct({"GTV": square(5)}, kind="OPEN_PLANAR"), "'GTV' has no closed contours"),
        (rtstruct({"GTV": [p[:, [2, 0, 1]] for p in square(5)]}), "not parallel to the PET's slices"),
        (rtstruct({"GTV": square(5, (400, 0))}), r"'GTV' of \w+\.dcm: no voxel inside the PET"),
        (seg([(1, 3, np.zeros(PET.shape[1:]))], PET, {1: "Tumor"}), "'Tumor' has no voxels"),
    ],
)
def test_what_cannot_be_measured_is_told(tmp_path, dataset, told):
    with pytest.raises((InputError, GeometryError), match=told):
        read(tmp_path, dataset)


def test_points_that_are_missing_or_no_numbers_are_told(tmp_path):
    dataset = rtstruct({"GTV": square(5)})
    contour = dataset.ROIContourSequence[0].ContourSequence[1]
    contour.ContourData = list(contour.ContourData)[:-3]
    with pytest.raises(InputError, match="'GTV' lack points"):
        read(tmp_path, dataset)


# -- the share within the PET --------------------------------------------------------------------------------
def test_a_lesion_partly_outside_the_pet_is_told_with_its_share(tmp_path):
    mask = Volume(np.zeros((20, 20, 24)), PET.spacing, (-57.5, -47.5, -60.0), unit="label")  # ten slices below the PET
    mask.array[6:14, 8:12, 8:12] = 1
    mask.array[15:17, 2:4, 2:4] = 2
    found = read_segmentation(mask, PET)
    assert found.notes == ("50 % of segment 'Lesion 1' lies outside the PET: what is measured is the rest of it.",)
    mask.array[5, 8:12, 8:12] = 1
    [note] = read_segmentation(mask, PET).notes
    assert note.startswith("56 %") and note.endswith(
        "the rest of it; check that the segmentation belongs to this scan."
    )
    mask.array[:3, 15:17, 15:17] = 3
    found = read_segmentation(mask, PET)
    assert len(found.segments) == 2 and "'Lesion 3' lies outside the PET and is left out" in found.notes[1]


# -- SEG -----------------------------------------------------------------------------------------------------
def planes(mask):
    return [(1, k, plane) for k, plane in enumerate(mask) if plane.any()]


def random_mask(seed=0):
    mask = np.random.default_rng(seed).random(PET.shape) > 0.7
    mask[:3] = mask[-2:] = False
    return mask


def test_a_seg_with_overlapping_segments_gives_each_its_own_voxels(tmp_path):
    one, two = random_mask(1), random_mask(2)
    frames = [*planes(one), *((2, k, plane) for _, k, plane in planes(two))][::-1]
    found = read(tmp_path, seg(frames, PET, {1: "Tumor left", 2: "Tumor right"}))
    assert [s.name for s in found.segments] == ["Tumor left", "Tumor right"]
    for segment, mask in zip(found.segments, (one, two), strict=True):
        np.testing.assert_array_equal(union([segment], PET).array, mask)


def test_a_sparse_seg_keeps_the_stated_distance_of_slices(tmp_path):
    mask = np.zeros(PET.shape)
    mask[2, 4:6, 4:6] = mask[6, 4:6, 4:6] = mask[9, 4:6, 4:6] = 1
    segment = read(tmp_path, seg(planes(mask), PET, {1: "Tumor"})).segments[0]
    assert segment.mask.spacing[2] == STEP
    np.testing.assert_array_equal(union([segment], PET).array, mask)


def test_a_label_map_seg_gives_every_label(tmp_path):
    labels = np.where(random_mask(1), 2, 0) + np.where(random_mask(2) & ~random_mask(1), 7, 0)
    frames = [(0, k, plane) for k, plane in enumerate(labels)]
    named = {2: "Tumor", 7: "Metastasis", 9: "Lesion never drawn"}
    label_map = {"SegmentationType": "LABELMAP", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.7"}
    found = read(tmp_path, seg(frames, PET, named, **label_map))
    assert [s.name for s in found.segments] == ["Tumor", "Metastasis"] and "never drawn" in found.notes[0]
    np.testing.assert_array_equal(union(found.segments[1:], PET).array, labels == 7)


@pytest.mark.parametrize("kind", ["OCCUPANCY", "PROBABILITY"])
def test_a_fractional_seg_counts_parts_of_voxels_or_the_probable_ones(tmp_path, kind):
    parts = np.zeros(PET.shape)
    parts[4, 5, 5:9] = 200, 120, 80, 50  # of 200: 2.25 voxels of 0.1 mL
    parts[5] = 2 * parts[4] * (parts[4] < 100) + (parts[4] >= 100) * 100
    fractional = {"SegmentationType": "FRACTIONAL", "SegmentationFractionalType": kind, "MaximumFractionalValue": 200}
    segment = read(tmp_path, seg(planes(parts), PET, {1: "Tumor"}, **fractional)).segments[0]
    expected = parts.sum() / 200 if kind == "OCCUPANCY" else (parts >= 100).sum()
    assert drawn_ml(segment) == pytest.approx(expected * PET.voxel_ml)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_what_highdicom_writes_is_read(tmp_path, kind):
    """An independent writer: highdicom, where it is installed."""
    hd = pytest.importorskip("highdicom", reason="highdicom is not installed: pip install highdicom")
    from dicom_factory import Scan, pet_slices
    from pydicom.sr.codedict import codes

    scan = Scan(spacing=(4.0, 3.0, 5.0), orientation=(0.8, 0.6, 0, 0, 0, -1))
    slices = pet_slices(scan)
    for dataset in slices:
        dataset.file_meta = None
        dataset.StudyID, dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "1", "20250101", "110000", "1"
        dataset.PatientBirthDate, dataset.PositionReferenceIndicator = "19500101", ""
    shape = (len(slices), slices[0].Rows, slices[0].Columns)
    mask = np.random.default_rng(0).random(shape) > 0.5
    mask[0] = mask[2] = False
    described = hd.seg.SegmentDescription(
        1, "Primary", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Neoplasm, "MANUAL"
    )
    made = hd.seg.Segmentation(
        slices, mask.astype(np.float32 if kind == "FRACTIONAL" else np.uint8), kind, [described], hd.UID(), 9, hd.UID(),
        1, "factory", "factory", "1", "1", omit_empty_frames=True,
    )  # fmt: skip
    made.save_as(tmp_path / "seg.dcm")
    grid = Volume(np.zeros(shape), scan.spacing, scan.origin, tuple(np.c_[_axes(scan)].ravel()))
    [segment] = read_segmentation(tmp_path / "seg.dcm", grid).segments
    assert segment.name == "Primary"
    np.testing.assert_array_equal(union([segment], grid).array, mask)


def _axes(scan):
    row, column = np.array(scan.orientation[:3]), np.array(scan.orientation[3:])
    return row, column, np.cross(row, column)


# -- Slicer's .seg.nrrd ----------------------------------------------------------------------------------------
def test_segments_that_overlap_in_a_seg_nrrd_are_whole_and_named(tmp_path):
    one, two, three = (random_mask(n) for n in (1, 2, 3))
    layers = np.stack([np.where(one, 1, 0), np.where(two, 1, np.where(three, 2, 0))])
    described = [("edema", 0, 1), ("mass", 1, 1), ("empty", 0, 3), ("third", 1, 2)]
    found = read_segmentation(write_layers(tmp_path / "s.seg.nrrd", layers, PET, described), PET)
    assert [(s.label, s.name) for s in found.segments] == [(1, "edema"), (2, "mass"), (3, "third")]
    for segment, mask in zip(found.segments, (one, two, three & ~two), strict=True):
        np.testing.assert_array_equal(union([segment], PET).array, mask)


def test_connected_parts_are_named_after_their_segment(tmp_path):
    contours = [*square(5), *square(8, (30, 0))]
    found = read(tmp_path, rtstruct({"GTV": contours, "Lesion": square(6, (-30, 0))}))
    parts = connected_parts(found.segments)
    assert [(s.name, round(drawn_ml(s), 3)) for s in parts] == [
        ("GTV part 1", 16 * 16 * 0.012), ("GTV part 2", 1.2), ("Lesion", 12 * 12 * 0.012)]  # fmt: skip


# -- every other header ------------------------------------------------------------------------------------------
VALUES = ["", "12,5", "text", "-1", "0", "nan", "1e400", None]


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_file_is_read_or_refused_with_one_sentence(tmp_path, seed):
    """Attributes anywhere in the file are taken away or replaced: never another error, never another size
    of the lesion without a note."""
    random = np.random.default_rng(seed)
    mask = random_mask()
    files = [rtstruct({"GTV": square(6), "Heart": square(9)}), seg(planes(mask), PET, {1: "Tumor"})]
    for dataset, size in zip(files, (1.728, float(mask.sum()) * PET.voxel_ml), strict=True):
        damaged = copy.deepcopy(dataset)
        inner = [
            (place, element.keyword)
            for place in [damaged, *(item for e in damaged.iterall() if e.VR == "SQ" for item in e.value)]
            for element in place
            if element.keyword not in ("Modality", "SOPClassUID", "SOPInstanceUID", "PixelData")
        ]
        place, keyword = inner[random.integers(len(inner))]
        value = VALUES[random.integers(len(VALUES))]
        try:
            if value is None:
                delattr(place, keyword)
            else:
                place[keyword]._value = value
            path = write(damaged, tmp_path / f"{dataset.Modality}.dcm")
        except (AttributeError, ValueError, TypeError, OverflowError, OSError):  # not even pydicom writes it
            continue
        try:
            found = read_segmentation(path, PET)
        except InputError as error:
            assert len(str(error)) < 400 and "\n" not in str(error)
            continue
        if any("Left out, as no lesions" not in note for note in found.notes):
            continue
        for segment in found.segments:
            if segment.name != "Heart":
                assert drawn_ml(segment) == pytest.approx(size, rel=0.01), (keyword, value)


# -- the real study --------------------------------------------------------------------------------------------
def test_the_real_rtstruct_is_the_published_label_map():
    label_map = Volume.read(data_dir("sts", "STS_001", "GTV.nii.gz"), "label")
    pet = Volume.read(data_dir("sts_dicom", "STS_001", "PET"))
    found = read_segmentation(data_dir("sts_dicom", "STS_001", "RTSTRUCT"), pet)
    [segment] = found.segments
    drawn = union([segment], label_map).array
    assert segment.name == "GTV_Mass_PET" and not found.notes
    assert drawn_ml(segment, label_map) == pytest.approx(label_map.array.sum() * label_map.voxel_ml, rel=0.01)
    assert 2 * (drawn * label_map.array).sum() / (drawn.sum() + label_map.array.sum()) > 0.99
