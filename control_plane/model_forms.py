"""The form of a setting that names a model's endpoint."""

import re
import shlex
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from typing_extensions import override

_ENDPOINTS_MAX: Final = 8
_HEADERS_MAX: Final = 16
_HEADER_PREFIX: Final = "header."
_EXAMPLE: Final = (
    "name=local base_url=http://127.0.0.1:8080/v1 model=qwen3 input_usd_per_million=0 output_usd_per_million=0"
)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,64}")

Price = Annotated[Decimal, Field(ge=0, le=100_000, allow_inf_nan=False)]
Wait = Annotated[float, Field(gt=0, le=3_600, allow_inf_nan=False)]


class ModelEndpoint(BaseModel):
    """One OpenAI-compatible endpoint: a table in the settings file, or words of the form key=value in a text.

    Both prices must be given, so that nobody forgets them; 0 for a server of one's own. The key is never here, only
    where it is: in a file or in a variable of the environment.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    base_url: Annotated[str, Field(max_length=512)]
    model: Annotated[str, Field(min_length=1, max_length=128)]
    input_usd_per_million: Price
    output_usd_per_million: Price
    api_key_file: Path | None = None
    api_key_env: str = ""
    context_tokens: Annotated[int, Field(ge=1_024, le=10_000_000)] = 32_768
    connect_seconds: Wait = 5.0
    first_token_seconds: Wait = 30.0
    timeout_seconds: Wait = 60.0
    headers: Annotated[dict[str, SecretStr], Field(max_length=_HEADERS_MAX)] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:  # Any: as written in the source
        if not isinstance(value, str):
            return value
        found: dict[str, Any] = {}  # Any: as above
        for word in shlex.split(value):
            key, equals, text = word.partition("=")
            if not equals:
                raise ValueError(f"should be words of the form key=value, for example {_EXAMPLE}")
            if key.startswith(_HEADER_PREFIX):
                found.setdefault("headers", {})[key.removeprefix(_HEADER_PREFIX)] = text
            else:
                found[key] = text
        return found

    @field_validator("base_url")
    @classmethod
    def _usable_url(cls, text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("should be an address such as https://api.openai.com/v1")
        if parts.username is not None or parts.password is not None:
            raise ValueError("should hold no password; name a file in api_key_file")
        return text.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _usable_variable(cls, text: str) -> str:
        if text and not _VARIABLE.fullmatch(text):
            raise ValueError("should be the name of a variable in the environment, such as OPENAI_API_KEY")
        return text

    @field_validator("headers")
    @classmethod
    def _usable_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            text = value.get_secret_value()
            if not _HEADER.fullmatch(name) or not text.isprintable() or not text.isascii():
                raise ValueError("should be names of letters, digits and hyphens, with values on one line")
        return headers

    @model_validator(mode="after")
    def _one_key(self) -> "ModelEndpoint":
        if self.api_key_file is not None and self.api_key_env:
            raise ValueError("api_key_file and api_key_env should not be set both")
        return self

    @override
    def __str__(self) -> str:
        """Tell of it without what is secret."""
        return f"name={self.name} base_url={self.base_url} model={self.model}"


def _distinct(endpoints: tuple[ModelEndpoint, ...]) -> tuple[ModelEndpoint, ...]:
    if len(endpoints) > _ENDPOINTS_MAX:
        raise ValueError(f"should be at most {_ENDPOINTS_MAX} endpoints")
    names = [endpoint.name for endpoint in endpoints]
    if len(set(names)) < len(names):
        raise ValueError("should have a name of its own for each endpoint")
    return endpoints


ModelEndpoints = Annotated[tuple[ModelEndpoint, ...], AfterValidator(_distinct)]
"""Endpoints in order of preference."""
