"""A signer that dies between reserving, signing and storing signs the same payload again, says so, and counts the unit once.

Children are forked and really die (`os._exit`); parent and child share the token's files and the counters file only.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hsm.counters import Counters
from hsm.group_commit import settle
from hsm.policy.pin import PinCase
from hsm.signer import SignerError, SignerStatus, SignerUnavailableError
from hsm.token import TokenUnavailableError
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.local_signer import FactoryVerbs, Parties, make_factory, make_parties
from tests.hsm.software_token import SoftwareToken
from trust.codes import Code

DIED = 17


class DyingToken(SoftwareToken):
    """Dies before or after it has signed, and keeps a tally of signatures on disk."""

    def __init__(self, directory: Path, tally: Path, die: str = "") -> None:
        super().__init__(directory)
        self.tally, self.die = tally, die

    def sign_ecdsa(self, label: str, digest: bytes) -> bytes:
        if self.die == "before":
            os._exit(DIED)
        signature = super().sign_ecdsa(label, digest)
        with self.tally.open("a") as file:
            file.write(f"{label}\n")
        if self.die == "after":
            os._exit(DIED)
        return signature


def in_child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def factory_of(parties: Parties, base: Path, die: str = "") -> FactoryVerbs:
    token = DyingToken(base / "factory", base / "tally", die)
    return make_factory(base / "factory", "st-01", parties.trusted, token)


def signatures_made(base: Path) -> list[str]:
    tally = base / "tally"
    return tally.read_text().split() if tally.exists() else []


def hold_accounts(status: SignerStatus, made: list[str]) -> None:
    """Every signature the token made is a distinct payload or a recorded re-sign."""
    assert len(made) <= sum(status.signatures.values()) + status.resigned, "the token signed more than is on record"


@pytest.mark.parametrize("die", ["before", "after"])
@pytest.mark.parametrize("purpose", ["pin", "completion"])
def test_the_same_payload_is_signed_again_and_recorded(tmp_path: Path, die: str, purpose: str) -> None:
    parties = make_parties(tmp_path)
    parties.factory.signatory.counters.close()
    factory = factory_of(parties, tmp_path)
    floor = Floor(parties.trusted, make_order(parties.trusted, quantity=1, allowance=0), factory, parties.cloud)
    device = Device()
    pin = floor.pin(device)
    ask: Callable[[FactoryVerbs], Any] = lambda factory: factory.sign_pin(pin)  # noqa: E731
    if purpose == "completion":
        signed = factory.sign_pin(pin)
        receipt = parties.cloud.sign_receipt(floor.receipt(device, signed))
        done = floor.completion(device, signed, receipt)
        ask = lambda factory: factory.sign_completion(done, signed, receipt)  # noqa: E731
    factory.signatory.counters.close()

    for _ in range(3):
        assert in_child(lambda: ask(factory_of(parties, tmp_path, die))) == DIED

    restarted = factory_of(parties, tmp_path)
    first = ask(restarted)
    assert ask(restarted) == first, "the first signature that reached the disk is the one for ever"
    status = restarted.status()
    assert status.signatures[purpose] == 1, "one payload, however often it was signed"
    assert status.resigned == 3
    hold_accounts(status, signatures_made(tmp_path))
    (resigned,) = restarted.signatory.counters.run("SELECT resigned FROM statements WHERE kind = ?", purpose).fetchone()
    assert resigned == 3
    floor.factory = restarted
    with pytest.raises(SignerError) as caught:
        restarted.sign_pin(floor.pin(Device()))
    assert caught.value.code is Code.ORDER_EXHAUSTED, "the unit stays counted"


def test_a_re_sign_that_is_not_recorded_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: the accounts above must not balance when the recording is taken out."""
    monkeypatch.setattr(Counters, "count_again", lambda self, purpose, payload_sha256: None)
    parties = make_parties(tmp_path)
    parties.factory.signatory.counters.close()
    factory = factory_of(parties, tmp_path)
    pin = Floor(parties.trusted, make_order(parties.trusted), factory, parties.cloud).pin(Device())
    factory.signatory.counters.close()
    assert in_child(lambda: factory_of(parties, tmp_path, "after").sign_pin(pin)) == DIED
    restarted = factory_of(parties, tmp_path)
    restarted.sign_pin(pin)
    with pytest.raises(AssertionError, match="more than is on record"):
        hold_accounts(restarted.status(), signatures_made(tmp_path))


