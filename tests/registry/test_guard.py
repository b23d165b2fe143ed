"""The door of all routes: who is let in where, and what who is not let in is told."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from registry.access.caller import PUBLIC, Access, PersonCaller, Role, Scope, StationCaller, either, people, stations
from registry.access.denied import DeniedError, Headers
from registry.access.guard import Guard, Heading, NoPeople, require

STATION = StationCaller("station-01", frozenset({Scope.PINS_READ, Scope.LEASES_WRITE}))


@dataclass
class Tokens:
    asked: list[str] = field(default_factory=list)

    def caller(self, token: str, heading: Heading) -> tuple[StationCaller, Headers]:
        self.asked.append(token)
        return STATION, (("dpop-nonce", "next"),)

    def nonce(self) -> str:
        return "first"


@dataclass
class People:
    known: dict[str, PersonCaller]

    def caller(self, token: str) -> PersonCaller | None:
        return self.known.get(token)


def person(role: Role = Role.ENGINEER, *, factor: bool = True, scopes: frozenset[Scope] | None = None) -> PersonCaller:
    return PersonCaller(user_id="ab" * 16, role=role, second_factor=factor, scopes=scopes)


def denied(access: Access, *authorization: str, guard: Guard | None = None) -> DeniedError:
    with pytest.raises(DeniedError) as caught:
        (guard or Guard(Tokens(), NoPeople())).admit(access, heading(*authorization))
    return caught.value


def heading(*authorization: str) -> Heading:
    return Heading(method="GET", path="/v1/x", authorization=authorization, dpop=("proof",))


def test_a_public_route_asks_nobody() -> None:
    tokens = Tokens()
    assert Guard(tokens, NoPeople()).admit(PUBLIC, heading("DPoP t")).caller is None
    assert tokens.asked == []


def test_a_station_and_a_person_are_told_apart_by_the_scheme() -> None:
    guard = Guard(Tokens(), People({"t": person()}))
    access = either(Scope.PINS_READ, Role.ENGINEER)
    admitted = guard.admit(access, heading("DPoP t"))
    assert (admitted.caller, admitted.headers) == (STATION, (("dpop-nonce", "next"),))
    assert guard.admit(access, heading("bearer t")).caller == person()


@pytest.mark.parametrize("authorization", [(), ("Basic eA==",), ("DPoP",), ("DPoP ",), ("DPoP a", "DPoP a"), ("",)])
def test_who_says_nothing_is_told_how(authorization: tuple[str, ...]) -> None:
    error = denied(either(Scope.PINS_READ, Role.AUDITOR), *authorization)
    assert error.code == "access-token-needed"
    assert error.headers == (
        ("www-authenticate", 'DPoP realm="registry", algs="ES256"'),
        ("www-authenticate", 'Bearer realm="registry"'),
        ("dpop-nonce", "first"),
    )


def test_who_is_not_wanted_is_not_told_how() -> None:
    assert denied(people(Role.AUDITOR)).headers == (("www-authenticate", 'Bearer realm="registry"'),)
    assert [name for name, _ in denied(stations(Scope.PINS_READ)).headers] == ["www-authenticate", "dpop-nonce"]


def test_a_token_that_nobody_knows() -> None:
    error = denied(people(Role.AUDITOR), "Bearer t")
    assert error.code == "access-token-invalid"
    assert error.headers == (("www-authenticate", 'Bearer realm="registry", error="invalid_token"'),)


CASES = [
    (stations(Scope.PINS_WRITE), STATION, "scope-missing"),
    (people(Role.ENGINEER), STATION, "not-authorised"),
    (stations(Scope.PINS_READ), person(), "not-authorised"),
    (people(Role.AUDITOR), person(), "not-authorised"),
    (people(Role.ENGINEER), person(scopes=frozenset(Scope)), "scope-missing"),
    (people(Role.ENGINEER, scope=Scope.PINS_READ), person(scopes=frozenset()), "scope-missing"),
    (people(Role.ENGINEER, second_factor=True), person(factor=False), "second-factor-needed"),
]


@pytest.mark.parametrize(("access", "caller", "code"), CASES)
def test_who_may_not(access: Access, caller: StationCaller | PersonCaller, code: str) -> None:
    with pytest.raises(DeniedError) as caught:
        require(access, caller)
    assert caught.value.code == code


def test_who_may() -> None:
    require(stations(Scope.PINS_READ), STATION)
    require(people(Role.ENGINEER, second_factor=True), person())
    require(people(Role.ENGINEER), person(factor=False))
    require(people(Role.ENGINEER, scope=Scope.PINS_READ), person(scopes=frozenset({Scope.PINS_READ})))
