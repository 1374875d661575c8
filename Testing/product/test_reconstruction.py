"""reconstruct, volume in and volume out, with a tiny untrained prior: what must hold whatever the prior knows."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from geometry import GEOMETRIES
from tiny import small_phantom, tiny_prior

from PETSuperResLib.errors import GeometryError, InputError
from PETSuperResLib.grid import CONTEXT_MM, reordered
from PETSuperResLib.inputs import Inputs
from PETSuperResLib.lesions.measures import MEASURES
from PETSuperResLib.lesions.segments import region_around
from PETSuperResLib.phantoms.torso import torso_phantom
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.progress import Event
from PETSuperResLib.reconstruction import reconstruct
from PETSuperResLib.request import Request
from PETSuperResLib.sampling import Sampler, Standard, slabs
from PETSuperResLib.sampling.standard import sample_standard
from PETSuperResLib.spread import Calibration, spread_of
from PETSuperResLib.volume import Volume

QUICK = Standard("quick", steps=2, start_sigma=0.3, end_sigma=0.1, start_iterations=3, inner_first=2, inner_last=2)

STRONG = Sampler.get(QUICK, start_iterations=20, inner_first=8, inner_last=8)


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    made = tiny_prior(tmp_path_factory.mktemp("prior"))
    made.info["pixel_mm"] = 4.0  # so that the small phantom stays small
    return made


@pytest.fixture(scope="module")
def run(prior):
    def go(pet=None, ct=None, **options):
        phantom = small_phantom()
        options.setdefault("scanner", None if "measurement" in options else "Siemens Biograph mCT")
        options = {"quality": QUICK, "prior": prior, "device": "cpu", **options}
        return reconstruct(pet or phantom.pet, ct or phantom.ct, **options)

    return go


@pytest.fixture(scope="module")
def result(run):
    return run()


def moved(volume: Volume, direction: np.ndarray, origin=(-100.0, 40.0, 900.0)) -> Volume:
    return replace(volume, direction=tuple(direction.ravel()), origin=origin)


def test_a_thin_stack_is_not_scaled_down_for_what_its_end_slices_miss(run):
    """With an axial PSF, end slices have neighbours that were not scanned; they must not bias the others."""
    pet = small_phantom().pet
    even = pet.with_array(np.broadcast_to(pet.array[1], pet.shape))
    result = run(even, scanner="Siemens Biograph Vision Quadra", quality=STRONG)
    per_slice = result.volume.array.sum((1, 2)) / even.array.sum((1, 2))
    np.testing.assert_allclose(per_slice, 1.0, atol=0.01)
    assert result.report["conservation_factor"] == pytest.approx(1.0, abs=0.01)


def test_the_result_is_suv_on_a_grid_over_the_same_box(result):
    pet = small_phantom().pet
    assert result.volume.unit == "SUVbw" and result.volume.spacing == (4.0, 4.0, 4.0)
    np.testing.assert_allclose(result.volume.corners().mean(0), pet.corners().mean(0), atol=1e-3)
    assert np.isfinite(result.volume.array).all() and result.volume.array.min() >= 0


def test_the_same_seed_gives_the_same_volume(run):
    noisy = Sampler.get(QUICK, noise=1.0)
    one, same, other = (run(quality=noisy, seed=seed).volume.array for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert np.abs(other - one).max() > 1e-3


def test_evidence_says_what_data_and_ct_support(run):
    labels = small_phantom().labels
    plain, result = run(segmentation=labels), run(segmentation=labels, evidence=True)
    np.testing.assert_array_equal(result.volume.array, plain.volume.array)
    assert set(result.maps) == {"evidence", "residual", "ct_effect"} and set(plain.maps) == set()
    found = result.report["evidence"]
    assert found["blobs"] and found["not_supported"] == sum(b["evidence_sigma"] < 3 for b in found["blobs"])
    strongest = max(blob["evidence_sigma"] for blob in found["blobs"])
    assert result.maps["evidence"].array.max() == pytest.approx(strongest, abs=0.01)
    assert np.abs(result.maps["residual"].array).max() > 0.5
    (lesions,) = (found for name, found in result.lesions.items() if not name.startswith("lr"))
    assert all(lesion.evidence_sigma > 3 for lesion in lesions)
    assert np.abs(result.maps["ct_effect"].array).max() > 1e-3 and found["seconds"] > 0
    assert all(0 < lesion.without_ct < 3 for lesion in lesions)
    assert all(row["without_ct"] is None for row in plain.report["lesions"])
    assert [row["evidence_sigma"] for row in plain.report["lesions"]] == [one.evidence_sigma for one in lesions]


def test_several_samples_come_with_their_spread(run):
    result = run(samples=2)
    assert len(result.samples) == 2 and set(result.maps) == {"std"}
    samples = [s.array for s in result.samples]
    expected = spread_of(samples, result.volume.array, result.volume.spacing)
    np.testing.assert_allclose(result.maps["std"].array, expected, rtol=1e-4, atol=1e-6)
    assert expected.max() > 0 and result.report["std_factor"] is None
    assert any("calibrated for quality" in warning for warning in result.report["warnings"])


def test_a_calibrated_spread_is_scaled(run, prior, monkeypatch):
    made = Calibration({"image": 2.5}, "draft", prior.sha256, {})
    monkeypatch.setattr(Calibration, "bundled", lambda: made)
    result = run(samples=2, quality="draft")
    expected = spread_of([s.array for s in result.samples], result.volume.array, result.volume.spacing)
    np.testing.assert_allclose(result.maps["std"].array, 2.5 * expected, rtol=1e-4, atol=1e-6)
    assert result.report["std_factor"] == 2.5
    assert not any("calibrated for quality" in warning for warning in result.report["warnings"])


def test_what_the_inputs_tell_is_told_before_the_work(run):
    """The report has it too, and only what needs the result besides."""
    phantom, events = small_phantom(), []
    pet = phantom.pet.with_array(phantom.pet.array * 8)
    result = run(pet, samples=2, noise=60.0, spacing=6.0, progress=events.append)
    begun = next(n for n, event in enumerate(events) if event.stage.startswith("slices"))
    found = [warning for event in events[:begun] for warning in event.warnings]
    for part in ("WRONG SUV?", "does not say", "stated noise", "calibrated for quality", "another scale", "coarser"):
        assert sum(part in warning for warning in found) == 1, part
    assert not any(event.warnings for event in events[begun:])
    rest = [warning for warning in result.report["warnings"] if warning not in found]
    assert all("In hot regions" in warning for warning in rest)
    assert len(set(result.report["warnings"])) == len(result.report["warnings"]) == len(found) + len(rest)


@pytest.mark.parametrize("kind", [k for k in GEOMETRIES if k != "plain"])
def test_orientation_of_the_patient_does_not_matter(run, result, kind):
    phantom = small_phantom()
    turned = run(moved(phantom.pet, GEOMETRIES[kind]), moved(phantom.ct, GEOMETRIES[kind]))
    np.testing.assert_allclose(turned.volume.direction, GEOMETRIES[kind].ravel(), atol=1e-9)
    np.testing.assert_allclose(turned.volume.array, result.volume.array, atol=0.02 * result.volume.array.max())


def test_the_ct_may_lie_on_a_grid_of_its_own(run, result):
    ct = small_phantom().ct
    wide = ct.grid((3.0, 3.5, 2.5))
    again = run(ct=ct.resample_to(wide, "linear", -1000.0))
    assert np.corrcoef(again.volume.array.ravel(), result.volume.array.ravel())[0, 1] > 0.98


def test_a_region_is_reconstructed_where_it_lies(run, result):
    pet = small_phantom().pet
    x, y, z = pet.corners().mean(0)
    part = run(region=(x - 40, x + 40, y - 30, y + 30, z - 8, z + 8)).volume
    assert part.array.size < 0.7 * result.volume.array.size
    low, high = part.corners().min(0), part.corners().max(0)
    assert (low <= [x - 40, y - 30, z - 8]).all() and (high >= [x + 40, y + 30, z + 8]).all()
    there = result.volume.resample_to(part)
    middle = (slice(None), slice(8, -8), slice(8, -8))
    assert np.corrcoef(part.array[middle].ravel(), there.array[middle].ravel())[0, 1] > 0.9


def test_a_result_that_covers_more_than_the_region_says_so_once_before_the_work(run):
    """The context around it, in whole voxels and within the PET; the report has both boxes."""
    phantom, events = small_phantom(), []
    x, y, z = phantom.pet.corners().mean(0)
    region = (x - 40, x + 40, y - 30, y + 30, z - 8, z + 8)
    part = run(region=region, progress=events.append)
    begun = next(n for n, event in enumerate(events) if event.stage.startswith("slices"))
    told = [w for event in events[:begun] for w in event.warnings if w.startswith("The result covers")]
    low, high = part.volume.corners().min(0), part.volume.corners().max(0)
    size = " x ".join(f"{length:.4g}" for length in high - low)
    assert len(told) == 1 == part.report["warnings"].count(told[0])
    assert f"covers {size} mm for a region of 80 x 60 x 16 mm: 24 mm around it" in told[0]
    assert part.report["region"] == pytest.approx(region)
    assert part.report["region_covered"] == pytest.approx(np.stack([low, high], 1).ravel(), abs=0.01)
    assert ((low <= region[::2]) & (high >= region[1::2])).all()
    whole = run().report
    assert whole["region_covered"] is None and not any("covers" in w for w in whole["warnings"])


def test_what_the_header_lacks_is_told_before_the_ct_is_read(tmp_path):
    """And before anything heavy is loaded: a step at a time, each with the notes of the step before."""
    events, said, phantom = [], [], small_phantom()
    with pytest.raises(InputError, match="nowhere"):
        Inputs.of(Request(phantom.pet, tmp_path / "nowhere", "Siemens Biograph mCT"), events.append, said.append)
    assert [event.stage for event in events] == ["reading the PET", "reading the CT"]
    assert said == ["Siemens Biograph mCT (stated); 4.3 mm scanner, PSF not modelled, no filter, 4 mm voxels: 5.1 mm"]
    assert any("does not say whether the reconstruction modelled the PSF" in w for w in events[1].warnings)
    events.clear()
    inputs = Inputs.of(Request(phantom.pet, phantom.ct, "Siemens Biograph mCT"), events.append)
    assert [w for event in events for w in event.warnings] == list(inputs.warnings)
    code = (
        "import sys; from PETSuperResLib.inputs import Inputs, Request; from PETSuperResLib.volume import Volume\n"
        "def told(event): print(event.stage, 'torch' in sys.modules)\n"
        f"Inputs.of(Request(*(Volume.read({str(tmp_path)!r} + f'/{{n}}.nii.gz') for n in 'pc'), fwhm=5.0), told)"
    )
    for name, volume in (("p", phantom.pet), ("c", phantom.ct)):
        volume.write(tmp_path / f"{name}.nii.gz")
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "reading the CT False" in printed and "True" not in printed


def test_lesions_are_measured_before_and_after_and_those_outside_a_region_are_left_out(run, result):
    phantom = small_phantom()
    whole = run(segmentation=phantom.labels)
    np.testing.assert_array_equal(whole.volume.array, result.volume.array)
    assert [len(found) for found in whole.lesions.values()] == [2, 2, 2]
    assert set(whole.lesions) == {"lr", "lr-on-grid", "ours-quick"}
    recovered = [lesion.suvmean_recovered for lesion in whole.lesions["ours-quick"]]
    assert min(recovered) > 0 and [row["suvmean_recovered"] for row in whole.report["lesions"]] == recovered
    assert all(lesion.suvmean_recovered is None for lesion in whole.lesions["lr"])
    one = phantom.labels.with_array(np.where(phantom.labels.array == 1, 1.0, 0.0))
    part = run(segmentation=phantom.labels, region=region_around(one, 0.0))
    assert sum("lies outside the result and is left out" in warning for warning in part.report["warnings"]) > 0
    assert [row["lesion"] for row in part.report["lesions"]] == ["Lesion 1"] and len(part.lesions["lr"]) == 2
    around = run(segmentation=one, region="segments", margin=0.0)
    assert around.volume.same_grid(part.volume)


def test_of_a_lesion_that_the_region_cuts_no_change_of_its_volume_is_told(run):
    """The note comes before the work; what lies within the result is measured."""
    phantom, events = small_phantom(), []
    labels, pet = np.zeros(phantom.pet.shape, np.float32), phantom.pet.array.copy()
    block = (slice(1, 3), slice(28, 36), slice(44, 54))
    labels[block], pet[block] = 1, 6.0
    (x0, y0, z0), (x1, y1, z1) = (phantom.pet.corners()[n] for n in (0, -1))
    edge = x0 + 4 * 48 - CONTEXT_MM  # so that the result, in whole voxels, has 6 of the lesion's 10 columns
    given = {"pet": phantom.pet.with_array(pet), "segmentation": phantom.labels.with_array(labels)}
    part = run(**given, region=(x0, edge, y0, y1, z0, z1), progress=events.append)
    begun = next(n for n, event in enumerate(events) if event.stage.startswith("slices"))
    told = [w for event in events[:begun] for w in event.warnings if "of segment 'Lesion 1' only" in w]
    assert len(told) == 1 == part.report["warnings"].count(told[0]) and "The result holds 60 %" in told[0]
    (row,) = part.report["lesions"]
    known = {name for name in MEASURES if row[f"{name}_change_percent"] is not None}
    assert known == {"suvmax", "suvpeak"} and row["sr_mtv_ml"] < 0.7 * row["pet_mtv_ml"]
    assert row["doubts"].startswith("The image holds 60 % of it only.") and row["tlg_recovered"] is None
    whole = run(**given)
    (row,) = whole.report["lesions"]
    assert not any(row[f"{name}_change_percent"] is None for name in MEASURES) and row["tlg_recovered"] > 0
    assert not any("of segment" in warning for warning in whole.report["warnings"])


def test_a_region_outside_the_pet_is_refused(run):
    with pytest.raises(GeometryError, match="outside the PET"):
        run(region=(9000, 9100, 0, 50, 0, 10))


@pytest.mark.parametrize("samples", [1, 2])
def test_progress_reaches_the_end_with_previews_and_never_goes_back(run, samples):
    events = []
    run(samples=samples, progress=events.append)
    fractions = [e.fraction for e in events]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert any(e.preview is not None and e.preview.array.max() > 0 for e in events)


def test_what_is_recovered_of_lesions_has_a_share_of_the_progress(run):
    events = []
    run(segmentation=small_phantom().labels, progress=events.append)
    fractions = [e.fraction for e in events]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    recovering = [e for e in events if e.stage == "recovering the uptake"]
    assert recovering and recovering[0].message.startswith("lesions, fit 1 of ")
    assert all(0.85 < e.fraction < 1 and e.remaining_s > 0 for e in recovering)


@pytest.mark.parametrize("quality", ["draft", "paper"])
def test_progress_and_the_time_left_move_within_a_step(run, monkeypatch, quality):
    """A step of a whole body takes a minute; network batches and updates are counted."""
    from PETSuperResLib.sampling import Sampler, slabs

    monkeypatch.setattr(slabs, "PERIOD_S", 0.0)
    profile, events = Sampler.get(quality, steps=3, **({} if quality == "paper" else {"stop_below": 0.0})), []
    run(quality=profile, progress=events.append)
    fractions = [e.fraction for e in events]
    assert fractions == sorted(fractions)
    for step in range(3):
        within = {e.fraction for e in events if e.message == f"step {step} of 3"}
        assert len(within) > profile.inner(step), "every update, and the network"
    assert all(e.remaining_s for e in events if 0.1 < e.fraction < 1)


def test_two_slices_are_reconstructed(run):
    phantom = small_phantom()
    j, i = phantom.pet.shape[1:]
    two = run(phantom.pet.crop((0, 0, 1), (i, j, 3)), phantom.ct)
    assert two.volume.shape[0] == 2 and two.volume.array.max() > 0


def test_a_sinogram_is_reconstructed_and_its_fit_reported(run):
    phantom = small_phantom()
    simulation = simulate(phantom.pet, phantom.ct, "standard", spacing_mm=4.0, attenuation=True, seed=0)
    result = run(simulation.lr, measurement=simulation.measurement, quality=STRONG)
    assert result.volume.same_grid(simulation.truth)
    assert result.report["measurement"] == "sinogram" and result.report["scanner"]["name"] == "Paper standard"
    assert result.report["residual"]["chi_square_per_bin"] == pytest.approx(1.0, abs=0.15)
    total = [float(v.array.sum()) for v in (result.volume, simulation.truth)]
    assert total[0] == pytest.approx(total[1], rel=0.03)


@pytest.fixture(scope="module")
def simulation():
    phantom = small_phantom()
    return simulate(phantom.pet, phantom.ct, "standard", spacing_mm=4.0, seed=0)


def test_a_scanner_other_than_the_sinograms_is_refused(run, simulation):
    with pytest.raises(InputError, match="of scanner 'Paper standard': leave the scanner out"):
        run(simulation.lr, measurement=simulation.measurement, scanner="GE Discovery ST")
    assert run(simulation.lr, measurement=simulation.measurement, scanner="Paper standard").volume


def test_a_sinogram_of_another_patient_at_the_same_place_is_refused(run, simulation):
    other = torso_phantom(8, (4, 64, 96), (4.0, 4.0, 4.0), 2, "pelvis").pet
    with pytest.raises(GeometryError, match="differs from the measured one by .* made with this PET"):
        run(replace(other, origin=simulation.truth.origin), measurement=simulation.measurement)


def test_noise_is_measured_in_the_image_unless_it_is_stated(run, result):
    assert result.report["noise"]["origin"] == "measured in the image" and result.report["noise"]["variance_ratio"] > 0
    percent = round(1.2 * result.report["noise"]["percent_at_suv_1"], 2)
    stated = run(noise=percent).report["noise"]
    assert stated["origin"] == "stated" and stated["percent_at_suv_1"] == percent


def test_the_noise_of_a_region_is_that_of_the_whole_image(run, result):
    x, y, z = small_phantom().pet.corners().mean(0)
    part = run(region=(x - 40, x + 40, y - 30, y + 30, z - 8, z + 8))
    assert part.report["noise"] == result.report["noise"]


def test_the_image_says_whether_the_result_explains_it(run):
    """A FWHM that is far too wide leaves residuals that the noise cannot explain."""
    right, wrong = (run(fwhm=fwhm, noise=3.0).report for fwhm in (4.0, 18.0))
    assert wrong["residual"]["chi_square_hot"] > 3 * right["residual"]["chi_square_hot"]
    times = wrong["residual"]["chi_square_hot"] ** 0.5  # a mean square
    [told] = [w for w in wrong["warnings"] if "State a smaller" in w]
    assert times > 2 and f"by {times:.1f} times its noise" in told


def test_the_scanner_of_the_dicom_header_needs_no_name(run):
    pet = replace(small_phantom().pet, metadata={"manufacturer": "GE MEDICAL SYSTEMS", "model": "Discovery ST"})
    report = run(pet, scanner=None).report
    assert report["scanner"]["name"] == "GE Discovery ST"
    assert report["scanner_from"] == "the header" and report["resolution"]["words"].startswith("6.1 mm scanner")


def test_the_time_left_is_that_of_the_whole_job(run, monkeypatch):
    """One slice at a time, a second per step: the estimate falls from slab to slab instead of starting again."""
    from PETSuperResLib import progress

    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(slabs, "SLAB", 1)

    def steady(denoiser, model, counts, profile, seed, callback, state):
        z = torch.ones(model.shape)
        for step in range(profile.steps):
            clock[0] += 1.0
            callback(step + 1, profile.steps, z)
        return z

    monkeypatch.setattr(Standard, "sample", property(lambda profile: steady))
    events: list[Event] = []
    run(progress=events.append, quality=Sampler.get(QUICK, start_iterations=0))
    left = [e.remaining_s for e in events if e.preview is not None]
    assert left == pytest.approx([7, 6, 5, 4, 3, 2, 1, 0], abs=0.3)


def test_tokens_are_remembered_for_another_run_but_not_from_slab_to_slab(run, prior, monkeypatch):
    run()
    assert prior.memory.known
    monkeypatch.setattr(slabs, "SLAB", 2)
    run()
    assert not prior.memory.known


@pytest.mark.parametrize("count", [1, 64, 65, 128, 326, 1000])
def test_slabs_follow_each_other_and_with_their_halos_are_no_larger_than_one(count):
    ends = slabs.slabs_of(count, 3)
    assert [k for first, last in ends for k in range(first, last)] == list(range(count))
    sizes = [min(count, last + 3) - max(0, first - 3) for first, last in ends]
    assert max(sizes) <= slabs.SLAB and max(sizes) - min(sizes) <= 7


def test_a_slab_goes_on_where_the_one_before_ended(run, result, monkeypatch):
    """Slabs of two slices give the whole volume's estimate; each begins with the last slices of the one before."""
    runs = []

    def recorded(*given):
        runs.append((sample_standard(*given), given[-1]))
        return runs[-1][0]

    monkeypatch.setattr(Standard, "sample", property(lambda profile: recorded))
    monkeypatch.setattr(slabs, "slabs_of", lambda count, halo: [(0, 2), (2, count)])
    estimate, whole = run().volume.array, result.volume.array
    assert np.linalg.norm(estimate - whole) < 0.01 * np.linalg.norm(whole)
    (first, left), (second, met) = runs
    assert left.known == 0 and met.known == len(first[left.kept]) > 0
    assert torch.equal(second[: met.known], first[left.kept])


