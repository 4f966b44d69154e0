"""Estimates how many tokens a text is, without the model's tokenizer."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

_MESSAGE: Final = 8  # role and separators
_ASCII_LETTERS: Final = re.compile(r"[A-Za-z]+")
_DIGITS: Final = re.compile(r"[0-9]+")
_SPACES: Final = re.compile(r"\s+")


def estimate_tokens(text: str) -> int:
    """Return an estimate that is seldom too low.

    English has about 4.5 letters a token, many models take each digit as one, signs of JSON go two to a token, and
    other alphabets about two bytes to one.
    """
    letters = sum(len(run) for run in _ASCII_LETTERS.findall(text))
    digits = sum(len(run) for run in _DIGITS.findall(text))
    spaces = sum(len(run) for run in _SPACES.findall(text))
    ascii_length = len(text.encode("ascii", "ignore"))
    other_bytes = len(text.encode("utf-8", "replace")) - ascii_length
    signs = max(0, ascii_length - letters - digits - spaces)
    return math.ceil(letters / 3.2 + digits + signs * 0.7 + spaces * 0.2 + other_bytes * 0.5)


def estimate_body(body: Mapping[str, Any]) -> int:  # Any: JSON
    """Return an estimate of the prompt that a request's body makes: its messages, tools and schema."""
    messages = body["messages"]
    rest = [body[key] for key in ("tools", "response_format") if key in body]
    return estimate_tokens(json.dumps([messages, *rest], ensure_ascii=False)) + _MESSAGE * len(messages)
