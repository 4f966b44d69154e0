"""One attempt at an endpoint by the openai package, bounded in time and size."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final, NoReturn

import httpx2
import openai
import structlog
from typing_extensions import override

from control_plane.model.redaction import redact
from control_plane.reasoning import guard
from control_plane.reasoning.endpoint import Endpoint
from control_plane.reasoning.errors import NoModel
from control_plane.reasoning.outcomes import AttemptFailed, RawReply, Refused, Retryable, TooLong, Unsupported
from control_plane.reasoning.transport import Body
from control_plane.reasoning.wire import StreamedReply, printable, reply_of

log = structlog.get_logger()

BODY_BYTES_MAX: Final = 4 * 1024 * 1024
CHUNKS_MAX: Final = 100_000
_CONNECTIONS_MAX: Final = 32
_FAULT_CHARACTERS: Final = 300
_RETRY_AFTER_MAX: Final = 3_600.0
_TOO_LONG: Final = re.compile(
    r"context[ _](?:length|size|window)|too (?:long|many tokens)|maximum context|prompt is too", re.IGNORECASE
)
# What servers say of a request that uses something they do not have; also in a 500 of servers that fail over it.
_UNSUPPORTED: Final = re.compile(
    r"unsupported|not support|unknown (?:parameter|field|argument)|unrecognized|unexpected|extra (?:inputs|fields)|"
    r"validation|literal|grammar|response_format|json_schema|json_object|tool_choice|\btools\b|schema|stream_options|"
    r"max_tokens|max_completion_tokens|temperature|not permitted|invalid value",
    re.IGNORECASE,
)
_PARAMETERS: Final = ("stream_options", "max_completion_tokens", "max_tokens", "temperature", "tool_choice", "tools")
_GATEWAY: Final = frozenset({502, 504, 524})  # a proxy that lost the answer: the model may have written it
_BAD_REQUEST, _UNPROCESSABLE, _TOO_MANY, _TIMEOUT_STATUS, _CONFLICT, _SERVER = 400, 422, 429, 408, 409, 500


class OpenAiTransport:
    """The Transport for everything that speaks the Chat Completions API."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        limits = httpx2.Limits(max_connections=_CONNECTIONS_MAX, max_keepalive_connections=_CONNECTIONS_MAX)
        self._client = openai.AsyncOpenAI(
            # Servers of one's own need no key, the package does.
            api_key=endpoint.api_key or "none",
            base_url=endpoint.base_url,
            max_retries=0,
            default_headers=dict(endpoint.headers),
            http_client=httpx2.AsyncClient(
                follow_redirects=False,  # a key must not follow to another host
                limits=limits,
                trust_env=not guard.is_loopback(endpoint.base_url),  # proxies are for hosts outside
                event_hooks={"request": [_guarded], "response": [_bounded]},
            ),
        )

    async def ask(self, body: Body) -> RawReply:
        """Return a whole answer."""
        guard.check(self._endpoint.base_url)
        try:
            async with asyncio.timeout(self._endpoint.timeout_seconds):
                response = await self._client.chat.completions.with_raw_response.create(
                    **dict(body), timeout=self._timeout(self._endpoint.timeout_seconds)
                )
                content = response.http_response.content
        except Exception as error:  # noqa: BLE001 - sorted by what it means
            self._sort(error)
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            raise Retryable("its answer is not JSON", may_cost=True) from None
        if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list) or not answer["choices"]:
            raise Retryable("its answer holds no choices", may_cost=True)
        return reply_of(answer)

    async def stream(self, body: Body, into: StreamedReply) -> AsyncGenerator[str, None]:
        """Give the answer's text as it is written; `into` has the whole of it in the end."""
        guard.check(self._endpoint.base_url)
        pieces = self._pieces(body, into)
        # The time for the whole is kept here and not around the consumer, whose own work must not be interrupted.
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._endpoint.timeout_seconds
        async with aclosing(pieces):
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        piece = await anext(pieces, None)
                except Exception as error:  # noqa: BLE001 - sorted by what it means
                    if into.finish_reason is not None and not isinstance(error, NoModel):
                        return  # all is there; only the end of the connection is missing
                    self._sort(error)
                if piece is None:
                    break
                if piece:
                    yield piece
        if into.finish_reason is None:
            raise Retryable("its stream ended in the middle", may_cost=True)

    async def _pieces(self, body: Body, into: StreamedReply) -> AsyncGenerator[str, None]:
        stream = await self._client.chat.completions.create(
            **dict(body), timeout=self._timeout(self._endpoint.first_token_seconds)
        )
        async with stream:
            async for chunk in stream:
                if into.chunks >= CHUNKS_MAX:
                    raise _TooLarge
                yield into.add(chunk.to_dict(mode="python", exclude_unset=False, warnings=False))

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    def _timeout(self, read_seconds: float) -> httpx2.Timeout:
        connect = self._endpoint.connect_seconds
        return httpx2.Timeout(connect=connect, read=read_seconds, write=connect, pool=connect)

    def _sort(self, error: Exception) -> NoReturn:
        causes = (error, error.__cause__)
        for cause in causes:
            if isinstance(cause, NoModel | AttemptFailed):
                raise cause
        if any(isinstance(cause, _TooLarge) for cause in causes):
            raise Retryable(f"its answer is larger than {BODY_BYTES_MAX} bytes", may_cost=True) from None
        if isinstance(error, openai.APIStatusError):
            raise _by_status(error) from None
        if isinstance(error, openai.APITimeoutError | TimeoutError | httpx2.TimeoutException):
            raise Retryable("it did not answer in time", may_cost=True) from None
        if isinstance(error, openai.APIConnectionError | httpx2.HTTPError):
            cause_name = type(error.__cause__ or error).__name__
            may_cost = not isinstance(error.__cause__, httpx2.ConnectError)
            raise Retryable(f"the connection failed ({cause_name})", may_cost=may_cost) from None
        if isinstance(error, openai.APIError):  # told within a stream
            raise Retryable(f"it failed while it answered: {_plain(error.message)}", may_cost=True) from None
        log.warning("model.answer_unreadable", endpoint=self._endpoint.name, exc_info=error)
        raise Retryable(f"its answer cannot be read ({type(error).__name__})", may_cost=True) from None


