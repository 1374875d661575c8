"""Projectors of other packages behind one interface, timed and checked on the same geometry as ours."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...physics.backends.sparse import SparseBackend, to_csr
from ...physics.projector import ParallelProjector, covering_bins, plain_matrix

Work = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Geometry:
    """``slices`` of ``size`` x ``size`` pixels, ``views`` over 180 degrees, bins as wide as pixels."""

    size: int
    slices: int
    views: int
    pixel_mm: float = 2.0

    @property
    def bins(self) -> int:
        """Bins that cover the diagonal."""
        return covering_bins((self.size, self.size), self.pixel_mm, self.pixel_mm)

    @property
    def angles(self) -> np.ndarray:
        """(views,) radians."""
        return (np.arange(self.views) + 0.5) * math.pi / self.views

    def __str__(self) -> str:
        return f"{self.size}x{self.size}x{self.slices}, {self.views} views x {self.bins} bins"


@dataclass(frozen=True)
class Peer:
    """A projector: ``forward`` takes ``(S, J, I)`` to ``(S, views, bins)``, ``adjoint`` back.

    ``slices`` is how many slices are worth timing (slow peers do fewer; figures are per slice);
    ``matched``: whether ``adjoint`` is the transpose of ``forward``.
    """

    name: str
    forward: Work
    adjoint: Work
    slices: int
    matched: bool = True
    megabytes: float = 0.0  # of matrices kept


def peers(geometry: Geometry, device: torch.device | str = "cpu") -> Iterator[Peer]:
    """Ours first, then every peer that can run on ``device``, each built when its turn comes.

    Images and sinograms are there.
    """
    n, g, device = geometry.slices, geometry, torch.device(device)
    ours = ParallelProjector((g.size, g.size), g.pixel_mm, g.views, g.bins, g.pixel_mm, 1, device)
    yield Peer("PETSuperRes", ours.forward, ours.adjoint, n, megabytes=ours.backend.megabytes)
    if device.type != "cpu" and not isinstance(ours.backend, SparseBackend):
        ours = ParallelProjector((g.size, g.size), g.pixel_mm, g.views, g.bins, g.pixel_mm, 1, device, SparseBackend)
        yield Peer("PETSuperRes, torch CSR", ours.forward, ours.adjoint, n, megabytes=ours.backend.megabytes)
    del ours
    yield from _matrices(g, device)
    yield _rotation(g, device)
    if importlib.util.find_spec("skimage") and device.type == "cpu":
        yield _skimage(g)
    if importlib.util.find_spec("deepinv"):
        yield deepinv_peer(g, device)
    if importlib.util.find_spec("astra") and device.type == "cuda":
        yield from astra_cuda_peer(g)
    elif importlib.util.find_spec("astra") and device.type == "cpu":
        for kind in ("strip", "linear", "line"):
            yield astra_peer(g, kind)


def _matrices(g: Geometry, device: torch.device) -> Iterator[Peer]:
    """The same strip integrals as one plain matrix of all views, without symmetries; scipy's on a CPU only."""
    matrix = plain_matrix((g.size, g.size), g.pixel_mm, g.views, g.bins, g.pixel_mm).astype(np.float32)
    transposed = matrix.T

    def project(image: Tensor) -> Tensor:
        lines = matrix @ np.ascontiguousarray(image.flatten(1).numpy().T)
        return torch.from_numpy(lines.T).view(-1, g.views, g.bins)

    def back(sinogram: Tensor) -> Tensor:
        image = transposed @ np.ascontiguousarray(sinogram.flatten(1).numpy().T)
        return torch.from_numpy(image.T).view(-1, g.size, g.size)

    if device.type == "cpu":
        yield from _few_and_all("scipy CSR, plain matrix", project, back, g, 8e-6 * matrix.nnz)
    forward, adjoint = to_csr(matrix, device), to_csr(transposed.tocsr(), device)
    yield from _few_and_all(
        "torch CSR, plain matrix",
        lambda image: (forward @ image.flatten(1).T.contiguous()).T.reshape(-1, g.views, g.bins),
        lambda sinogram: (adjoint @ sinogram.flatten(1).T.contiguous()).T.reshape(-1, g.size, g.size),
        g,
        16e-6 * matrix.nnz,
    )


