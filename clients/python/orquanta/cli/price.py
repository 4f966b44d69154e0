"""`orquanta price`: what GPUs cost."""

from typing import Annotated

import typer

from orquanta.cli.formats import money
from orquanta.cli.options import AsJson
from orquanta.cli.session import session_of

price_commands = typer.Typer(no_args_is_help=True, help="Prices that bills are computed from.")


@price_commands.command("list")
def list_prices(
    ctx: typer.Context,
    provider: Annotated[str, typer.Option("--provider", help="Only this provider.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the price of each GPU model."""
    session = session_of(ctx, as_json=as_json)
    with session.connect() as client:
        prices = client.catalog.prices(provider)
    if session.as_json:
        session.output.document({"prices": prices})
        return
    session.output.table(
        ("provider", "gpu", "per GPU hour", "as of", "source"),
        [
            (
                price.provider,
                "any other" if price.gpu_type == "*" else price.gpu_type,
                money(price.usd_per_gpu_hour),
                price.as_of,
                price.source,
            )
            for price in prices
        ],
        empty="No prices.",
    )
