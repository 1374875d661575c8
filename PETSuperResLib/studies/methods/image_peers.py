"""What a user may do with a PET image instead: interpolate it, deconvolve it, or correct regions of it.

Each works on the image, interpolated to the SR grid by a cubic spline, with its effective resolution as a Gaussian in
3D. On the image's own voxels, with a matched operator between the grids, Richardson-Lucy is up to 0.1 dB worse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...device import pick_device
from ...physics.psf import GaussianPSF
from ...prior.denoiser import AIR_HU
from ...sampling.penalties import ct_guided
from ...volume import Volume
from .deconvolution import (
    Kernel,
    iterate,
    kernelised_rl,
    map_deconvolution,
    richardson_lucy,
    total_variation_rl,
    van_cittert,
)
from .interface import Method, MethodCase
from .oracle import FILTERS_MM, Oracle
from .regions import SHELL_MM, iterative_yang, lesion_regions, region_based_voxelwise

#: an oracle's choices
ITERATIONS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 64, 80, 100, 130, 160, 250, 400)
STRENGTHS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15)
BETAS = (0.0003, 0.0007, 0.0015, 0.003, 0.006, 0.012, 0.025, 0.05, 0.1)
ROUNDS = (1, 2, 3, 4, 6, 8)
MAP_UPDATES = 15  # in a round
KERNEL_HU = 50.0
KERNEL_MM = (1.0, 2.0, 4.0, 8.0)
NEIGHBOURS, CT_FWHM_MM, GAMMA = 13, 0.0, 2.0


@dataclass(frozen=True)
class PeerInput:
    """A case's image as the peers take it.

    Parameters
    ----------
    case : for its CT and lesions and, for oracles, the truth.
    y : the image in SUV on the SR grid, ``(S, J, I)``.
    psf : its effective resolution.
    """

    case: MethodCase
    y: Tensor
    psf: GaussianPSF

    @classmethod
    def of(cls, case: MethodCase) -> PeerInput:
        """The image of a case."""
        image = case.on_grid(case.simulation.lr)
        y = torch.from_numpy(image.array).clamp_min(0).to(pick_device(case.device))
        return cls(case, y, GaussianPSF(image.shape, image.spacing, case.resolution.fwhm_mm, y.device))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(i, j, k) voxel size in mm."""
        return self.case.simulation.truth.spacing

    @property
    def truth(self) -> Tensor:
        """For oracles, ``(S, J, I)``."""
        return torch.from_numpy(self.case.simulation.truth.array).to(self.y.device)

    @property
    def ct(self) -> Tensor:
        """In HU on the SR grid, ``(S, J, I)``."""
        hu = self.case.ct.resample_to(self.case.simulation.truth, "linear", AIR_HU)
        return torch.from_numpy(hu.array).to(self.y.device)

    @property
    def regions(self) -> list[Tensor]:
        """Of :func:`~.regions.lesion_regions`."""
        return [part.to(self.y.device) for part in lesion_regions(self.case.lesions, self.case.simulation.truth)]


@dataclass(frozen=True)
class Iterative:
    """An iterative method and its free values.

    Parameters
    ----------
    run : an image and values in, iterates out.
    number : of the iterate to return, chosen on validation patients like ``values``.
    choices : values that the oracle tries, each with the iterates ``numbers`` and then every filter.
    """

    run: Callable[..., Iterator[Tensor]]
    number: int
    values: dict[str, Any] = field(default_factory=dict)
    choices: Sequence[dict[str, Any]] = ({},)
    numbers: Sequence[int] = ITERATIONS

    def restore(self, case: MethodCase) -> Volume:
        """With the values chosen on validation patients."""
        return case.volume(iterate(self.run(PeerInput.of(case), **self.values), self.number))

    def restore_by_oracle(self, case: MethodCase) -> Volume:
        """With the values of least squared error against the truth; the image itself is one of the choices."""
        peer = PeerInput.of(case)
        oracle = Oracle(peer.truth, peer.spacing, FILTERS_MM)
        oracle.look(peer.y)
        for values in self.choices:
            oracle.look_along(self.run(peer, **values), self.numbers)
        return case.volume(oracle.best)


def _van_cittert(peer: PeerInput, stop: float = 0.0) -> Iterator[Tensor]:
    return van_cittert(peer.y, peer.psf, stop=stop)


def _richardson_lucy(peer: PeerInput) -> Iterator[Tensor]:
    return richardson_lucy(peer.y, peer.psf)


def _total_variation(peer: PeerInput, strength: float) -> Iterator[Tensor]:
    return total_variation_rl(peer.y, peer.psf, peer.spacing, strength)


def _kernelised(peer: PeerInput, width: float) -> Iterator[Tensor]:
    return kernelised_rl(peer.y, peer.psf, Kernel(peer.ct, peer.spacing, KERNEL_HU, width))


