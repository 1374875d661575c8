"""Evaluation of methods on the clinic's image: the yardstick itself, what methods are told, tables and commands."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from tiny import table, write_phantom

from PETSuperResLib.cli import run
from PETSuperResLib.errors import InputError
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.studies.evaluation.evaluate import evaluate
from PETSuperResLib.studies.evaluation.image_input import effective_fwhm
from PETSuperResLib.studies.evaluation.metrics import noise_percent, uniform_part
from PETSuperResLib.studies.evaluation.tables import BASELINE
from PETSuperResLib.volume import Volume

PROTOCOL = "mct-osem"  # 4 mm voxels, another grid than the truth's


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    write_phantom(folder / "one")
    (folder / "split.json").write_text(json.dumps({"test": ["one"], "validation": ["one"]}))
    return folder


@pytest.fixture(scope="module")
def tables(data, prior_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    words = ["evaluate", "--data", str(data), "--prior", str(prior_file), "--out", str(out), "--input", "image"]
    assert run([*words, "--protocol", PROTOCOL, "discovery-st", "--methods", "ours-draft"]) == 0
    return out


# The yardstick


@pytest.fixture(scope="module")
def spot():
    """A warm block without and with a hot spot off its centre, scanned almost without noise."""
    block = np.zeros((12, 48, 60), np.float32)
    block[:, 8:40, 8:52] = 1.0
    centre = np.array([33.2 * 4, 20.4 * 4, 5.5 * 3])
    z, y, x = np.mgrid[:12, :48, :60] * np.array([3.0, 4.0, 4.0]).reshape(3, 1, 1, 1)
    hot = block + 30 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) / (2 * 5.0**2))
    images = [Volume(array, (4.0, 4.0, 3.0), unit="SUVbw") for array in (block, hot)]
    return [simulate(image, protocol=PROTOCOL, counts=1e6) for image in images], centre


@pytest.mark.parametrize("which", ["truth", "lr"])
def test_a_spot_stays_where_it_is_and_keeps_its_uptake(spot, which):
    (without, with_spot), centre = spot
    image, other = getattr(with_spot, which), getattr(without, which)
    k, j, i = np.indices(image.shape)
    points = (np.stack([i, j, k, np.ones_like(i)], -1) @ image.ijk_to_lps.T)[..., :3]
    weight = (image.array - other.array) * (np.linalg.norm(points - centre, axis=-1) < 24)
    found = (points * weight[..., None]).sum((0, 1, 2)) / weight.sum()
    assert np.abs(found - centre).max() < 0.05
    assert weight.sum() * image.voxel_ml == pytest.approx(30 * (2 * np.pi * 0.25) ** 1.5, rel=0.01)


def test_the_effective_fwhm_is_that_of_scanner_and_filter(spot):
    (_, simulation), _ = spot
    scanner = simulation.measurement.scanner.fwhm_transaxial_mm
    assert effective_fwhm(simulation) == pytest.approx(np.hypot(scanner, 5.0), rel=0.15)


def test_noise_is_the_variation_where_the_reference_is_uniform():
    rows, columns = np.mgrid[:60, :80]
    organ, muscle, grain = 4.0, 1.0, np.random.default_rng(0).normal(0, 0.1, (9, 60, 80))
    image = np.where((columns > 40) & ((rows + 2) // 4 % 2 == 0), organ, muscle) * np.ones((9, 1, 1))
    body = (columns > 5) & (columns < 75) & np.ones((9, 60, 1), bool)
    reference = Volume(image, (2.0, 2.0, 3.0), unit="SUVbw")
    uniform = uniform_part(reference, body)
    assert uniform.any() and not uniform[:, :, 42:].any() and not uniform[~body].any()
    noisy = reference.with_array(image * (1 + grain))
    assert noise_percent(reference, noisy, uniform) == pytest.approx(10, abs=0.5)
    smooth = reference.with_array(image * (1 + gaussian_filter(grain, 1)))
    assert noise_percent(reference, smooth, uniform) < 5 > noise_percent(reference, reference, uniform) == 0


# The evaluation


def test_every_protocol_has_the_clinics_image_as_baseline_and_names_what_was_given(tables):
    found = table(tables / "metrics.csv")
    assert {(r["setting"], r["method"]) for r in found} == {
        (protocol, method) for protocol in (PROTOCOL, "discovery-st") for method in (BASELINE, "ours-draft")
    }
    assert {(r["input"], r["told"]) for r in found} == {("image", "header")}
    assert all(float(r["noise_percent"]) > 0 and 3 < float(r["fwhm_mm"]) < 10 for r in found)
    lesions = table(tables / "lesions.csv")
    assert {r["input"] for r in lesions} == {"image"} and all(float(r["volume_ml"]) > 0 for r in lesions)


def test_the_summary_tells_the_gain_over_the_clinics_image(tables):
    text = (tables / "summary.md").read_text(encoding="utf-8")
    assert f"## Real references, images of {PROTOCOL}, realistic counts, 1 cases" in text
    assert f"Against the clinic's image ({BASELINE})" in text


def test_one_table_and_one_picture_say_what_to_expect_of_which_protocol(tables):
    rows = [line for line in (tables / "protocols.md").read_text(encoding="utf-8").splitlines() if "-> " in line]
    metrics = {(r["setting"], r["method"]): r for r in table(tables / "metrics.csv")}
    assert [line.split(" | ")[0] for line in rows] == [f"| {PROTOCOL}", "| discovery-st"]
    for line, protocol in zip(rows, (PROTOCOL, "discovery-st"), strict=True):
        before, after = (float(metrics[protocol, method]["psnr"]) for method in (BASELINE, "ours-draft"))
        assert f"| {before:.1f} -> {after:.1f} | {after - before:+.2f} |" in line
    assert (tables / "protocols.png").stat().st_size > 10_000


def test_methods_may_be_told_the_fwhm_that_fits_the_truth(data, prior_file, tables, tmp_path):
    evaluate(
        data, tmp_path, prior=prior_file, protocols=[PROTOCOL], input="image", told="truth", methods=["ours-draft"]
    )
    by_header = {(r["setting"], r["method"]): float(r["fwhm_mm"]) for r in table(tables / "metrics.csv")}
    for row in table(tmp_path / "metrics.csv"):
        assert row["told"] == "truth" and float(row["fwhm_mm"]) != by_header[PROTOCOL, row["method"]]


def test_a_method_without_image_input_is_refused_before_the_work(data, tmp_path):
    with pytest.raises(InputError, match="do not take the input 'image': osem, psf-osem. Leave them out"):
        evaluate(data, tmp_path, protocols=[PROTOCOL], input="image", methods=["lr", "osem", "psf-osem"])
    with pytest.raises(InputError, match="Unknown protocol 'mct-osen': did you mean 'mct-osem'"):
        evaluate(data, tmp_path, protocols=["mct-osen"])


def test_a_sinogram_of_a_protocol_has_its_counts(data, prior_file, tmp_path):
    evaluate(data, tmp_path, prior=prior_file, protocols=[PROTOCOL], methods=["osem"])
    (row,) = table(tmp_path / "metrics.csv")
    assert (row["setting"], row["input"], row["told"], row["fwhm_mm"]) == (PROTOCOL, "sinogram", "", "")
