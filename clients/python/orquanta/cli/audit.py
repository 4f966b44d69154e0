"""`orquanta audit`: who decided what, and why."""

import base64
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from orquanta.cli.exits import CommandError, ExitCode
from orquanta.cli.formats import moment, money, now, or_dash, short
from orquanta.cli.options import RECORD_MAX, AsJson, Limit, Reason, first, page_size, parse_span
from orquanta.cli.session import session_of
from orquanta.ledger.checkpoint import Checkpoint
from orquanta.ledger.export_file import Header, checkpoint_line, header_line, read_lines, record_line
from orquanta.ledger.records import LedgerRecord

audit_commands = typer.Typer(no_args_is_help=True, help="The audit: who decided what, and why.")


@audit_commands.command("list")
def list_records(
    ctx: typer.Context,
    goal: Annotated[str, typer.Option("--goal", help="Only records of this goal.")] = "",
    job: Annotated[str, typer.Option("--job", help="Only records of this job.")] = "",
    node: Annotated[str, typer.Option("--node", help="Only records of this node.")] = "",
    agent: Annotated[str, typer.Option("--by", help="Only records of this agent or e-mail.")] = "",
    action: Annotated[str, typer.Option("--action", help="Only records of this action.")] = "",
    run: Annotated[str, typer.Option("--run", help="Only records of this reasoning run.")] = "",
    text: Annotated[str, typer.Option("--text", help="Only records that hold these words.")] = "",
    since: Annotated[str, typer.Option("--since", help="Only the last 15m, 8h, 7d, ...")] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List audit records, newest first."""
    session = session_of(ctx, as_json=as_json)
    begin = now() - parse_span(since) if since else None
    with session.connect() as client:
        found = client.audit.list(
            goal_id=goal,
            job_id=job,
            node_id=node,
            agent_name=agent,
            action_id=action,
            run_id=run,
            text=text,
            since=begin,
            page_size=page_size(limit),
        )
        records = first(found, limit)
    if session.as_json:
        session.output.document({"records": records})
        return
    session.output.table(
        ("when", "who", "what", "outcome", "money", "about", "why"),
        [
            (
                moment(record.created_at),
                record.agent_name,
                record.action,
                record.outcome,
                money(record.cost_impact_usd) if record.cost_impact_usd else "-",
                or_dash(record.job_id or record.goal_id or record.node_id or record.action_id),
                "(erased)" if record.erased else short(record.reasoning),
            )
            for record in records
        ],
        empty="No audit records.",
    )


@audit_commands.command()
def export(
    ctx: typer.Context,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; stdout without.")] = None,
    from_id: Annotated[
        int, typer.Option("--from", min=0, max=RECORD_MAX, help="Begin with the record after a checkpoint.")
    ] = 0,
) -> None:
    """Write the whole audit as JSON lines, with all that `orquanta audit verify` needs to verify it anywhere."""
    session = session_of(ctx, as_json=False)
    count = 0
    with session.connect() as client, _opened(output) as file, closing(client.audit.export(from_id=from_id)) as parts:
        for part in parts:
            file.write(_line(part) + "\n")
            count += isinstance(part, LedgerRecord)
    session.output.note(f"{count} records written{'' if output is None else f' to {output}'}.")


@audit_commands.command()
def verify(
    ctx: typer.Context,
    export_file: Annotated[
        Path | None, typer.Argument(metavar="[EXPORT]", help="An export to verify offline; the server's log without.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Checkpoints that were kept elsewhere: a file, one a line.")
    ] = None,
    key: Annotated[str, typer.Option("--key", help="The public key to trust: base64, or a file that holds it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Verify that no audit record was edited, deleted, reordered, cut off or replaced.

    Everything is computed on this machine. To find out that somebody who owns the server rewrote everything, pass
    --against with checkpoints that were kept elsewhere. Exits with 1 if anything is wrong.
    """
    # Imported here: it takes a package that no other command needs, and time at every start.
    from orquanta.cli import audit_verify  # noqa: PLC0415

    session = session_of(ctx, as_json=as_json)
    kept = [] if against is None else audit_verify.read_checkpoints(against)
    trusted = audit_verify.read_key(key) if key else None
    if export_file is None:
        with session.connect() as client, closing(client.audit.export()) as parts:
            verdict, used = audit_verify.verify(parts, key=trusted, against=kept)
            verdict = audit_verify.of_whole_log(verdict, client.audit.verify())
    else:
        try:
            with export_file.open(encoding="utf-8", errors="surrogatepass") as file:
                verdict, used = audit_verify.verify(read_lines(file), key=trusted, against=kept)
        except OSError as error:
            raise typer.BadParameter(f"cannot read {export_file}: {error.strerror}") from None
    result = audit_verify.document(verdict, used)
    if session.as_json:
        session.output.document(result)
    else:
        session.output.fields(
            [
                ("verdict", "intact" if verdict.intact else f"NOT INTACT: {result['fault']} - {result['text']}"),
                ("records", f"{verdict.records:,}"),
                ("checkpoints", f"{verdict.checkpoints:,}"),
                ("last record", str(verdict.last_id)),
                ("signed up to", str(verdict.signed_id)),
                ("root", str(result["root"])),
                ("key", str(result["public_key"])),
            ]
        )
        for text in audit_verify.notes(verdict):
            session.output.note(text)
        if trusted is None and not kept:
            session.output.note("The key is the log's own word for it: compare it, or pass --key or --against.")
    if not verdict.intact:
        raise typer.Exit(ExitCode.FAILED)


@audit_commands.command()
def checkpoints(ctx: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List signed checkpoints, newest first. With --json, one a line: keep some elsewhere for `verify --against`."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        found = first(client.audit.checkpoints(page_size=page_size(limit)), limit)
    if session.as_json:
        for one in found:
            sys.stdout.write(checkpoint_line(one) + "\n")
        return
    session.output.table(
        ("signed", "records", "root", "origin"),
        [(moment(one.signed_at), str(one.size), base64.b64encode(one.root).decode(), one.origin) for one in found],
        empty="No checkpoints yet: one is signed after a minute, or after 256 records.",
    )


@audit_commands.command()
def erase(
    ctx: typer.Context,
    user: Annotated[str, typer.Option("--user", help="Erase the words of this person (id or e-mail).")] = "",
    record: Annotated[int, typer.Option("--record", min=0, max=RECORD_MAX, help="Erase the words of this record.")] = 0,
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase what a person wrote from the audit, for good. What was decided stays, and the log still verifies."""
    session = session_of(ctx, as_json=as_json)
    if bool(user) == bool(record):
        raise typer.BadParameter("give either --user or --record")
    if not yes:
        if not session.output.interactive:
            raise CommandError(
                "nobody can be asked here; add --yes to erase them for good",
                reason="CONFIRMATION_NEEDED",
                code=ExitCode.USAGE,
            )
        typer.confirm(f"Erase the words of {user or f'record {record}'} for good?", abort=True)
    with session.connect() as client:
        count = client.audit.erase(user=user, record_id=record, reason=reason)
    if session.as_json:
        session.output.document({"records": count})
    session.output.say(f"Erased the words of {count} records.")


def _line(part: Header | LedgerRecord | Checkpoint) -> str:
    match part:
        case Header():
            return header_line(part)
        case LedgerRecord():
            return record_line(part)
        case Checkpoint():
            return checkpoint_line(part)


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO]:
    """Give the file to write to. One that is not finished is not left under its name."""
    if path is None:
        yield sys.stdout
        return
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", errors="surrogatepass") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise typer.BadParameter(f"cannot write {path}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
