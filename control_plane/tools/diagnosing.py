"""Why something failed: by rules first, and where they end by a model, within bounds of time, money and repetition."""

import asyncio
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final
from weakref import WeakValueDictionary

import structlog

from control_plane.model.diagnosis import Diagnosis
from control_plane.model.ids import UserId
from control_plane.reasoning.contract import ModelRequest, Purpose, Reasoner
from control_plane.reasoning.errors import ModelBudgetExceeded, ModelReplyInvalid, ReasoningError
from control_plane.store import audit, diagnoses
from control_plane.store.database import Store, Tx
from control_plane.store.diagnoses import Kept
from control_plane.tools.model_cause import SCHEMA_NAME, CauseQuestion, ReplyRefused, messages, read_reply
from control_plane.tools.text import clean

log = structlog.get_logger()

AGENT: Final = "diagnosis"
"""The name under which models are asked about causes, in accounts and audit."""
COST_USD_MAX: Final = Decimal("0.10")
"""What one diagnosis may cost, a repair of its reply included."""
PER_HOUR: Final = 30
"""Diagnoses by a model on behalf of one person within an hour; as many for all incidents together."""
ANSWER_SECONDS: Final = 60.0
"""How long a model may take, repair included."""

_REPLY_TOKENS: Final = 700
_WHY_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked about. `basis` names what is shown: an answer stands for as long as that stays the same.

    `user_id` pays; None is the control plane itself.
    """

    key: str
    basis: str
    purpose: Purpose
    job_id: str = ""
    node_id: str = ""

    @property
    def user_id(self) -> UserId | None:
        """Who pays."""
        return self.purpose.user_id


class Asker:
    """Asks a model about each subject once, and keeps what it says. Rules go on without it."""

    def __init__(self, store: Store, reasoner: Reasoner) -> None:
        self._store = store
        self._reasoner = reasoner
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def exists(self) -> bool:
        """Whether there is a model at all."""
        return bool(self._reasoner.model_name)

    @property
    def available(self) -> bool:
        """Whether a model can be asked now."""
        return self.exists and self._reasoner.available

    async def answer(self, subject: Subject, question: CauseQuestion, *, may_ask: bool, seconds: float) -> Diagnosis:
        """Return the diagnosis by a model if there is one or may be, else the rules' with what is to be said of it.

        Never raises for what a model does or fails to do.
        """
        lock = self._locks.setdefault(subject.key, asyncio.Lock())
        async with lock:  # who asks meanwhile waits for the same answer
            kept = await self._store.read(lambda tx: diagnoses.get(tx, subject.key))
            if not (self.exists and diagnoses.may_begin(kept, subject.basis, self._store.clock.now())):
                return told(question.rules, kept)
            if not may_ask:
                note = "the rules end here; its owner or an operator can have a model asked, by the same call"
                return told(question.rules, kept) if kept else replace(question.rules, note=note)
            if not self._reasoner.available:
                return _noted(
                    question.rules, kept, "no model could be asked: its endpoint is left alone after failures"
                )
            return await self._ask(subject, question, kept, seconds)

    async def _ask(self, subject: Subject, question: CauseQuestion, kept: Kept | None, seconds: float) -> Diagnosis:
        refused = await self._store.write(lambda tx: _begin(tx, subject))
        if refused:
            return _noted(question.rules, kept, refused)
        answer, vain, settled = None, "", True
        try:
            async with asyncio.timeout(seconds):
                answer, vain = await self._said(subject.purpose, question)
        except asyncio.CancelledError:
            left = "who had a model asked left before it had answered"
            await self._store.write(lambda tx: diagnoses.finish(tx, subject.key, vain=left, settled=False))
            raise
        except TimeoutError:
            vain, settled = f"a model was asked in vain: no answer within {seconds:.0f} s", False
        except ReplyRefused as error:
            vain = f"a model was asked in vain: its reply may not stand, as {error}"
        except ModelReplyInvalid:
            vain = "a model was asked in vain: its reply was not of the shape that was asked for"
        except ModelBudgetExceeded as error:
            vain, settled = f"no model was asked, for want of money or room: {_short(error)}", False
        except ReasoningError as error:
            vain, settled = f"a model was asked in vain: {_short(error)}", False
        log.info("diagnosis.asked", subject=subject.key, cause=answer.cause if answer else "", why=vain)
        await self._store.write(lambda tx: _finish(tx, subject, answer, vain, settled))
        return told(question.rules, await self._store.read(lambda tx: diagnoses.get(tx, subject.key)))

    async def _said(self, purpose: Purpose, question: CauseQuestion) -> tuple[Diagnosis | None, str]:
        """Return what a model says, or why that is nothing. Raises ReplyRefused and ReasoningError."""
        purse = _Purse(COST_USD_MAX)
        try:
            return await self._with_repair(purpose, question, purse)
        except ModelBudgetExceeded:
            shorter = question.shortened()
            if len(shorter.pieces) == len(question.pieces):
                raise
            return await self._with_repair(purpose, shorter, purse)  # an endpoint with a small context

    async def _with_repair(
        self, purpose: Purpose, question: CauseQuestion, purse: "_Purse"
    ) -> tuple[Diagnosis | None, str]:
        fault, answer = "", ""
        while True:
            request = ModelRequest(
                messages=messages(question, fault=fault, answer=answer),
                purpose=purpose,
                schema=question.schema,
                schema_name=SCHEMA_NAME,
                output_tokens_max=_REPLY_TOKENS,
                cost_usd_max=purse.left,
            )
            try:
                reply = await self._reasoner.ask(request)
            except ReasoningError as error:
                purse.take(error.cost_usd)
                raise
            purse.take(reply.cost_usd)
            try:
                found = read_reply(reply.data, question, reply.model)
            except ReplyRefused as error:
                if fault:
                    raise
                fault, answer = str(error), reply.text
                continue
            return found, "" if found else f"{reply.model} was asked, and finds no cause in the evidence either"


@dataclass(slots=True)
class _Purse:
    """What is left of the money for one diagnosis."""

    left: Decimal

    def take(self, cost_usd: Decimal) -> None:
        self.left = max(Decimal(0), self.left - cost_usd)


def told(rules: Diagnosis, kept: Kept | None) -> Diagnosis:
    """Return the model's diagnosis if it is at least as sure as the rules', else the rules' and what is said of it."""
    if kept is None:
        return rules
    answer = kept.answer
    if answer is None:
        return replace(rules, note=kept.vain or "a model is being asked; ask again in a minute")
    if answer.confidence < rules.confidence:
        return replace(
            rules, note=f"{answer.diagnosed_by} was asked, and is less sure ({answer.confidence:.0%}): {answer.cause}"
        )
    return answer


