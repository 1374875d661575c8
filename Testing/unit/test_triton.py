"""The projector by Triton on a GPU, or on a CPU by Triton's interpreter (TRITON_INTERPRET=1): sums as of the others.

The interpreter of Triton 3.6 needs NumPy before 2.4.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from tiny import mismatch, relative

from PETSuperResLib.physics.backends import GatherBackend, SparseBackend, backend_for
from PETSuperResLib.physics.layout import slices_last
from PETSuperResLib.physics.projector import ParallelProjector

pytest.importorskip("triton", reason="needs Triton, which torch brings where it computes on CUDA")
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs a CUDA device, or TRITON_INTERPRET=1", allow_module_level=True)

from PETSuperResLib.physics.backends.triton_kernel import TritonBackend, patches, works  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu" and not works(DEVICE):
    pytest.skip("Triton's interpreter does not fit this NumPy", allow_module_level=True)

GEOMETRIES = [  # shape, views, bins (0: covering), bin width, views summed
    ((16, 16), 12, 0, 2.0, 1),
    ((17, 17), 10, 21, 2.0, 1),
    ((15, 15), 9, 20, 1.7, 1),
    ((12, 19), 8, 0, 2.0, 1),
    ((19, 12), 7, 17, 4.0, 2),
    ((13, 13), 1, 0, 2.0, 1),
    ((14, 14), 3, 5, 2.0, 1),  # too few bins: the image is truncated
]


def pair(geometry, slices, backend=TritonBackend, device=DEVICE):
    """Projector, random image and random sinogram on the device."""
    shape, views, bins, bin_mm, sub = geometry
    projector = ParallelProjector(shape, 2.3, views, bins, bin_mm, sub, device, backend)
    random = torch.Generator().manual_seed(slices)
    z, y = (torch.rand(slices, *s, generator=random) for s in (shape, (views, projector.bins)))
    return projector, z.to(device), y.to(device)


@pytest.mark.parametrize("slices", [1, 3, 16, 33, 64])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_it_gives_what_the_other_backends_do_and_is_matched(geometry, slices):
    projector, z, y = pair(geometry, slices)
    lines, image = projector.forward(z), projector.adjoint(y)
    for backend, device in ((GatherBackend, torch.device("cpu")), (SparseBackend, DEVICE)):
        other, *_ = pair(geometry, slices, backend, device)
        assert relative(lines.cpu(), other.forward(z.to(device)).cpu()) < 3e-6
        assert relative(image.cpu(), other.adjoint(y.to(device)).cpu()) < 3e-6
    assert mismatch(lines.cpu(), y.cpu(), z.cpu(), image.cpu()) < 1e-5


@pytest.mark.parametrize("slices", [1, 2, 17, 130])
def test_the_layout_in_memory_changes_nothing_and_is_kept(slices):
    projector, z, y = pair(((12, 19), 4, 11, 4.0, 1), slices)
    for work, x in ((projector.forward, z), (projector.adjoint, y)):
        plain, turned = work(x), work(slices_last(x))
        assert torch.equal(plain, turned) and plain.is_contiguous()
        assert turned.permute(1, 2, 0).is_contiguous()
        assert torch.equal(plain, work(x))  # to the bit in every run


def test_parts_of_wider_tables_are_taken_where_they_lie():
    projector, z, _ = pair(((12, 12), 4, 0, 2.0, 1), 40)
    table = z.flatten(1).T.contiguous()
    whole = projector.backend.forward(table)
    for part in (slice(0, 16), slice(16, 40), slice(3, 4), slice(5, 10)):
        assert relative(projector.backend.forward(table[:, part]).cpu(), whole[:, part].cpu()) < 1e-6


@pytest.mark.parametrize("shape", [(4, 8), (5, 7), (1, 3)])
@pytest.mark.parametrize("count", [1, 2, 8, 16])
def test_patches_hold_every_pixel_once(shape, count):
    order = patches(shape, count)
    assert len(order) % count == 0
    assert np.array_equal(np.sort(order[order >= 0]), np.arange(shape[0] * shape[1]))


def test_a_gpu_takes_it_where_a_trial_works(monkeypatch):
    from PETSuperResLib.physics.backends import triton_kernel

    device = torch.device("cuda:0")
    for answer, expected in ((True, TritonBackend), (False, SparseBackend)):
        backend_for.cache_clear()
        monkeypatch.setattr(triton_kernel, "works", lambda device, answer=answer: answer)
        assert backend_for(device) is expected
    backend_for.cache_clear()
    assert backend_for(torch.device("cpu")) is GatherBackend and backend_for(torch.device("mps")) is SparseBackend


def test_a_trial_that_fails_raises_nothing(monkeypatch):
    from PETSuperResLib.physics.backends import triton_kernel

    class Broken:
        def __getitem__(self, grid):
            raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(triton_kernel, "_sums", Broken())
    assert not works(DEVICE)
