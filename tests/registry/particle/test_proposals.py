"""Proposals of the door in the registry's book: what they never change, and how one becomes the active key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from registry.access.caller import PersonCaller, Role
from registry.database import Database
from registry.errors import RefusedError
from registry.particle.keeping import KeptProposals
from registry.particle.proposing import Held, Proposal
from registry.particle.words import ParticleError
from registry.pins import proposals as book
from registry.pins.proposals import Proposals
from tests.registry.living import Living, living
from tests.registry.make import Device, PrivateKey, ec_key, public, rsa_key
from tests.registry.particle.desk import Desk
from tests.registry.particle.recorded import ApiJs, Cli
from tests.registry.people.crew import Crew
from tests.registry.test_acts import raced
from tests.trust.pin_acts import NOW, utc
from trust.codes import Code

pytestmark = pytest.mark.both_databases
BY = PersonCaller(user_id="ab" * 16, role=Role.ENGINEER, second_factor=False)


@dataclass(slots=True)
class Bench:
    """A registry with pinned devices and a book of proposals."""

    living: Living
    book: Proposals

    @property
    def kept(self) -> KeptProposals:
        return KeptProposals(database=self.living.database, acts=self.living.acts, book=self.book)

    def propose(self, device: Device, key: PrivateKey, by: PersonCaller = BY) -> str:
        proposal = Proposal(device=device.device_id, key=public(key), by=by, note="order manual_1, file cli")
        return self.kept.propose(proposal)


@pytest.fixture
def bench(database: Database) -> Bench:
    made = living(database)
    return Bench(made, Proposals(database, now=lambda: made.now))


def test_a_proposal_changes_nothing_about_the_device(bench: Bench) -> None:
    device, new = bench.living.device(), ec_key()
    before = bench.living.read(device)
    assert bench.propose(device, new) == "proposed"
    assert bench.living.read(device) == before
    assert bench.living.states(device) == ["active"]
    assert bench.kept.about(device.device_id) == (
        Held(public(device.key).fingerprint, "pinned"), Held(public(new).fingerprint, "proposed"),
    )  # fmt: skip
    (listed,) = bench.book.about(device.device_id)
    assert (listed.source, listed.kind, listed.proposer, listed.key) == ("particle", "repin", BY.user_id, public(new))
    assert listed.reason == "by Particle's tools: order manual_1, file cli"


def test_the_same_proposal_again_is_no_other(bench: Bench) -> None:
    device, new = bench.living.device(), ec_key()
    assert [bench.propose(device, new) for _ in range(3)] == ["proposed"] * 3
    assert len(bench.book.about(device.device_id)) == 1
    assert bench.propose(device, new, replace(BY, user_id="cd" * 16)) == "proposed"
    assert len(bench.book.about(device.device_id)) == 2


def test_the_pinned_key_is_told_and_not_proposed(bench: Bench) -> None:
    device = bench.living.device()
    assert bench.propose(device, device.key) == "pinned"
    assert bench.book.about(device.device_id) == ()


def test_from_a_proposal_to_the_active_key(bench: Bench) -> None:
    """The whole way: proposed, approved by two, shown over the registry's challenge; then it is told as pinned."""
    device, new = bench.living.device(), ec_key()
    bench.propose(device, new)
    bench.living.repinned(device, new)
    assert bench.propose(device, new) == "pinned"
    assert Held(public(new).fingerprint, "pinned") in bench.kept.about(device.device_id)


def scrapped(bench: Bench) -> tuple[Device, PrivateKey]:
    device = bench.living.device()
    bench.living.acts.do(device.device_id, "scrap", bench.living.act(device, "scrap"))
    return device, ec_key()


def unknown(_bench: Bench) -> tuple[Device, PrivateKey]:
    return Device(), ec_key()


def in_work(bench: Bench) -> tuple[Device, PrivateKey]:
    return bench.living.device(active=False), ec_key()


def of_another(bench: Bench) -> tuple[Device, PrivateKey]:
    return bench.living.device(), bench.living.device().key


def of_another_since(bench: Bench) -> tuple[Device, PrivateKey]:
    other, new = bench.living.device(), ec_key()
    bench.living.repinned(other, new)
    return bench.living.device(), new


def had_before(bench: Bench) -> tuple[Device, PrivateKey]:
    device = bench.living.device()
    bench.living.repinned(device, ec_key())
    return device, device.key


@pytest.mark.parametrize(
    ("case", "code"),
    [
        (unknown, Code.NOT_PINNED), (scrapped, Code.DEVICE_SCRAPPED), (in_work, Code.ACT_CONFLICT),
        (of_another, Code.KEY_ON_OTHER_DEVICE), (of_another_since, Code.KEY_ON_OTHER_DEVICE),
        (had_before, Code.ACT_CONFLICT),
    ],
)  # fmt: skip
def test_what_no_act_could_pin_is_refused(
    bench: Bench, case: Callable[[Bench], tuple[Device, PrivateKey]], code: Code
) -> None:
    device, key = case(bench)
    with pytest.raises(RefusedError) as caught:
        bench.propose(device, key)
    assert caught.value.code is code
    assert str(device.device_id) in str(caught.value) or "device" in str(caught.value)
    assert bench.book.about(device.device_id) == ()


