"""Whether people have paused an agent."""

from control_plane.model.record import Noun
from control_plane.store import agents
from control_plane.store.database import Store


class Pause:
    """One agent's; read again only after something was told of the agent."""

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
        if self._known_at is None or not feed.unchanged_since(Noun.AGENT, self._name, self._known_at):
            record = await self._store.read(lambda tx: agents.get(tx, self._name))
            self._paused = record is not None and record.paused
        self._known_at = newest
        return self._paused
