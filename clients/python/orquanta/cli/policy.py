"""`orquanta policy`: the rules that every action is judged by."""

from pathlib import Path
from typing import Annotated

import typer

from orquanta.cli.exits import ExitCode
from orquanta.cli.formats import counted, moment, now, or_dash, words
from orquanta.cli.options import AsJson, Limit, parse_span
from orquanta.cli.policy_files import read_policies, read_policies_and_tests
from orquanta.cli.policy_views import print_explanation, print_faults, print_replay, print_tests
from orquanta.cli.session import session_of
from orquanta.types.policies import PolicyRule

policy_commands = typer.Typer(no_args_is_help=True, help="Policies: the rules that every action is judged by.")

Paths = Annotated[
    list[Path], typer.Argument(metavar="PATH...", help="Policy files, or folders of them.", exists=True, readable=True)
]
OtherPolicies = Annotated[
    list[Path] | None,
    typer.Option("--policies", help="Judge by these files or folders; by the policies in force if not given."),
]


@policy_commands.command()
def show(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the policies in force, built-in rules first."""
    session = session_of(ctx, as_json=as_json)
    output = session.output
    with session.connect() as client:
        found = client.policies.get()
    if session.as_json:
        output.document(found)
        return
    output.fields(
        [
            ("version", found.version),
            ("folder", found.folder or "none: the built-in rules alone"),
            ("in force since", moment(found.loaded_at)),
            ("newest files", f"WRONG, those before stay in force:\n{found.error}" if found.error else ""),
        ]
    )
    output.table(
        ("rule", "file", "then", "when", "approvals"),
        [(rule.id, rule.file, words(rule.then), rule.when, _approvals(rule)) for rule in found.rules],
        empty="No rules.",
    )


@policy_commands.command()
def validate(ctx: typer.Context, paths: Paths, as_json: AsJson = False) -> None:
    """Check policy files without using them; exits with 1 if anything is wrong.

    Example: orquanta policy validate policies/
    """
    session = session_of(ctx, as_json=as_json)
    files = read_policies(paths)
    with session.connect() as client:
        check = client.policies.validate(files)
    if session.as_json:
        session.output.document(check)
    elif check.faults:
        print_faults(session.output, check.faults)
    else:
        session.output.say(f"Nothing is wrong with {counted(len(files), 'file')}. Their version is {check.version}.")
    if check.faults:
        raise typer.Exit(ExitCode.FAILED)


@policy_commands.command("test")
def run(ctx: typer.Context, paths: Paths, as_json: AsJson = False) -> None:
    """Run tests (files *.test.yaml) against the policies beside them; exits with 1 if one fails.

    Without any policy files among the paths, the tests are run against the policies in force.
    """
    session = session_of(ctx, as_json=as_json)
    files, tests = read_policies_and_tests(paths)
    with session.connect() as client:
        found = client.policies.test(tests, files=files)
    if session.as_json:
        session.output.document({"passed": found.passed, "results": found.results, "faults": found.faults})
    else:
        print_tests(session.output, found)
    if not found.passed:
        raise typer.Exit(ExitCode.FAILED)


@policy_commands.command()
def explain(
    ctx: typer.Context,
    action_id: Annotated[str, typer.Argument(metavar="ACTION", help="The action's id, act-...")],
    policies: OtherPolicies = None,
    values: Annotated[bool, typer.Option("--values", help="Also print all values that rules can look at.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what every rule says about an action as things are now, and by which values.

    Example: orquanta policy explain act-0123456789ab --policies policies/
    """
    session = session_of(ctx, as_json=as_json)
    files = read_policies(policies) if policies else []
    with session.connect() as client:
        found = client.policies.explain(action_id, files=files)
    if session.as_json:
        session.output.document(found)
    else:
        print_explanation(session.output, found, values=values)


@policy_commands.command()
def replay(
    ctx: typer.Context,
    paths: Paths,
    since: Annotated[str, typer.Option("--since", help="Actions of the last 8h, 7d, ...")] = "7d",
    limit: Limit = 1000,
    as_json: AsJson = False,
) -> None:
    """Show which past actions these files would have judged otherwise, by the values of then.

    Example: orquanta policy replay policies/ --since 30d
    """
    session = session_of(ctx, as_json=as_json)
    files = read_policies(paths)
    begin = now() - parse_span(since)
    with session.connect() as client:
        found = client.policies.replay(files, since=begin, actions_max=limit or 10_000)
    if session.as_json:
        session.output.document(found)
    else:
        print_replay(session.output, found)


def _approvals(rule: PolicyRule) -> str:
    need = rule.approvals
    if need is None:
        return or_dash("")
    return f"{need.count} of {' or '.join(need.allowed) or 'operator'}"