def test_another_kind_of_key_than_the_order_wants_is_refused(bench: Bench) -> None:
    with pytest.raises(ParticleError, match="wants a key of kind ec-p256") as caught:
        bench.propose(bench.living.device(), rsa_key())
    assert (caught.value.status, caught.value.refusal.error) == (400, "algorithm_mismatch")


def test_a_revoked_device_may_be_given_another_key(bench: Bench) -> None:
    device = bench.living.device()
    bench.living.acts.do(device.device_id, "revoke", bench.living.act(device, "revoke"))
    bench.living.now += timedelta(hours=1)
    assert bench.propose(device, ec_key()) == "proposed"
    assert [each.state for each in bench.kept.about(device.device_id)] == ["proposed"]


@pytest.mark.parametrize("client", [Cli(), ApiJs()], ids=lambda each: each.name)
def test_the_whole_door_over_http(bench: Bench, database: Database, client: Any) -> None:
    desk = Desk.make(Crew.make(database), database)
    desk.services = replace(desk.services, particle=bench.kept)
    device, new = bench.living.device(), ec_key()
    token = desk.token()
    answer = desk.send(client.key(str(device.device_id), public(new).to_pem(), "ecc", token))
    assert (answer.status_code, answer.json()["state"]) == (202, "proposed")
    again = desk.send(client.key(str(device.device_id), public(device.key).to_pem(), "ecc", token))
    assert (again.status_code, again.json()["state"]) == (200, "pinned")
    denied = desk.send(client.key("0" * 23 + "1", public(new).to_pem(), "ecc", token))
    assert (denied.status_code, denied.json()["error"]) == (403, "Permission Denied")
    told = desk.ask("GET", f"/v1/provisioning/{device.device_id}", authorization=f"Bearer {token}").json()["keys"]
    assert [each["state"] for each in told] == ["pinned", "proposed"]
    assert bench.living.states(device) == ["active"]


def test_a_device_takes_so_many_proposals_a_month_and_no_more(bench: Bench) -> None:
    device = bench.living.device()
    for _ in range(10):
        bench.propose(device, ec_key())
    with pytest.raises(RefusedError, match=r"10 by abab.* proposals about this device"):
        bench.propose(device, ec_key())
    bench.living.now += timedelta(days=31)
    assert bench.propose(device, ec_key()) == "proposed"


def test_two_keys_proposed_at_once_are_two_proposals_and_one_becomes_the_pin(bench: Bench) -> None:
    device, keys = bench.living.device(), [ec_key() for _ in range(4)]
    assert set(raced(*(partial(bench.propose, device, key) for key in keys))) == {"done"}
    assert {each.key for each in bench.book.about(device.device_id)} == {public(key) for key in keys}
    assert [each.key for each in bench.living.read(device).good] == [public(device.key)]
    site, ends = bench.living, utc(NOW + timedelta(days=7))
    acts = [site.repin_act(device, key, ends_at=ends) for key in keys]
    shown = [site.shown(device, act, key) for act, key in zip(acts, keys, strict=True)]
    works = [partial(site.acts.repin, device.device_id, *each) for each in zip(acts, shown, strict=True)]
    assert sorted(raced(*works)) == [*[Code.ACT_CONFLICT] * 3, "done"]
    assert site.states(device) == ["expiring", "active"]


def test_one_key_proposed_by_many_at_once_is_kept_once_for_each(bench: Bench) -> None:
    device, new = bench.living.device(), ec_key()
    assert set(raced(*[partial(bench.propose, device, new)] * 8)) == {"done"}
    assert len(bench.book.about(device.device_id)) == 1


def test_the_last_proposal_of_a_month_is_taken_once(bench: Bench) -> None:
    device = bench.living.device()
    for _ in range(9):
        bench.propose(device, ec_key())
    ended = raced(*(partial(bench.propose, device, ec_key()) for _ in range(6)))
    assert sorted(ended) == ["done", *[Code.TOO_MANY_REQUESTS] * 5]


def test_control_without_turns_one_proposal_is_kept_twice(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two transactions look at the same time."""
    if database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    monkeypatch.setattr(book, "take_turn", lambda *_: None)
    made = living(database)
    bench = Bench(made, Proposals(database, now=lambda: made.now))
    for _ in range(40):
        device, new = bench.living.device(), ec_key()
        raced(*[partial(bench.propose, device, new)] * 8)
        if len(bench.book.about(device.device_id)) > 1:
            return
    pytest.fail("it was never kept twice")
