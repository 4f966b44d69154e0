"""Whether people have paused an agent."""

from control_plane.model.record import Noun
from control_plane.store import agents
from control_plane.store.database import Store


class Pause:
    """One agent's; read again only after something was told of the agent.

    Where others write to the database as well, it is read each time: what they wrote holds from their commit on.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._paused = False
        self._known_at: int | None = None

    async def holds(self) -> bool:
        """Whether the agent is to rest. Raises Unavailable when that cannot be told."""
        feed = self._store.feed
        await feed.catch_up()
        newest = feed.newest
        known = self._known_at is not None and feed.unchanged_since(Noun.AGENT, self._name, self._known_at)
        if self._store.shared or not known:
            record = await self._store.read(lambda tx: agents.get(tx, self._name))
            self._paused = record is not None and record.paused
        self._known_at = newest
        return self._paused
