"""Looks at the policy files, and has them put into force when they change."""

from control_plane.agents.loop import Agent
from control_plane.governor.policy_loading import NAME, PolicyLoader
from control_plane.store import policy_sets
from control_plane.store.database import Store

_LOOK_SECONDS = 1.0
_INPUTS_KEPT_DAYS = 90
_PRUNE_EVERY = 3600  # looks: about once an hour


class Policies(Agent):
    """Follows the folder of policies. While it is paused, changed files wait."""

    name = NAME
    event_driven = False

    def __init__(self, store: Store, loader: PolicyLoader) -> None:
        super().__init__(store, interval_seconds=_LOOK_SECONDS)
        self._loader = loader
        self._until_prune = 0

    async def round(self) -> str:
        """Look once; once in a while forget what old actions were judged by."""
        if self._until_prune == 0:
            await self._store.write(lambda tx: policy_sets.prune(tx, kept_days=_INPUTS_KEPT_DAYS))
        self._until_prune = (self._until_prune - 1) % _PRUNE_EVERY
        done = await self._loader.look()
        if done:
            self.count("changes")
        return done
