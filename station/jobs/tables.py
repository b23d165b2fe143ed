"""Tables of the station's state: each row is implied by the one leaf it names, so the audit can recompute all of it.

Append-only by trigger (migrations/station). Which leaf implies which rows: `station.jobs.projection`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables import STRICT, Base, Leaf
from station.jobs import RecordKind

_KEYED = {**STRICT, "sqlite_with_rowid": False}  # a rowid beside the key would be one more way to replace a row
_KINDS = ", ".join(f"'{each.value}'" for each in RecordKind)


class OrderRow(Base):
    """A work order this station worked under; the leaf is its envelope."""

    __tablename__ = "orders"
    __table_args__ = (_KEYED,)

    order_id: Mapped[str] = mapped_column(primary_key=True)
    order_sha256: Mapped[str]
    leaf_index: Mapped[int] = mapped_column(ForeignKey(Leaf.index), unique=True)


class JobRow(Base):
    """One device under one order, for life."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("device_id", "order_id"),
        CheckConstraint("adopted IN (0, 1)", name="adopted_is_boolean"),
        CheckConstraint("length(job_id) = 32", name="job_id_is_hex"),
        CheckConstraint("length(device_id) = 24", name="device_id_is_hex"),
        _KEYED,
    )

    job_id: Mapped[str] = mapped_column(primary_key=True)
    device_id: Mapped[str]
    order_id: Mapped[str] = mapped_column(index=True)
    adopted: Mapped[int]
    leaf_index: Mapped[int] = mapped_column(ForeignKey(Leaf.index), unique=True)


class EventRow(Base):
    """An event of the line; the leaf holds its details."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_job_id_attempt", "job_id", "attempt"),
        Index("ix_events_order_id_kind", "order_id", "kind"),
        STRICT,
    )

    leaf_index: Mapped[int] = mapped_column(ForeignKey(Leaf.index), primary_key=True, autoincrement=False)
    job_id: Mapped[str]
    device_id: Mapped[str]
    order_id: Mapped[str]
    attempt: Mapped[int]
    kind: Mapped[str]


class RecordRow(Base):
    """One step of a job that left a statement or intent behind; `station` is whose statement it is."""

    __tablename__ = "records"
    __table_args__ = (CheckConstraint(f"kind IN ({_KINDS})", name="kind_known"), _KEYED)

    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.job_id), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    station: Mapped[str]
    leaf_index: Mapped[int] = mapped_column(ForeignKey(Leaf.index), unique=True)


class KeyRow(Base):
    """A device key on record: one job a key, one key a job."""

    __tablename__ = "keys"
    __table_args__ = (STRICT,)

    leaf_index: Mapped[int] = mapped_column(ForeignKey(Leaf.index), primary_key=True, autoincrement=False)
    fingerprint: Mapped[str] = mapped_column(unique=True)
    modulus: Mapped[bytes | None] = mapped_column(unique=True)
    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.job_id), unique=True)


class SignatureRRow(Base):
    """The r of an ECDSA signature a device made (32 bytes): seen twice, it gives the private key away."""

    __tablename__ = "signature_r"
    __table_args__ = (_KEYED,)

    r: Mapped[bytes] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.job_id))
    leaf_index: Mapped[int] = mapped_column(ForeignKey(Leaf.index), index=True)


class OutboxRow(Base):
    """A statement that the registry must get."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("job_id", "kind"),
        ForeignKeyConstraint(["job_id", "kind"], [RecordRow.job_id, RecordRow.kind]),
        STRICT,
    )

    leaf_index: Mapped[int] = mapped_column(ForeignKey(Leaf.index), primary_key=True, autoincrement=False)
    job_id: Mapped[str]
    kind: Mapped[str]


class DeliveryRow(Base):
    """The registry's answer to it: a receipt, or the event that tells of its refusal."""

    __tablename__ = "deliveries"
    __table_args__ = (STRICT,)

    outbox_leaf: Mapped[int] = mapped_column(ForeignKey(OutboxRow.leaf_index), primary_key=True, autoincrement=False)
    answer_leaf: Mapped[int] = mapped_column(ForeignKey(Leaf.index), unique=True)


class PaperRow(Base):
    """A statement of the signer, or of others, that is about no job; the leaf holds it."""

    __tablename__ = "papers"
    __table_args__ = (Index("ix_papers_order_id", "order_id"), STRICT)

    leaf_index: Mapped[int] = mapped_column(ForeignKey(Leaf.index), primary_key=True, autoincrement=False)
    kind: Mapped[str]
    order_id: Mapped[str]


STATE: Final[tuple[type[Base], ...]] = (
    OrderRow, JobRow, EventRow, RecordRow, KeyRow, SignatureRRow, OutboxRow, DeliveryRow, PaperRow,
)  # fmt: skip
"""All tables that `station.jobs.projection` fills."""
