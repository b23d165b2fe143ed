"""People: random ids and what became of them, credentials, failed tries, sessions and API tokens, rosters.

Frozen once released: the tables are spelt out here and never imported, so that a later change of `registry.tables`
cannot change what this revision made.
"""

import sqlalchemy as sa
from alembic import op

from migrations.rows import append_only, rising

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_FORM = {"sqlite_strict": True, "sqlite_with_rowid": False}
_APPEND_ONLY = {
    "users": (("user_id",),),
    "user_states": (("user_id", "number"),),
    "badge_salts": (("number",),),
    "person_tokens": (("token_sha256",),),
    "ended_tokens": (("token_sha256",),),
    "rosters": (("serial",),),
    "roster_signatures": (("serial",),),
}


def upgrade() -> None:
    _make_users()
    _make_credentials()
    _make_tries()
    _make_tokens()
    _make_rosters()
    for table, unique in _APPEND_ONLY.items():
        append_only(op, table, unique)
    rising(op, "credentials", key=("user_id",), counts=("last_step",))


def downgrade() -> None:
    raise NotImplementedError("who was given what stays on record: restore a backup into another place instead")


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, _NUMBER, nullable=False)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def _make_users() -> None:
    op.create_table(
        "users", _text("user_id"), _text("made_at"), sa.PrimaryKeyConstraint("user_id", name="pk_users"), **_FORM
    )
    op.create_table(
        "user_states",
        _text("user_id"), _number("number"), _text("what"), _text("role"), _number("enabled"), _text("by_whom"),
        _text("at"),
        sa.PrimaryKeyConstraint("user_id", "number", name="pk_user_states"),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_user_states_user_id"),
        sa.CheckConstraint("enabled IN (0, 1)", name="ck_user_states_enabled_is_boolean"),
        **_FORM,
    )  # fmt: skip


def _make_credentials() -> None:
    op.create_table(
        "credentials",
        _text("user_id"), _text("password"), _text("floor_password"), _text("totp_secret"), _number("last_step"),
        _text("badge", nullable=True),
        sa.PrimaryKeyConstraint("user_id", name="pk_credentials"),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name="fk_credentials_user_id"),
        sa.UniqueConstraint("badge", name="uq_credentials_badge"),
        **_FORM,
    )  # fmt: skip
    op.create_table(
        "badge_salts", _number("number"), _text("salt"), sa.PrimaryKeyConstraint("number", name="pk_badge_salts"),
        **_FORM,
    )  # fmt: skip


def _make_tries() -> None:
    op.create_table(
        "tries",
        _text("subject"), _text("origin"), _number("failed"), _number("not_before"), _number("seen"),
        sa.PrimaryKeyConstraint("subject", "origin", name="pk_tries"),
        **_FORM,
    )  # fmt: skip


def _make_tokens() -> None:
    op.create_table(
        "person_tokens",
        _text("token_sha256"), _text("user_id"), _number("state_number"), _text("kind"), _text("name"),
        _text("scopes"), _text("second_factor_at"), _text("made_at"), _text("expires_at"),
        sa.PrimaryKeyConstraint("token_sha256", name="pk_person_tokens"),
        sa.ForeignKeyConstraint(
            ["user_id", "state_number"], ["user_states.user_id", "user_states.number"], name="fk_person_tokens_user_id"
        ),
        sa.CheckConstraint("kind IN ('session', 'api')", name="ck_person_tokens_kind_known"),
        **_FORM,
    )  # fmt: skip
    op.create_index("ix_person_tokens_user_id", "person_tokens", ["user_id"])
    op.create_table(
        "ended_tokens",
        _text("token_sha256"), _text("at"),
        sa.PrimaryKeyConstraint("token_sha256", name="pk_ended_tokens"),
        sa.ForeignKeyConstraint(
            ["token_sha256"], ["person_tokens.token_sha256"], name="fk_ended_tokens_token_sha256"
        ),
        **_FORM,
    )  # fmt: skip


def _make_rosters() -> None:
    op.create_table(
        "rosters", _number("serial"), _bytes("roster"), sa.PrimaryKeyConstraint("serial", name="pk_rosters"), **_FORM
    )
    op.create_table(
        "roster_signatures",
        _number("serial"), _bytes("envelope"),
        sa.PrimaryKeyConstraint("serial", name="pk_roster_signatures"),
        sa.ForeignKeyConstraint(["serial"], ["rosters.serial"], name="fk_roster_signatures_serial"),
        **_FORM,
    )  # fmt: skip
