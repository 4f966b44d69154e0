"""Vectors of any server that speaks the embeddings API of OpenAI (`/v1/embeddings`)."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx2
import numpy as np
import openai
from typing_extensions import override

from control_plane.errors import Unavailable
from control_plane.memory.contract import Vectors
from control_plane.model.redaction import redact

_TEXTS_AT_ONCE: Final = 64
_TEXT_MAX: Final = 4_000
_BODY_BYTES_MAX: Final = 16 << 20
_FLOOR: Final = 0.2
"""Models differ; this keeps out only what has nothing to do with the query."""


@dataclass(frozen=True, slots=True)
class EmbeddingEndpoint:
    """Where vectors come from. `base_url` ends before `/embeddings`, for example "http://127.0.0.1:8080/v1"."""

    base_url: str
    model: str
    dimensions: int
    api_key: str = field(default="", repr=False)
    timeout_seconds: float = 20.0


class HttpEmbedder:
    """An embedder that another server runs. `permit` raises for a URL that must not be called.

    Texts have their secrets hidden before they leave.
    """

    floor = _FLOOR

    def __init__(self, endpoint: EmbeddingEndpoint, *, permit: Callable[[str], None], trust_env: bool = False) -> None:
        self._endpoint = endpoint
        self._permit = permit

        async def guarded(request: httpx2.Request) -> None:
            permit(str(request.url))
            # A compressed body could grow beyond every bound.
            request.headers["Accept-Encoding"] = "identity"

        self._client = openai.AsyncOpenAI(
            api_key=endpoint.api_key or "none",
            base_url=endpoint.base_url,
            max_retries=0,
            http_client=httpx2.AsyncClient(
                follow_redirects=False,  # a key must not follow to another host
                trust_env=trust_env,
                event_hooks={"request": [guarded], "response": [_bounded]},
            ),
        )

    @property
    def name(self) -> str:
        """Name of the model, and a digest of its server."""
        digest = hashlib.sha256(self._endpoint.base_url.encode()).hexdigest()[:12]
        return f"http:{self._endpoint.model[:64]}:{self._endpoint.dimensions}:{digest}"

    @property
    def dimensions(self) -> int:
        """Length of a vector, as the settings say."""
        return self._endpoint.dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one row for each text. Raises Unavailable."""
        parts = [texts[start : start + _TEXTS_AT_ONCE] for start in range(0, len(texts), _TEXTS_AT_ONCE)]
        rows = [await self._embed([redact(text)[:_TEXT_MAX] for text in part]) for part in parts]
        return np.concatenate(rows) if rows else np.zeros((0, self.dimensions), dtype=np.float32)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def _embed(self, texts: list[str]) -> Vectors:
        self._check()
        try:
            async with asyncio.timeout(self._endpoint.timeout_seconds):
                answer = await self._client.embeddings.create(
                    model=self._endpoint.model,
                    input=[text or " " for text in texts],
                    encoding_format="float",
                    timeout=self._endpoint.timeout_seconds,
                )
            return self._vectors([(one.index, one.embedding) for one in answer.data], len(texts))
        except (openai.OpenAIError, httpx2.HTTPError, TimeoutError) as error:
            why = "it did not answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            status = getattr(error, "status_code", None)
            told = f"it answered {status}" if status else why
            raise Unavailable(f"the embedder at {self._endpoint.base_url} cannot be used: {told}") from error
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise Unavailable(f"the embedder at {self._endpoint.base_url} answered nonsense: {error}") from error

    def _check(self) -> None:
        try:
            self._permit(self._endpoint.base_url)
        except Exception as error:  # whatever forbids it
            raise Unavailable(f"the embedder at {self._endpoint.base_url} must not be called: {error}") from error

    def _vectors(self, rows: list[tuple[int, list[float]]], count: int) -> Vectors:
        if sorted(index for index, _ in rows) != list(range(count)):
            raise ValueError(f"{len(rows)} vectors for {count} texts")
        vectors = np.array([row for _, row in sorted(rows, key=lambda one: one[0])], dtype=np.float32)
        if vectors.shape != (count, self.dimensions):
            raise ValueError(f"its vectors have another length than {self.dimensions}; set memory_embedder_dimensions")
        if not np.isfinite(vectors).all():
            raise ValueError("its vectors are not made of numbers")
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        scaled: Vectors = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return scaled


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
            if size > _BODY_BYTES_MAX:
                raise _TooLarge
            yield part

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()


async def _bounded(response: httpx2.Response) -> None:
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Counted(response.stream)
