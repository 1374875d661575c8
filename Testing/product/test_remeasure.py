"""Lesions of a result that are measured again later are those of the run, and changed ones follow."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import small_phantom, tiny_prior

from PETSuperResLib import remeasure as module
from PETSuperResLib.errors import InputError
from PETSuperResLib.files import to_json
from PETSuperResLib.followup.compare import compare
from PETSuperResLib.followup.visit import Visit
from PETSuperResLib.grid import reordered
from PETSuperResLib.lesions.recovery import recover
from PETSuperResLib.lesions.segments import region_around, segments_of
from PETSuperResLib.physics.image_noise import ImageNoise
from PETSuperResLib.physics.measurement import Measurement
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.reconstruction import reconstruct
from PETSuperResLib.remeasure import Remeasurement, measurement_of, remeasured
from PETSuperResLib.resolution import resolution_of
from PETSuperResLib.sampling import Standard
from PETSuperResLib.scanner import Scanner
from PETSuperResLib.volume import Volume
from PETSuperResLib.worker.job import Tools
from PETSuperResLib.worker.jobs import JOBS
from PETSuperResLib.worker.raw_arrays import write_raw

QUICK = Standard("quick", steps=2, start_sigma=0.3, end_sigma=0.1, start_iterations=3, inner_first=2, inner_last=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    prior = tiny_prior(tmp_path_factory.mktemp("prior"))
    prior.info["pixel_mm"] = 4.0

    def go(pet, ct, labels, **options):
        return reconstruct(pet, ct, quality=QUICK, prior=prior, device="cpu", segmentation=labels, **options)

    return go


def values(lesion):
    return [getattr(lesion, name) for name in ("suvmean_recovered", "suvmean_low", "tlg_high", "evidence_sigma")]


@pytest.mark.parametrize("how", ["whole", "region", "sagittal"])
def test_the_report_and_the_images_give_what_the_run_recovered(run, how):
    phantom = small_phantom()
    pet, ct, labels = phantom.pet, phantom.ct, phantom.labels
    if how == "sagittal":
        pet = reordered(pet, (1, 2, 0))
    options = {"region": region_around(segments_of(labels)[:1], 10)} if how == "region" else {}
    result = run(pet, ct, labels, scanner="Siemens Biograph mCT", **options)
    report = json.loads(to_json(result.report))
    again = Remeasurement(result.volume, measurement_of(pet, report)).lesions(segments_of(labels))
    once = remeasured(result.volume, pet, report, segments_of(labels))
    assert [values(lesion) for lesion in once] == [pytest.approx(values(lesion), rel=1e-3) for lesion in again]
    wanted = result.lesions["ours-quick"]
    assert [lesion.label for lesion in again] == [lesion.label for lesion in wanted]
    for one, other in zip(again, wanted, strict=True):
        assert values(one) == pytest.approx(values(other), rel=1e-3)


def test_slices_far_from_the_segments_change_nothing_and_those_near_them_do():
    truth = np.pad(np.ones((50, 18, 18), np.float32), ((0, 0), (3, 3), (3, 3)))
    truth[24:26, 10:13, 10:13], truth[27:30, 6:18, 6:18] = 8, 12  # a lesion and, 8 mm away, an organ
    sharp = Volume(truth, (4.0, 4.0, 4.0), unit="SUVbw")
    blurred = ndimage.gaussian_filter(truth, 8 / 2.355 / 4)
    noise = ImageNoise(0.01, 5.0, 1, 4.0, 1.0, "stated").to_dict()
    report = {"resolution": resolution_of(None, {}, (4.0, 4.0), fwhm=8.0).to_dict(), "noise": noise}
    pet, segments = sharp.with_array(blurred), segments_of(sharp.with_array(truth == 8, "label"))
    (whole,) = Remeasurement(sharp, measurement_of(pet, report)).lesions(segments)
    (part,) = remeasured(sharp, pet, report, segments)
    assert values(part) == pytest.approx(values(whole), rel=1e-3)
    above = sharp.with_array(np.where(np.arange(50)[:, None, None] < 27, truth, 1))
    (without,) = remeasured(above, pet, report, segments)
    assert without.suvmean_recovered != pytest.approx(whole.suvmean_recovered, rel=0.02)


@pytest.mark.parametrize(("fwhm", "small"), [(7.0, True), (6.5, False)])
def test_a_lesion_smaller_than_the_resolution_that_is_told_has_no_suvmax(fwhm, small):
    """Of 6.6 mm: the model's kernel of the wider image, whose voxels have an extent of their own, is 6.5 mm."""
    fine = Volume(np.zeros((40, 40, 40), np.float32), (2.0, 2.0, 2.0))
    drawn = np.zeros(fine.shape, np.float32)
    drawn[18:21, 19:22, 19:22], drawn[18, 19, 19:22] = 1, 0
    drawn[20, 21, 19:22], drawn[18, 21, 19:21] = 0, 0  # 19 voxels: 0.152 mL
    pet = Volume(np.ones((20, 20, 20), np.float32), (4.0, 4.0, 4.0), (1.0, 1.0, 1.0), unit="SUVbw")
    noise = ImageNoise(0.01, 5.0, 1, 4.0, 1.0, "stated").to_dict()
    report = {"resolution": resolution_of(None, {}, (4.0, 4.0), fwhm=fwhm).to_dict(), "noise": noise}
    (lesion,) = remeasured(pet, pet, report, segments_of(fine.with_array(drawn, "label")))
    assert lesion.volume_ml == pytest.approx(0.152, abs=1e-3)
    assert (f"resolution (6.6 of {fwhm:.1f} mm): SUVmax is lost" in lesion.doubts) == small


