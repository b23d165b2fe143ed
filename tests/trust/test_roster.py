"""A roster holds if the root's roster key signed it and it makes sense; and 200 people fit into an envelope."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from hsm.connection import request
from hsm.messages import MAX_FRAME_BYTES, RosterBody, accepted, frame
from tests.registry.make import ec_key, public, signed
from tests.trust.rosters import VERIFIER, person, roster
from trust.dsse import MAX_ENVELOPE_BYTES
from trust.root import RegistryKeys, Root, TrustedRoot
from trust.root_file import parse, wrap
from trust.roster import MAX_PEOPLE, Roster, is_over, issued
from trust.statement import StatementError, encode

KEY = ec_key()


def trusted(**keys: bytes) -> TrustedRoot:
    receipt = public(ec_key()).spki
    root = Root(
        environment="demo", version=1, registry="reg-01", registry_url="https://localhost:8443", tls_root=b"", stations={},
        registry_keys=RegistryKeys(receipt=receipt, **({"roster": public(KEY).spki} | keys)),
    )  # fmt: skip
    return parse(wrap(root).to_json())


ROOT = trusted()


def test_a_roster_of_the_roots_key_is_taken() -> None:
    made = roster(ROOT.sha256)
    assert issued(ROOT, signed(made, KEY)) == made


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"environment": "plant-1"}, "another environment"),
        ({"registry": "reg-02"}, "another environment, registry"),
        ({"root_sha256": "ab" * 32}, "trust root"),
        ({"people": (person(2), person(1))}, "not in order"),
        ({"people": (person(1), person(1, badge=""))}, "twice"),
        ({"people": (person(1), person(2, badge=person(1).badge))}, "twice"),
        ({"expires_at": "2026-11-30T06:00:00Z"}, "31 days"),
        ({"expires_at": "2027-01-01T06:00:00Z"}, "31 days"),
        ({"expires_at": "2026-13-01T06:00:00Z"}, "no time"),
    ],
)
def test_what_makes_no_sense_is_no_roster(changes: dict[str, object], why: str) -> None:
    with pytest.raises(StatementError, match=why):
        issued(ROOT, signed(roster(ROOT.sha256, **changes), KEY))


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "administrator"}, {"user": "00"}, {"badge": "x"}, {"verifier": "x"}, {"badge": "A" * 44},
        {"verifier": VERIFIER.replace("argon2id", "argon2i")}, {"verifier": VERIFIER + "\n"},
    ],
)  # fmt: skip
def test_a_person_has_its_one_form(changes: dict[str, object]) -> None:
    wrong = signed(roster(ROOT.sha256, people=(person(1, **changes),)), KEY)
    with pytest.raises(StatementError):
        issued(ROOT, wrong)


def test_another_key_makes_no_roster_and_without_a_key_there_is_none() -> None:
    with pytest.raises(StatementError, match="not signed by"):
        issued(ROOT, signed(roster(ROOT.sha256), ec_key()))
    bare = trusted(roster=b"")
    with pytest.raises(StatementError, match="names no roster key"):
        issued(bare, signed(roster(bare.sha256), KEY))


def test_it_is_over_from_its_last_moment_on() -> None:
    made = roster(ROOT.sha256)
    assert not is_over(made, datetime(2026, 12, 14, 5, 59, 59, tzinfo=UTC))
    assert is_over(made, datetime(2026, 12, 14, 6, tzinfo=UTC))


def full(count: int) -> Roster:
    longest = VERIFIER.replace("m=64,t=1,p=1", "m=1048576,t=16,p=16")
    people = tuple(person(each, role="engineer", verifier=longest) for each in range(1, count + 1))
    return roster(
        ROOT.sha256, people=people, environment="e" * 64, registry="r" * 64, serial=2**53 - 1,
        made_at="2026-11-30T06:00:00.000000Z", expires_at="2026-12-14T06:00:00.000000Z",
    )  # fmt: skip


def test_a_full_roster_fits_into_envelope_and_frames() -> None:
    made = full(MAX_PEOPLE)
    envelope = signed(made, KEY)
    assert len(envelope.to_json()) <= MAX_ENVELOPE_BYTES
    assert len(request("sign_roster", 2**53 - 1, RosterBody(made))) <= MAX_FRAME_BYTES
    assert len(frame(accepted(2**53 - 1, envelope))) <= MAX_FRAME_BYTES
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(encode(full(MAX_PEOPLE + 1)), type=Roster)