class _TooLarge(httpx2.HTTPError):
    def __init__(self) -> None:
        super().__init__("too large")


class _Counted(httpx2.AsyncByteStream):
    """A body that ends in an error once it is too large."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._inner:
            size += len(part)
            if size > BODY_BYTES_MAX:
                raise _TooLarge
            yield part

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()


async def _guarded(request: httpx2.Request) -> None:
    guard.check(str(request.url))
    # A compressed body could grow beyond every bound.
    request.headers["Accept-Encoding"] = "identity"


async def _bounded(response: httpx2.Response) -> None:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Retryable("it compresses its answer though asked not to")
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Counted(response.stream)


def _by_status(error: openai.APIStatusError) -> AttemptFailed:
    status = error.status_code
    fault = f"it answered {status}: {_plain(error.message)}"
    if status in {_TOO_MANY, _TIMEOUT_STATUS, _CONFLICT}:
        return Retryable(fault, retry_after_seconds=_retry_after(error.response.headers.get("Retry-After")))
    if status in {_BAD_REQUEST, _UNPROCESSABLE} or status >= _SERVER:
        if _TOO_LONG.search(error.message):
            return TooLong(fault)
        if _UNSUPPORTED.search(error.message):
            named = next((name for name in _PARAMETERS if name in error.message), "")
            return Unsupported(fault, parameter=named)
        if status < _SERVER:
            return Refused(fault)
        retry_after = _retry_after(error.response.headers.get("Retry-After"))
        return Retryable(fault, may_cost=status in _GATEWAY, retry_after_seconds=retry_after)
    return Refused(fault, lasting=True)


def _retry_after(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds <= _RETRY_AFTER_MAX else _RETRY_AFTER_MAX if seconds > 0 else None


def _plain(text: object) -> str:
    return redact(" ".join(printable(str(text)[:2_000]).split()))[:_FAULT_CHARACTERS]
