"""Vectors of the model all-MiniLM-L6-v2, computed by numpy from its weights: no torch, no network.

The model is a BERT of six layers (Devlin and others, 2018; MiniLM: Wang and others, 2020) whose token vectors are
averaged. Its weights are not part of OrQuanta; `python -m control_plane.memory.install` fetches them.
"""

import asyncio
import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from control_plane.errors import Unavailable
from control_plane.memory.contract import Vectors

WEIGHTS_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DIMENSIONS: Final = 384
_NAME: Final = "minilm-l6-v2-384"
_FLOOR: Final = 0.25
_HEADS: Final = 12
_LAYERS: Final = 6
_EPSILON: Final = 1e-12
_TOKENS_MAX: Final = 256
_AT_ONCE: Final = 16
_TEXT_MAX: Final = 4_000
_HEADER_BYTES_MAX: Final = 1 << 20
_WEIGHTS_BYTES_MAX: Final = 512 << 20
_INSTALL: Final = "run: python -m control_plane.memory.install"

_Array = NDArray[np.float32]


class MiniLm:
    """The embedder of good quality that needs no server. It is loaded with the first text, in another thread."""

    name = _NAME
    dimensions = DIMENSIONS
    floor = _FLOOR

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._one_at_a_time = asyncio.Lock()
        self._model: _Model | None = None

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one row for each text; about 30 ms each on one core. Raises Unavailable where it is not installed."""
        async with self._one_at_a_time:
            if self._model is None:
                self._model = await asyncio.to_thread(_Model.load, self._folder)
            return await asyncio.to_thread(self._model.embed, [text[:_TEXT_MAX] for text in texts])

    async def close(self) -> None:
        """Release the model."""
        self._model = None


class _Model:
    def __init__(self, weights: Mapping[str, _Array], tokenizer: Any) -> None:  # Any: the package ships no types
        self._weights = weights
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, folder: Path) -> "_Model":
        """Read weights and tokenizer. Raises Unavailable."""
        weights = _found(folder, "model.safetensors")
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        if digest != WEIGHTS_SHA256:
            raise Unavailable(f"{weights} is not the model that it should be (SHA-256 {digest}); {_INSTALL}")
        tokenizer = _tokenizer_class(folder).from_file(str(_found(folder, "tokenizer.json")))
        tokenizer.enable_truncation(max_length=_TOKENS_MAX)
        tokenizer.no_padding()
        return cls(read_safetensors(weights), tokenizer)

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        # Texts of like length go together: less of a batch is padding.
        order = sorted(range(len(texts)), key=lambda one: len(encoded[one]))
        for start in range(0, len(order), _AT_ONCE):
            chosen = order[start : start + _AT_ONCE]
            vectors[chosen] = self._forward([encoded[one] for one in chosen])
        return vectors

    def _forward(self, batch: Sequence[Sequence[int]]) -> Vectors:
        """Shapes: (texts, 384)."""
        longest = max(1, *(len(ids) for ids in batch))
        ids = np.zeros((len(batch), longest), dtype=np.int64)
        mask = np.zeros((len(batch), longest), dtype=np.float32)
        for row, one in enumerate(batch):
            ids[row, : len(one)] = one
            mask[row, : len(one)] = 1
        weights = self._weights
        hidden = (
            weights["embeddings.word_embeddings.weight"][ids]
            + weights["embeddings.position_embeddings.weight"][:longest]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._normed("embeddings", hidden)
        hidden_from = ((1 - mask) * np.float32(-1e9))[:, None, None, :]
        for number in range(_LAYERS):
            hidden = self._layer(f"encoder.layer.{number}", hidden, hidden_from)
        summed = (hidden * mask[:, :, None]).sum(axis=1)
        mean = summed / np.maximum(mask.sum(axis=1, keepdims=True), 1)
        scaled: Vectors = (mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), _EPSILON)).astype(np.float32)
        return scaled

    def _layer(self, name: str, hidden: _Array, hidden_from: _Array) -> _Array:
        texts, tokens, size = hidden.shape
        depth = size // _HEADS

        def heads(part: str) -> _Array:
            split = self._linear(f"{name}.attention.self.{part}", hidden).reshape(texts, tokens, _HEADS, depth)
            return split.transpose(0, 2, 1, 3)

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(math.sqrt(depth)) + hidden_from
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        attended = (scores @ value).transpose(0, 2, 1, 3).reshape(texts, tokens, size)
        hidden = self._normed(
            f"{name}.attention.output", hidden + self._linear(f"{name}.attention.output.dense", attended)
        )
        inner = _gelu(self._linear(f"{name}.intermediate.dense", hidden))
        return self._normed(f"{name}.output", hidden + self._linear(f"{name}.output.dense", inner))

    def _linear(self, name: str, values: _Array) -> _Array:
        # One product of two matrices, not one for each text.
        flat = values.reshape(-1, values.shape[-1]) @ self._weights[f"{name}.weight"].T
        product: _Array = (flat + self._weights[f"{name}.bias"]).reshape(*values.shape[:-1], -1)
        return product

    def _normed(self, name: str, values: _Array) -> _Array:
        centred = values - values.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(_EPSILON))
        scale, shift = self._weights[f"{name}.LayerNorm.weight"], self._weights[f"{name}.LayerNorm.bias"]
        normed: _Array = centred / deviation * scale + shift
        return normed


def read_safetensors(path: Path) -> dict[str, _Array]:
    """Return the 32-bit tensors of a safetensors file: a length, a header of JSON, then the numbers.

    Raises Unavailable if it is not one.
    """
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    if not 0 < size <= min(_HEADER_BYTES_MAX, len(content) - 8) or len(content) > _WEIGHTS_BYTES_MAX:
        raise Unavailable(f"{path} is no safetensors file; {_INSTALL}")
    header: dict[str, Any] = json.loads(content[8 : 8 + size])  # Any: JSON
    numbers = memoryview(content)[8 + size :]
    return {
        name.removeprefix("bert."): np.frombuffer(numbers[slice(*told["data_offsets"])], dtype="<f4").reshape(
            told["shape"]
        )
        for name, told in header.items()
        if name != "__metadata__" and told["dtype"] == "F32"
    }


def _gelu(values: _Array) -> _Array:
    """x/2 * (1 + erf(x / sqrt(2))), erf by 7.1.26 of Abramowitz and Stegun: right to 1.5e-7."""
    scaled = values / np.float32(math.sqrt(2))
    size = np.abs(scaled)
    t = 1 / (1 + np.float32(0.3275911) * size)
    factors = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
    total = np.zeros_like(t)
    for factor in factors:
        total = total * t + np.float32(factor)
    erf = np.sign(scaled) * (1 - total * t * np.exp(-size * size))
    product: _Array = (values * np.float32(0.5) * (1 + erf)).astype(np.float32)
    return product


def _found(folder: Path, name: str) -> Path:
    found = sorted(folder.rglob(name)) if folder.is_dir() else []
    if not found:
        raise Unavailable(f"the model MiniLM is not installed in {folder}; {_INSTALL}")
    return found[0]


def _tokenizer_class(folder: Path) -> Any:  # Any: the package ships no types
    """Return the class of the tokenizers package, of this Python or of the folder."""
    try:
        from tokenizers import Tokenizer  # type: ignore[import-not-found]  # noqa: PLC0415 - not a dependency
    except ModuleNotFoundError:
        sys.path.append(str(folder))
        try:
            from tokenizers import Tokenizer  # noqa: PLC0415 - as above
        except ImportError as error:
            raise Unavailable(f"the package tokenizers is not installed in {folder}; {_INSTALL}") from error
    return Tokenizer
