"""Alembic's environment: migrations run on the connection that the store hands over."""

from alembic import context

from control_plane.store.approval_tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
