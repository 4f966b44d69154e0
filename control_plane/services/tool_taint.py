"""Remembers whose agents have read strangers' words: what they ask for after that needs a person's approval."""

from collections import OrderedDict
from typing import Final

from control_plane.clock import Clock

TAINTED_SECONDS: Final = 3_600.0
"""How long reading strangers' words counts. An agent's session has no end that a server could see."""
CREDENTIALS_MAX: Final = 20_000
"""Credentials remembered; beyond that the ones that read longest ago are forgotten."""


class TaintBook:
    """Credentials and when they last read strangers' words. In memory alone, by the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._read_at: OrderedDict[str, float] = OrderedDict()

    def read(self, credential_id: str) -> None:
        """Note that a credential was given strangers' words."""
        self._read_at[credential_id] = self._clock.monotonic()
        self._read_at.move_to_end(credential_id)
        while len(self._read_at) > CREDENTIALS_MAX:
            self._read_at.popitem(last=False)

    def is_tainted(self, credential_id: str) -> bool:
        """Tell whether a credential has read strangers' words within the last hour."""
        read_at = self._read_at.get(credential_id)
        return read_at is not None and self._clock.monotonic() - read_at <= TAINTED_SECONDS
