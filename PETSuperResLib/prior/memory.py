"""The tokens of CTs that were encoded lately: at the next step, and when the same case is reconstructed again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

LIMIT_BYTES = 200_000_000  # a slab of 64 slices of 128 x 128 and its halo, wherever the sampler moves them


class TokenMemory:
    """Tokens by what they were made of: the bytes of a CT and the weights, the oldest forgotten first."""

    def __init__(self, limit: int = LIMIT_BYTES):
        self.limit, self.known = limit, OrderedDict[object, tuple[Tensor, ...]]()

    def tokens(self, ct: Tensor, network: nn.Module, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Those of ``ct`` under ``network``; ``make`` encodes it if they are not known."""
        digest = hashlib.blake2b(ct.detach().cpu().contiguous().numpy().data, digest_size=16).digest()
        weights = tuple((p.data_ptr(), p._version) for p in network.parameters())  # training changes the version
        key = digest, tuple(ct.shape), str(ct.device), hash(weights)
        if key in self.known:
            self.known.move_to_end(key)
            return self.known[key]
        found = make()
        if size_of(found) <= self.limit:
            self.known[key] = found
            while sum(map(size_of, self.known.values())) > self.limit:
                self.known.popitem(last=False)
        return found

    def forget(self) -> None:
        """Remove all tokens."""
        self.known.clear()


def size_of(tokens: tuple[Tensor, ...]) -> int:
    """Bytes."""
    return sum(t.numel() * t.element_size() for t in tokens)
