"""Remembers whose agents have read strangers' words: what they ask for after that needs a person's approval."""

from collections import OrderedDict
from typing import Final

from control_plane.clock import Clock
from control_plane.model.identity import Principal
from control_plane.store import tool_taints
from control_plane.store.database import Store

TAINTED_SECONDS: Final = 3_600.0
"""How long reading strangers' words counts at least. An agent's session has no end that a server could see."""
CREDENTIALS_MAX: Final = 20_000
"""Credentials remembered in memory; the store knows the others."""
_NOTED_SECONDS: Final = 300.0
"""How old the store's note may get while a credential goes on reading; it counts for so much longer."""


class TaintBook:
    """Credentials and when they last read strangers' words: in memory, and in the store, for after a restart."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._noted_at: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._read_at: dict[tuple[str, str], float] = {}

    async def read(self, caller: Principal) -> None:
        """Note that a credential is given strangers' words; they must not be given before this returns."""
        key = (caller.user_id, caller.credential_id)
        now = self._clock.monotonic()
        noted_at = self._noted_at.get(key)
        if noted_at is None or now - noted_at > _NOTED_SECONDS:
            await self._store.write(lambda tx: tool_taints.note(tx, caller.user_id, caller.credential_id))
            self._noted_at[key] = now
            self._noted_at.move_to_end(key)
        self._read_at[key] = now
        while len(self._noted_at) > CREDENTIALS_MAX:
            gone, _ = self._noted_at.popitem(last=False)
            self._read_at.pop(gone, None)

    async def is_tainted(self, caller: Principal) -> bool:
        """Tell whether a credential has read strangers' words within the last hour."""
        read_at = self._read_at.get((caller.user_id, caller.credential_id))
        if read_at is not None and self._clock.monotonic() - read_at <= TAINTED_SECONDS:
            return True
        found = await self._store.read(lambda tx: tool_taints.noted_at(tx, caller.user_id, caller.credential_id))
        if found is None:
            return False
        age = (self._clock.now() - found).total_seconds()
        return age <= TAINTED_SECONDS + (_NOTED_SECONDS if read_at is None else 0.0)
