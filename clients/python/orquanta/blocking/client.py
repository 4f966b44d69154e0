"""The blocking client."""

from os import PathLike
from types import TracebackType
from typing import Self

from orquanta.blocking.loop import LoopThread
from orquanta.blocking.nouns import (
    Actions,
    Agents,
    Audit,
    Auth,
    Catalog,
    Costs,
    Goals,
    Grants,
    Incidents,
    Jobs,
    Memories,
    Metrics,
    Nodes,
    Policies,
    Queue,
    Quotas,
    Tools,
)
from orquanta.client import DEFAULT_RETRY, DEFAULT_TIMEOUT_SECONDS, AsyncClient
from orquanta.retry import WATCH_RETRY, RetryPolicy


class Client:
    """`AsyncClient` for programs without an event loop: same arguments, same nouns, same methods.

        with Client("fleet.example:50051", api_key=key, ca_certificate="ca.pem") as client:
            goal = client.goals.create("fine-tune llama-3-8b on 2 H100, at most $40")
            for view in client.goals.watch(goal.id):
                print(view.goal.state)

    Lists and watches are generators; leaving one early closes its stream. Threads may share a client.
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
        async def connect() -> AsyncClient:
            return AsyncClient(
                server,
                token=token,
                api_key=api_key,
                ca_certificate=ca_certificate,
                tls_server_name=tls_server_name,
                insecure=insecure,
                timeout_seconds=timeout_seconds,
                retry=retry,
                watch_retry=watch_retry,
            )

        self._loop = LoopThread()
        try:
            self._client = self._loop.run(connect())
        except BaseException:
            self._loop.stop()
            raise
        self.goals = Goals(self._loop, self._client.goals)
        self.jobs = Jobs(self._loop, self._client.jobs)
        self.queue = Queue(self._loop, self._client.queue)
        self.quotas = Quotas(self._loop, self._client.quotas)
        self.nodes = Nodes(self._loop, self._client.nodes)
        self.incidents = Incidents(self._loop, self._client.incidents)
        self.actions = Actions(self._loop, self._client.actions)
        self.grants = Grants(self._loop, self._client.grants)
        self.agents = Agents(self._loop, self._client.agents)
        self.policies = Policies(self._loop, self._client.policies)
        self.audit = Audit(self._loop, self._client.audit)
        self.auth = Auth(self._loop, self._client.auth)
        self.memories = Memories(self._loop, self._client.memories)
        self.metrics = Metrics(self._loop, self._client.metrics)
        self.catalog = Catalog(self._loop, self._client.catalog)
        self.costs = Costs(self._loop, self._client.costs)
        self.tools = Tools(self._loop, self._client.tools)
        self._closed = False

    def close(self) -> None:
        """Close the connection, and with the last one the loop. Calling it again does nothing."""
        if not self._closed:
            self._closed = True
            try:
                self._loop.run(self._client.close())
            finally:
                self._loop.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
