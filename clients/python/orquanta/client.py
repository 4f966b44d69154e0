"""The asynchronous client."""

from os import PathLike
from types import TracebackType
from typing import Self

from orquanta.channel import open_channel
from orquanta.nouns.actions import AsyncActions
from orquanta.nouns.agents import AsyncAgents
from orquanta.nouns.audit import AsyncAudit
from orquanta.nouns.auth import AsyncAuth
from orquanta.nouns.catalog import AsyncCatalog
from orquanta.nouns.costs import AsyncCosts
from orquanta.nouns.goals import AsyncGoals
from orquanta.nouns.grants import AsyncGrants
from orquanta.nouns.incidents import AsyncIncidents
from orquanta.nouns.jobs import AsyncJobs
from orquanta.nouns.memories import AsyncMemories
from orquanta.nouns.metrics import AsyncMetrics
from orquanta.nouns.nodes import AsyncNodes
from orquanta.nouns.policies import AsyncPolicies
from orquanta.nouns.queues import AsyncQueue
from orquanta.nouns.quotas import AsyncQuotas
from orquanta.nouns.tools import AsyncTools
from orquanta.retry import WATCH_RETRY, RetryPolicy
from orquanta.transport import Transport

DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_RETRY = RetryPolicy()


class AsyncClient:
    """A control plane, seen from Python. Make it while an event loop runs and close it when done.

        async with AsyncClient("fleet.example:50051", api_key=key, ca_certificate="ca.pem") as client:
            goal = await client.goals.create("fine-tune llama-3-8b on 2 H100, at most $40")
            async for view in client.goals.watch(goal.id):
                print(view.goal.state)

    `server` is `host:port`. Give one of `token` and `api_key`, or neither and call `auth.login`.
    `ca_certificate` is PEM bytes or a path; None trusts the public authorities. `tls_server_name` is the name
    to expect in the certificate where it is not the address (a tunnel). `insecure=True` talks in clear.
    `timeout_seconds` is the deadline of one attempt of a call; watches have none that you can see.
    Every method raises `orquanta.errors.OrQuantaError`.
    """

    def __init__(
        self,
        server: str,
        *,
        token: str = "",
        api_key: str = "",
        ca_certificate: bytes | str | PathLike[str] | None = None,
        tls_server_name: str = "",
        insecure: bool = False,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retry: RetryPolicy = DEFAULT_RETRY,
        watch_retry: RetryPolicy = WATCH_RETRY,
    ) -> None:
        if token and api_key:
            raise ValueError("give either a token or an API key, not both")
        self._channel = open_channel(
            server, ca_certificate=ca_certificate, insecure=insecure, tls_server_name=tls_server_name
        )
        transport = Transport(
            self._channel,
            server,
            credential=token or api_key,
            timeout_seconds=timeout_seconds,
            retry=retry,
            watch_retry=watch_retry,
        )
        self.goals = AsyncGoals(transport)
        self.jobs = AsyncJobs(transport)
        self.queue = AsyncQueue(transport)
        self.quotas = AsyncQuotas(transport)
        self.nodes = AsyncNodes(transport)
        self.incidents = AsyncIncidents(transport)
        self.actions = AsyncActions(transport)
        self.grants = AsyncGrants(transport)
        self.agents = AsyncAgents(transport)
        self.policies = AsyncPolicies(transport)
        self.audit = AsyncAudit(transport)
        self.auth = AsyncAuth(transport)
        self.memories = AsyncMemories(transport)
        self.metrics = AsyncMetrics(transport)
        self.catalog = AsyncCatalog(transport)
        self.costs = AsyncCosts(transport)
        self.tools = AsyncTools(transport)

    async def close(self) -> None:
        """Close the connection; calls that are under way are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
