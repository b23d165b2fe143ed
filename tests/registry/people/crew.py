"""People of a registry for tests: cheap verifiers, a clock that tests move, authenticators that know the time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pyotp

from registry.access.caller import Role
from registry.database import Database
from registry.people.accounts import CONSOLE, Accounts
from registry.people.passwords import Passwords
from registry.people.sessions import Opened, Presented, Sessions
from registry.people.tokens import Tokens
from trust.verifier import Cost

CHEAP = Cost(64, 1, 1)
START = datetime(2026, 11, 30, 6, tzinfo=UTC)
HOME, AWAY = "192.0.2.10", "198.51.100.7"


@dataclass(slots=True)
class Clock:
    """The registry's clock, as tests set it."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def ahead(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(slots=True)
class Member:
    """A person with an authenticator: knows id, password, and the code of now."""

    user_id: str
    password: str
    enrolment: str
    clock: Clock
    device: str = ""

    def code(self, *, steps: int = 0) -> str:
        secret = parse_qs(urlsplit(self.enrolment).query)["secret"][0]
        return pyotp.TOTP(secret).at(int(self.clock.now.timestamp()), counter_offset=steps)

    def shown(self, *, address: str = HOME, **changes: str) -> Presented:
        said = {"user_id": self.user_id, "password": self.password, "code": self.code(), "device": self.device}
        return Presented(**{**said, "address": address, **changes})


@dataclass(slots=True)
class Crew:
    """The services of people over one database."""

    database: Database
    passwords: Passwords
    tokens: Tokens
    accounts: Accounts
    sessions: Sessions
    clock: Clock = field(default_factory=Clock)

    @classmethod
    def make(cls, database: Database) -> Crew:
        clock, passwords = Clock(), Passwords(CHEAP)
        tokens = Tokens(database, now=clock)
        accounts = Accounts(database, passwords, "demo registry-01", badge_cost=CHEAP, now=clock)
        return cls(database, passwords, tokens, accounts, Sessions(database, passwords, tokens, now=clock), clock)

    def member(self, role: Role = Role.OPERATOR) -> Member:
        made = self.accounts.add(role, CONSOLE)
        return Member(made.user_id, made.password, made.enrolment, self.clock)

    def sign_in(self, member: Member, address: str = HOME) -> Opened:
        """With the next code: the one before is used up."""
        self.clock.ahead(30)
        opened = self.sessions.open(member.shown(address=address))
        member.device = opened.device
        return opened