def test_the_resolution_of_a_sinogram_is_its_scanners():
    nothing = torch.zeros(2, 4, 4)
    made = Measurement(Scanner.get("Siemens Biograph mCT"), nothing, nothing, 1.0, Volume(np.zeros((2, 4, 4))))
    assert made.fwhm_mm == (4.33, 4.25) and made.model_fwhm_mm[0] < 3.2


def test_a_sinogram_serves_and_a_report_of_one_describes_no_image(run, monkeypatch):
    phantom = small_phantom()
    scan = simulate(phantom.pet, phantom.ct, "standard", "high", seed=0, device="cpu")
    result = run(scan.lr, phantom.ct, phantom.labels, measurement=scan.measurement)
    segments = segments_of(phantom.labels)
    data = Remeasurement(result.volume, scan.measurement)
    for one, other in zip(data.lesions(segments), result.lesions["ours-quick"], strict=True):
        assert values(one) == pytest.approx(values(other), rel=1e-3)
    half = segments[0].mask.with_array(np.where(np.arange(segments[0].mask.shape[2]) < 1, segments[0].mask.array, 0))
    fitted = []
    monkeypatch.setattr(module, "recover", lambda *known: fitted.append(len(known[2])) or recover(*known))
    changed = data.lesions([replace(segments[0], mask=half), *segments[1:]])
    assert fitted == [1] and len(changed) == 2  # the other one is far away, and as it was
    assert changed[0].volume_ml < 0.9 * result.lesions["ours-quick"][0].volume_ml
    assert changed[0].suvmean_recovered != result.lesions["ours-quick"][0].suvmean_recovered
    with pytest.raises(InputError, match="run the reconstruction again"):
        measurement_of(scan.lr, result.report)


def test_a_follow_up_in_the_worker_recovers_the_lesions_of_its_results(run, tmp_path):
    phantom = small_phantom()
    result = run(phantom.pet, phantom.ct, phantom.labels, scanner="Siemens Biograph mCT")
    segments = segments_of(phantom.labels)
    study = {"name": "a", "masks": [s.name for s in segments], "report": json.loads(to_json(result.report))}
    images = {"pets": [phantom.pet] * 2, "results": [result.volume] * 2, "masks": [s.mask for s in segments] * 2}
    files = {
        key: [str(write_raw(volume, tmp_path / f"{key}{n}.nrrd")) for n, volume in enumerate(volumes)]
        for key, volumes in images.items()
    }
    job = JOBS["followup"].from_message({"studies": [study, study], "out": str(tmp_path / "out"), **files})
    _, report = job.run(Tools(None, lambda event: None, lambda file: None))
    found = [row for row in report["rows"] if row["image"] == "sr"]
    wanted = [lesion for lesion in result.lesions["ours-quick"] for _ in (1, 2)]
    assert [row["suvmean_recovered"] for row in found] == pytest.approx([w.suvmean_recovered for w in wanted], rel=1e-3)
    assert all(row["suvmean_recovered_change_real"] == "no" for row in found if row["visit"] == 2)


def test_a_comparison_recovers_with_its_own_contours_whatever_a_result_was_made_with(run, tmp_path):
    phantom = small_phantom()
    result = run(phantom.pet, phantom.ct, phantom.labels, scanner="Siemens Biograph mCT")
    first = np.flatnonzero((phantom.labels.array == 1).any((1, 2)))[0]
    smaller = phantom.labels.array.copy()
    smaller[first][smaller[first] == 1] = 0  # one lesion is drawn otherwise, the other one as it was
    drawn = phantom.labels.with_array(smaller)
    result.write(tmp_path / "with")
    replace(result, lesions={}).write(tmp_path / "without")
    visits = [Visit.read(name, phantom.pet, None, drawn, tmp_path / name) for name in ("with", "without")]
    assert not any("another mask" in note for visit in visits for note in visit.notes)
    found = [row["suvmean_recovered"] for row in compare(visits).rows if row["image"] == "sr"]
    report = json.loads(to_json(result.report))
    wanted = [one.suvmean_recovered for one in remeasured(result.volume, phantom.pet, report, segments_of(drawn))]
    assert found == pytest.approx(np.repeat(wanted, 2).tolist(), rel=1e-3)
    assert wanted[0] != pytest.approx(result.lesions["ours-quick"][0].suvmean_recovered, rel=0.01)


def test_of_a_sinogram_s_result_a_comparison_recovers_nothing_and_says_why(run, tmp_path):
    phantom = small_phantom()
    result = run(phantom.pet, phantom.ct, phantom.labels, scanner="Siemens Biograph mCT")
    images = {"pet": phantom.pet, "sr": result.volume}
    visit = Visit("a", images, tuple(segments_of(phantom.labels)), report={"measurement": "sinogram"})
    done = compare([visit, replace(visit, name="b")])
    assert not any("suvmean_recovered" in row for row in done.rows)
    assert sum("made from a sinogram, which is not kept with it" in told for told in done.warnings) == 2