def test_a_full_gpu_is_answered_by_smaller_batches_and_then_the_cpu(run, result, monkeypatch):
    batches = []

    def full_until_moved(denoiser, *others):
        batches.append(denoiser.batch)
        if len(batches) < 6:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return sample_standard(denoiser, *others)

    monkeypatch.setattr(Standard, "sample", property(lambda profile: full_until_moved))
    again = run()
    assert batches == [16, 8, 4, 2, 1, 16]
    np.testing.assert_array_equal(again.volume.array, result.volume.array)


def test_pet_and_ct_of_different_patients_are_refused(run):
    pet, ct = (
        replace(v, metadata={"patient": h})
        for v, h in zip((small_phantom().pet, small_phantom().ct), "ab", strict=True)
    )
    with pytest.raises(GeometryError, match="different patients"):
        run(pet, ct)


@pytest.mark.parametrize("order", [(0, 2, 1), (1, 2, 0), (2, 1, 0)], ids=["coronal", "sagittal", "mixed"])
def test_coronal_and_sagittal_storage_gives_the_same_result_on_the_axes_of_the_input(run, result, order):
    phantom = small_phantom()
    stored = reordered(phantom.pet, order)
    again = run(stored, reordered(phantom.ct, order[::-1])).volume
    np.testing.assert_allclose(again.direction, stored.direction)
    np.testing.assert_allclose(reordered(result.volume, order).array, again.array, atol=1e-4)


def test_the_result_is_never_coarser_than_the_pet_unless_that_is_asked_for(run):
    """The prior's pixels are 4 mm."""
    phantom = small_phantom()
    fine = [v.resample_to(v.grid((3.0, 3.0, 4.0)), "linear") for v in (phantom.pet, phantom.ct)]
    assert run(*fine).volume.spacing == (3.0, 3.0, 4.0)
    coarser = run(*fine, spacing=4.0)
    assert coarser.volume.spacing == (4.0, 4.0, 4.0)
    assert any("coarser than the PET's of 3 mm" in told for told in coarser.report["warnings"])
    finest = [v.resample_to(v.grid((1.5, 1.5, 4.0)), "linear") for v in (phantom.pet, phantom.ct)]
    with pytest.raises(InputError, match="1.5 mm are too fine for a prior trained at 4 mm") as error:
        run(*finest)
    assert error.value.option == "spacing"
