"""Which models there are, over real gRPC."""

from control_plane.reasoning.contract import EndpointStatus, ReplyMode
from control_plane.reasoning.scripted import ScriptedModel
from control_plane.services.convert.reasoning import reasoning_status
from control_plane.store import model_usage
from control_plane.store.database import Tx
from control_plane.store.model_usage import Usage, UsageKey
from orquanta.v1 import agent_pb2
from tests.control_plane.services.harness import Client, Fleet


async def test_everybody_sees_that_there_is_no_model_and_what_was_used_today(fleet: Fleet, user: Client) -> None:
    key = UsageKey(None, None, None, "tester", "m")

    def use(tx: Tx) -> None:
        held = model_usage.reserve(tx, key, 9, per_day_usd_micros=10)
        assert isinstance(held, model_usage.Reservation)
        model_usage.settle(tx, held, input_tokens=20, output_tokens=5, cost_usd_micros=7)

    await fleet.store.write(use)
    status = await user.agents.GetReasoningStatus(agent_pb2.GetReasoningStatusRequest())
    assert list(status.endpoints) == []
    assert (status.cost_today_usd_micros, status.tokens_today) == (7, 25)


def test_an_endpoint_is_told_of_as_it_is() -> None:
    class Report(ScriptedModel):
        def endpoints(self) -> tuple[EndpointStatus, ...]:
            known = EndpointStatus("a", "m", "http://x/v1", ReplyMode.TOOL, True, False, "open", "broken", 5, 3)
            return (known, EndpointStatus("b", "n", "http://y/v1", None, False, False, "closed", "", 0, 0))

    status = reasoning_status(Report([]), Usage(1, 2, 3, 4, 5))
    first, second = status.endpoints
    assert (first.name, first.mode, first.tools, first.streams, first.breaker) == ("a", "tool", True, False, "open")
    assert (first.last_error, first.calls, first.failures) == ("broken", 5, 3)
    assert second.mode == "unprobed"
    assert status.tokens_today == 5
