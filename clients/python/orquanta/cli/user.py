"""`orquanta user`: accounts, their roles and limits."""

from decimal import Decimal
from enum import Enum
from typing import Annotated

import typer

from orquanta.cli.formats import money, or_dash, relative
from orquanta.cli.options import COUNT_MAX, USD_MAX, AsJson, Limit, RequestId, first, page_size
from orquanta.cli.output import Output
from orquanta.cli.passwords import new_password
from orquanta.cli.session import session_of
from orquanta.types.accounts import Role, User

user_commands = typer.Typer(no_args_is_help=True, help="Accounts: who may do what, for how much.")

_NO_LIMIT = -1

PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")]
Budget = Annotated[float | None, typer.Option("--budget", max=USD_MAX, help="US dollars it may spend in total.")]
MaxGpus = Annotated[int | None, typer.Option("--max-gpus", min=0, max=COUNT_MAX, help="GPUs it may hold at once.")]


class RoleName(Enum):
    """Roles that can be given."""

    VIEWER = "viewer"
    USER = "user"
    OPERATOR = "operator"
    ADMIN = "admin"


@user_commands.command()
def create(
    ctx: typer.Context,
    email: Annotated[str, typer.Argument(metavar="EMAIL")],
    role: Annotated[RoleName, typer.Option("--role", help="What it may do.")] = RoleName.USER,
    budget: Budget = None,
    max_gpus: MaxGpus = None,
    password_stdin: PasswordStdin = False,
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Make an account. Asks for its first password."""
    session = session_of(ctx, as_json=as_json)
    password = new_password(from_stdin=password_stdin)
    with session.connect() as client:
        user = client.auth.create_user(
            email,
            password,
            Role(role.value),
            budget_usd=_amount(budget),
            max_gpus=max_gpus,
            request_id=request_id or None,
        )
    _print_user(session.output, user)


@user_commands.command("list")
def list_users(ctx: typer.Context, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List accounts by e-mail."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        users = first(client.auth.list_users(page_size=page_size(limit)), limit)
    if session.as_json:
        session.output.document({"users": users})
        return
    session.output.table(
        ("e-mail", "role", "team", "spent", "reserved", "budget", "max GPUs", "made", ""),
        [
            (
                user.email,
                user.role,
                or_dash(user.team),
                money(user.spent_usd),
                money(user.reserved_usd),
                "no limit" if user.budget_usd is None else money(user.budget_usd),
                "default" if user.max_gpus is None else str(user.max_gpus),
                relative(user.created_at),
                "disabled" if user.disabled else "",
            )
            for user in users
        ],
        empty="No accounts.",
    )


@user_commands.command()
def update(
    ctx: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="The account's e-mail or id.")],
    role: Annotated[RoleName | None, typer.Option("--role", help="What it may do from now on.")] = None,
    disabled: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Whether it may log in.", show_default=False)
    ] = None,
    budget: Annotated[
        float | None, typer.Option("--budget", max=USD_MAX, help="US dollars it may spend in total; -1 for no limit.")
    ] = None,
    max_gpus: MaxGpus = None,
    request_id: RequestId = "",
    as_json: AsJson = False,
) -> None:
    """Change an account. What is not named stays as it is."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        changed = client.auth.update_user(
            user,
            role=None if role is None else Role(role.value),
            disabled=disabled,
            budget_usd=_amount(budget, least=_NO_LIMIT),
            max_gpus=max_gpus,
            request_id=request_id or None,
        )
    _print_user(session.output, changed)


def _amount(budget: float | None, *, least: int = 0) -> Decimal | None:
    """The amount. Raises a usage error for one below zero that is not the word for no limit."""
    if budget is None or budget >= 0 or budget == least:
        return None if budget is None else Decimal(str(budget))
    more = ", or -1 for no limit" if least == _NO_LIMIT else "; without --budget there is no limit"
    raise typer.BadParameter(f"--budget {budget:g} is below zero; give an amount in US dollars{more}")


def _print_user(output: Output, user: User) -> None:
    if output.as_json:
        output.document(user)
        return
    output.fields(
        [
            ("e-mail", user.email),
            ("role", user.role),
            ("team", user.team),
            ("id", user.id),
            ("budget", "no limit" if user.budget_usd is None else money(user.budget_usd)),
            ("max GPUs", "default" if user.max_gpus is None else str(user.max_gpus)),
            ("disabled", "yes" if user.disabled else ""),
        ]
    )
