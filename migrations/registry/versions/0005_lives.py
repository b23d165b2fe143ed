"""Pins over time: acts on them, revocations, challenges for new keys, proposals; what the database decides about them.

Frozen once released: the tables are spelt out here and never imported, so that a later change of `registry.tables`
cannot change what this revision made.
"""

import sqlalchemy as sa
from alembic import op

from migrations.rows import append_only

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_UNIQUE = {
    "pin_acts": (
        ("device_id", "number"), ("act_sha256",), ("repin_sha256",), ("new_fingerprint",), ("new_modulus",),
        ("challenge",),
    ),
    "revocations": (("act_sha256",),),
    "proposals": (("proposal",),),
}  # fmt: skip
_DONE = "EXISTS (SELECT 1 FROM completions WHERE device_id = NEW.device_id)"
_BEFORE = "(SELECT state FROM pin_acts WHERE device_id = NEW.device_id AND number = NEW.number - 1)"
_STATE = f"CASE WHEN NEW.number > 1 THEN {_BEFORE} WHEN {_DONE} THEN 'active' ELSE 'provisional' END"
# One EXISTS a key (revision 0001): an OR inside one makes SQLite read all rows.
_PINNED = (
    "EXISTS (SELECT 1 FROM pins WHERE fingerprint = NEW.new_fingerprint) "
    "OR EXISTS (SELECT 1 FROM pins WHERE modulus = NEW.new_modulus)"
)
_REPINNED = (
    "EXISTS (SELECT 1 FROM pin_acts WHERE new_fingerprint = NEW.fingerprint) "
    "OR EXISTS (SELECT 1 FROM pin_acts WHERE new_modulus = NEW.modulus)"
)
_RULES = (
    # Also the first act of a device that was completed meanwhile: PostgreSQL holds the pin's row for that (`_LOCKS`).
    (
        "pin_acts",
        "follow",
        f"coalesce({_STATE}, '') <> NEW.was OR (NEW.was = 'scrapped' AND NEW.kind <> 'unscrap')",
        "an act follows the one before it, and a scrapped device is only un-scrapped",
    ),
    ("pin_acts", "new_key", _PINNED, "this key is pinned"),
    ("pins", "new_key", _REPINNED, "this key is pinned"),
    (
        "completions",
        "before_acts",
        "EXISTS (SELECT 1 FROM pin_acts WHERE device_id = NEW.device_id AND number = 1)",
        "a completion comes before every act",
    ),
)
_LOCKS = {
    # A completion and a device's first act wait for each other.
    ("pin_acts", "follow"): "PERFORM 1 FROM pins WHERE device_id = NEW.device_id FOR UPDATE;",
    ("completions", "before_acts"): "PERFORM 1 FROM pins WHERE device_id = NEW.device_id FOR KEY SHARE;",
    # First pins and a new key wait for each other: acts are few.
    ("pin_acts", "new_key"): "IF NEW.repin IS NOT NULL THEN LOCK TABLE pins IN SHARE ROW EXCLUSIVE MODE; END IF;",
}


def upgrade() -> None:
    _make_pin_acts()
    _make_revocations()
    _make_challenges_and_proposals()
    for table, unique in _UNIQUE.items():
        append_only(op, table, unique)
    for table, name, wrong, text in _RULES:
        _refuse(table, name, wrong, text)


def downgrade() -> None:
    raise NotImplementedError("what became of a pin stays so: restore a backup into another place instead")


def _make_pin_acts() -> None:
    op.create_table(
        "pin_acts",
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("was", sa.Text(), nullable=False),
        sa.Column("act", sa.LargeBinary(), nullable=False),
        sa.Column("act_sha256", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("expiring", sa.Text(), nullable=True),
        sa.Column("ends_at", sa.Text(), nullable=True),
        sa.Column("repin", sa.LargeBinary(), nullable=True),
        sa.Column("repin_sha256", sa.Text(), nullable=True),
        sa.Column("authorisation", sa.LargeBinary(), nullable=True),
        sa.Column("new_fingerprint", sa.Text(), nullable=True),
        sa.Column("new_modulus", sa.LargeBinary(), nullable=True),
        sa.Column("challenge", sa.LargeBinary(), nullable=True),
        sa.Column("registered_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "number", name="pk_pin_acts"),
        sa.ForeignKeyConstraint(["device_id"], ["pins.device_id"], name="fk_pin_acts_device_id"),
        *(
            sa.UniqueConstraint(column, name=f"uq_pin_acts_{column}")
            for column in ("act_sha256", "repin_sha256", "new_fingerprint", "new_modulus", "challenge")
        ),
        *(sa.CheckConstraint(rule, name=f"ck_pin_acts_{name}") for name, rule in _CHECKS.items()),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


_CHECKS = {
    "counted": "number >= 1",
    "state": "state IN ('provisional', 'active', 'revoked', 'scrapped')",
    "ends": "(expiring IS NULL) = (ends_at IS NULL)",
    "one_expiring": "expiring IS NULL OR (state = 'active' AND expiring <> fingerprint)",
    "one_active": "new_fingerprint IS NULL OR (new_fingerprint = fingerprint AND state = 'active')",
    "shown": "(repin IS NULL) = (new_fingerprint IS NULL)",
    "hashed": "(repin IS NULL) = (repin_sha256 IS NULL)",
    "challenged": "(repin IS NULL) = (challenge IS NULL)",
}


def _make_revocations() -> None:
    op.create_table(
        "revocations",
        sa.Column("act_sha256", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("act_sha256", name="pk_revocations"),
        sa.ForeignKeyConstraint(["act_sha256"], ["pin_acts.act_sha256"], name="fk_revocations_act_sha256"),
        sa.ForeignKeyConstraint(["device_id"], ["pins.device_id"], name="fk_revocations_device_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_revocations_device_id", "revocations", ["device_id"])
    op.create_index("ix_revocations_order_id", "revocations", ["order_id", "cause", "act_sha256"])


def _make_challenges_and_proposals() -> None:
    op.create_table(
        "challenges",
        sa.Column("challenge", sa.LargeBinary(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("challenge", name="pk_challenges"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_challenges_expires_at", "challenges", ["expires_at"])
    op.create_table(
        "proposals",
        sa.Column("proposal", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("proposer", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("spki", sa.LargeBinary(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("proposed_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("proposal", name="pk_proposals"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("ix_proposals_device_id", "proposals", ["device_id", "proposed_at"])


def _refuse(table: str, name: str, wrong: str, text: str) -> None:
    """Refuse an INSERT into the table while this is so; PostgreSQL first waits for who might make it so."""
    trigger = f"{table}_{name}"
    if op.get_bind().dialect.name == "sqlite":
        body = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only: {text}'); END"
        op.execute(f"CREATE TRIGGER {trigger} BEFORE INSERT ON {table} WHEN {wrong} {body}")
        return
    refusal = f"RAISE EXCEPTION '{table} is append-only: {text}' USING ERRCODE = 'integrity_constraint_violation';"
    # As the tables' owner: a lock asks for rights that who serves has not.
    op.execute(
        f"CREATE FUNCTION {trigger}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT "
        f"AS $$ BEGIN {_LOCKS.get((table, name), '')} IF {wrong} THEN {refusal} END IF; RETURN NEW; END $$; "
        f"CREATE TRIGGER {trigger} BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {trigger}(); "
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}"
    )
