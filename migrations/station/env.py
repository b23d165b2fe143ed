"""Alembic environment of the station's database: on the connection and in the transaction of `station.jobs.schema`."""

from alembic import context

from ledger.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