def _few_and_all(name: str, forward: Work, adjoint: Work, g: Geometry, megabytes: float) -> Iterator[Peer]:
    """Products of 16 slices and, as the best number differs between sizes and directions, of all at once."""
    for slices in sorted({min(16, g.slices), g.slices}):
        many = ", all slices" if slices > 16 else ""
        yield Peer(name + many, forward, adjoint, slices, megabytes=megabytes)


def _rotation(g: Geometry, device: torch.device) -> Peer:
    """Rotate with bilinear interpolation and sum columns; back: smear and rotate the other way."""

    def turns(angles: np.ndarray, size: int, source: int) -> Tensor:
        cos, sin = np.cos(angles) * size / source, np.sin(angles) * size / source
        rows = np.stack([cos, -sin, 0 * cos, sin, cos, 0 * cos], 1).reshape(-1, 1, 2, 3)
        return torch.from_numpy(rows.astype(np.float32)).to(device)

    def grid(turn: Tensor, size: int) -> Tensor:
        return F.affine_grid(turn, [1, 1, size, size], align_corners=False)

    there, again = turns(g.angles, g.bins, g.size), turns(-g.angles, g.size, g.bins)

    def project(image: Tensor) -> Tensor:
        views = [F.grid_sample(image[None], grid(t, g.bins), align_corners=False)[0].sum(1) for t in there]
        return torch.stack(views, 1) * g.pixel_mm

    def back(sinogram: Tensor) -> Tensor:
        image = sinogram.new_zeros(len(sinogram), g.size, g.size)
        for view, turn in enumerate(again):
            smeared = sinogram[:, view, None, :].expand(-1, g.bins, -1)
            image += F.grid_sample(smeared[None], grid(turn, g.size), align_corners=False)[0]
        return image * g.pixel_mm

    slices = min(g.slices, 8) if device.type == "cpu" else g.slices
    return Peer("torch, rotate and sum", project, back, slices, matched=False)