def test_a_death_before_the_reservation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parties = make_parties(tmp_path)
    floor = Floor(parties.trusted, make_order(parties.trusted), parties.factory, parties.cloud)
    pin = floor.pin(Device())
    parties.factory.signatory.counters.close()

    def die_in_transaction() -> None:
        factory = factory_of(parties, tmp_path)
        monkeypatch.setattr(Counters, "count_signature", lambda self, purpose, again=False: os._exit(DIED))
        factory.sign_pin(pin)

    assert in_child(die_in_transaction) == DIED
    restarted = factory_of(parties, tmp_path)
    assert restarted.status().signatures == {}
    assert restarted.signatory.counters.run("SELECT count(*) FROM statements").fetchone() == (0,)
    restarted.sign_pin(pin)  # the challenge was not spent
    assert restarted.status().resigned == 0


@pytest.mark.parametrize(
    "fatal", [*(f"{when} signature {nth}" for when in ("before", "after") for nth in (1, 3)), "store"]
)
def test_a_group_that_died_is_signed_again_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fatal: str
) -> None:
    parties = make_parties(tmp_path)
    floor = Floor(parties.trusted, make_order(parties.trusted), parties.factory, parties.cloud)
    pins = [floor.pin(Device()) for _ in range(4)]
    parties.factory.signatory.counters.close()

    def ask(factory: FactoryVerbs) -> list[Any]:
        errands = [PinCase(factory.signatory, pin) for pin in [*pins, pins[0]]]
        answers = {
            id(errand): answer for part in settle(factory.signatory.counters, errands) for errand, answer in part
        }
        return [answers[id(errand)] for errand in errands]

    def die() -> None:
        when, _, nth = fatal.partition(" signature ")
        factory = factory_of(parties, tmp_path, when if nth == "1" else "")
        if nth == "3":
            token, made = factory.signatory.token, iter(range(9))
            real = token.sign_ecdsa

            def third(label: str, digest: bytes) -> bytes:
                token.die = when if next(made) == 2 else ""  # type: ignore[attr-defined]
                return real(label, digest)

            token.sign_ecdsa = third  # type: ignore[method-assign]
        if fatal == "store":
            monkeypatch.setattr(Counters, "store_envelope", lambda self, payload_sha256, envelope: os._exit(DIED))
        ask(factory)

    assert in_child(die) == DIED
    restarted = factory_of(parties, tmp_path)
    assert (restarted.status().signatures["pin"], restarted.status().resigned) == (4, 0), "reserved before it signed"
    first = ask(restarted)
    assert first[0] == first[4]
    assert ask(restarted) == first, "the first signatures that reached the disk are the ones for ever"
    status = restarted.status()
    assert (status.signatures["pin"], status.resigned) == (4, 4)
    hold_accounts(status, signatures_made(tmp_path))
    (used,) = restarted.signatory.counters.run("SELECT pins FROM orders").fetchone()
    assert used == 4
    restarted.signatory.counters.close()


def test_a_token_that_is_away_costs_one_unit_once(floor: Floor, parties: Parties) -> None:
    parties.factory_token.fail_next = [TokenUnavailableError("away"), TokenUnavailableError("away")]
    pin = floor.pin(Device())
    for _ in range(2):
        with pytest.raises(SignerUnavailableError):
            floor.factory.sign_pin(pin)
    floor.factory.sign_pin(pin)
    status = floor.factory.status()
    assert (status.signatures["pin"], status.resigned) == (1, 2)
    (used,) = floor.factory.signatory.counters.run("SELECT pins FROM orders").fetchone()
    assert used == 1


def test_a_signature_that_does_not_verify_never_leaves(
    floor: Floor, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SoftwareToken, "sign_ecdsa", lambda self, label, digest: bytes.fromhex("3006020101020101"))
    pin = floor.pin(Device())
    with pytest.raises(SignerUnavailableError):
        floor.factory.sign_pin(pin)
    monkeypatch.undo()
    floor.factory.sign_pin(pin)
