"""Policies: rules in files that the governor asks about every proposed action."""

from collections.abc import Iterable
from datetime import datetime

from orquanta.convert.policies import (
    read_check,
    read_explanation,
    read_policy_set,
    read_replay,
    read_tests,
    write_files,
)
from orquanta.convert.scalars import write_time
from orquanta.transport import Transport
from orquanta.types.policies import Explanation, PolicyCheck, PolicyFile, PolicySet, PolicyTests, Replay
from orquanta.v1 import policy_pb2 as pb
from orquanta.v1.policy_pb2_grpc import PolicyServiceStub

_REPLAY_SECONDS = 120.0


class AsyncPolicies:
    """Look at the policies in force; check, test and try others."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = PolicyServiceStub(transport.channel)

    async def get(self) -> PolicySet:
        """The policies in force, built-in rules first."""
        response = await self._transport.call(self._stub.GetPolicySet, pb.GetPolicySetRequest())
        return read_policy_set(response.policy_set)

    async def validate(self, files: Iterable[PolicyFile]) -> PolicyCheck:
        """What is wrong with files, without using them."""
        request = pb.ValidatePoliciesRequest(files=write_files(files))
        return read_check(await self._transport.call(self._stub.ValidatePolicies, request))

    async def test(self, tests: Iterable[PolicyFile], *, files: Iterable[PolicyFile] = ()) -> PolicyTests:
        """Run tests against files, or against the policies in force if there are none."""
        request = pb.TestPoliciesRequest(files=write_files(files), tests=write_files(tests))
        return read_tests(await self._transport.call(self._stub.TestPolicies, request))

    async def explain(self, action_id: str, *, files: Iterable[PolicyFile] = ()) -> Explanation:
        """What every rule says about a recorded action as things are now. Raises NotFound."""
        request = pb.ExplainActionRequest(action_id=action_id, files=write_files(files))
        return read_explanation(await self._transport.call(self._stub.ExplainAction, request))

    async def replay(
        self, files: Iterable[PolicyFile], *, since: datetime | None = None, actions_max: int = 0
    ) -> Replay:
        """Which of the newest past actions these files would have judged otherwise, by the values of then.

        `since` None: the last seven days; `actions_max` 0: 1,000.
        """
        request = pb.ReplayPoliciesRequest(
            files=write_files(files), since=None if since is None else write_time(since), actions_max=actions_max
        )
        response = await self._transport.call(self._stub.ReplayPolicies, request, timeout_seconds=_REPLAY_SECONDS)
        return read_replay(response)
