"""How settings are shown, and what kind of value a setting takes."""

from decimal import Decimal
from typing import Final, Literal, get_args, get_origin
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr
from pydantic.fields import FieldInfo

MASK: Final = "********"
"""Stands for a secret."""


def is_many(field: FieldInfo) -> bool:
    """Whether the setting takes several values."""
    return get_origin(field.annotation) is tuple


def is_secret(field: FieldInfo) -> bool:
    """Whether its value must not be shown."""
    return field.annotation is SecretStr or SecretStr in get_args(field.annotation)


def metavar(field: FieldInfo) -> str:
    """Return what stands for its value in --help."""
    if get_origin(field.annotation) is Literal:
        return "{" + ",".join(get_args(field.annotation)) + "}"
    if field.annotation in (int, float, Decimal):
        return "NUMBER"
    return "TEXT" if field.annotation is str else "PATH"


def shown(value: object) -> str:
    """Return a value as text, without what is secret."""
    match value:
        case None:
            return ""
        case SecretStr():
            return MASK
        case bool():
            return str(value).lower()
        case tuple() | list():
            return ", ".join(shown(item) for item in value)
        case _:
            return _without_password(str(value))


def _without_password(text: str) -> str:
    """Hide the password of a URL."""
    if "://" not in text or "@" not in text:
        return text
    parts = urlsplit(text)
    userinfo, _, host = parts.netloc.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    if not colon:
        return text
    return urlunsplit(parts._replace(netloc=f"{user}:{MASK}@{host}"))