def _skimage(g: Geometry) -> Peer:
    from skimage.transform import iradon, radon

    degrees = -np.rad2deg(g.angles)  # its angles turn the other way

    def project(image: Tensor) -> Tensor:
        side = np.pad(image.numpy(), ((0, 0), *[((g.bins - g.size) // 2, -(-(g.bins - g.size) // 2))] * 2))
        lines = [radon(s, degrees, circle=True, preserve_range=True).T for s in side]
        return torch.from_numpy(np.stack(lines)) * g.pixel_mm

    def back(sinogram: Tensor) -> Tensor:
        images = [
            iradon(s.T, degrees, output_size=g.size, filter_name=None, circle=False) for s in sinogram.double().numpy()
        ]
        return torch.from_numpy(np.stack(images)).float() * (2 * g.views / math.pi * g.pixel_mm)

    return Peer("scikit-image radon", project, back, 2 if g.size < 200 else 1, matched=False)


def deepinv_peer(g: Geometry, device: torch.device | str = "cpu") -> Peer:
    """deepinv's tomography operator: rotation by interpolation, and the adjoint by automatic differentiation."""
    from deepinv.physics import Tomography

    device = torch.device(device)
    degrees = torch.from_numpy(-np.rad2deg(g.angles)).float().to(device)  # its angles turn the other way
    operator = Tomography(degrees, g.bins, circle=True, normalize=False, parallel_computation=False, device=device)
    before = (g.bins - g.size) // 2
    inside = slice(before, before + g.size)

    def project(image: Tensor) -> Tensor:
        side = image.new_zeros(len(image), 1, g.bins, g.bins)
        side[:, 0, inside, inside] = image
        return operator.A(side)[:, 0].transpose(1, 2).detach() * g.pixel_mm

    def back(sinogram: Tensor) -> Tensor:
        image = operator.A_adjoint(sinogram.transpose(1, 2)[:, None].contiguous())
        return image[:, 0, inside, inside].detach() * g.pixel_mm

    few = 8 if g.size < 200 else 1
    return Peer("deepinv", project, back, few if device.type == "cpu" else min(g.slices, 4 * few))


def astra_peer(g: Geometry, kind: str) -> Peer:
    """ASTRA's CPU projector ``strip``, ``linear`` or ``line``, slice by slice (van Aarle et al. 2016)."""
    import astra

    volume = astra.create_vol_geom(g.size, g.size)
    rays = astra.create_proj_geom("parallel", 1.0, g.bins, -g.angles)  # its rows run upwards
    operator = astra.OpTomo(astra.create_projector(kind, rays, volume))

    def project(image: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([operator.FP(s) for s in image.numpy()])) * g.pixel_mm

    def back(sinogram: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([operator.BP(s) for s in sinogram.numpy()])) * g.pixel_mm

    return Peer(f"ASTRA CPU, {kind}", project, back, min(g.slices, 4 if g.size < 200 else 1))


def astra_cuda_peer(g: Geometry) -> Iterator[Peer]:
    """ASTRA's GPU projector, all slices at once in GPU memory: rays, and back by voxels; none where ASTRA has no CUDA.

    No copies to or from the host are in its time; its own copy of the operand to a texture is.
    """
    import astra

    if not astra.use_cuda():
        return

    def geometries(slices: int) -> tuple[Any, Any]:
        volume = astra.create_vol_geom(g.size, g.size, slices)
        return volume, astra.create_proj_geom("parallel3d", 1.0, 1.0, slices, g.bins, g.angles)

    def run(kind: str, image: Tensor, sinogram: Tensor) -> None:
        volume, rays = geometries(len(image))
        torch.cuda.synchronize()  # ASTRA works on a stream of its own
        ids = [
            astra.data3d.link(role, geometry, astra.data3d.GPULink(x.data_ptr(), *x.shape[::-1], 4 * x.shape[2]))
            for role, geometry, x in (("-vol", volume, image), ("-sino", rays, sinogram))
        ]
        config = astra.astra_dict(kind)
        config |= {"ReconstructionDataId" if kind.startswith("BP") else "VolumeDataId": ids[0]}
        config |= {"ProjectionDataId": ids[1]}
        algorithm = astra.algorithm.create(config)
        astra.algorithm.run(algorithm)
        astra.algorithm.delete(algorithm)
        astra.data3d.delete(ids)

    def project(image: Tensor) -> Tensor:
        sinogram = image.new_zeros(len(image), g.views, g.bins)
        run("FP3D_CUDA", image.contiguous(), sinogram)
        return sinogram * g.pixel_mm

    def back(sinogram: Tensor) -> Tensor:
        image = sinogram.new_zeros(len(sinogram), g.size, g.size)
        run("BP3D_CUDA", image, sinogram.contiguous())
        return image * g.pixel_mm

    yield Peer("ASTRA CUDA, 3D", project, back, g.slices, matched=False)


def disc(g: Geometry, sub: int = 8) -> tuple[Tensor, np.ndarray]:
    """An off-centre disc as pixel coverage ``(1, J, I)``, and its exact sinogram ``(views, bins)``, bin means."""
    radius, x0, y0 = (f * g.size * g.pixel_mm for f in (0.3, 0.12, -0.07))
    fine = (np.arange(g.size * sub) - (g.size * sub - 1) / 2) * g.pixel_mm / sub
    inside = np.hypot(fine[None] - x0, fine[:, None] - y0) <= radius
    image = inside.reshape(g.size, sub, g.size, sub).mean((1, 3)).astype(np.float32)
    edges = (np.arange(g.bins + 1) - g.bins / 2) * g.pixel_mm
    s = edges - (x0 * np.cos(g.angles) + y0 * np.sin(g.angles))[:, None]
    t = np.clip(s / radius, -1, 1)
    lines = np.diff(radius**2 * (t * np.sqrt(1 - t**2) + np.arcsin(t)), axis=1) / g.pixel_mm
    return torch.from_numpy(image)[None], lines


def check(peer: Peer, g: Geometry, device: torch.device | str = "cpu") -> dict[str, float]:
    """``disc_error_percent`` (relative L2 against the exact sinogram) and ``mismatch`` of the adjoint."""
    image, exact = disc(g)
    error = np.linalg.norm(peer.forward(image.to(device))[0].cpu().double().numpy() - exact) / np.linalg.norm(exact)
    random = torch.Generator().manual_seed(0)
    z, y = torch.rand(image.shape, generator=random), torch.rand(1, g.views, g.bins, generator=random)
    left = float((peer.forward(z.to(device)).cpu().double() * y).sum())
    right = float((z.double() * peer.adjoint(y.to(device)).cpu()).sum())
    return {"disc_error_percent": 100 * float(error), "mismatch": abs(left - right) / abs(left)}
