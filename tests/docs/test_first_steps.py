"""docs/deployment.md, "First steps": the root's TOML is taken as it stands, and its people are enough for all that follows."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from hsm.approver import FileKey, approve, new_key_file, read_key_file
from hsm.purposes import KEYS, KeyKind, RoleName
from hsm.root_making import next_version
from hsm.token.user_pin import UserPin
from registry.tls import make_certificate
from tests.docs.pages import page, section
from tests.trust import orders
from tests.trust.documents import ec_key, spki
from trust.act import Act, allowed
from trust.approval import ORDER_ROLES, having
from trust.dsse import Envelope
from trust.order_approval import OrderRefusedError, admitted
from trust.root import RootError, TrustedRoot
from trust.root_file import parse, versions
from trust.statement import envelope

STEPS = section(page("docs/deployment.md"), "## First steps")
PASSPHRASE = UserPin("correct horse battery")


@dataclass(slots=True)
class Office:
    """A directory with what the TOML names, and everybody's key."""

    place: Path
    cloud: dict[str, bytes] = field(default_factory=dict)

    def key(self, person: str) -> FileKey:
        path = self.place / f"{person}.key"
        if not path.exists():
            (self.place / f"{person}.pem").write_text(new_key_file(path, PASSPHRASE).to_pem())
        return read_key_file(path, PASSPHRASE)

    def signer(self, name: str, role: RoleName) -> dict[str, bytes]:
        keys = {purpose.value: spki(ec_key()) for purpose, kind in KEYS[role].items() if kind is not KeyKind.RSA_2048}
        text = {purpose: base64.b64encode(key).decode() for purpose, key in keys.items()}
        (self.place / f"{name}.public.json").write_bytes(msgspec.json.encode(text))
        return keys

    def version(self, text: str, before: bytes | None, *by: str) -> bytes:
        """The root's file with one more version, approved by these people."""
        data, made = next_version(text.encode(), self.place, before)
        for person in by:
            made = approve(made, self.key(person), *(each.approvers for _, each in versions(data)[-2:]))
        return b"".join(line + b"\n" for line in [*data.strip().split(b"\n")[:-1], made.to_json()])


@pytest.fixture
def office(tmp_path: Path) -> Office:
    made = Office(tmp_path)
    for person in ("ada", "ben", "quinn"):
        made.key(person)
    made.signer("st-01", "factory")
    made.cloud = made.signer("registry-01", "cloud")
    (tmp_path / "tls.crt").write_bytes(make_certificate("registry.example", "registry-01")[1])
    return made


def toml() -> str:
    found = re.search(r"```toml\n(.*?)```", STEPS, re.DOTALL)
    assert found
    return "\n".join(line.removeprefix("   ") for line in found[1].splitlines())


def order(office: Office, trusted: TrustedRoot, *by: str) -> Envelope:
    keys = {"cloud_key": office.cloud["cloud-udp"], "authority_key": office.cloud["authority"]}
    made = envelope(orders.make(trusted.sha256, ["st-01"], "ab" * 32, environment=trusted.root.environment, **keys))
    for person in by:
        made = approve(made, office.key(person), having(trusted.root.approvers, *ORDER_ROLES))
    return made


def test_two_officers_approve_the_root_that_the_page_shows(office: Office) -> None:
    trusted = parse(office.version(toml(), None, "ada", "ben"))
    assert trusted.signed and trusted.root.lease_key is not None
    assert (trusted.root.lease.units, trusted.root.lease.days) == (500, 7)
    for too_few in (("ada",), ("ada", "quinn")):
        with pytest.raises(RootError, match="are wanted"):
            parse(office.version(toml(), None, *too_few))


def test_product_owner_and_quality_approve_an_order(office: Office) -> None:
    trusted = parse(office.version(toml(), None, "ada", "ben"))
    assert admitted(order(office, trusted, "ben", "quinn"), trusted).order_id == "order-1"
    for too_few in (("ben",), ("quinn",)):
        with pytest.raises(OrderRefusedError):
            admitted(order(office, trusted, *too_few), trusted)


def test_two_officers_approve_an_act(office: Office) -> None:
    trusted, now = parse(office.version(toml(), None, "ada", "ben")), datetime.now(UTC)
    act = envelope(
        Act(
            environment="demo", root_sha256=trusted.sha256, signer="st-01", kind="lift-stop", stop=1, nonce="ab" * 32,
            reason="for a test", made_at=f"{now:%Y-%m-%dT%H:%M:%SZ}", not_after=f"{now + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}",
        )
    )  # fmt: skip
    for person in ("ada", "ben"):
        act = approve(act, office.key(person), trusted.root.approvers)
    assert allowed(act, trusted, signer="st-01", now=now).stop == 1


def test_quality_leaves_and_an_open_order_is_approved_anew(office: Office) -> None:
    first = office.version(toml(), None, "ada", "ben")
    office.key("rita")
    second = parse(office.version(toml().replace("quinn", "rita"), first, "ada", "ben"))
    assert second.root.version == 2
    before = order(office, parse(first), "ben", "quinn")
    with pytest.raises(OrderRefusedError, match="is no approver's"):
        admitted(before, second)
    anew = approve(before, office.key("rita"), having(second.root.approvers, *ORDER_ROLES))
    assert anew.same_statement(before) and admitted(anew, second)


def test_who_replaces_an_own_key_signs_with_both(office: Office) -> None:
    first = office.version(toml(), None, "ada", "ben")
    office.key("new")
    text = toml().replace('["ada.pem"]', '["new.pem"]')
    assert parse(office.version(text, first, "ada", "ben", "new")).root.version == 2
    for too_few in (("ada", "ben"), ("new", "ben")):
        with pytest.raises(RootError, match="are wanted"):
            parse(office.version(text, first, *too_few))
    (_, root) = versions(office.version(text, first))[-1]
    assert spki(office.key("new").private) in root.approvers["ada"].keys
