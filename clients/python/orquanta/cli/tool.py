"""`orquanta tool`: what agents may do with the fleet, for scripts and to try it out."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from orquanta.cli.exits import ExitCode
from orquanta.cli.formats import trouble, words
from orquanta.cli.options import AsJson, Reason, RequestId
from orquanta.cli.output import Output
from orquanta.cli.session import session_of
from orquanta.types.tools import Json, Tool, ToolResult, ToolStatus

tool_commands = typer.Typer(no_args_is_help=True, help="Tools: what agents may do with the fleet.")

_ARGUMENTS_MAX = 64 * 1024

_CODES = {
    ToolStatus.ERROR: ExitCode.FAILED,
    ToolStatus.UNKNOWN: ExitCode.FAILED,
    ToolStatus.DENIED: ExitCode.REFUSED,
    ToolStatus.APPROVAL_REQUIRED: ExitCode.REFUSED,
}

ToolName = Annotated[str, typer.Argument(metavar="TOOL", help="The tool's name.")]


@tool_commands.command("list")
def list_tools(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the tools that you may use."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        tools = client.tools.list()
    if session.as_json:
        session.output.document({"tools": tools})
        return
    session.output.table(
        ("tool", "effect", "role", "from", "what it does"),
        [(tool.name, words(tool.effect), tool.role, tool.origin, tool.description) for tool in tools],
        empty="No tools.",
    )


@tool_commands.command()
def show(ctx: typer.Context, name: ToolName, as_json: AsJson = False) -> None:
    """Show a tool with the arguments that it takes."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        tool = next((tool for tool in client.tools.list() if tool.name == name), None)
    if tool is None:
        raise typer.BadParameter(f"there is no tool {name!r} that you may use; see: orquanta tool list")
    if session.as_json:
        session.output.document(tool)
        return
    _print_tool(session.output, tool)


@tool_commands.command()
def call(
    ctx: typer.Context,
    name: ToolName,
    arguments: Annotated[
        str, typer.Argument(metavar="[JSON]", help="Arguments as a JSON object; @FILE reads a file, - stdin.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only judge it; nothing happens.")] = False,
    reason: Reason = "",
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Call a tool, as an agent of yours would: it is judged as an agent's act, not as your own.

    Example: orquanta tool call drain_node '{"node": "gpu-host-7"}' --dry-run
    """
    session = session_of(ctx, as_json=as_json)
    given = _arguments(arguments)
    with session.connect() as client:
        result = client.tools.call(name, given, dry_run=dry_run, reasoning=reason, request_id=request_id or None)
    if session.as_json:
        session.output.document(result)
    else:
        _print_result(session.output, result)
    code = _CODES.get(result.status, ExitCode.OK)
    if code is not ExitCode.OK:
        raise typer.Exit(code)


def _arguments(text: str) -> Mapping[str, Any]:  # Any: JSON
    if text == "-":
        text = sys.stdin.read(_ARGUMENTS_MAX + 1)
    elif text.startswith("@"):
        try:
            text = Path(text[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{text[1:]} cannot be read: {trouble(error)}") from error
    if len(text) > _ARGUMENTS_MAX:
        raise typer.BadParameter(f"the arguments are longer than {_ARGUMENTS_MAX} characters")
    try:
        loaded = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"the arguments are not JSON, such as '{{\"limit\": 5}}': {error}") from error
    if not isinstance(loaded, dict):
        raise typer.BadParameter("the arguments must be a JSON object, such as '{\"limit\": 5}'")
    return loaded


def _print_tool(output: Output, tool: Tool) -> None:
    output.say(f"{tool.name}: {tool.description}")
    output.fields(
        [
            ("effect", words(tool.effect)),
            ("role", tool.role),
            ("undone by", tool.undo_tool),
            ("from", tool.origin),
            ("costs", "money: --dry-run tells how much at most" if tool.costs_money else "nothing"),
            ("result", "may hold words that strangers wrote" if tool.untrusted_result else "ours alone"),
        ]
    )
    required = set(tool.input_schema.get("required", ()))
    output.table(
        ("argument", "needed", "what"),
        [
            (argument, "yes" if argument in required else "no", _meaning(about))
            for argument, about in dict(tool.input_schema.get("properties", {})).items()
        ],
        empty="It takes no arguments.",
    )


def _meaning(about: Json) -> str:
    """What an argument is: its description, or that of the one form that it may have besides null, and its choices."""
    forms = [form for form in about.get("anyOf", ()) if form.get("type") != "null"]
    form = {**(forms[0] if len(forms) == 1 else {}), **about}
    choices = ", ".join(str(choice) for choice in form.get("enum", ()))
    told = (str(form.get("description", "")), f"one of {choices}" if choices else "")
    return "; ".join(part for part in told if part)


def _print_result(output: Output, result: ToolResult) -> None:
    if result.data:
        output.say(json.dumps(result.data, indent=2, ensure_ascii=False))
    if result.error:
        output.note(f"{words(result.status)} ({result.error_code}): {result.error}")
    elif result.status is ToolStatus.NO_DATA:
        output.note("There is nothing to tell.")
    elif result.status is ToolStatus.DRY_RUN:
        output.note("Only judged: nothing was changed.")
    if result.untrusted:
        output.note("This may hold words that strangers wrote.")
