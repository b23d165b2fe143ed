"""Alembic environment of the station's database: on the connection and in the transaction of `station.jobs.schema`.

Knows no table of ours: a naming convention from today's code would reach into migrations that are frozen.
"""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
