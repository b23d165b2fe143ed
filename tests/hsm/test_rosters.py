"""The cloud signer signs rosters of its own registry, each newer than the one before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsm.signer import SignerError
from tests.hsm.local_signer import CloudVerbs, make_registry, make_root
from tests.hsm.software_token import SoftwareToken
from tests.trust.rosters import person, roster
from trust.codes import Code
from trust.root import TrustedRoot
from trust.root_file import parse, wrap
from trust.roster import Roster, issued

NOW = 1_796_018_400.0  # 2026-11-30T06:00:00Z, when `tests.trust.rosters` makes them


@pytest.fixture
def token(tmp_path: Path) -> SoftwareToken:
    return SoftwareToken.make(tmp_path / "cloud", "cloud", rsa_keys=False)


@pytest.fixture
def trusted(tmp_path: Path, token: SoftwareToken) -> TrustedRoot:
    factory = SoftwareToken.make(tmp_path / "factory", "factory")
    plain = make_root({"st-01": factory}, "reg-01", token).root
    keys = msgspec.structs.replace(plain.registry_keys, roster=token.public_key("roster"))
    return parse(wrap(msgspec.structs.replace(plain, registry_keys=keys)).to_json())


@pytest.fixture
def cloud(tmp_path: Path, token: SoftwareToken, trusted: TrustedRoot) -> CloudVerbs:
    return make_registry(tmp_path / "cloud", "reg-01", trusted, token, lambda: NOW)


def refused(cloud: CloudVerbs, made: Roster) -> Code:
    with pytest.raises(SignerError) as caught:
        cloud.sign_roster(made)
    return caught.value.code


def test_a_roster_is_signed_with_its_own_key_and_the_same_one_once(cloud: CloudVerbs, trusted: TrustedRoot) -> None:
    made = roster(trusted.sha256)
    first = cloud.sign_roster(made)
    assert issued(trusted, first) == made
    assert cloud.sign_roster(made) == first
    assert cloud.status().signatures["roster"] == 1


def test_numbers_may_be_left_out_and_never_go_back(cloud: CloudVerbs, trusted: TrustedRoot) -> None:
    for serial in (7, 8, 1_796_000_000):
        cloud.sign_roster(roster(trusted.sha256, serial=serial))
    assert refused(cloud, roster(trusted.sha256, serial=9)) is Code.ROSTER_CONFLICT
    another = roster(trusted.sha256, serial=1_796_000_000, people=(person(3),))
    assert refused(cloud, another) is Code.ROSTER_CONFLICT


def test_a_roster_older_than_the_last_one_is_refused(cloud: CloudVerbs, trusted: TrustedRoot) -> None:
    cloud.sign_roster(roster(trusted.sha256))
    older = roster(trusted.sha256, serial=8, made_at="2026-11-30T05:59:59Z")
    assert refused(cloud, older) is Code.ROSTER_CONFLICT


def test_the_memory_is_on_disk(cloud: CloudVerbs, trusted: TrustedRoot, tmp_path: Path, token: SoftwareToken) -> None:
    cloud.sign_roster(roster(trusted.sha256, serial=9))
    cloud.signatory.counters.close()
    again = make_registry(tmp_path / "cloud", "reg-01", trusted, token, lambda: NOW)
    assert refused(again, roster(trusted.sha256, serial=8)) is Code.ROSTER_CONFLICT


def test_control_a_signer_without_that_memory_signs_the_old_one(
    cloud: CloudVerbs, trusted: TrustedRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hsm.rosters._require_newer", lambda *_: None)
    cloud.sign_roster(roster(trusted.sha256, serial=9))
    cloud.sign_roster(roster(trusted.sha256, serial=8))


def at(cloud: CloudVerbs, days: int) -> CloudVerbs:
    """The same signer, so many days later by its own clock."""
    return replace(cloud, signatory=replace(cloud.signatory, clock=lambda: NOW + days * 86_400.0))


def test_a_few_minutes_ahead_of_its_own_clock_and_no_more(cloud: CloudVerbs, trusted: TrustedRoot) -> None:
    """Not by a time that it was told by a lease, either: that may be of the same wrong clock."""
    cloud.signatory.counters.see_time(int(NOW) + 300 * 86_400)
    assert refused(cloud, roster(trusted.sha256, made_at="2026-11-30T06:05:01Z")) is Code.STATEMENT_INVALID
    cloud.sign_roster(roster(trusted.sha256, made_at="2026-11-30T06:05:00Z"))


def test_what_it_signed_while_its_clock_was_ahead_is_followed(cloud: CloudVerbs, trusted: TrustedRoot) -> None:
    ahead = {"made_at": "2027-09-26T06:00:00Z", "expires_at": "2027-10-10T06:00:00Z"}
    at(cloud, 300).sign_roster(roster(trusted.sha256, serial=9, **ahead))
    assert refused(at(cloud, 0), roster(trusted.sha256, serial=8)) is Code.ROSTER_CONFLICT, "numbers never go back"
    cloud.sign_roster(roster(trusted.sha256, serial=10))
    older = roster(trusted.sha256, serial=11, made_at="2026-11-30T05:59:59Z")
    assert refused(cloud, older) is Code.ROSTER_CONFLICT


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"environment": "plant-1"}, Code.WRONG_ENVIRONMENT),
        ({"root_sha256": "ab" * 32}, Code.WRONG_ROOT),
        ({"registry": "reg-02"}, Code.NOT_AUTHORISED),
        ({"people": (person(2), person(1))}, Code.STATEMENT_INVALID),
        ({"expires_at": "2027-02-01T00:00:00Z"}, Code.STATEMENT_INVALID),
        ({"made_at": "2026-02-30T00:00:00Z"}, Code.STATEMENT_INVALID),
        ({"made_at": "2026-11-30T06:05:01Z"}, Code.STATEMENT_INVALID),
        ({"made_at": "2030-01-01T00:00:00Z", "expires_at": "2030-01-02T00:00:00Z"}, Code.STATEMENT_INVALID),
    ],
)
def test_what_is_not_this_registrys_or_makes_no_sense_is_refused(
    cloud: CloudVerbs, trusted: TrustedRoot, changes: dict[str, Any], code: Code
) -> None:
    assert refused(cloud, msgspec.structs.replace(roster(trusted.sha256), **changes)) is code
    assert "roster" not in cloud.status().signatures


def test_without_a_roster_key_in_the_root_nothing_is_signed(tmp_path: Path) -> None:
    cloud_token = SoftwareToken.make(tmp_path / "cloud", "cloud", rsa_keys=False)
    trusted = make_root({"st-01": SoftwareToken.make(tmp_path / "factory", "factory")}, "reg-01", cloud_token)
    bare = parse(
        wrap(
            msgspec.structs.replace(
                trusted.root, registry_keys=msgspec.structs.replace(trusted.root.registry_keys, roster=b"")
            )
        ).to_json()
    )
    cloud = make_registry(tmp_path / "cloud", "reg-01", bare, cloud_token)
    assert refused(cloud, roster(bare.sha256)) is Code.NOT_AUTHORISED
