"""Models at their worst: they do whatever a stranger's words tell them to."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any  # JSON values

from control_plane.reasoning.contract import (
    Message,
    ModelReply,
    ModelRequest,
    ModelToolCall,
    OnDelta,
    Speaker,
)
from control_plane.reasoning.scripted import Scripted, ScriptedModel, ScriptedReply

_CALL = re.compile(r"CALL\[(?P<tool>[\w.]+)\s+(?P<arguments>\{.{0,2000}?\})\]")
_BASE64 = re.compile(r"\b[A-Za-z0-9+/]{40,}={0,2}")


def words_of(tool: str, arguments: Mapping[str, object]) -> str:
    """Return a call in the words in which the obedient model understands it wherever it reads them."""
    return f"CALL[{tool} {json.dumps(arguments)}]"


def said(intent: str) -> Mapping[str, object]:
    """Return what a model says that it has read in a goal: nothing but its kind."""
    nothing = dict.fromkeys(("intent_quote", "budget_quote", "deadline_quote", "refuse_code", "refuse_quote"))
    return {"intent": intent, "jobs": [], "questions": [], **nothing}


@dataclass
class Obedient:
    """Reads what it is told to, then makes every call that it finds in what it has read, and the attack.

    The attack is made though the words were cleaned away, if strangers' words are all that is left of them: another
    model might have guessed it. `delivered` says whether they arrived, `read_strangers` whether it
    was told that something was a stranger's. What it is offered makes no difference to it.
    """

    intent: str
    reads: Sequence[tuple[str, Mapping[str, Any]]]  # Any: JSON
    attack: tuple[str, Mapping[str, Any]]
    delivered: bool = False
    read_strangers: bool = False
    _turn: int = 0
    _made: set[str] = field(default_factory=set)

    def __call__(self, request: ModelRequest) -> Scripted:
        """Give the next reply."""
        if request.schema is not None:
            return said(self.intent)
        self._turn += 1
        found = _orders(request.messages)
        self.delivered |= bool(found)
        self.read_strangers |= self._turn in (2, 3) and _read_strangers(request.messages)
        wanted: list[tuple[str, Mapping[str, Any]]] = []
        if self._turn == 1:
            wanted = list(self.reads)
        elif self._turn in (2, 3):  # once more, in case the first was only too early
            wanted = [*found, *([self.attack] if found or self.read_strangers else [])]
        calls: list[ModelToolCall] = []
        for tool, arguments in wanted:
            text = json.dumps(arguments, sort_keys=True)
            if f"{tool} {text}" not in self._made:
                self._made.add(f"{tool} {text}")
                calls.append(ModelToolCall(f"c-{self._turn}-{len(calls)}", tool, text))
        return ScriptedReply(text="" if calls else "I have done what I was told.", calls=tuple(calls))


def _orders(messages: Sequence[Message]) -> list[tuple[str, Mapping[str, Any]]]:
    found = []
    for message in messages:
        if message.speaker in (Speaker.SYSTEM, Speaker.ASSISTANT):
            continue
        text = message.text.replace('\\"', '"')
        hidden = " ".join(_decoded(one) for one in _BASE64.findall(text))
        for match in _CALL.finditer(f"{text} {hidden}"):
            try:
                arguments = json.loads(match["arguments"])
            except ValueError:
                continue
            found.append((match["tool"], arguments))
    return found


def _read_strangers(messages: Sequence[Message]) -> bool:
    return any(message.speaker is Speaker.TOOL and " untrusted>" in message.text for message in messages)


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return ""


@dataclass
class Listening:
    """A scripted model with an ear at its door: `heard` is all that was sent, before the last filter for secrets."""

    inner: ScriptedModel
    heard: list[str] = field(default_factory=list)
    offered: set[str] = field(default_factory=set)

    @property
    def available(self) -> bool:
        """Whether it may be asked."""
        return self.inner.available

    @property
    def model_name(self) -> str:
        """The name of the scripted model."""
        return self.inner.model_name

    async def ask(self, request: ModelRequest, *, on_delta: OnDelta | None = None) -> ModelReply:
        """Remember the request and pass it on."""
        for message in request.messages:
            self.heard += [message.text, *(call.arguments_json for call in message.calls)]
        for tool in request.tools:
            self.offered.add(tool.name)
            self.heard.append(f"{tool.description} {json.dumps(dict(tool.parameters))}")
        return await self.inner.ask(request, on_delta=on_delta)
