"""Spheres of a phantom: what is measured in them and around them, EARL's limits, and the two studies that do so."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from tiny import table

from PETSuperResLib.cli import run
from PETSuperResLib.errors import InputError
from PETSuperResLib.physics.protocols import Protocol
from PETSuperResLib.studies.evaluation import nema
from PETSuperResLib.studies.evaluation.nema_report import earl_standards
from PETSuperResLib.studies.evaluation.phantom import bars, phantom_study
from PETSuperResLib.studies.evaluation.spheres import (
    EARL,
    MOVED_MM,
    background_discs,
    filled,
    located,
    measure_spheres,
    read_spheres,
)


@pytest.fixture(scope="module")
def phantom():
    return nema.image_quality_phantom(ratio=10.0)


@pytest.fixture(scope="module")
def discs(phantom):
    return background_discs(phantom.pet, phantom.spheres)


def test_background_discs_fill_the_planes_clear_of_one_another_spheres_and_border(phantom, discs):
    assert len(discs) == 60
    for x, y, z in discs:
        others = [np.hypot(x - a, y - b) for a, b, c in discs if c == z and (a, b) != (x, y)]
        assert min(others) >= 37
        if z == 0:
            assert all(np.hypot(x - a, y - b) > 37 / 2 + 15 for a, b, _ in phantom.centres)
    assert (nema.disc_means(phantom.pet, discs, 37.0) == 1).all()


def test_without_blur_and_noise_every_figure_is_the_activity(phantom, discs):
    for row in measure_spheres(phantom.pet, phantom.spheres, discs):
        assert row["max"] == pytest.approx(10) and row["background"] == pytest.approx(1)
        assert row["a50"] == pytest.approx(10, rel=0.15) and row["mean"] == pytest.approx(10, rel=0.25)
        assert row["cov_percent"] < 1e-3 and row["background_variability_percent"] < 1e-3


@pytest.fixture(scope="module")
def blurred(phantom):
    """The phantom by a scanner of 6 mm, with noise, and its spheres, the largest first, each stated wrongly."""
    noise = gaussian_filter(np.random.default_rng(1).normal(0, 1, phantom.pet.shape), 1)
    values = gaussian_filter(phantom.pet.array, [6.0 / 2.355 / s for s in (3, 2, 2)]) + np.float32(0.5) * noise
    true = sorted(phantom.spheres, key=lambda sphere: -sphere.diameter_mm)
    shifts = np.random.default_rng(2).uniform(-2.5, 2.5, (6, 3))
    stated = [replace(s, centre_lps_mm=tuple(s.centre_lps_mm + shift)) for s, shift in zip(true, shifts, strict=True)]
    return phantom.pet.with_array(values), true, stated


def test_spheres_are_found_where_the_image_shows_them(blurred):
    image, true, stated = blurred
    found = located(image, stated)
    off = [np.subtract(a.centre_lps_mm, b.centre_lps_mm) for a, b in zip(found, true, strict=True)]
    assert np.abs(off).max() < 0.4 and [s.diameter_mm for s in found] == [s.diameter_mm for s in true]


@pytest.mark.parametrize("shift", [(0, 0, MOVED_MM + 2), (40, 0, 0), (0, 0, 500)])
def test_a_sphere_that_is_not_found_stays_where_it_is_stated(blurred, shift):
    """Beyond the reach, in even background, and outside the image."""
    image, true, _ = blurred
    away = replace(true[0], centre_lps_mm=tuple(np.add(true[0].centre_lps_mm, shift)))
    assert located(image, [away]) == (away,)


def test_a_filled_phantom_has_the_activity_of_the_scan_within_sharp_spheres(blurred):
    image, true, _ = blurred
    truth = filled(image, true)
    assert truth.array.max() == pytest.approx(10, rel=0.03) and truth.array.min() == pytest.approx(1, abs=0.05)
    volume = (truth.array - truth.array.min()).sum() / np.ptp(truth.array) * np.prod(image.spacing)
    assert volume == pytest.approx(sum(np.pi / 6 * s.diameter_mm**3 for s in true), rel=0.01)
    assert len(np.unique(truth.array)) > 20  # voxels at the surfaces are filled in part


def test_an_earl_1_image_of_the_phantom_is_within_the_limits_of_earl_1(phantom, discs):
    """About 8 mm is the resolution of the scanners for which the first standard was made."""
    blurred = phantom.pet.with_array(gaussian_filter(phantom.pet.array, [8.0 / 2.355 / s for s in (3, 2, 2)]))
    for row in measure_spheres(blurred, phantom.spheres, discs):
        for measure, value in (("rc_a50", row["a50"] / 10), ("rc_max", row["max"] / 10)):
            if row["diameter_mm"] >= 13:
                assert 1 in earl_standards(measure, row["diameter_mm"], value), (row["diameter_mm"], measure, value)


def test_earls_limits_grow_with_the_sphere_and_from_the_first_standard_to_the_second():
    for (standard, measure), (low, high) in EARL.items():
        assert all(a < b for a, b in zip(low, high, strict=True)) and list(low) == sorted(low, reverse=True)
        assert all(a <= b for a, b in zip(EARL[1, measure][0], low, strict=True)) or standard == 1
    assert earl_standards("rc_max", 10.0, 0.55) == [1, 2] and earl_standards("rc_max", 37.0, 1.5) == []


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '[{"diameter_mm": 10}]', '[{"diameter_mm": 0.1, "centre_lps_mm": [0, 0, 0]}]']
)
def test_a_file_that_describes_no_spheres_is_named(tmp_path, text):
    (tmp_path / "spheres.json").write_text(text)
    with pytest.raises(InputError, match="spheres.json .*centre_lps_mm"):
        read_spheres(tmp_path / "spheres.json")
    with pytest.raises(InputError, match="none.json cannot be read"):
        read_spheres(tmp_path / "none.json")


def test_spheres_beside_the_image_are_told(phantom):
    far = nema.Sphere(37.0, (0.0, 0.0, 500.0))
    with pytest.raises(InputError, match="outside the image"):
        background_discs(phantom.pet, [far])


@pytest.fixture
def coarse_protocol(tmp_path):
    """A protocol with few and large voxels, as a file."""
    values = Protocol.get("mct-osem").to_dict() | {"name": "coarse", "slice_mm": 10.0, "iterations": 1}
    path = tmp_path / "coarse.json"
    path.write_text(json.dumps(values))
    return str(path)


def test_the_phantom_through_a_protocol_has_every_recovery_and_earls_verdict(
    prior_file, coarse_protocol, tmp_path, monkeypatch
):
    small = nema.image_quality_phantom(4.0, 10.0, 5, ratio=10.0)
    monkeypatch.setattr(nema, "image_quality_phantom", lambda ratio: small)
    words = ["study", "nema", "--prior", str(prior_file), "--out", str(tmp_path), "--protocol", coarse_protocol]
    words += ["--ratio", "10", "--input", "image", "--counts", "high", "--methods", "interpolated", "rl"]
    assert run(words) == 0
    rows = table(tmp_path / "nema.csv")
    assert {r["method"] for r in rows} == {"truth", "interpolated", "rl"} and {r["input"] for r in rows} == {"image"}
    found = {(r["method"], float(r["diameter_mm"])): float(r["rc_mean"]) for r in rows}
    assert found["truth", 17.0] > found["rl", 17.0] > found["interpolated", 17.0] > 0.3
    text = (tmp_path / "nema.md").read_text(encoding="utf-8")
    assert "## coarse, high counts, from the image" in text and "A50 37" in text
    assert (tmp_path / "nema.png").stat().st_size > 10_000


@pytest.fixture(scope="module")
def scan(phantom, tmp_path_factory):
    """A blurred and noisy scan of the phantom as files, in which the smallest sphere has a hot voxel."""
    folder = tmp_path_factory.mktemp("scan")
    noise = gaussian_filter(np.random.default_rng(0).normal(0, 1, phantom.pet.shape), 1)
    pet = gaussian_filter(phantom.pet.array, [5.0 / 2.355 / s for s in (3, 2, 2)]) + np.float32(0.3) * noise
    x, y, z = phantom.centres[0]
    i, j, k = (round(n) for n in (np.linalg.inv(phantom.pet.ijk_to_lps) @ [x, y, z, 1])[:3])
    pet[k, j, i] = 20
    phantom.pet.with_array(pet.clip(0)).write(folder / "pet.nii.gz")
    phantom.ct.write(folder / "ct.nii.gz")
    spheres = [  # stated 2 mm too low
        {"diameter_mm": s.diameter_mm, "centre_lps_mm": tuple(np.add(s.centre_lps_mm, (0, 0, -2)))}
        for s in phantom.spheres
    ]
    (folder / "spheres.json").write_text(json.dumps(spheres))
    return folder


def test_a_real_scan_is_judged_by_its_spheres_against_its_own_noise(scan, prior_file, tmp_path):
    files = [
        "--pet",
        str(scan / "pet.nii.gz"),
        "--ct",
        str(scan / "ct.nii.gz"),
        "--spheres",
        str(scan / "spheres.json"),
    ]
    words = ["study", "phantom", *files, "--fwhm", "5", "--prior", str(prior_file), "--out", str(tmp_path)]
    assert run([*words, "--methods", "interpolated", "rl"]) == 0
    rows = table(tmp_path / "phantom.csv")
    found = {method: [r for r in rows if r["method"] == method] for method in ("input", "interpolated", "rl")}
    assert [float(r["diameter_mm"]) for r in found["input"]] == [37, 28, 22, 17, 13, 10]
    perfect = [r for r in rows if r["method"] == "filled"]
    assert all(float(a["mean"]) > float(b["mean"]) for a, b in zip(perfect, found["input"], strict=True))
    errors = {m: [abs(float(r["mean_to_largest_percent"])) for r in mine] for m, mine in found.items()}
    assert max(errors["rl"][:5]) < max(errors["input"][:5])
    assert float(found["input"][5]["max_to_largest_percent"]) > 80  # the hot voxel
    text = (tmp_path / "phantom.md").read_text(encoding="utf-8")
    assert "| input |" in text and "100.0 %: fail" in text and "5.0 mm, stated" in text
    assert re.search(r"from the stated centres: 37 mm \([+-]0\.\d, [+-]0\.\d, \+2\.\d\), 28 mm", text)
    assert (tmp_path / "phantom.png").stat().st_size > 10_000


def test_methods_that_need_more_than_an_image_are_refused(scan, tmp_path):
    files = [scan / name for name in ("pet.nii.gz", "ct.nii.gz", "spheres.json")]
    with pytest.raises(InputError, match="truth or training: osem, rl-oracle, unet. Leave them out"):
        phantom_study(tmp_path, *files, methods=["osem", "rl", "rl-oracle", "unet"], fwhm=5.0)


def test_bars_fail_beyond_their_limits_only():
    even = {"mean_to_largest_percent": 0.0, "max_to_largest_percent": 25.0, "background_variability_percent": 3.0}
    before = [even | {"diameter_mm": d, "background_variability_percent": 9.0} for d in (37, 13, 10)]
    rows = [even | {"diameter_mm": d} for d in (37, 13, 10)]
    rows[2] |= {"mean_to_largest_percent": -40.0}  # below 13 mm
    assert all(bar.passed for bar in bars(rows, before))
    rows[1] |= {"mean_to_largest_percent": -10.5, "max_to_largest_percent": 25.5}
    rows[2] |= {"background_variability_percent": 3.1}
    assert not any(bar.passed for bar in bars(rows, before))
