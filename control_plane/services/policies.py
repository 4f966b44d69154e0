"""PolicyService: the policies in force, and what others would do."""

import json
from datetime import timedelta
from typing import Final

from typing_extensions import override

from control_plane.errors import InvalidArgument
from control_plane.governor.approvals import proposal_of
from control_plane.governor.governor import Governor
from control_plane.governor.policy.book import fault_line
from control_plane.governor.policy.checking import check, version_of
from control_plane.governor.policy.model import PolicyFile, PolicySet
from control_plane.governor.policy.testing import read_tests, run_tests
from control_plane.governor.policy_replay import replay
from control_plane.model.ids import ACTION
from control_plane.services.bounded import Bounded
from control_plane.services.convert import policies as convert
from control_plane.services.convert.actions import action as convert_action
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.others import moment
from control_plane.services.validate.policies import policy_files
from control_plane.store import actions
from control_plane.store.database import Store, Tx
from orquanta.v1 import policy_pb2
from orquanta.v1.policy_pb2_grpc import PolicyServiceServicer

_REPLAY_DAYS: Final = 7
_REPLAY_ACTIONS: Final = 1_000
_REPLAY_ACTIONS_MAX: Final = 10_000


class Policies(PolicyServiceServicer):
    """Serves policies. What asks many rules runs in a thread, one call at a time."""

    def __init__(self, *, store: Store, governor: Governor, checking: Bounded, replaying: Bounded) -> None:
        self._store = store
        self._governor = governor
        self._checking = checking
        self._replaying = replaying

    @override
    async def GetPolicySet(
        self, request: policy_pb2.GetPolicySetRequest, context: object
    ) -> policy_pb2.GetPolicySetResponse:
        return policy_pb2.GetPolicySetResponse(policy_set=convert.policy_set(self._governor.policies))

    @override
    async def ValidatePolicies(
        self, request: policy_pb2.ValidatePoliciesRequest, context: object
    ) -> policy_pb2.ValidatePoliciesResponse:
        fields = Fields()
        files = policy_files(fields, "files", request.files)
        fields.check()
        _, faults = await self._checking.run(lambda: check(files))
        return policy_pb2.ValidatePoliciesResponse(
            faults=map(convert.fault, faults), version="" if faults else version_of(files)
        )

    @override
    async def TestPolicies(
        self, request: policy_pb2.TestPoliciesRequest, context: object
    ) -> policy_pb2.TestPoliciesResponse:
        fields = Fields()
        files = policy_files(fields, "files", request.files)
        test_files = policy_files(fields, "tests", request.tests)
        if not test_files:
            fields.wrong("tests", "is missing; give at least one file of tests", "FIELD_MISSING")
        fields.check()
        in_force = self._governor.policies.current

        def run() -> policy_pb2.TestPoliciesResponse:
            policies, faults = check(files) if files else (in_force, ())
            tests, wrong = read_tests(test_files)
            if policies is None or wrong:
                return policy_pb2.TestPoliciesResponse(faults=map(convert.fault, (*faults, *wrong)))
            return policy_pb2.TestPoliciesResponse(results=map(convert.test_result, run_tests(policies, tests)))

        return await self._checking.run(run)

    @override
    async def ExplainAction(
        self, request: policy_pb2.ExplainActionRequest, context: object
    ) -> policy_pb2.ExplainActionResponse:
        fields = Fields()
        action_id = fields.id("action_id", ACTION, request.action_id)
        files = policy_files(fields, "files", request.files)
        fields.check()
        policies = await self._usable(files) if files else self._governor.policies.current

        def explain(tx: Tx) -> policy_pb2.ExplainActionResponse:
            action = actions.require(tx, action_id)
            examined = self._governor.examine(tx, proposal_of(action), policies)
            return policy_pb2.ExplainActionResponse(
                action=convert_action(action),
                ruling=convert.RULING[examined.judgement.ruling],
                verdicts=convert.verdicts(examined),
                input_json=json.dumps(examined.document, sort_keys=True, ensure_ascii=False),
                version=policies.version,
            )

        return await self._store.read(explain)

    @override
    async def ReplayPolicies(
        self, request: policy_pb2.ReplayPoliciesRequest, context: object
    ) -> policy_pb2.ReplayPoliciesResponse:
        fields = Fields()
        files = policy_files(fields, "files", request.files)
        since = moment(fields, "since", request.since) if request.HasField("since") else None
        most = fields.integer("actions_max", request.actions_max, least=0, most=_REPLAY_ACTIONS_MAX)
        fields.check()
        policies = await self._usable(files)
        begin = since or self._store.clock.now() - timedelta(days=_REPLAY_DAYS)
        found = await self._replaying.wait(
            lambda: replay(self._store, policies, since=begin, actions_max=most or _REPLAY_ACTIONS)
        )
        return policy_pb2.ReplayPoliciesResponse(
            actions=found.actions, differences=map(convert.difference, found.differences)
        )

    async def _usable(self, files: tuple[PolicyFile, ...]) -> PolicySet:
        """Return the set that files make. Raises InvalidArgument, with what is wrong."""
        policies, faults = await self._checking.run(lambda: check(files))
        if policies is None:
            more = f" (and {len(faults) - 1} more; see ValidatePolicies)" if len(faults) > 1 else ""
            raise InvalidArgument(f"{fault_line(faults[0])}{more}", reason="POLICIES_INVALID")
        return policies
