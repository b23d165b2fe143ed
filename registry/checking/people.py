"""People's rows, as far as they can be held to one another: who gave a role, and whom a roster may name.

Nobody signs what people are: a row that says that the console has made an administrator is as good as its own.
What is found here is what somebody got wrong. Never believes that nothing found means nothing done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from sqlalchemy import select

from registry.database import Database
from registry.people.accounts import CONSOLE
from registry.pins.finding import Finding, differing
from registry.pins.rows import Row
from registry.tables import roster_signatures, rosters, user_states, users
from trust.dsse import Envelope, EnvelopeError
from trust.root import TrustedRoot
from trust.roster import Roster, require_sense
from trust.statement import StatementError, read

_Lives = Mapping[str, list[Row]]


def people_findings(database: Database, trusted: TrustedRoot) -> Iterator[Finding]:
    """Roles that nobody gave who could, and rosters that name others than those who work at stations."""
    with database.read() as connection:
        lives: defaultdict[str, list[Row]] = defaultdict(list)
        for row in connection.execute(select(user_states).order_by(user_states.c.user_id, user_states.c.number)):
            lives[row.user_id].append(row._asdict())
        ids = list(connection.execute(select(users.c.user_id).order_by(users.c.user_id)).scalars())
        serials = list(connection.execute(select(rosters.c.serial).order_by(rosters.c.serial)).scalars())
    administrators = {user for user, states in lives.items() if any(each["role"] == "administrator" for each in states)}
    for user_id in ids:
        yield from _life(user_id, lives, administrators)
    for serial in serials:
        yield from _roster(database, serial, lives, trusted)


def _life(user_id: str, lives: _Lives, administrators: AbstractSet[str]) -> Iterator[Finding]:
    if not lives.get(user_id):
        yield Finding("users", user_id, "nothing says who added this user, and as what")
    for number, row in enumerate(lives.get(user_id, ()), 1):
        key = f"{user_id} number {row['number']}"
        if row["number"] != number or (row["what"] == "added") != (number == 1):
            yield Finding("user_states", key, f"is {row['what']!r}, which does not follow from what was before it")
        by = row["by_whom"]
        if by != CONSOLE and by not in administrators - {user_id}:
            yield Finding("user_states", key, f"by {by[:40]!r}, who was never an administrator of others")


def _roster(database: Database, serial: int, lives: _Lives, trusted: TrustedRoot) -> Iterator[Finding]:
    with database.read() as connection:
        row = connection.execute(
            select(rosters.c.roster, roster_signatures.c.envelope)
            .outerjoin_from(rosters, roster_signatures, roster_signatures.c.serial == rosters.c.serial)
            .where(rosters.c.serial == serial)
        ).one()
    key = str(serial)
    try:
        envelope = Envelope.from_json(row.roster)
        roster = read(envelope, Roster)
        require_sense(roster)
        signed = None if row.envelope is None else Envelope.from_json(row.envelope)
    except (EnvelopeError, StatementError) as error:
        yield Finding("rosters", key, f"roster or signature: {error}")
        return
    yield from differing("rosters", key, [("serial", serial, roster.serial)])
    for each in roster.people:
        if each.role not in {state["role"] for state in lives.get(each.user, ())}:
            yield Finding("rosters", key, f"names user {each.user} as {each.role}, which nobody has made of them")
    if signed is not None and not _is_ours(signed, envelope, trusted):
        yield Finding("roster_signatures", key, "envelope: not the registry's word on this roster")


def _is_ours(signed: Envelope, envelope: Envelope, trusted: TrustedRoot) -> bool:
    """One that has no signature yet is due when somebody asks for a roster; an older one of that kind is for nobody."""
    keys = [root.roster_key for root in (*(root for _, root in trusted.earlier), trusted.root)]
    return signed.same_statement(envelope) and any(key is not None and signed.signed_by(key) for key in keys)
