"""The tool that reads on in a result that was too long to show."""

from typing import Annotated, Final

from pydantic import Field

from control_plane.errors import NotFound
from control_plane.model.identity import Principal
from control_plane.tools.arguments import Input
from control_plane.tools.definition import AnyReadTool, Found, ReadTool, Sources
from control_plane.tools.output import Output
from control_plane.tools.results import Shelf

_CHARACTERS: Final = 3_500


class ReadResult(Input):
    """Which result, and where to begin."""

    handle: Annotated[str, Field(min_length=1, max_length=40, description="handle of a result that was cut")]
    offset: Annotated[int, Field(ge=0, le=1 << 20, description="First character")] = 0


class ResultPiece(Output):
    """A piece of a result's JSON. `next_offset` is where the next one begins; 0 after the last."""

    text: str
    next_offset: int
    total_characters: int


def reader(shelf: Shelf) -> AnyReadTool:
    """Return the tool that reads from this shelf."""

    async def read(_sources: Sources, principal: Principal, wanted: ReadResult) -> Found[ResultPiece]:
        kept = shelf.get(principal.user_id, wanted.handle)
        if kept is None:
            raise NotFound(
                "this result is not kept any more; call the tool again, with a smaller limit", reason="RESULT_GONE"
            )
        end = wanted.offset + _CHARACTERS
        piece = ResultPiece(
            text=kept.text[wanted.offset : end],
            next_offset=end if end < len(kept.text) else 0,
            total_characters=len(kept.text),
        )
        return Found(piece, wanted.handle, empty=not piece.text)

    return ReadTool(
        name="read_result",
        description="Reads a result that was cut, piece by piece, by its handle.",
        arguments=ReadResult,
        result=ResultPiece,
        read=read,
    )