def _noted(rules: Diagnosis, kept: Kept | None, why: str) -> Diagnosis:
    """Return what is kept of an earlier time, else the rules' diagnosis with why there is no more."""
    return told(rules, kept) if kept is not None else replace(rules, note=why)


def _begin(tx: Tx, subject: Subject) -> str:
    """Note that a model is being asked, or return why it is not."""
    if diagnoses.asked_within_hour(tx, subject.user_id) >= PER_HOUR:
        return f"no model was asked: there were {PER_HOUR} diagnoses by a model within the hour; try again later"
    if not diagnoses.begin(tx, subject.key, subject.basis, user_id=subject.user_id):
        return "a model is being asked; ask again in a minute"
    return ""


def _finish(tx: Tx, subject: Subject, answer: Diagnosis | None, vain: str, settled: bool) -> None:
    diagnoses.finish(tx, subject.key, answer=answer, vain=vain, settled=settled)
    if answer is None:
        return
    audit.append(
        tx,
        agent_name=AGENT,
        action="diagnosis.made",
        reasoning=f"{answer.cause}: {answer.summary}",
        outcome="observed",
        payload={
            "subject": subject.key,
            "by": answer.diagnosed_by,
            "confidence": answer.confidence,
            "evidence": [one.id for one in answer.evidence],
        },
        job_id=subject.job_id,
        node_id=subject.node_id,
        goal_id=subject.purpose.goal_id or "",
        user_id=subject.user_id or "",
    )


def _short(error: Exception) -> str:
    return clean(str(error), most=_WHY_MAX, lines=False)
