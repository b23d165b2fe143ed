"""The ledger's tables: leaves, checkpoints, and intents to ask for one. Append-only by trigger (migrations).

Other packages may declare tables that refer to `leaves` on the same `Base`. Never knows what a leaf says.
"""

from __future__ import annotations

from typing import ClassVar, cast

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

MAX_ENTRY_BYTES = 65_535


class Base(DeclarativeBase):
    """Typed mappings with named constraints; SQLite tables are STRICT."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        int: BigInteger().with_variant(Integer(), "sqlite"),
        str: Text(),
        bytes: LargeBinary(),
    }


STRICT = {"sqlite_strict": True}


class Leaf(Base):
    """One entry of the log. `frontier` is the tree's state *after* this leaf (trust.merkle.Frontier.to_bytes)."""

    __tablename__ = "leaves"
    __table_args__ = (
        UniqueConstraint("subject", "step"),
        CheckConstraint('"index" >= 0', name="index_from_0"),
        CheckConstraint(f"length(entry) BETWEEN 1 AND {MAX_ENTRY_BYTES}", name="entry_fits_a_tile"),
        CheckConstraint("length(leaf_hash) = 32", name="leaf_hash_is_sha256"),
        CheckConstraint("length(subject) > 0 AND length(step) > 0", name="addressed"),
        STRICT,
    )

    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    entry: Mapped[bytes]
    leaf_hash: Mapped[bytes]
    frontier: Mapped[bytes]
    subject: Mapped[str]
    step: Mapped[str]


class CheckpointIntent(Base):
    """Written before the signer is asked: after a crash exactly this head is asked for again, never another."""

    __tablename__ = "checkpoint_intents"
    __table_args__ = (CheckConstraint("0 <= old_size AND old_size < size", name="grows"), STRICT)

    size: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    old_size: Mapped[int]


class StoredCheckpoint(Base):
    """A signed note over the log's first `size` leaves."""

    __tablename__ = "checkpoints"
    __table_args__ = (STRICT,)

    size: Mapped[int] = mapped_column(ForeignKey(CheckpointIntent.size), primary_key=True, autoincrement=False)
    note: Mapped[str]


# The tables without the mapper: one compiled statement each, where every insertion of a device passes.
LEAVES = cast("Table", Leaf.__table__)
INTENTS = cast("Table", CheckpointIntent.__table__)
CHECKPOINTS = cast("Table", StoredCheckpoint.__table__)
