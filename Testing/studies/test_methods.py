"""The methods' interface, and the MAP references: potential, gradient, monotone descent, Bowsher's choice."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import in_float64, random_model, small_phantom, tiny_prior

from PETSuperResLib.errors import InputError
from PETSuperResLib.physics.model import osem
from PETSuperResLib.physics.penalised import penalised
from PETSuperResLib.physics.relative_difference import EPSILON_SUV, RelativeDifference, half_offsets
from PETSuperResLib.physics.simulation import simulate
from PETSuperResLib.sampling.penalties import bowsher_pairs, quadratic_surrogate
from PETSuperResLib.studies.methods import METHODS, FitOptions, Method, MethodCase, restore
from PETSuperResLib.studies.methods import map as map_methods
from PETSuperResLib.studies.methods.map import MAP_BOWSHER, MAP_RDP, MapSettings, map_image
from PETSuperResLib.studies.subjects import Subject

SPACING = (2.0, 2.0, 3.0)
SHAPE = (3, 7, 6)


def activity(seed: int, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    """Positive values with empty voxels and hot spots among them, in float64."""
    random = torch.Generator().manual_seed(seed)
    z = torch.rand(shape, generator=random, dtype=torch.float64)
    z[z < 0.2] = 1e-3
    return torch.where(z > 0.9, 20 * z, z)


def penalty(kind: str, gamma: float = 2.0, reach: int = 1) -> RelativeDifference:
    """The penalty of all neighbours, or of four chosen by a random CT."""
    ct = torch.randn(SHAPE, generator=torch.Generator().manual_seed(9)) * 100
    chosen = bowsher_pairs(ct, SPACING, 4, reach) if kind == "bowsher" else None
    return RelativeDifference(SPACING, gamma, chosen, reach)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    phantom = small_phantom()
    simulation = simulate(phantom.pet, phantom.ct, "standard", spacing_mm=4.0)
    return MethodCase(simulation, phantom.ct, tiny_prior(tmp_path_factory.mktemp("prior")))


# The interface


def test_every_method_says_under_its_own_name_what_it_follows():
    for name, method in METHODS.items():
        assert method.name == name and method.source in method.description
        assert method.filled_in in method.description


def test_the_ct_changes_the_methods_that_need_it_and_no_others(case, monkeypatch):
    for name in ("MAP_RDP", "MAP_BOWSHER"):
        monkeypatch.setattr(map_methods, name, replace(getattr(map_methods, name), iterations=4))
    other = replace(case, ct=case.ct.with_array(case.ct.array[:, ::-1, ::-1].copy()))
    for name in ("lr", "osem", "psf-osem", "map-rdp", "map-bowsher", "ours-draft"):
        same = np.array_equal(restore(name, case).array, restore(name, other).array)
        assert same != METHODS[name].needs_ct, name


def test_from_an_image_the_counts_are_not_used(case):
    simulation = case.simulation
    noise = replace(simulation.measurement, counts=torch.zeros_like(simulation.measurement.counts))
    image = replace(case, input="image")
    blind = replace(image, simulation=replace(simulation, measurement=noise))
    result = restore("ours-draft", image)
    assert np.array_equal(result.array, restore("ours-draft", blind).array)
    assert result.same_grid(simulation.truth) and not np.array_equal(result.array, restore("ours-draft", case).array)


def test_ours_gets_the_fwhm_that_is_stated_and_only_the_header_otherwise(case, monkeypatch):
    image, stated = replace(case, input="image"), []

    def reconstruct(*images, fwhm=None, **options):
        stated.append(fwhm)
        return SimpleNamespace(volume=case.simulation.truth)

    monkeypatch.setattr("PETSuperResLib.studies.methods.registry.reconstruct", reconstruct)
    assert image.resolution.without_voxels_mm == (8.0, 0.0)  # the setting's scanner
    for told in ({}, {"fwhm": 12.0}):
        restore("ours-draft", replace(image, stated=told))
    assert stated == [None, 12.0]


def test_a_method_refuses_an_input_that_it_does_not_take(case):
    with pytest.raises(InputError, match="'osem' does not take the input 'image': it takes sinogram"):
        restore("osem", replace(case, input="image"))
    with pytest.raises(InputError, match="use sinogram or image"):
        replace(case, input="film")


def test_a_method_that_learns_restores_after_fit_only(case, tmp_path):
    def fit(cases, options):
        level = float(np.mean([c.load()[0].array.mean() for c in cases]))
        grid = case.simulation.truth
        return replace(untrained, fit=None, run=lambda c: grid.with_array(np.full(grid.shape, level, np.float32)))

    untrained = Method("mean", lambda c: c.simulation.lr, "nobody", needs_pairs=True, fit=fit)
    with pytest.raises(InputError, match="fit"):
        untrained.restore(case)
    assert untrained.fit is not None
    known = Subject("one", {}, lambda: (case.simulation.truth, case.ct, None))
    trained = untrained.fit([known], FitOptions(tmp_path))
    assert trained.restore(case).array.mean() == pytest.approx(case.simulation.truth.array.mean(), rel=1e-4)


def test_an_unknown_method_is_refused(case):
    with pytest.raises(InputError, match="map-bowsher"):
        restore("magic", case)


# The penalties


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("reach", [1, 2])
def test_the_penalty_is_the_sum_over_pairs_of_the_published_potential(gamma, reach):
    z = activity(0, (2, 4, 3))
    total = 0.0
    for p, q in combinations(np.ndindex(*z.shape), 2):
        k, j, i = (abs(a - b) for a, b in zip(p, q, strict=True))
        if k <= 1 and max(j, i) <= reach:
            a, b = float(z[p]), float(z[q])
            weight = 2.0 / np.sqrt((3 * k) ** 2 + (2 * j) ** 2 + (2 * i) ** 2)
            total += weight * (a - b) ** 2 / (a + b + gamma * abs(a - b) + EPSILON_SUV)
    assert float(RelativeDifference(SPACING, gamma, reach=reach).value(z)) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("kind", ["all", "bowsher"])
@pytest.mark.parametrize("gamma", [0.0, 2.0, 10.0])
def test_the_penalty_has_its_gradient_and_a_bound_of_its_hessian(kind, gamma):
    function, z = penalty(kind, gamma), activity(1)
    gradient, bound = function.gradient(z)
    random = torch.Generator().manual_seed(2)
    for _ in range(5):
        direction = torch.randn(SHAPE, generator=random, dtype=torch.float64) * z
        h = 1e-5
        rise = (function.value(z + h * direction) - function.value(z - h * direction)) / (2 * h)
        assert float((gradient * direction).sum()) == pytest.approx(float(rise), rel=1e-6)
        ahead, behind = (function.gradient(z + t * h * direction)[0] for t in (1, -1))
        curvature = float(((ahead - behind) * direction).sum()) / (2 * h)
        assert function.along(z, direction) == pytest.approx(curvature, rel=1e-4)
        assert 0 <= curvature <= float((bound * direction.square()).sum())


# The sampler's parabolas


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("d0", [0.1, 1.0, 1.9])
def test_a_tie_is_the_parabola_that_touches_the_potential_and_lies_above(gamma, d0):
    def pair(d):
        return torch.tensor([[[1 - d / 2, 1 + d / 2]]], dtype=torch.float64)  # whatever d, the sum is 2

    function = RelativeDifference(SPACING, gamma)
    ties = quadratic_surrogate(function, pair(d0), beta=1.0)
    differences = np.linspace(-1.99, 1.99, 81)
    parabola = np.array([float((ties.slope(pair(d)) * pair(d)).sum()) / 2 for d in differences])
    potential = np.array([float(function.value(pair(d))) for d in differences])
    touch = float((ties.slope(pair(d0)) * pair(d0)).sum()) / 2 - float(function.value(pair(d0)))
    assert (parabola - potential - touch).min() > -1e-9


@pytest.mark.parametrize("kind", ["all", "bowsher"])
def test_ties_have_their_value_gradient_and_a_bound_of_their_hessian(kind):
    function, estimate, z = penalty(kind, 2.0), activity(1), activity(4)
    ties, value = quadratic_surrogate(function, estimate, beta=0.3), 0.0
    for weight, near, far in function.pairs(estimate.shape):
        total = estimate[near] + estimate[far] + 0.01
        edge = 2.0 * (estimate[near] - estimate[far]).abs()
        c = 0.3 * weight * (2 * total + edge) / (total + edge) ** 2
        value += float((c * (z[near] - z[far]) ** 2).sum()) / 2
    assert float((ties.slope(z) * z).sum()) / 2 == pytest.approx(value, rel=1e-9)
    random = torch.Generator().manual_seed(2)
    one, other = (torch.randn(SHAPE, generator=random, dtype=torch.float64) for _ in range(2))
    assert float((ties.slope(one) * other).sum()) == pytest.approx(float((ties.slope(other) * one).sum()), rel=1e-9)
    curvature = float((ties.slope(one) * one).sum())
    assert 0 <= curvature <= float((2 * ties.strength * one.square()).sum())
    assert float(ties.slope(torch.full_like(z, 3.0)).abs().max()) < 1e-12


# Bowsher's choice


def chosen_by_hand(ct: np.ndarray, neighbours: int) -> dict[tuple, int]:
    """Pairs of voxels and how often they are chosen, voxel by voxel."""
    counts: dict[tuple, int] = {}
    for p in np.ndindex(*ct.shape):
        near = [q for q in np.ndindex(*ct.shape) if q != p and max(abs(a - b) for a, b in zip(p, q, strict=True)) < 2]

        def unlike(q, p=p):
            steps = np.subtract(p, q) * SPACING[::-1]
            return abs(float(ct[q]) - float(ct[p])) + float(np.linalg.norm(steps)) / SPACING[0]

        for q in sorted(near, key=unlike)[:neighbours]:
            pair = (min(p, q), max(p, q))
            counts[pair] = counts.get(pair, 0) + 1
    return counts


@pytest.mark.parametrize("neighbours", [1, 4, 26])
def test_each_voxel_chooses_the_neighbours_most_like_it_in_the_ct(neighbours):
    ct = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4)) * 100
    chosen = bowsher_pairs(ct, SPACING, neighbours)
    expected = np.zeros(chosen.shape, int)
    offsets = half_offsets(1)
    for (p, q), times in chosen_by_hand(ct.numpy(), neighbours).items():
        offset = tuple(b - a for a, b in zip(p, q, strict=True))
        place = (offsets.index(offset), *p)
        expected[place] = times
    assert np.array_equal(chosen.numpy(), expected)
    if neighbours == 4:
        assert {0, 1, 2} == set(np.unique(chosen))  # asymmetric: some pairs are wanted by one side only


# The solver


def objective(model, y, z, penalty, beta):
    return float(model.loss(z, y) + beta * penalty.value(z))


@pytest.mark.parametrize("kind", ["all", "bowsher"])
@pytest.mark.parametrize("seed", range(2))
def test_the_objective_has_the_gradient_that_the_updates_follow(kind, seed):
    model, _, y = random_model(seed, (2, 12, 14))
    ct = torch.randn(model.shape, generator=torch.Generator().manual_seed(seed)) * 100
    chosen = bowsher_pairs(ct, model.spacing, 5) if kind == "bowsher" else None
    function, beta = RelativeDifference(model.spacing, 2.0, chosen), 0.7
    exact, z = in_float64(model), activity(seed, model.shape) + 0.05
    gradient = exact.gradient(z, y.double()) + beta * function.gradient(z)[0]
    for n in range(5):
        direction = torch.randn(model.shape, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
        h = 1e-5
        up, down = (objective(exact, y.double(), z + t * h * direction, function, beta) for t in (1, -1))
        assert float((gradient * direction).sum()) == pytest.approx((up - down) / (2 * h), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("kind", ["all", "bowsher"])
@pytest.mark.parametrize("beta", [0.01, 0.3, 10.0])
def test_the_objective_falls_in_every_update_and_the_image_stays_positive(kind, beta):
    model, truth, y = random_model(5)
    chosen = bowsher_pairs(truth * 100, model.spacing, 6) if kind == "bowsher" else None
    function = RelativeDifference(model.spacing, 2.0, chosen)
    values = [objective(model, y, osem(model, y, 12), function, beta)]
    least = []

    def look(number, z, told):
        assert told == pytest.approx(objective(model, y, z, function, beta), rel=1e-6)
        values.append(objective(in_float64(model), y.double(), z.double(), function, beta))
        least.append(float(z.min()))

    penalised(model, y, function, beta, 40, callback=look)
    assert len(least) >= 10 and min(least) > 0
    rounding = 2e-7 * abs(values[0])
    assert all(after <= before + rounding for before, after in pairwise(values))
    assert values[-1] < values[0] - 100 * rounding


@pytest.mark.parametrize("kind", ["all", "bowsher"])
def test_the_result_is_the_minimum_wherever_the_updates_start(kind):
    model, truth, y = random_model(6)
    chosen = bowsher_pairs(truth * 100, model.spacing, 6) if kind == "bowsher" else None
    function = RelativeDifference(model.spacing, 2.0, chosen)
    smooth = penalised(model, y, function, 0.5, 400)
    rough = penalised(model, y, function, 0.5, 400, start=10 * truth.flip(2) + 0.01)
    assert float((smooth - rough).norm() / smooth.norm()) < 0.01
    gradient = model.gradient(smooth, y) + 0.5 * function.gradient(smooth)[0]
    first = osem(model, y, 12)
    before = model.gradient(first, y) + 0.5 * function.gradient(first)[0]
    scaled = [float((g * z / model.sensitivity).norm()) for g, z in ((gradient, smooth), (before, first))]
    assert scaled[0] < 0.01 * scaled[1]  # the preconditioned gradient has vanished


@pytest.mark.parametrize("settings", [MAP_RDP, MAP_BOWSHER], ids=["rdp", "bowsher"])
def test_the_tuned_references_keep_the_counts_and_are_nearer_than_em_run_long(settings, case):
    measurement, truth = case.simulation.measurement, case.simulation.truth
    model, ct = measurement.model(truth), torch.from_numpy(case.ct.resample_to(truth).array)
    image = map_image(settings, model, measurement.counts, ct)
    assert float(model.mean(image).sum() / measurement.counts.sum()) == pytest.approx(1.0, abs=0.02)
    error, plain = (
        float((z - torch.from_numpy(truth.array)).norm()) for z in (image, osem(model, measurement.counts, 60))
    )
    assert error < plain


def test_a_heavier_weight_makes_a_smoother_image(case):
    measurement = case.simulation.measurement
    model = measurement.model(case.simulation.truth)
    images = [map_image(MapSettings(beta, 2.0, 20), model, measurement.counts) for beta in (0.05, 0.5, 5.0)]
    roughness = [float(RelativeDifference(model.spacing).value(z)) for z in images]
    assert roughness[0] > roughness[1] > roughness[2] > 0
