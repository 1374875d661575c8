"""The network for counts and images of any scanner: its start, its readings, its random scans, training."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from tiny import relative, tiny_network

from PETSuperResLib.phantoms.torso import Phantom, torso_phantom
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.prior import Prior
from PETSuperResLib.prior.denoiser import velocity
from PETSuperResLib.prior.transform import normalise_ct
from PETSuperResLib.resolution import resolution_of
from PETSuperResLib.scanner import Scanner
from PETSuperResLib.studies.methods import METHODS, FitOptions, MethodCase, any_scanner, scans
from PETSuperResLib.studies.methods.any_scanner import CONFIG, SIGMA_POWER, USUAL_SIGMA, PriorRestorer
from PETSuperResLib.studies.methods.learned import restore_with
from PETSuperResLib.studies.methods.pairs import Pairs, standard_scans
from PETSuperResLib.studies.methods.scans import ESTIMATES, TOLD, draw, random_scans, readings
from PETSuperResLib.studies.subjects import Subject

NEIGHBOURS = 1


def new_restorer() -> PriorRestorer:
    return PriorRestorer(Prior(tiny_network(neighbours=NEIGHBOURS), sha256="tiny"))


def random_images(sigma: float = 0.25) -> dict[str, torch.Tensor]:
    """Two patches with their neighbours, and a told noise that asks for a start at ``sigma``."""
    random = torch.Generator().manual_seed(0)
    images = {name: 4 * torch.rand((2, 1 + 2 * NEIGHBOURS, 32, 32), generator=random) for name in (*ESTIMATES, "truth")}
    images["ct"] = 200 * torch.randn((2, 1 + 2 * NEIGHBOURS, 32, 32), generator=random)
    told = torch.tensor([3.27, 0.1, np.log(sigma / USUAL_SIGMA) / SIGMA_POWER, 0.5, 0.2, 1.0], dtype=torch.float32)
    return images | {"told": told.expand(2, -1).clone()}


@cache
def small_phantom() -> Phantom:
    return torso_phantom(12, (4, 40, 56), (4.0, 4.0, 4.0), 2, "abdomen")


def phantom_case(input: str) -> MethodCase:
    phantom = small_phantom()
    simulation = simulate(phantom.pet, phantom.ct, protocol="mct-osem" if input == "image" else None, spacing_mm=4.0)
    return MethodCase(simulation, phantom.ct, None, input=input)


@pytest.fixture(scope="module")
def cases():
    return {input: phantom_case(input) for input in ("sinogram", "image")}


# Its start


def test_before_training_it_is_the_priors_denoised_map_image_whatever_else_is_told():
    prior = Prior(tiny_network(neighbours=NEIGHBOURS))
    t = prior.schedule.step_at(0.25)
    images, model = random_images(prior.schedule.ratio(t)), new_restorer()
    x_t = prior.transform.to_model(images["map"]) * prior.schedule.signal_noise(t)[0]
    with torch.no_grad():
        tokens = prior.network.tokens(normalise_ct(images["ct"][:, NEIGHBOURS]))
        v = velocity(prior.network, prior.schedule, x_t, t, tokens, 3.27)
        expected = prior.schedule.of_velocity(x_t[:, NEIGHBOURS : NEIGHBOURS + 1], v, t)[0]
        assert torch.allclose(model(images), expected, atol=1e-4)
        others = {name: images[name].flip(-1) for name in ("early", "late")}
        others["told"] = images["told"] * torch.tensor([1.0, 3.0, 1.0, 3.0, 3.0, 3.0])
        assert torch.allclose(model(images | others), model(images), atol=1e-5)


def test_a_noisier_scan_starts_at_a_higher_noise_level_within_bounds():
    low, usual, high, highest = any_scanner.start_sigma(torch.tensor([-9.0, 0.0, 1.0, 9.0])).tolist()
    assert 0 < low < usual < high < highest < 1


def test_all_that_is_told_and_every_estimate_reach_the_network_once_it_has_learnt():
    model, images = new_restorer(), random_images()
    images["truth"] = images["map"] / 2
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    first = float(model.loss(images, torch.Generator(), 0.0).detach())
    for _ in range(5):
        optimiser.zero_grad()
        loss = model.loss(images, torch.Generator(), 0.0)
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.9 * first
    with torch.no_grad():
        before = model(images)
        for number, name in enumerate(TOLD):
            told = images["told"].clone()
            told[:, number] += 0.5
            assert not torch.equal(model(images | {"told": told}), before), name
        for name in (*ESTIMATES, "ct"):
            assert not torch.equal(model(images | {name: images[name].flip(-1)}), before), name


def test_the_weights_of_the_loss_leave_its_minimum_at_the_mean_in_suv():
    model, images = new_restorer(), random_images()
    images |= {name: images[name][:1].expand(2, -1, -1, -1) for name in (*ESTIMATES, "ct")}
    images["truth"] = torch.stack([torch.full((3, 32, 32), 1.0), torch.full((3, 32, 32), 9.0)])

    def loss(suv: float) -> float:
        model.forward = lambda images: torch.full((2, 1, 32, 32), float(model.transform.to_model(torch.tensor(suv))))
        return float(model.loss(images, torch.Generator(), 0.0))

    assert loss(5.0) < min(loss(4.8), loss(5.2))


# Its readings


@pytest.mark.parametrize("input", ["sinogram", "image"])
def test_a_scan_is_read_as_estimates_on_the_grid_with_what_is_known_of_it(cases, input):
    case = cases[input]
    truth, found = case.simulation.truth, readings(case)
    assert set(found) == {*scans.IMAGES} - {"truth"}
    for name in ESTIMATES:
        assert tuple(found[name].shape) == truth.shape and found[name].min() >= 0
        assert relative(found[name], truth.array) < 0.4 < relative(found[name].flip(-1), truth.array)
    told = dict(zip(TOLD, found["told"].tolist(), strict=True))
    fwhm = case.resolution.fwhm_mm[0] if input == "image" else case.simulation.measurement.scanner.fwhm_transaxial_mm
    assert told["slice_mm"] == pytest.approx(truth.spacing[2]) and told["image"] == float(input == "image")
    assert told["fwhm"] == pytest.approx(np.log(fwhm / 8), abs=1e-5)


@pytest.mark.parametrize("input", ["sinogram", "image"])
def test_fewer_counts_are_told_as_more_noise(cases, input):
    phantom, protocol = small_phantom(), "mct-osem" if input == "image" else None
    few = simulate(phantom.pet, phantom.ct, counts=0.1, protocol=protocol, spacing_mm=4.0)
    noise = TOLD.index("noise")
    more = readings(replace(cases[input], simulation=few))["told"][noise] - readings(cases[input])["told"][noise]
    assert more == pytest.approx(np.log(10) / 2, rel=0.35)


def test_of_an_image_neither_truth_nor_counts_are_read(cases):
    simulation = cases["image"].simulation
    blind = replace(simulation, truth=simulation.truth.with_array(np.zeros(simulation.truth.shape, np.float32)))
    blind = replace(blind, measurement=replace(blind.measurement, counts=torch.zeros_like(blind.measurement.counts)))
    found, expected = (readings(replace(cases["image"], simulation=s)) for s in (blind, simulation))
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_a_stated_fwhm_is_told(cases):
    stated = readings(replace(cases["image"], stated={"fwhm": 6.5}))["told"]
    assert stated[TOLD.index("fwhm")] == pytest.approx(np.log(6.5 / 8), abs=1e-5)


# Random scans


def drawn(count: int = 300) -> list[scans.RandomScan]:
    return [draw(np.random.default_rng(n)) for n in range(count)]


def test_random_scans_span_the_scanners_counts_and_protocols():
    found = drawn()
    kinds = Counter((how.input, how.protocol is not None) for how in found)
    assert set(kinds) == {("sinogram", False), ("image", True), ("image", False)}
    scanners = [how.scanner for how in found if how.scanner]
    widths, trues = (
        np.array([getattr(s, name) for s in scanners]) for name in ("fwhm_transaxial_mm", "trues_per_slice")
    )
    assert 4 <= widths.min() < 4.5 < 12.5 < widths.max() <= 14
    assert 2e4 <= trues.min() < 5e4 < 5e6 < trues.max() <= 1e7
    assert len({how.protocol.name for how in found if how.protocol}) > 10
    assert {"Paper standard", "Paper OOD"} < {s.name for s in scanners}
    assert min(how.seed for how in found) >= scans.SEED > 62 * 10_007


def test_a_random_filter_is_the_one_that_the_header_tells():
    bundled = {p.filter_fwhm_mm for p in scans.protocols().values()}
    changed = [how.protocol for how in drawn() if how.protocol and how.protocol.filter_fwhm_mm not in bundled]
    assert len(changed) > 10 and {p.manufacturer for p in changed} == {"SIEMENS", "GE MEDICAL SYSTEMS"}
    for protocol in changed:
        scanner, spacing = Scanner.get(protocol.scanner), (protocol.voxel_mm, protocol.slice_mm)
        across, along = resolution_of(scanner, protocol.header, spacing).filter_fwhm_mm
        assert across == protocol.filter_fwhm_mm[0] and along == pytest.approx(protocol.filter_fwhm_mm[1], abs=0.15)


def subject(seed: int) -> Subject:
    def load():
        phantom = small_phantom()
        return phantom.pet, phantom.ct, phantom.labels

    return Subject(f"phantom {seed}", {"seed": seed}, load)


def test_scans_of_training_images_have_names_of_their_own_and_do_not_depend_on_the_count_level(tmp_path):
    options, subjects = FitOptions(tmp_path), [subject(1), subject(2)]
    plans = [random_scans(subjects, o) for o in (options, replace(options, counts="high"), replace(options, seed=1))]
    same, high, other = ([scan.file for scan in plan] for plan in plans)
    assert same == high and not set(same) & set(other) and len(set(same)) == 2 * scans.SCANS
    assert not set(same) & {scan.file for scan in standard_scans(subjects, options)}
    json.dumps([scan.decides for scan in plans[0]])


# Training


@pytest.fixture
def quick(monkeypatch):
    """One short scan of each training image, and few updates."""
    for name, value in {"SCANS": 1, "SLICES": 3, "LATE_UPDATES": 14, "MAP_UPDATES": 3}.items():
        monkeypatch.setattr(scans, name, value)


def test_it_is_trained_on_random_scans_and_restores_counts_and_images(cases, tmp_path, quick, monkeypatch):
    subjects, options = [subject(1), subject(2)], FitOptions(tmp_path)
    brief = replace(CONFIG, build=new_restorer, batch=2, size=32, warmup=1, steps=2)
    method = brief.method("", "", needs_ct=True, inputs=METHODS["supervised-any"].inputs).fit(subjects, options)
    assert len(list(tmp_path.glob("pair-*"))) == 2 and len(list(tmp_path.glob("supervised-any-*"))) == 1
    start = new_restorer()
    for case in cases.values():
        restored, truth = method.restore(case), case.simulation.truth
        assert restored.shape == truth.shape and np.isfinite(restored.array).all() and restored.array.min() >= 0
        assert np.array_equal(restored.array, method.restore(case).array)
        assert not np.array_equal(restored.array, restore_with(start, case).array)  # its training told
    monkeypatch.setattr(Pairs, "make", lambda *_: pytest.fail("trained again"))
    brief.method("", "").fit(subjects, options)


def test_another_prior_to_start_from_trains_anew(tmp_path, quick):
    brief = replace(CONFIG, build=new_restorer, batch=1, size=32, warmup=1, steps=1)
    brief.method("", "").fit([subject(1)], FitOptions(tmp_path))
    other = replace(
        brief, build=lambda: PriorRestorer(Prior(tiny_network(seed=1, neighbours=NEIGHBOURS), sha256="another"))
    )
    other.method("", "").fit([subject(1)], FitOptions(tmp_path))
    assert len(list(tmp_path.glob("supervised-any-*"))) == 2 and len(list(tmp_path.glob("pair-*"))) == 1


def test_the_method_takes_both_inputs_and_starts_from_the_bundled_prior():
    assert METHODS["supervised-any"].inputs == ("sinogram", "image")
    assert CONFIG.build().starts_from == Prior.load().sha256
