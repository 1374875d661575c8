"""Where the CT shows the body, and where the activity shows more of it than the CT does."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..physics.model import ForwardModel, uniform_start
from ..physics.psf import GaussianPSF
from ..problem import UNKNOWN_HU

AIR_BELOW_HU, BODY_MARGIN_MM, OUTSIDE_SHARE = -900.0, 8.0, 0.02  # lung is body, air is not
BEYOND_MM, ACTIVE_SHARE = 12.0, 0.3  # activity this far outside the CT's body, above this share of the body's: body


def starting_image(model: ForwardModel, y: Tensor, ct_hu: Tensor) -> Tensor:
    """The start of EM: uniform in the body of the CT (with a margin), and little in the air around it.

    EM clears air slowly; from a uniform start some of the activity would stay there. Nothing is
    forbidden outside: what the counts put there (arms beyond the CT's field of view) grows back.
    """
    reach = max(1, round(BODY_MARGIN_MM / model.spacing[0]))
    body = (ct_hu > AIR_BELOW_HU) | (ct_hu <= UNKNOWN_HU)
    return uniform_start(model, y) * (OUTSIDE_SHARE + (1 - OUTSIDE_SHARE) * _dilated(body, reach))


def completed_ct(ct_hu: Tensor, z: Tensor, model: ForwardModel) -> Tensor:
    """The CT (HU) with water where it shows air but the activity ``z`` (SUV) shows body, all ``(S, J, I)``.

    A CT's field of view cuts off arms and wide patients, and arms move between the two scans; the prior
    would draw that border of the CT into the PET. What lies within :data:`BEYOND_MM` of the CT's body is blur,
    unless it belongs to activity further out.
    """
    pixel = model.spacing[0]
    body = ct_hu > AIR_BELOW_HU
    smooth = GaussianPSF(model.shape, model.spacing, (BEYOND_MM / 2, 0.0), z.device)(z)
    if not body.any():
        return ct_hu
    active = ~body & (smooth > ACTIVE_SHARE * smooth[body].median())
    reach = round(BEYOND_MM / pixel)
    beyond = active & ~_dilated(body, reach)
    for _ in range(2 * reach):
        beyond = _dilated(beyond, 1) & active
    return torch.where(beyond, torch.zeros_like(ct_hu), ct_hu)


def _dilated(mask: Tensor, pixels: int) -> Tensor:
    """A boolean ``(S, J, I)`` grown in the slice by a square."""
    return F.max_pool2d(mask.float()[:, None], 2 * pixels + 1, stride=1, padding=pixels)[:, 0] > 0
