"""Volumes keep their place in the patient: in files, in resampling, and when something goes wrong."""

from __future__ import annotations

import gzip
import os
import struct
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import SimpleITK as sitk
from geometry import rotation

from PETSuperResLib.errors import GeometryError, InputError, OutputError, UnitsError
from PETSuperResLib.files import atomic_path
from PETSuperResLib.grid import axial, axial_order, crop_to_region, reordered
from PETSuperResLib.volume import Volume


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_file_round_trip_keeps_values_and_place(awkward, tmp_path, suffix):
    back = Volume.read(awkward.write(tmp_path / f"v{suffix}"))
    np.testing.assert_array_equal(back.array, awkward.array)
    np.testing.assert_allclose(back.ijk_to_lps, awkward.ijk_to_lps, atol=1e-3)
    assert back.same_grid(awkward)


def test_labels_are_written_as_integers(tmp_path):
    mask = Volume(np.arange(24).reshape(2, 3, 4), unit="label")
    image = sitk.ReadImage(str(mask.write(tmp_path / "m.nrrd")))
    assert image.GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(Volume.read(tmp_path / "m.nrrd").array, mask.array)


def ramp(volume: Volume) -> np.ndarray:
    """A linear function of the position in the patient."""
    k, j, i = np.indices(volume.shape)
    points = np.stack([i, j, k, np.ones_like(i)], -1) @ volume.ijk_to_lps.T
    return points[..., :3] @ [0.3, -0.2, 0.5] + 7


def test_resampling_reproduces_a_linear_ramp_in_the_patient(awkward):
    source = awkward.with_array(ramp(awkward))
    centre = (awkward.ijk_to_lps @ [5, 4, 3, 1])[:3]
    target = Volume(np.zeros((3, 4, 5)), (1.1, 0.9, 1.3), tuple(centre), tuple(rotation((0, 1, 1), 70).ravel()))
    np.testing.assert_allclose(source.resample_to(target).array, ramp(target), atol=1e-3)


def test_finer_grid_covers_the_same_box_with_the_same_centre(awkward):
    fine = awkward.grid((2.0, 2.0, 2.0))
    np.testing.assert_allclose(fine.corners().mean(0), awkward.corners().mean(0), atol=1e-6)
    extent = np.array(fine.shape[::-1]) * fine.spacing
    old = np.array(awkward.shape[::-1]) * awkward.spacing
    assert (extent >= old - 1e-6).all() and (extent < old + 2.0).all()


def test_crop_keeps_every_voxel_where_it_was(awkward):
    part = awkward.crop((2, 3, 1), (9, 8, 6))
    np.testing.assert_allclose((part.ijk_to_lps @ [1, 1, 1, 1]), (awkward.ijk_to_lps @ [3, 4, 2, 1]))
    np.testing.assert_array_equal(part.resample_to(awkward, "nearest", -1).array[1:6, 3:8, 2:9], part.array)


def test_outside_gets_the_asked_value():
    far = Volume(np.zeros((2, 2, 2)), origin=(500, 0, 0))
    assert (Volume(np.ones((4, 4, 4))).resample_to(far, outside=-1000).array == -1000).all()


def test_same_grid_sees_a_shift_of_a_tenth_of_a_millimetre(awkward):
    x, y, z = awkward.origin
    assert not awkward.same_grid(replace(awkward, origin=(x + 0.1, y, z)))


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_truncated_file_is_refused_not_filled_with_zeros(tmp_path, suffix, compressed, capfd):
    volume = Volume(np.random.default_rng(0).random((8, 20, 20)))
    whole, part = tmp_path / f"whole{suffix}", tmp_path / f"part{suffix}"
    sitk.WriteImage(volume.to_sitk(), str(whole), useCompression=compressed)
    part.write_bytes(whole.read_bytes()[: int(0.8 * whole.stat().st_size)])
    with pytest.raises(InputError, match=r"part.*damaged"):
        Volume.read(part)
    assert capfd.readouterr().err == ""


def test_unreadable_inputs_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        Volume.read(tmp_path / "nowhere.nii.gz")
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="not an image format"):
        Volume.read(tmp_path / "notes.txt")
    (tmp_path / "empty.nii").write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        Volume.read(tmp_path / "empty.nii")


def test_several_frames_are_refused(tmp_path):
    frames = sitk.JoinSeries([sitk.GetImageFromArray(np.zeros((3, 4, 5), np.float32))] * 2)
    sitk.WriteImage(frames, str(tmp_path / "dynamic.nii.gz"))
    with pytest.raises(InputError, match="one frame"):
        Volume.read(tmp_path / "dynamic.nii.gz")


