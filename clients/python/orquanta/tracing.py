"""Trace contexts as the W3C recommendation writes them: `traceparent: 00-<trace id>-<span id>-<flags>`.

Source: W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context/).
"""

import os
import re
import sys
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

HEADER: Final = "traceparent"
VARIABLE: Final = "TRACEPARENT"
"""The environment variable by which programs hand a context on to each other."""

_FORM: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
)
_LONGEST: Final = 512
_SAMPLED: Final = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace: ids in lower-case hex, 32 and 16 digits, neither all zeros."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def traceparent(self) -> str:
        """Return the header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{_SAMPLED if self.sampled else 0:02x}"

    def child(self, name: str) -> "TraceContext":
        """Return the context of something in the same trace; the same name gives the same context."""
        return TraceContext(self.trace_id, _digits(f"{self.trace_id}/{name}", 16), self.sampled)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the context of a header, or None for one that is malformed: it is then as if there were none."""
        match = _FORM.fullmatch(text.strip()) if len(text) <= _LONGEST else None
        if match is None or match["version"] == "ff" or (match["version"] == "00" and match["rest"]):
            return None
        if not match["trace"].strip("0") or not match["span"].strip("0"):
            return None
        return cls(match["trace"], match["span"], bool(int(match["flags"], 16) & _SAMPLED))

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the context of a trace that belongs to a name: the same for everybody who knows it."""
        return cls(_digits(f"trace/{name}", 32), _digits(f"span/{name}", 16))


def current() -> TraceContext | None:
    """Return the trace that this program is in: OpenTelemetry's present span, or what the environment hands on."""
    api = sys.modules.get("opentelemetry.trace")  # who traces has loaded it; nobody else pays for it
    if api is not None:
        span = api.get_current_span().get_span_context()
        if span.is_valid:
            return TraceContext(f"{span.trace_id:032x}", f"{span.span_id:016x}", span.trace_flags.sampled)
    return TraceContext.parse(os.environ.get(VARIABLE, ""))


def _digits(text: str, count: int) -> str:
    found = sha256(text.encode()).hexdigest()[:count]
    return found if found.strip("0") else "1".zfill(count)
