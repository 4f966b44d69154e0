"""Addresses in settings: host:port."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator

_MAX_PORT: Final = 65_535
_ADDRESS: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]\s/]*):(?P<port>[0-9]{1,5})")


def split_address(text: str) -> tuple[str, int]:
    """Return host and port of `host:port`; the host of `[::1]:50051` comes without brackets.

    Raises ValueError.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > _MAX_PORT:
        raise ValueError(f"should be host:port with a port from 0 to {_MAX_PORT}, for example 127.0.0.1:50051")
    return match["host"].strip("[]"), int(match["port"])


def join_address(host: str, port: int) -> str:
    """Return `host:port`, the opposite of `split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address(text: str) -> str:
    split_address(text)
    return text


Address = Annotated[str, AfterValidator(_address)]
"""host:port; port 0 stands for any free one."""
