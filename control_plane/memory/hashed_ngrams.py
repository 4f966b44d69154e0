"""Vectors that need no model: words and pieces of words, each counted in a dimension that its hash names."""

import asyncio
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from control_plane.memory.contract import Vectors

DIMENSIONS: Final = 512
_NAME: Final = "hashed-ngrams-512-v1"
_FLOOR: Final = 0.12
"""Two texts without a common piece have about 0 with a deviation of 1/sqrt(512) = 0.044; this is nearly three times."""
_TEXT_MAX: Final = 4_000
_AT_ONCE: Final = 8
"""More texts than this go to another thread."""
_WORD: Final = re.compile(r"[^\W_]+")
_PIECE: Final = 4
_WORD_WEIGHT: Final = 1.0
_PIECE_WEIGHT: Final = 0.4


class HashedNgrams:
    """The embedder that is always there. The same text always gives the same vector, on every machine."""

    name = _NAME
    dimensions = DIMENSIONS
    floor = _FLOOR

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one row for each text; about a third of a millisecond each."""
        return _vectors(texts) if len(texts) <= _AT_ONCE else await asyncio.to_thread(_vectors, list(texts))

    async def close(self) -> None:
        """Nothing is held."""


def _vectors(texts: Sequence[str]) -> Vectors:
    vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
    for row, text in zip(vectors, texts, strict=True):
        for piece, weight in _pieces(text[:_TEXT_MAX]):
            # The sign is a bit that the place does not use: pieces that share a place cancel as often as they add.
            number = zlib.crc32(piece.encode("utf-8", "replace"))
            row[number % DIMENSIONS] += weight if number & 0x8000_0000 else -weight
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return scaled


def _pieces(text: str) -> Iterator[tuple[str, float]]:
    for match in _WORD.finditer(text.casefold()):
        word = match.group()
        yield word, _WORD_WEIGHT
        framed = f"<{word}>"
        for start in range(len(framed) - _PIECE + 1):
            yield f"#{framed[start : start + _PIECE]}", _PIECE_WEIGHT
