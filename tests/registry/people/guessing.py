"""A day of guesses at a few users from fifty addresses, while they sign in from where they always do, and pins go on.

Guesses are of all kinds: wrong passwords, the right password with wrong codes, codes that were used, seen over somebody's
shoulder or read from the network, unknown ids, made-up device tokens. What is evaluated is counted where passwords and
codes are really looked at.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from registry.access.caller import Role
from registry.access.denied import DeniedError
from registry.people import sessions, totp
from tests.registry.people.crew import HOME, Crew, Member

ADDRESSES = tuple(f"198.51.100.{each}" for each in range(1, 51))
DAY_S = 86_400
MOST = 100


@dataclass(slots=True)
class Campaign:
    """What happened so far."""

    crew: Crew
    seed: int
    members: list[Member]
    dice: random.Random
    line: Callable[[], None] = lambda: None
    evaluated: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    reused: int = 0
    locked_out: int = 0
    signed_in: int = 0
    seen: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, crew: Crew, *, seed: int, line: Callable[[], None] = lambda: None) -> Campaign:
        members = [crew.member(role) for role in (Role.OPERATOR, Role.ENGINEER, Role.AUDITOR, Role.ADMINISTRATOR)]
        for each in members:
            crew.sign_in(each)
        return cls(crew, seed, members, random.Random(seed), line)

    def run(self, guesses: int, *, rounds: int = 24) -> None:
        """So many, over one day by the registry's clock; in so many rounds everybody signs in."""
        owners = {self._secret(each): each.user_id for each in self.members}
        real = totp.step_of

        def watched(secret: str, code: str, *, now_s: float) -> int | None:
            self.evaluated[owners.get(secret, "nobody")] += self._guessing
            return real(secret, code, now_s=now_s)

        sessions.totp.step_of = watched  # looked at with every password: one evaluation is one of both
        try:
            self._all(guesses, rounds)
        finally:
            sessions.totp.step_of = real

    _guessing: int = 1

    def _all(self, guesses: int, rounds: int) -> None:
        every = max(1, guesses // rounds)
        for number in range(guesses):
            self.crew.clock.ahead(DAY_S / guesses)
            self._guess()
            if number % every == every - 1:
                self._work()

    def _guess(self) -> None:
        target, address = self.dice.choice(self.members), self.dice.choice(ADDRESSES)
        kind = self.dice.randrange(5)
        shown = target.shown(address=address, device="", password="correct horse battery", code=self._any_code())
        if kind == 1:
            shown = target.shown(address=address, device="", code=self._any_code(target))
        elif kind == 2 and target.user_id in self.seen:
            shown = target.shown(address=address, device="", code=self.seen[target.user_id])
        elif kind == 3:
            shown = target.shown(address=address, device=f"made up {number(self.dice)}", code=self._any_code(target))
        elif kind == 4:
            shown = target.shown(address=address, device="", user_id=f"{self.dice.getrandbits(128):032x}")
        try:
            self.crew.sessions.open(shown)
        except DeniedError as error:
            self.answers[error.code.value] += 1
        else:
            self.reused += 1

    def _work(self) -> None:
        """Everybody signs in from home, and the line goes on."""
        self._guessing = 0
        for each in self.members:
            try:
                self.crew.sign_in(each, HOME)
                self.signed_in += 1
                self.seen[each.user_id] = each.code()
            except DeniedError:
                self.locked_out += 1
        self.line()
        self._guessing = 1

    def _any_code(self, member: Member | None = None) -> str:
        """Not by chance the right one of now: that guess is one in 333,333, and no fault."""
        right = set() if member is None else {member.code(steps=each) for each in (-1, 0, 1)}
        return next(code for code in iter(lambda: f"{self.dice.randrange(10**6):06}", "") if code not in right)

    def _secret(self, member: Member) -> str:
        return member.enrolment.split("secret=")[1][:32]

    def require_bounded(self) -> None:
        """At most 100 of each user evaluated, no code taken twice, nobody locked out of where he works."""
        worst = max(self.evaluated[each.user_id] for each in self.members)
        assert worst <= MOST, f"{worst} guesses at one user were evaluated"
        assert self.reused == 0, f"{self.reused} guesses got in"
        assert self.locked_out == 0, f"{self.locked_out} of {self.signed_in} sign-ins from home were refused"
        assert self.signed_in > 0

    def __str__(self) -> str:
        each = ", ".join(str(self.evaluated[member.user_id]) for member in self.members)
        return f"evaluated: {each}, nobody {self.evaluated['nobody']}; {dict(self.answers)}; {self.signed_in} signed in"


def number(dice: random.Random) -> int:
    return dice.randrange(10**9)
