"""What results of OrQuanta's own tools are made of."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer

from control_plane.tools.text import clean, token

Usd = Annotated[Decimal, PlainSerializer(lambda usd: format(usd.normalize(), "f"), return_type=str)]
"""US dollars as text, so that no digit is lost: "12.5"."""

Moment = Annotated[
    datetime, PlainSerializer(lambda at: at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), return_type=str)
]
"""A time in UTC, to the second: "2026-05-04T12:00:00Z"."""

Text = Annotated[str, AfterValidator(clean)]
"""Anybody's words, made safe to show; at most 4,000 characters."""

Line = Annotated[str, AfterValidator(lambda text: clean(text, most=500, lines=False))]
"""Anybody's words in one line of at most 500 characters."""

Token = Annotated[str, AfterValidator(token)]
"""A name or a code of one word; what does not belong in one is replaced by an underscore."""

Number = Annotated[float, PlainSerializer(lambda value: round(value, 3), return_type=float)]
"""A figure to three decimal places."""


class Part(BaseModel):
    """A part of a result."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Output(Part):
    """A result. `left_out` counts what was cut from its middle; `handle` gets the whole of it with read_result."""

    left_out: int = Field(default=0, ge=0)
    handle: str = ""


class PageOutput(Output):
    """A page of a list; pass `next_page` as `page` to get the following one, if it is not empty."""

    next_page: str = ""
