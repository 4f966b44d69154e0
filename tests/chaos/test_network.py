"""The network that breaks: each weather does what its name says, to bytes that are under way."""

import asyncio

import pytest

from chaos.network import Network, Weather
from orquanta.gameday.fleet import free_port


async def test_what_is_held_back_goes_on_and_a_reset_ends_connections() -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            heard.put_nowait(data)
            writer.write(data.upper())
        writer.close()

    port = free_port()
    far = await asyncio.start_server(echo, "127.0.0.1", port)
    async with far, Network(f"127.0.0.2:{port}", f"127.0.0.1:{port}") as network:
        reader, writer = await asyncio.open_connection("127.0.0.2", port)
        writer.write(b"fair")
        assert await reader.readexactly(4) == b"FAIR"
        network.change(Weather.DEAF)
        writer.write(b"deaf")
        assert [await heard.get(), await heard.get()] == [b"fair", b"deaf"]
        network.change(Weather.SILENT)
        writer.write(b"held")
        network.change(Weather.FAIR)
        assert await reader.readexactly(8) == b"DEAFHELD"
        network.change(Weather.RESET)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
