"""The weights of a trained network for one with more slices or another conditioning as input."""

from __future__ import annotations

import torch
from torch import Tensor

from .network import NoiseNetwork


def adapted_weights(source: NoiseNetwork, network: NoiseNetwork) -> dict[str, Tensor]:
    """The state of ``network`` with all that it shares with ``source``.

    The two may differ in their conditioning, and ``source`` may see no neighbours where ``network`` does. Attention
    that ``source`` lacks stays as ``network`` has it, input channels that it lacks (neighbours, CT) get the weight 0,
    and what only ``source`` has is left out.
    """
    state = source.state_dict()
    more = network.config.neighbours - source.config.neighbours
    own, gap = state["enter.weight"], state["embed.0.weight"]  # 4 channels of each image
    if more:
        sides = own.new_zeros(len(own), 4 * more, *own.shape[2:])
        own = torch.cat([sides, own[:, :4], sides, own[:, 4:]], dim=1)
        state["embed.0.weight"] = torch.cat([gap, gap.new_zeros(len(gap), 1)], dim=1)  # the slice spacing
    channels = network.enter.in_channels
    others = own.new_zeros(len(own), max(0, channels - own.shape[1]), *own.shape[2:])
    state["enter.weight"] = torch.cat([own[:, :channels], others], dim=1)
    return {name: state.get(name, value) for name, value in network.state_dict().items()}
