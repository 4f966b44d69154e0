"""Which claims came, went or changed: who follows them need not compare all of them."""

from collections import deque
from collections.abc import Collection
from typing import Final

from control_plane.model.ids import AllocationId

_MOST: Final = 100_000
"""Changes that are remembered; who is further behind compares everything."""


class Journal:
    """The last changes of claims. `at` counts all there were."""

    def __init__(self) -> None:
        self.at = 0
        self._keys: deque[AllocationId] = deque(maxlen=_MOST)

    def note(self, allocation_id: AllocationId) -> None:
        """Note that a claim came, went or changed."""
        self._keys.append(allocation_id)
        self.at += 1

    def since(self, at: int) -> Collection[AllocationId] | None:
        """Return which claims have changed since then, each once; None if that is too long ago."""
        behind = self.at - at
        if behind > len(self._keys):
            return None
        if behind > len(self._keys) // 2:
            return dict.fromkeys(list(self._keys)[-behind:] if behind else ())
        return dict.fromkeys([self._keys[-number] for number in range(behind, 0, -1)])