def _map_bowsher(peer: PeerInput, beta: float) -> Iterator[Tensor]:
    penalty = ct_guided(peer.ct, peer.spacing, NEIGHBOURS, CT_FWHM_MM, GAMMA)
    return map_deconvolution(peer.y, peer.psf, penalty, beta, MAP_UPDATES)


MAP_BOWSHER = Iterative(_map_bowsher, 4, {"beta": 0.012}, [{"beta": value} for value in BETAS], ROUNDS)
#: with the values of the best mean PSNR over validation patients, own PET and sharp references, and protocols:
#: Testing/studies/benchmarks/tune_image_peers.py (Van Cittert: those of PETPVC)
ITERATIVE = {
    "van-cittert": Iterative(_van_cittert, 30, {"stop": 0.01}, numbers=range(1, 61)),
    "rl": Iterative(_richardson_lucy, 3),
    "rl-tv": Iterative(_total_variation, 25, {"strength": 0.04}, [{"strength": value} for value in STRENGTHS]),
    "krl": Iterative(_kernelised, 6, {"width": 2.0}, [{"width": value} for value in KERNEL_MM]),
    "map-bowsher-image": MAP_BOWSHER,
}


def _tuned(name: str, source: str, filled_in: str, by_oracle: str, needs_ct: bool = False) -> list[Method]:
    """One of :data:`ITERATIVE` as it is, and by its oracle."""
    method = ITERATIVE[name]
    bound = f"{name} with the {by_oracle} and Gaussian filter of least squared error against the truth: a bound."
    return [
        Method(name, method.restore, source, filled_in, needs_ct, inputs=("image",)),
        Method(f"{name}-oracle", method.restore_by_oracle, bound, "", needs_ct, inputs=("image",)),
    ]


def _by_region(case: MethodCase, correct: Callable[[Tensor, GaussianPSF, Sequence[Tensor]], Tensor]) -> Volume:
    peer = PeerInput.of(case)
    return case.volume(correct(peer.y, peer.psf, peer.regions))


IMAGE_PEERS = (
    Method(
        "interpolated",
        lambda case: case.volume(PeerInput.of(case).y),
        "The image as it is.",
        "interpolated to the SR grid by a cubic spline.",
        inputs=("image",),
    ),
    *_tuned(
        "van-cittert",
        "Van Cittert (Z Phys 1931, 69:298), reblurred; for PET Teo et al. (J Nucl Med 2007, 48:802).",
        "the values of PETPVC (Thomas et al., Phys Med Biol 2016, 61:7975): alpha 1.5, 30 iterations, fewer where an "
        "update is below 0.01 of the image.",
        "iteration",
    ),
    *_tuned(
        "rl",
        "Richardson (J Opt Soc Am 1972, 62:55) and Lucy (Astron J 1974, 79:745); for PET Tohka and Reilhac (NeuroImage "
        "2008, 39:1570).",
        f"{ITERATIVE['rl'].number} iterations from the image (validation patients), no filter.",
        "iteration",
    ),
    *_tuned(
        "rl-tv",
        "Richardson-Lucy with total variation (Dey et al., Microsc Res Tech 2006, 69:260).",
        f"strength {ITERATIVE['rl-tv'].values['strength']:g}, {ITERATIVE['rl-tv'].number} iterations (validation "
        "patients).",
        "iteration, strength",
    ),
    *_tuned(
        "krl",
        "Richardson-Lucy for coefficients of a kernel from the CT, after Wang and Qi (IEEE TMI 2015, 34:61) and Deidda "
        "et al. (Inverse Probl 2019, 35:044001).",
        f"26 neighbours, weights of {KERNEL_HU:g} HU and {ITERATIVE['krl'].values['width']:g} mm (standard "
        f"deviations), {ITERATIVE['krl'].number} iterations (validation patients).",
        "iteration, width",
        needs_ct=True,
    ),
    *_tuned(
        "map-bowsher-image",
        "MAP deconvolution with the CT-guided prior of Bowsher et al. (IEEE NSS 2004, 4:2488).",
        f"Poisson loss of the image; the relative difference with {NEIGHBOURS} of 26 neighbours by the CT unfiltered; "
        f"beta {MAP_BOWSHER.values['beta']:g}, {MAP_UPDATES * MAP_BOWSHER.number} "
        "updates (validation patients).",
        "beta, number of updates",
        needs_ct=True,
    ),
    Method(
        "iterative-yang",
        lambda case: _by_region(case, iterative_yang),
        "Iterative Yang: Erlandsson et al. (Phys Med Biol 2012, 57:R119), as in PETPVC (Thomas et al. 2016).",
        f"10 iterations; regions are each lesion's contour, {SHELL_MM:g} mm around it, and the rest.",
        inputs=("image",),
    ),
    Method(
        "rbv",
        lambda case: _by_region(case, region_based_voxelwise),
        "Region-based voxel-wise correction: Thomas et al. (Eur J Nucl Med Mol Imaging 2011, 38:1104), as in PETPVC.",
        "the regions of iterative-yang.",
        inputs=("image",),
    ),
)
