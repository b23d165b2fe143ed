"""Alembic environment of the registry's database, in the transaction that `registry.schema` opened."""

from alembic import context

from registry.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