def test_impossible_geometry_is_refused():
    with pytest.raises(GeometryError, match="spacing"):
        Volume(np.zeros((2, 2, 2)), spacing=(1, 0, 1))
    with pytest.raises(GeometryError, match="direction"):
        Volume(np.zeros((2, 2, 2)), direction=(1, 0, 0, 1, 0, 0, 0, 0, 1))
    with pytest.raises(InputError, match="3 dimensions"):
        Volume(np.zeros((2, 2)))


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "report.json"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.json"]


def test_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path):
    with pytest.raises(OutputError, match=r"x\.json.*No space left"), atomic_path(tmp_path / "x.json"):
        raise OSError(28, "No space left on device")
    assert os.listdir(tmp_path) == []


def test_writing_below_a_file_or_with_an_unknown_suffix_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"):
        Volume(np.zeros((2, 2, 2))).write(tmp_path / "file" / "v.nii.gz")
    with pytest.raises(OutputError, match="suffix"):
        Volume(np.zeros((2, 2, 2))).write(tmp_path / "v.jpg")


def test_a_region_comes_with_24_mm_around_it():
    pet = Volume(np.zeros((40, 60, 70), np.float32), (2.0, 2.0, 2.0))
    part = crop_to_region(pet, (50, 60, 40, 70, 30, 40))
    low, high = part.corners().min(0), part.corners().max(0)
    np.testing.assert_allclose(low, (50 - 24, 40 - 24, 30 - 24), atol=2.0)
    np.testing.assert_allclose(high, (60 + 24, 70 + 24, 40 + 24), atol=3.0)


# -- what ITK does not say ------------------------------------------------------------------------------
def nifti_of(tmp_path, affine: np.ndarray | None = None) -> bytes:
    """An uncompressed NIfTI file; ``affine`` (3 x 4) takes the place of its sform."""
    path = Volume(np.arange(60).reshape(3, 4, 5), (2.0, 3.0, 4.0)).write(tmp_path / "plain.nii")
    raw = bytearray(path.read_bytes())
    if affine is not None:
        raw[254:256] = struct.pack("<h", 1)
        raw[280:328] = struct.pack("<12f", *affine.ravel())
    return bytes(raw)


@pytest.mark.parametrize(("name", "packed"), [("pet.nii.gz", False), ("pet.nii", True)])
def test_compression_is_known_by_the_content_not_by_the_name(tmp_path, name, packed):
    raw = nifti_of(tmp_path)
    (tmp_path / name).write_bytes(gzip.compress(raw) if packed else raw)
    np.testing.assert_array_equal(Volume.read(tmp_path / name).array.ravel(), np.arange(60))


def test_axes_that_are_not_at_right_angles_are_refused(tmp_path):
    sheared = np.array([[2, 0.3, 0, 0], [0, 3, 0, 0], [0, 0, 4, 0.0]])
    (tmp_path / "s.nii").write_bytes(nifti_of(tmp_path, sheared))
    with pytest.raises(InputError, match=r"s\.nii has axes that are not at right angles"):
        Volume.read(tmp_path / "s.nii")
    sheared[0, 1] = 0.003  # rounding
    (tmp_path / "s.nii").write_bytes(nifti_of(tmp_path, sheared))
    assert Volume.read(tmp_path / "s.nii").shape == (3, 4, 5)


def test_a_header_with_two_voxel_sizes_is_refused(tmp_path):
    (tmp_path / "s.nii").write_bytes(nifti_of(tmp_path, np.diag([4.0, 3.0, 4.0, 0.0])[:3]))
    with pytest.raises(InputError, match=r"s\.nii has two voxel sizes, 4 x 3 x 4 and 2 x 3 x 4"):
        Volume.read(tmp_path / "s.nii")


# -- axial slices -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("turn", [np.eye(3), rotation((1, 2, 3), 25), np.diag([-1.0, 1.0, -1.0])])
def test_any_order_of_axes_is_brought_to_axial_slices_with_every_voxel_in_place(order, turn):
    values = np.random.default_rng(0).random((4, 5, 6))
    axial_volume = Volume(values, (2.0, 3.0, 4.0), (7.0, 8.0, 9.0), tuple(turn.ravel()))
    stored = reordered(axial_volume, order)
    assert axial_order(axial_volume) == (0, 1, 2)
    back = axial(stored)
    np.testing.assert_allclose(np.abs(np.reshape(back.direction, (3, 3))[2]).argmax(), 2)
    for volume in (stored, back):
        for i, j, k in ((1, 2, 3), (5, 0, 1)):
            place = axial_volume.ijk_to_lps @ [i, j, k, 1]
            a, b, c = np.rint(np.linalg.solve(volume.ijk_to_lps, place)[:3]).astype(int)
            assert volume.array[c, b, a] == axial_volume.array[k, j, i]


def test_a_unit_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(UnitsError, match="'lable' is no unit of a volume: use SUVbw, Bq/mL, HU, label"):
        Volume(np.zeros((2, 2, 2)), unit="lable")
