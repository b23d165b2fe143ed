"""Leases: what was granted to each station's signer, what its signer reported, how many pins it may have; roots seen.

Frozen once released: the tables are spelt out here and never imported, so that a later change of `registry.tables`
cannot change what this revision made.
"""

import sqlalchemy as sa
from alembic import op

from migrations.rows import append_only, rising

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_APPEND_ONLY = {
    "leases": (("station", "serial"), ("request_sha256",)),
    "lease_signatures": (("station", "serial"),),
    "reported_pins": (("station", "number"), ("station", "statement_sha256")),
    "roots": (("version",), ("sha256",)),
}


def upgrade() -> None:
    _make_leases()
    _make_lease_signatures()
    _make_reported_pins()
    _make_station_counts()
    _make_roots()
    op.create_index("ix_pins_station_registered_at", "pins", ["station", "registered_at"])
    for table, unique in _APPEND_ONLY.items():
        append_only(op, table, unique)


def downgrade() -> None:
    raise NotImplementedError("what was granted stays granted: restore a backup into another place instead")


def _make_roots() -> None:
    op.create_table(
        "roots",
        sa.Column("version", _NUMBER, nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("taken_up_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_roots"),
        sa.UniqueConstraint("sha256", name="uq_roots_sha256"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _make_leases() -> None:
    op.create_table(
        "leases",
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("serial", _NUMBER, nullable=False),
        sa.Column("request_sha256", sa.Text(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("lease", sa.LargeBinary(), nullable=False),
        sa.Column("signed", _NUMBER, nullable=False),
        sa.Column("up_to", _NUMBER, nullable=False),
        sa.Column("head", sa.LargeBinary(), nullable=False),
        sa.Column("log_size", _NUMBER, nullable=False),
        sa.Column("log_root_hash", sa.LargeBinary(), nullable=False),
        sa.Column("granted_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("station", "serial", name="pk_leases"),
        sa.UniqueConstraint("request_sha256", name="uq_leases_request_sha256"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _make_lease_signatures() -> None:
    op.create_table(
        "lease_signatures",
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("serial", _NUMBER, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("station", "serial", name="pk_lease_signatures"),
        sa.ForeignKeyConstraint(
            ["station", "serial"], ["leases.station", "leases.serial"], name="fk_lease_signatures_station"
        ),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _make_reported_pins() -> None:
    op.create_table(
        "reported_pins",
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("statement_sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("station", "number", name="pk_reported_pins"),
        sa.UniqueConstraint("station", "statement_sha256", name="uq_reported_pins_station"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _make_station_counts() -> None:
    op.create_table(
        "station_counts",
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("pins", _NUMBER, nullable=False),
        sa.Column("up_to", _NUMBER, nullable=False),
        sa.Column("reported_before", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("station", name="pk_station_counts"),
        sa.CheckConstraint("pins <= up_to", name="ck_station_counts_within_lease"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    rising(op, "station_counts", key=("station",), counts=("pins", "up_to"))
