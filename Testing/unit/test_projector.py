"""The projector against mathematics: a matched pair, exact strips, analytic sinograms, counts that add up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny import mismatch, relative

from PETSuperResLib.physics.backends import GatherBackend, SparseBackend
from PETSuperResLib.physics.layout import slices_last
from PETSuperResLib.physics.model import scanner_projector
from PETSuperResLib.physics.projector import ParallelProjector, covering_bins
from PETSuperResLib.scanner import Scanner

BACKENDS = [GatherBackend, SparseBackend]  # of a processor, and of other devices
GEOMETRIES = [  # shape, views, bins (0: covering), bin width, views summed
    ((16, 16), 12, 0, 2.0, 1),
    ((17, 17), 12, 0, 2.0, 1),
    ((16, 16), 10, 21, 2.0, 1),
    ((15, 15), 9, 20, 1.7, 1),
    ((16, 16), 9, 19, 3.1, 1),
    ((12, 19), 8, 0, 2.0, 1),
    ((19, 12), 7, 17, 4.0, 2),
    ((16, 16), 6, 16, 4.0, 3),
    ((13, 13), 1, 0, 2.0, 1),
    ((13, 13), 2, 0, 2.0, 1),
    ((14, 14), 3, 5, 2.0, 1),  # too few bins: the image is truncated
]


def brute_force(shape, pixel, views, bins, bin_mm, sub) -> np.ndarray:
    """(views, bins, J * I) strip integrals by integrating each pixel's trapezoid piece by piece, view by view."""
    y, x = ((np.arange(n) - (n - 1) / 2) * pixel for n in shape)
    x, y = (c.ravel() for c in np.meshgrid(x, y))
    edges = (np.arange(bins + 1) - bins / 2) * bin_mm
    out = np.zeros((views, bins, x.size))
    for view in range(views):
        for m in range(sub):
            theta = math.pi * (view * sub + m + 0.5) / (views * sub)
            a, b = pixel * abs(math.cos(theta)), pixel * abs(math.sin(theta))
            knots = np.array([-(a + b) / 2, -abs(a - b) / 2, abs(a - b) / 2, (a + b) / 2])
            heights = np.array([0.0, 1.0, 1.0, 0.0]) * pixel**2 / max(a, b)
            offset = x * math.cos(theta) + y * math.sin(theta)
            low, high = edges[:-1, None] - offset, edges[1:, None] - offset
            for n in range(3):
                if knots[n + 1] - knots[n] < 1e-9:
                    continue
                p, q = np.clip(low, knots[n], knots[n + 1]), np.clip(high, knots[n], knots[n + 1])
                at = (np.interp(p, knots[n : n + 2], heights[n : n + 2]),
                      np.interp(q, knots[n : n + 2], heights[n : n + 2]))  # fmt: skip
                out[view] += (q - p) * (at[0] + at[1]) / 2 / (bin_mm * sub)
    return out


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(12))
def test_forward_and_adjoint_are_a_matched_pair_at_random_sizes(seed, backend):
    random = np.random.default_rng(seed)
    j, i = (int(n) for n in random.integers(5, 70, 2))
    shape = (j, j) if seed % 2 else (j, i)
    views, sub = int(random.integers(1, 40)), int(random.integers(1, 4))
    projector = ParallelProjector(
        shape, random.uniform(1, 5), views, int(random.integers(0, 60)), random.uniform(1, 8), sub, backend=backend
    )
    slices = int(random.integers(1, 100))
    z = torch.from_numpy(random.random((slices, *shape), np.float32))
    y = torch.from_numpy(random.random((slices, views, projector.bins), np.float32))
    assert mismatch(projector.forward(z), y, z, projector.adjoint(y)) < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("geometry", [*GEOMETRIES, ((90, 90), 6, 0, 2.0, 1), ((75, 100), 5, 0, 2.0, 1)], ids=str)
def test_symmetries_give_the_matrix_built_view_by_view(geometry, backend):
    shape, views, bins, bin_mm, sub = geometry
    pixel = 2.3
    projector = ParallelProjector(shape, pixel, views, bins, bin_mm, sub, backend=backend)
    matrix = brute_force(shape, pixel, views, projector.bins, bin_mm, sub)
    z = torch.from_numpy(np.random.default_rng(0).random((2, *shape), np.float32))
    y = torch.from_numpy(np.random.default_rng(1).random((2, views, projector.bins), np.float32))
    assert relative(projector.forward(z), np.einsum("vbp,sp->svb", matrix, z.flatten(1).numpy())) < 1e-5
    expected = np.einsum("vbp,svb->sp", matrix, y.numpy()).reshape(z.shape)
    assert relative(projector.adjoint(y), expected) < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_slices_do_not_depend_on_their_neighbours_or_number(backend):
    projector = ParallelProjector((20, 20), 2.0, 16, backend=backend)
    image = torch.rand(170, 20, 20, generator=torch.Generator().manual_seed(3))
    whole = projector.forward(image)
    for n in (0, 15, 16, 36, 95, 96, 169):
        assert relative(projector.forward(image[n : n + 1])[0], whole[n]) < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("slices", [1, 2, 17, 100])
def test_the_layout_in_memory_changes_nothing_and_is_kept(slices, backend):
    projector = ParallelProjector((12, 19), 2.0, 7, backend=backend)
    random = torch.Generator().manual_seed(slices)
    z = torch.rand(slices, 12, 19, generator=random)
    y = torch.rand(slices, 7, projector.bins, generator=random)
    for work, x in ((projector.forward, z), (projector.adjoint, y)):
        plain, turned = work(x), work(slices_last(x))
        assert torch.equal(plain, turned) and plain.is_contiguous()
        assert turned.permute(1, 2, 0).is_contiguous()


def test_automatic_bins_cover_the_diagonal():
    assert covering_bins((30, 40), 2.0, 4.0) * 4.0 >= 100.0


def test_a_scanner_s_projector_is_made_once_for_the_same_slices():
    scanner = Scanner.get("Paper standard")
    one = scanner_projector(scanner, (24, 24), 4.0)
    assert scanner_projector(scanner, torch.Size((24, 24)), 4.0) is one
    assert scanner_projector(scanner, (24, 24), 3.0) is not one


def test_it_works_in_and_out_of_inference_mode():
    projector, image = ParallelProjector((12, 12), 2.0, 8), torch.rand(3, 12, 12)
    with torch.inference_mode():
        first = projector.adjoint(projector.forward(image))
    assert torch.equal(projector.adjoint(projector.forward(image)), first)
