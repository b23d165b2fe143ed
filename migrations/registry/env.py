"""Alembic environment of the registry's database, in the transaction that `registry.schema` opened.

Knows no table of ours: a naming convention from today's code would reach into migrations that are frozen.
"""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
