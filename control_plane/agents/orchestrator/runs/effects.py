"""Takes the steps that reach outside: a question to a model, a call of a tool. Nothing is written here."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import structlog

from control_plane.agents.orchestrator.names import NAME
from control_plane.agents.orchestrator.runs import choosing, context, limits, replanning
from control_plane.agents.orchestrator.runs.bounds import RunPolicy, plain
from control_plane.agents.orchestrator.runs.outcomes import (
    DATA_CHARS_MAX,
    TEXT_CHARS_MAX,
    error_result,
    no_reply,
    reply_outcome,
)
from control_plane.agents.orchestrator.runs.ports import Tools
from control_plane.agents.orchestrator.runs.toolsets import declarations
from control_plane.agents.orchestrator.runs.toolsets import offered as tools_offered
from control_plane.agents.orchestrator.runs.view import RunView, load
from control_plane.bus.deltas import Deltas
from control_plane.clock import Clock
from control_plane.model.ids import JobId
from control_plane.model.plan import Intent
from control_plane.model.run import EventType, ReasoningEvent
from control_plane.model.run_step import Outcome, RunStep
from control_plane.model.tool import ToolCall, ToolContext, ToolEffect, ToolResult, ToolSpec, ToolStatus
from control_plane.reasoning.contract import ModelRequest, Purpose, Reasoner
from control_plane.reasoning.errors import ReasoningError

log = structlog.get_logger()

_STORED_CHARS_MAX = 256_000
_PIECE_CHARS = 3_500
_OWN_HANDLE = "step-"
_READ_RESULT = "read_result"
_MARGIN_SECONDS = 5.0


class Effects:
    """Asks models and calls tools on behalf of runs."""

    def __init__(
        self,
        tools: Tools,
        reasoner: Reasoner | None,
        *,
        policy: RunPolicy,
        clock: Clock,
        deltas: Deltas | None = None,
    ) -> None:
        self._tools = tools
        self._reasoner = reasoner
        self._policy = policy
        self._clock = clock
        self._deltas = deltas

    def effects(self, view: RunView) -> Mapping[str, ToolEffect]:
        """Return what each tool of the run's person does."""
        return {name: spec.effect for name, spec in self._specs(view).items()}

    def _specs(self, view: RunView) -> Mapping[str, ToolSpec]:
        return {} if view.owner is None else {spec.name: spec for spec in self._tools.specs(view.owner.role)}

    async def read_goal(self, view: RunView) -> Outcome:
        """Have a model read the goal; what it says is data, and still hostile."""
        goal = view.goal
        if goal is None:
            return no_reply("NoGoal", 0.0)
        # The planner's patterns take half of a cold start to compile: only who has a model waits for them.
        from control_plane.agents.orchestrator.planner.model_reading import (  # noqa: PLC0415 - see above
            SCHEMA,
            SCHEMA_NAME,
            reading_messages,
        )

        request = replace(
            self._request(view, offering=False),
            messages=reading_messages(goal.text, dict(goal.answers)),
            schema=SCHEMA,
            schema_name=SCHEMA_NAME,
        )
        return await self._asked(view, request)

    async def think(self, view: RunView) -> Outcome:
        """Have a model choose what to do next."""
        return await self._asked(view, self._request(view, offering=True))

    async def choose(self, view: RunView, step: RunStep) -> Outcome:
        """Have a model choose among the remedies of a failed job. It is shown words that strangers wrote."""
        job_id = JobId(step.intent.name)
        job = next((one for one in view.jobs if one.id == job_id and one.id in view.book.diagnoses), None)
        if job is None:
            return no_reply("NoJob", 0.0)
        offered = replanning.offered(view, self._policy, job)
        request = replace(
            self._request(view, offering=False),
            messages=choosing.messages(view, job_id, offered),
            schema=choosing.schema(offered),
            schema_name=choosing.SCHEMA_NAME,
        )
        return replace(await self._asked(view, request), untrusted=True)

    def _request(self, view: RunView, *, offering: bool) -> ModelRequest:
        run, policy = view.run, self._policy
        specs = (
            tools_offered(self._specs(view).values(), view.plan.intent, policy.tools_offered)
            if offering and view.goal is not None and view.goal.plan is not None
            else ()
        )
        return ModelRequest(
            messages=context.messages(view, policy) if offering else (),
            purpose=Purpose(NAME, run.user_id, run.goal_id, run.id),
            tools=declarations(specs),
            output_tokens_max=max(
                limits.REPLY_TOKENS_LEAST,
                min(policy.reply_tokens, run.limits.output_tokens - run.used.output_tokens),
            ),
            input_tokens_max=max(1, run.limits.input_tokens - run.used.input_tokens),
            cost_usd_max=max(Decimal(0), run.limits.cost_usd - run.used.cost_usd),
        )

    async def _asked(self, view: RunView, request: ModelRequest) -> Outcome:
        began = self._clock.monotonic()
        if self._reasoner is None or not self._reasoner.available:
            return no_reply("NoModel", 0.0)
        seconds = max(1.0, min(self._policy.model_seconds, view.run.limits.seconds - view.run.used.seconds))
        try:
            async with asyncio.timeout(seconds):
                reply = await self._reasoner.ask(request, on_delta=self._on_delta(view))
        except TimeoutError:
            return no_reply("TIMEOUT", self._clock.monotonic() - began)
        except ReasoningError as error:
            failed = no_reply(type(error).__name__, self._clock.monotonic() - began, str(error))
            return replace(
                failed, input_tokens=error.input_tokens, output_tokens=error.output_tokens, cost_usd=error.cost_usd
            )
        except Exception as error:
            log.exception("run.model_failed", run_id=view.run.id)
            return no_reply("INTERNAL", self._clock.monotonic() - began, type(error).__name__)
        return reply_outcome(reply, self._clock.monotonic() - began)

    def _on_delta(self, view: RunView) -> Any:  # Any: OnDelta or None
        deltas = self._deltas
        if deltas is None:
            return None

        async def publish(text: str) -> None:
            if deltas.wanted:
                deltas.publish(
                    ReasoningEvent(
                        run_id=view.run.id,
                        sequence=view.book.events,
                        agent_name=view.run.agent_name,
                        goal_id=view.run.goal_id,
                        type=EventType.MODEL_DELTA,
                        message=plain(text, TEXT_CHARS_MAX),
                        data_json="{}",
                        evidence_ids=(),
                        tainted=view.run.tainted,
                        created_at=self._clock.now(),
                    )
                )

        return publish

    async def call_tool(self, view: RunView, step: RunStep) -> Outcome:
        """Call the tool of a step. Repeating the step repeats the same call: what it proposes is proposed once."""
        began = self._clock.monotonic()
        spec = self._specs(view).get(step.intent.name)
        result = await self._refused(view, step, spec)
        if result is None:
            result = self._own_result(view, step) or await self._called(view, step, spec)
        return self._outcome(step, result, self._clock.monotonic() - began)

    async def _refused(self, view: RunView, step: RunStep, spec: ToolSpec | None) -> ToolResult | None:
        """Return why a model's call is not made at all, or None: rules call what they need."""
        if step.intent.turn == 0:
            return None
        known = tools_offered(self._specs(view).values(), view.plan.intent, self._policy.tools_offered)
        if spec is None or spec.name not in {one.name for one in known}:
            names = ", ".join(one.name for one in known)
            return error_result(
                "UNKNOWN_TOOL", f"there is no tool {plain(step.intent.name, 60)!a} here; there are {names}"
            )
        if spec.effect is ToolEffect.READ:
            return None
        before = limits.done_before(view, step.intent.name, step.intent.arguments_json)
        if before is not None:
            return error_result("DONE_BEFORE", f"you made this very call in step {before}; it is made once")
        if view.plan.intent is Intent.HEAL:  # a goal that names no host changes none
            call = ToolCall(step.intent.name, step.intent.arguments_json)
            target = await self._tools.resolve_target(call, view.principal)
            named = {target_id for _, target_id in view.book.planned}
            if not target:  # it cannot be told now; by the time of the call it may be another matter
                target = str(load(step.intent.arguments_json).get("node", ""))
                named |= set(view.plan.targets.nodes)
            if target.partition("/")[0] not in named:
                return error_result("NOT_IN_GOAL", "the goal does not name this host; change only what it names")
        return None

    async def _called(self, view: RunView, step: RunStep, spec: ToolSpec | None) -> ToolResult:
        call = ToolCall(step.intent.name, step.intent.arguments_json)
        planned = view.book.planned
        if step.intent.turn == 0 and step.intent.effect is not ToolEffect.READ:
            # Rules look at typed fields alone: no words that they read can have changed what they want.
            target = await self._tools.resolve_target(call, view.principal)
            planned |= {(step.intent.name, target)} if target else frozenset()
        made = ToolContext(
            principal=view.principal,
            caller=NAME,
            step_key=step.key,
            reasoning=step.intent.reasoning or view.plan.summary,
            run_id=view.run.id,
            goal_id=view.run.goal_id,
            tainted=view.run.tainted,
            planned=planned,
        )
        seconds = (spec.timeout_seconds if spec is not None else 30.0) + _MARGIN_SECONDS
        try:
            async with asyncio.timeout(seconds):
                return await self._tools.call(call, made)
        except TimeoutError:
            return error_result("TIMEOUT", f"{step.intent.name} took longer than {seconds:g} seconds")
        except Exception as error:
            log.exception("run.tool_failed", run_id=view.run.id, tool=step.intent.name)
            return error_result("INTERNAL", f"{step.intent.name} failed by itself ({type(error).__name__})")

    def _own_result(self, view: RunView, step: RunStep) -> ToolResult | None:
        """Serve a piece of a result that this run was shown in part."""
        arguments = load(step.intent.arguments_json)
        handle = str(arguments.get("handle", ""))
        if step.intent.name != _READ_RESULT or not handle.startswith(_OWN_HANDLE):
            return None
        number = handle.removeprefix(_OWN_HANDLE)
        source = next((one for one, _ in view.calls() if str(one.number) == number), None)
        if source is None or source.outcome is None or not source.outcome.stored:
            return error_result("RESULT_GONE", "there is no such result; call the tool again with a smaller limit")
        start = arguments.get("offset", 0)
        start = start if isinstance(start, int) and start >= 0 else 0
        text = source.outcome.stored
        end = start + _PIECE_CHARS
        data = {
            "text": text[start:end],
            "next_offset": end if end < len(text) else 0,
            "total_characters": len(text),
        }
        return ToolResult(ToolStatus.OK, data, source.outcome.evidence_id, untrusted=source.outcome.untrusted)

    def _outcome(self, step: RunStep, result: ToolResult, seconds: float) -> Outcome:
        data = dict(result.data)
        if result.error:
            data["error"] = plain(result.error, 2_000)
        whole = json.dumps(data, ensure_ascii=False, default=str)
        text = plain(whole, _STORED_CHARS_MAX)
        shown = context.shown(
            step.intent.name,
            {"status": result.status.value, **data},
            untrusted=result.untrusted,
            evidence_id=result.evidence_id,
            number=step.number,
            most=self._policy.shown_tokens,
        )
        long = len(whole) > self._policy.shown_tokens * 3
        return Outcome(
            status=result.status.value,
            data=json.loads(plain(whole, len(whole))) if len(whole) <= DATA_CHARS_MAX else {"left_out": len(whole)},
            shown=plain(shown, len(shown)),
            stored=text if long else "",
            error_code=result.error_code,
            evidence_id=result.evidence_id,
            action_id=result.action_id,
            untrusted=result.untrusted,
            seconds=seconds,
        )
