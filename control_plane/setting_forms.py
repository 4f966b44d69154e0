"""Forms of settings that say how repairs may be done, each with what is wrong with a value that is not of it."""

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from control_plane.model.freeze import parse
from control_plane.model.repair import Rung

_BOUND: Final = re.compile(r"\s*\d{1,6}\s*,\s*(100|\d{1,2})(\.\d{1,3})?\s*%\s*")
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}=[^\s,=]{0,256}")
RUNG_NAMES: Final = tuple(rung.name.lower().replace("_", "-") for rung in Rung if rung is not Rung.QUARANTINE)
_LOCAL_RUNG_NAMES: Final = ("stop-process", "reset-gpu", "restart-service", "reload-driver", "reboot-host")
_LOCAL_COUNT_MAX: Final = 100
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_WEBHOOKS_MAX: Final = 8


def _bound(text: str) -> str:
    if not _BOUND.fullmatch(text):
        raise ValueError('should be a number of hosts and a share of them, for example "50, 10%"')
    return text


def _rungs(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in RUNG_NAMES:
            raise ValueError(f"{name!r} is no repair; there are {', '.join(RUNG_NAMES)}")
    return names


def _local_rungs(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        name, _, count = text.partition(":")
        if name.strip() not in _LOCAL_RUNG_NAMES or not count.strip().isdecimal() or int(count) > _LOCAL_COUNT_MAX:
            raise ValueError(
                f"{text!r} should be a repair and how often a day, at most {_LOCAL_COUNT_MAX}, for example reset-gpu:2;"
                f" there are {', '.join(_LOCAL_RUNG_NAMES)}"
            )
    return texts


def _label(text: str) -> str:
    if text and not _LABEL.fullmatch(text):
        raise ValueError("should be a label like orquanta.io/protected=true")
    return text


def _windows(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        try:
            parse("setting", text, "")
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from None
    return texts


def _webhooks(urls: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    for position, secret in enumerate(urls, 1):
        parts = urlsplit(secret.get_secret_value())
        local = parts.hostname in _LOOPBACK
        if not parts.hostname or (parts.scheme != "https" and not (parts.scheme == "http" and local)):
            raise ValueError(f"address {position} should begin with https:// (http:// for this machine only)")
    if len(urls) > _WEBHOOKS_MAX:
        raise ValueError(f"at most {_WEBHOOKS_MAX} addresses are possible")
    return urls


OutOfService = Annotated[str, AfterValidator(_bound)]
"""A number of hosts and a share of them, for example "50, 10%"."""
Rungs = Annotated[tuple[str, ...], AfterValidator(_rungs)]
"""Names of repairs, for example reset-gpu."""
LocalRungs = Annotated[tuple[str, ...], AfterValidator(_local_rungs)]
"""Names of repairs and how often a day, for example reset-gpu:2."""
ProtectedLabel = Annotated[str, AfterValidator(_label)]
"""Name and value of a label, or nothing."""
Windows = Annotated[tuple[str, ...], AfterValidator(_windows)]
"""Windows of time, once or each week."""
WebhookUrls = Annotated[tuple[SecretStr, ...], AfterValidator(_webhooks)]
"""Addresses of webhooks, each of which is a secret."""
