"""Memory as the settings want it. Nothing here keeps the control plane from starting: memory is of use, not needed."""

from contextlib import AsyncExitStack
from urllib.parse import urlsplit

from control_plane.clock import Clock
from control_plane.errors import PreconditionFailed
from control_plane.memory.contract import Embedder, MemoryStore
from control_plane.memory.hashed_ngrams import HashedNgrams
from control_plane.memory.install import folder
from control_plane.memory.local import LocalMemory
from control_plane.memory.minilm import MiniLm
from control_plane.reasoning import guard
from control_plane.settings import Settings


def memory(settings: Settings, *, clock: Clock) -> MemoryStore | None:
    """Return the store of memories, None if it is switched off.

    Raises SettingsError, or PreconditionFailed when a library that the settings ask for is not installed.
    """
    match settings.memory_store:
        case "off":
            return None
        case "weaviate":
            return _weaviate(settings, clock)
        case _:
            return LocalMemory(settings.state_dir / "memory" / "memory.db", _embedder(settings), clock=clock)


def opened(stack: AsyncExitStack, settings: Settings, *, clock: Clock) -> MemoryStore | None:
    """Return the same, closed with the stack. Raises as `memory` does."""
    store = memory(settings, clock=clock)
    if store is not None:
        stack.push_async_callback(store.close)
    return store


def _embedder(settings: Settings) -> Embedder:
    match settings.memory_embedder:
        case "minilm":
            return MiniLm(folder(settings.state_dir))
        case "http":
            return _http(settings)
        case _:
            return HashedNgrams()


def _http(settings: Settings) -> Embedder:
    try:
        from control_plane.memory.http_embedder import EmbeddingEndpoint, HttpEmbedder  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise _missing("memory_embedder = http", error, "model") from error
    url = settings.memory_embedder_url.rstrip("/")
    endpoint = EmbeddingEndpoint(
        base_url=url,
        model=settings.memory_embedder_model,
        dimensions=settings.memory_embedder_dimensions,
        api_key=settings.memory_key("memory_embedder_key_file"),
    )
    # Proxies are for hosts outside.
    return HttpEmbedder(endpoint, permit=guard.check, trust_env=not guard.is_loopback(url))


def _weaviate(settings: Settings, clock: Clock) -> MemoryStore:
    try:
        from control_plane.memory.weaviate import WeaviateMemory  # noqa: PLC0415 - an extra
        from control_plane.memory.weaviate_connection import WeaviateServer  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise _missing("memory_store = weaviate", error, "memory") from error
    parts = urlsplit(settings.memory_weaviate_url)
    secure = parts.scheme == "https"
    server = WeaviateServer(
        host=parts.hostname or "",
        port=parts.port or (443 if secure else 80),
        grpc_port=settings.memory_weaviate_grpc_port,
        secure=secure,
        api_key=settings.memory_key("memory_weaviate_key_file"),
    )
    return WeaviateMemory(server, _embedder(settings), clock=clock)


def _missing(setting: str, error: ModuleNotFoundError, extra: str) -> PreconditionFailed:
    return PreconditionFailed(
        f"{setting} needs {error.name}; run: pip install 'orquanta[{extra}]'", reason="NOT_INSTALLED"
    )
