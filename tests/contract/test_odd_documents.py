"""Every field of every signed document takes odd values, signed by whom it needs: each party refuses, or takes, and has no bug.

A bug would cross a socket as `internal`, and stay for as long as the document is sent again.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from station.jobs.leaf import LeafError
from tests.contract import tricked
from tests.contract.stage import STATION, Stage
from tests.contract.test_tricks import REFUSALS
from tests.contract.tricks_papers import minutes
from tests.hsm.floor import Device
from tests.hsm.software_token import SoftwareToken
from trust.codes import Code
from trust.dsse import Envelope, Signature
from trust.statement import envelope

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 2**31, 2**53, 2**63, 2**64, 1e308, 1.5, "", "a" * 70_000, "\u202e", "\0", [], {}, [[]], {"a": 1},
    "ab" * 32, "AB" * 32, base64.b64encode(bytes(32)).decode(), base64.b64encode(b"\x30\x00").decode(), "1.0", "-1",
    "0000-00-00T00:00:00Z", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
)  # fmt: skip
Sign = Callable[[Stage, Envelope], Envelope]
Place = tuple[str | int, ...]


def people(*names: str) -> Sign:
    return lambda stage, bare: stage.signed_by(bare, *names)


def keyed(role: str, purpose: str) -> Sign:
    def sign(stage: Stage, bare: Envelope) -> Envelope:
        token: SoftwareToken = stage.cloud if role == "cloud" else stage.tokens[STATION]
        made = token.sign_ecdsa(purpose, hashlib.sha256(bare.pae).digest())
        keyid = hashlib.sha256(token.public_key(purpose)).hexdigest()
        return msgspec.structs.replace(bare, signatures=(Signature(keyid, made),))

    return sign


def with_device(party: tricked.Party) -> tricked.Party:
    return lambda stage, found: party(stage, (Device(), found))


# The document, who signs it, whom it is given to.
DOCUMENTS: dict[str, tuple[Callable[[Stage], Envelope], Sign, dict[str, tricked.Party]]] = {
    "act": (lambda s: s.raise_by_two(), people("ada", "ben"), tricked.ON_ACT),
    "order": (lambda s: envelope(s.order(devices=("ab" * 12,))), people("pia", "quinn"), tricked.ON_ORDER),
    "lease request": (lambda s: s.factory.lease_request(), keyed("factory", "account"), tricked.ON_REQUEST),
    "lease": (lambda s: s.leases.grant(s.factory.lease_request()), keyed("cloud", "lease"), tricked.ON_SIGNED_LEASE),
    "revocation": (lambda s: s.revocation(s.unit()), keyed("cloud", "revocation"), tricked.ON_REVOCATION),
    "minutes": (lambda s: envelope(minutes(s)), people("ada", "ben"), tricked.ON_MINUTES),
    "pin": (
        lambda s: envelope(s.floor.pin(Device())), keyed("factory", "pin"),
        {name: with_device(each) for name, each in tricked.BYTES.items()},
    ),
    "completion": (
        lambda s: envelope(s.unit().done), keyed("factory", "completion"),
        {"registry": lambda s, found: (s.registry.complete(Device().device_id, found), None)[1]},
    ),
}  # fmt: skip


def places(value: Any, way: Place = ()) -> Iterator[Place]:
    """The document itself, and whatever is in it; of a list the first two."""
    yield way
    inside: Any = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for name, each in inside:
        yield from places(each, (*way, name))


def with_odd(document: Any, way: Place, odd: Any) -> Any:
    if not way:
        return odd
    copy = json.loads(json.dumps(document))
    inner = copy
    for name in way[:-1]:
        inner = inner[name]
    inner[way[-1]] = odd
    return copy


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_an_odd_value_anywhere_is_no_bug_anywhere(
    kind: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    make, sign, parties = DOCUMENTS[kind]
    stage, tried = Stage(tmp_path), 0
    bare = make(stage)
    document = json.loads(bare.payload)
    try:
        for way in places(document):
            for odd in ODD:
                text = json.dumps(
                    with_odd(document, way, odd), sort_keys=True, separators=(",", ":"), ensure_ascii=False
                )
                wrong = sign(stage, Envelope(text.encode(), bare.payload_type))
                for party in parties.values():
                    tried += 1
                    _ask(party, stage, wrong)
    finally:
        stage.close()
    record_property("figures", f"odd {kind}: {tried} tries, 0 bugs")


def _ask(party: tricked.Party, stage: Stage, wrong: Envelope) -> None:
    """What is no refusal goes through, and fails the test."""
    try:
        party(stage, wrong)
    except LeafError:
        return  # the audit's reader of leaves: the audit makes a finding of it
    except REFUSALS as error:
        if getattr(error, "code", "") is Code.INTERNAL:
            raise AssertionError(str(error)) from error
