"""Each embedder: what its vectors are, and what happens where it cannot be used."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from control_plane.errors import Unavailable
from control_plane.memory.hashed_ngrams import HashedNgrams
from control_plane.memory.http_embedder import EmbeddingEndpoint, HttpEmbedder
from control_plane.memory.minilm import MiniLm
from control_plane.reasoning import guard

Answer = Callable[[list[str]], tuple[int, object]]


async def test_hashed_vectors_are_the_same_everywhere_and_of_length_one() -> None:
    texts = ["Xid 79: GPU fell off the bus", "xid 79 gpu FELL off the bus!", "", "日本語", "disk quota exceeded"] * 3
    vectors = await HashedNgrams().embed(texts)
    assert vectors.shape == (15, 512)
    assert vectors.dtype == np.dtype("float32")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0, 1, 1] * 3, atol=1e-6)
    assert float(vectors[0] @ vectors[1]) > 0.99
    assert abs(float(vectors[0] @ vectors[4])) < HashedNgrams.floor
    assert np.flatnonzero((await HashedNgrams().embed(["xid"]))[0]).tolist() == [285, 341, 407]


def model_folder() -> Path:
    """Where `python -m control_plane.memory.install` puts the model by default, or where the variable says."""
    named = os.environ.get("ORQUANTA_TEST_MINILM", "")
    return Path(named) if named else Path.home() / ".local" / "state" / "orquanta" / "models" / "minilm"


needs_model = pytest.mark.skipif(
    not model_folder().is_dir(), reason="the model is not there; run: python -m control_plane.memory.install"
)


@needs_model
async def test_minilm_computes_what_its_authors_print() -> None:
    model = MiniLm(model_folder())
    (vector,) = await model.embed(["This is an example sentence"])
    printed = [0.0677, 0.0635, 0.0487, 0.0793, 0.0374, 0.0027, 0.0394, -0.0071]
    np.testing.assert_allclose(vector[:8], printed, atol=6e-5)
    assert float(np.linalg.norm(vector)) == pytest.approx(1, abs=1e-5)


@needs_model
async def test_minilm_finds_meaning_without_shared_words_whatever_is_in_the_batch() -> None:
    model = MiniLm(model_folder())
    texts = ["GPU fell off the bus", "A graphics card vanished from PCIe", "cake recipe with apples", "", "x " * 3_000]
    vectors = await model.embed(texts)
    assert float(vectors[0] @ vectors[1]) > 2 * model.floor
    assert float(vectors[0] @ vectors[2]) < model.floor
    alone = await model.embed([texts[0]])
    np.testing.assert_allclose(vectors[0], alone[0], atol=1e-5)


async def test_a_model_that_is_not_there_or_is_another_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"control_plane\.memory\.install"):
        await MiniLm(tmp_path / "nowhere").embed(["text"])
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(Unavailable, match="not the model"):
        await MiniLm(tmp_path).embed(["text"])
    shutil.rmtree(tmp_path)


@asynccontextmanager
async def embeddings_server(answer: Answer) -> AsyncIterator[tuple[str, list[dict[str, object]]]]:
    """A real HTTP server; gives its URL and the requests that came."""
    requests: list[dict[str, object]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        requests.append({"head": head, **body})
        status, told = answer(body["input"])
        content = told if isinstance(told, bytes) else json.dumps(told).encode()
        lines = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        writer.write(f"{lines}Connection: close\r\n\r\n".encode() + content)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        with guard.loopback_allowed():
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", requests


def counted(texts: list[str]) -> tuple[int, object]:
    """Vectors of three numbers, told in the wrong order."""
    data = [{"object": "embedding", "index": at, "embedding": [len(text), 1, 0]} for at, text in enumerate(texts)]
    return 200, {"object": "list", "data": data[::-1], "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def embedder(url: str, **changes: object) -> HttpEmbedder:
    fields: dict[str, object] = {"base_url": url, "model": "m", "dimensions": 3, "api_key": "key-1"}
    return HttpEmbedder(EmbeddingEndpoint(**(fields | changes)), permit=guard.check)  # type: ignore[arg-type] # by name


async def test_a_server_embeds_in_bounded_batches_and_gets_no_secret() -> None:
    secret = "sk-" + "a1B2c3D4" * 5
    async with embeddings_server(counted) as (url, requests):
        used = embedder(url)
        texts = ["x" * number for number in range(129)] + [f"key {secret}"]
        vectors = await used.embed(texts)
        assert vectors.shape == (130, 3)
        np.testing.assert_allclose(vectors[4] * np.sqrt(17), [4, 1, 0], atol=1e-5)
        assert [len(one["input"]) for one in requests] == [64, 64, 2]  # type: ignore[arg-type] # a list of texts
        assert secret not in json.dumps(requests)
        assert "bearer key-1" in str(requests[0]["head"])
        await used.close()


async def test_each_server_model_and_length_has_a_name_of_its_own() -> None:
    used = [
        embedder("http://127.0.0.1:1/v1"),
        embedder("http://127.0.0.1:2/v1"),
        embedder("http://127.0.0.1:1/v1", model="n"),
        embedder("http://127.0.0.1:1/v1", dimensions=4),
    ]
    assert len({one.name for one in used}) == 4
    for one in used:
        await one.close()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda _: (500, {"error": {"message": "broken"}}), id="500"),
        pytest.param(lambda _: (200, b"not JSON"), id="no JSON"),
        pytest.param(lambda _: (200, {"data": []}), id="too few"),
        pytest.param(lambda _: (200, {"data": [{"index": 0, "embedding": [1, 2]}]}), id="another length"),
        pytest.param(lambda _: (200, {"data": [{"index": 0, "embedding": ["a", 1, 2]}]}), id="no numbers"),
        pytest.param(lambda _: (200, {"data": [{"index": 0, "embedding": [1e999, 1, 2]}]}), id="infinite"),
        pytest.param(lambda _: (200, {"data": 7}), id="no list"),
        pytest.param(lambda _: (302, {}), id="redirect"),
    ],
)
async def test_a_server_that_answers_nonsense_is_unavailable(answer: Answer) -> None:
    async with embeddings_server(answer) as (url, _):
        used = embedder(url)
        with pytest.raises(Unavailable, match="embedder at"):
            await used.embed(["text"])
        await used.close()


async def test_no_test_calls_a_real_server() -> None:
    used = embedder("https://api.openai.com/v1")
    with pytest.raises(Unavailable):
        await used.embed(["text"])
    await used.close()
