"""What was spent on GPUs."""

from datetime import datetime

from orquanta.convert.costs import read_costs
from orquanta.nouns.tools import AsyncTools
from orquanta.transport import Transport
from orquanta.types.costs import CostKey, Costs

COST_LINES_MAX = 100


class AsyncCosts:
    """Add up what was spent."""

    def __init__(self, transport: Transport) -> None:
        self._tools = AsyncTools(transport)

    async def spent(
        self,
        by: CostKey | str = CostKey.USER,
        *,
        team: str = "",
        who: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
    ) -> Costs:
        """What attempts cost that began from `since` on (the last 30 days if None) and before `until`.

        `team` is a team's path, or its last part where one alone has that, and means the teams in it too. `who` is
        "me", an address, or a part of one. At most `limit` sums (1 to 100) are told. Raises NotFound
        (TEAM_NOT_FOUND, with the teams that there are) and InvalidArgument. The server's tool `costs` tells it.
        """
        arguments: dict[str, object] = {"by": CostKey(by).value, "limit": limit}
        arguments |= {"team": team} if team else {}
        arguments |= {"who": who} if who else {}
        arguments |= {"since": since.isoformat()} if since is not None else {}
        arguments |= {"until": until.isoformat()} if until is not None else {}
        return read_costs(await self._tools.call("costs", arguments))
