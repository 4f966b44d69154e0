"""How much one host may ask of the control plane: some at once, and then so much a second."""

from control_plane.clock import Clock


class Allowance:
    """A bucket of `at_once` tokens that fills again at `per_second`."""

    __slots__ = ("_at_once", "_clock", "_counted_at", "_left", "_per_second")

    def __init__(self, clock: Clock, *, at_once: int, per_second: float) -> None:
        self._clock = clock
        self._at_once = at_once
        self._per_second = per_second
        self._left = float(at_once)
        self._counted_at = clock.monotonic()

    def take(self) -> bool:
        """Take one token; return whether there was one."""
        now = self._clock.monotonic()
        self._left = min(self._left + (now - self._counted_at) * self._per_second, self._at_once)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
