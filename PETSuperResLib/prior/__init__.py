"""The diffusion prior over sharp PET images, guided by CT (section 2.2)."""

from .checkpoint import Prior
from .network import STRIDE, NetworkConfig, NoiseNetwork, guided_otherwise, widened, with_neighbours
from .schedule import NoiseSchedule
from .transform import AsinhTransform

__all__ = [
    "STRIDE",
    "AsinhTransform",
    "NetworkConfig",
    "NoiseNetwork",
    "NoiseSchedule",
    "Prior",
    "guided_otherwise",
    "widened",
    "with_neighbours",
]
