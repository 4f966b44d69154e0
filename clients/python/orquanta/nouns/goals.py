"""Goals: what a person wants done on GPUs, in plain words."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from decimal import Decimal

from orquanta.convert.goals import read_goal, read_goal_view, read_preview
from orquanta.convert.scalars import write_enum, write_usd
from orquanta.transport import Transport, paged, request_id_or_new
from orquanta.types.goals import Goal, GoalState, GoalView, Preview
from orquanta.v1 import goal_pb2 as pb
from orquanta.v1.goal_pb2_grpc import GoalServiceStub


class AsyncGoals:
    """Create, preview, follow, answer and cancel goals."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = GoalServiceStub(transport.channel)

    async def create(
        self,
        text: str,
        *,
        budget_usd: Decimal | None = None,
        timezone: str = "",
        request_id: str | None = None,
    ) -> Goal:
        """Plan the goal, pass it through the governor and queue its jobs.

        `budget_usd` caps the cost; the stricter of it and the text's own budget holds. Times of day in the
        text are read in `timezone` (IANA name; UTC if empty). The goal that is returned may have ended
        already (`refused`) or wait for answers (`needs_input`).
        """
        response = await self._transport.call(
            self._stub.CreateGoal,
            pb.CreateGoalRequest(
                text=text,
                request_id=request_id_or_new(request_id),
                budget_usd_micros=None if budget_usd is None else write_usd(budget_usd),
                timezone=timezone,
            ),
        )
        return read_goal(response.goal)

    async def preview(self, text: str, *, timezone: str = "") -> Preview:
        """How the text would be understood and what it would reserve at most; creates nothing."""
        response = await self._transport.call(
            self._stub.PreviewGoal, pb.PreviewGoalRequest(text=text, timezone=timezone)
        )
        return read_preview(response)

    async def get(self, goal_id: str) -> GoalView:
        """One goal with its jobs and bill. Raises NotFound."""
        response = await self._transport.call(self._stub.GetGoal, pb.GetGoalRequest(goal_id=goal_id))
        return read_goal_view(response)

    def list(
        self, *, states: Iterable[GoalState] = (), user_id: str = "", page_size: int = 0
    ) -> AsyncGenerator[Goal, None]:
        """Goals, newest first; pages are fetched as they are needed."""
        wanted = [write_enum(pb.GoalState, state) for state in states]

        async def fetch(token: str) -> tuple[Sequence[Goal], str]:
            response = await self._transport.call(
                self._stub.ListGoals,
                pb.ListGoalsRequest(page_size=page_size, page_token=token, states=wanted, user_id=user_id),
            )
            return [read_goal(goal) for goal in response.goals], response.next_page_token

        return paged(fetch)

    def watch(self, goal_id: str) -> AsyncGenerator[GoalView, None]:
        """The goal as it is now, then after each change, until it has ended; survives broken connections."""
        return self._transport.watch(
            self._stub.WatchGoal,
            lambda token: pb.WatchGoalRequest(goal_id=goal_id, resume_token=token),
            read_goal_view,
            until=lambda view: view.goal.state.ended,
        )

    async def wait(self, goal_id: str) -> GoalView:
        """The goal once it has ended. Bound it with `asyncio.timeout`: a goal may wait for a person."""
        async for _ in self.watch(goal_id):
            pass
        return await self.get(goal_id)

    async def cancel(self, goal_id: str, *, reason: str = "", request_id: str | None = None) -> Goal:
        """Cancel the goal and every job of it that has not ended. Raises PreconditionFailed if it has ended."""
        response = await self._transport.call(
            self._stub.CancelGoal,
            pb.CancelGoalRequest(goal_id=goal_id, reason=reason, request_id=request_id_or_new(request_id)),
        )
        return read_goal(response.goal)

    async def answer(self, goal_id: str, answers: Mapping[str, str], *, request_id: str | None = None) -> Goal:
        """Answer questions of a goal in state `needs_input`, by `Question.field`; it is planned again."""
        response = await self._transport.call(
            self._stub.AnswerGoal,
            pb.AnswerGoalRequest(goal_id=goal_id, answers=answers, request_id=request_id_or_new(request_id)),
        )
        return read_goal(response.goal)
