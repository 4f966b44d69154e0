"""`orquanta memory`: what the fleet remembers of incidents, goals and failed jobs."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, TextIO

import typer

from orquanta.cli.formats import counted, moment, or_dash, relative, trouble
from orquanta.cli.options import AsJson, Limit, Reason, RequestId, first, page_size
from orquanta.cli.output import Output
from orquanta.cli.session import session_of
from orquanta.types.memories import Memory, MemoryKind

memory_commands = typer.Typer(no_args_is_help=True, help="Memory: what worked before, and what did not.")

MemoryId = Annotated[str, typer.Argument(metavar="MEMORY", help="The memory's id, m-...")]
Kind = Annotated[MemoryKind | None, typer.Option("--kind", help="Only memories of this kind.", show_default=False)]
_LINE_CHARACTERS_MAX = 64 * 1024


@memory_commands.command()
def search(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="WORDS...", help="What it is about, for example xid:79.")],
    kind: Kind = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=50, help="At most this many.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Search by meaning and by words: your own memories and the fleet's."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        found = client.memories.search(" ".join(words), kind=kind, limit=limit)
    if session.as_json:
        session.output.document({"memories": found})
        return
    session.output.table(
        ("memory", "near", *_COLUMNS),
        [(one.memory.id, f"{one.score:.2f}", *_row(one.memory)) for one in found],
        empty="Nothing of the kind is remembered.",
    )


@memory_commands.command()
def show(ctx: typer.Context, memory_id: MemoryId, as_json: AsJson = False) -> None:
    """Show a memory: what was seen, what was done, and what came of it."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        memory = client.memories.get(memory_id)
    if session.as_json:
        session.output.document(memory)
    else:
        _print_memory(session.output, memory)


@memory_commands.command("list")
def list_memories(ctx: typer.Context, kind: Kind = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List memories, newest first."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        memories = first(client.memories.list(kind=kind, page_size=page_size(limit)), limit)
    if session.as_json:
        session.output.document({"memories": memories})
        return
    session.output.table(
        ("memory", *_COLUMNS), [(memory.id, *_row(memory)) for memory in memories], empty="Nothing is remembered yet."
    )


@memory_commands.command()
def export(
    ctx: typer.Context,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; stdout without.")] = None,
) -> None:
    """Write every memory as JSON lines, oldest first."""
    from orquanta.convert.memories import memory_line  # noqa: PLC0415 - gRPC is not loaded for help

    session = session_of(ctx, as_json=False)
    count = 0
    with session.connect() as client, _opened(output) as file, closing(client.memories.export()) as memories:
        for memory in memories:
            file.write(memory_line(memory) + "\n")
            count += 1
    session.output.note(f"{count} memories written{'' if output is None else f' to {output}'}.")


@memory_commands.command("import")
def import_memories(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `orquanta memory export` has written.")],
    as_json: AsJson = False,
) -> None:
    """Bring the memories of an export; those that are known stay as they are."""
    from orquanta.nouns.memories import IMPORTED_MAX  # noqa: PLC0415 - gRPC is not loaded for help

    session = session_of(ctx, as_json=as_json)
    added = known = 0
    with _lines_of(file) as lines, session.connect() as client:
        memories = _read(lines, file)
        while part := list(islice(memories, IMPORTED_MAX)):
            done = client.memories.import_(part)
            added += done.added
            known += done.known
    if session.as_json:
        session.output.document({"added": added, "known": known})
    session.output.say(f"{counted(added, 'memory', 'memories')} added, {known} known already.")


@memory_commands.command()
def forget(
    ctx: typer.Context, memory_id: MemoryId, reason: Reason = "", request_id: RequestId = "", as_json: AsJson = False
) -> None:
    """Forget a memory for good."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        client.memories.forget(memory_id, reason=reason, request_id=request_id or None)
    if session.as_json:
        session.output.document({"forgotten": memory_id})
    session.output.say(f"{memory_id} is forgotten.")


@memory_commands.command()
def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show which store and embedder are in use, and how much is remembered."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        told = client.memories.status()
    if session.as_json:
        session.output.document(told)
        return
    session.output.fields(
        [
            ("store", told.store),
            ("embedder", f"{told.embedder} ({told.dimensions} dimensions)" if told.embedder else ""),
            ("memories", str(told.memories)),
            ("waiting to be embedded", str(told.waiting)),
            ("error", told.error),
        ]
    )


_COLUMNS = ("kind", "when", "seen", "outcome", "symptoms", "what was done", "on")


def _row(memory: Memory) -> tuple[str, ...]:
    return (
        memory.kind.value,
        relative(memory.created_at),
        f"{memory.count}x",
        memory.outcome.value,
        ", ".join(memory.symptoms) or "-",
        ", ".join(f"{one.tool} {one.result.value}" for one in memory.actions) or "-",
        or_dash(memory.node_class or memory.gpu_type),
    )


def _print_memory(output: Output, memory: Memory) -> None:
    output.fields(
        [
            ("memory", memory.id),
            ("kind", memory.kind.value),
            ("of", memory.tenant or "the fleet"),
            ("what happened", memory.text),
            ("symptoms", ", ".join(memory.symptoms)),
            ("cause", memory.root_cause),
            ("what was done", ", ".join(f"{one.tool}: {one.result.value}" for one in memory.actions)),
            ("outcome", memory.outcome.value),
            ("on", memory.node_class or memory.gpu_type),
            ("seen", f"{counted(memory.count, 'time')}, {memory.fixed_count} of them fixed"),
            ("last", moment(memory.created_at)),
            (
                "recalled",
                f"{counted(memory.uses, 'time')}, last {relative(memory.last_used_at)}" if memory.uses else "never",
            ),
            ("forgotten", moment(memory.expires_at)),
            ("from", memory.source),
            ("evidence", ", ".join(memory.evidence_ids)),
        ]
    )


def _recalled(memory: Memory) -> str:
    return f"{counted(memory.uses, 'time')}, last {relative(memory.last_used_at)}" if memory.uses else "never"


def _read(lines: Iterable[str], file: Path) -> Iterator[Memory]:
    from orquanta.convert.memories import read_memory_line  # noqa: PLC0415 - gRPC is not loaded for help

    for number, line in enumerate(lines, start=1):
        if len(line) > _LINE_CHARACTERS_MAX:
            raise typer.BadParameter(f"{file}, line {number}: it is too long for a memory")
        if line.strip():
            try:
                memory = read_memory_line(line)
            except ValueError as error:
                raise typer.BadParameter(f"{file}, line {number}: {error}") from error
            yield memory


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    try:
        with path.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {trouble(error)}") from error


@contextmanager
def _lines_of(path: Path) -> Iterator[TextIO]:
    try:
        with path.open(encoding="utf-8") as lines:
            yield lines
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {trouble(error)}") from error
