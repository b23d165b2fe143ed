"""What all tables share: the metadata they belong to, the names of constraints, a number's type. Knows no table."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, MetaData

Number = BigInteger().with_variant(Integer(), "sqlite")  # a STRICT table of SQLite knows INTEGER only

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)
