"""What the books say of a storm: when its last node was cordoned, and how many nodes were out of service at once."""

import asyncio
import sqlite3
from datetime import UTC, datetime

from orquanta.client import AsyncClient
from orquanta.gameday.fleet import Fleet

OUT_OF_SERVICE = ("draining", "repairing", "verifying", "quarantined")


class OutOfService:
    """How many nodes were out of service at once, at the most."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self.most = 0

    async def watch(self) -> None:
        """Look once a second until cancelled."""
        while True:  # asking costs the control plane a walk over the fleet
            states = (await self._client.metrics.fleet()).nodes_by_state
            self.most = max(self.most, sum(states.get(state, 0) for state in OUT_OF_SERVICE))
            await asyncio.sleep(1.0)


def cordons(fleet: Fleet) -> tuple[int, float]:
    """Return how many nodes were cordoned, and the seconds from the first condition of the storm until the last was."""
    with sqlite3.connect(f"file:{fleet.state / 'orquanta.db'}?mode=ro", uri=True) as books:
        rows = books.execute("select observed_at, cordoned_at from incidents where cordoned_at is not null").fetchall()
    began = min(_moment(observed) for observed, _ in rows)
    last: float = max(_moment(cordoned) for _, cordoned in rows)
    return len(rows), round(last - began, 3)


def _moment(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
