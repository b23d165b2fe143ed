"""Tricks with orders: approvals that are none, bodies that make no sense, and orders of somebody else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from tests.contract.stage import OTHER, STATION, Stage
from tests.contract.tricked import NOW_ON_ORDER, ON_ORDER, Party, Trick, ledger_on_order, signer_on_order
from tests.hsm.floor import AUTHORITY_KEY, CLOUD_KEY
from tests.hsm.repeated_nonce import P256_ORDER
from tests.trust.documents import ec_key, spki
from tests.trust.people import Person, approved_by, signature, with_signatures
from trust.act import Act
from trust.dsse import Envelope, Signature
from trust.order import Allotment
from trust.statement import envelope

Sign = Callable[[Stage, Envelope], Envelope]
ALL, NOW = ON_ORDER, NOW_ON_ORDER


def mirrored(one: Signature, keyid: str = "") -> Signature:
    """(r, n - s): it verifies, too, and nobody has made it."""
    r, s = decode_dss_signature(one.sig)
    return Signature(keyid or one.keyid, encode_dss_signature(r, P256_ORDER - s))


def keyid(key: ec.EllipticCurvePrivateKey) -> str:
    return hashlib.sha256(spki(key)).hexdigest()


def signed(by: Sign) -> Callable[[Stage], tuple[Envelope, Envelope]]:
    """One body: approved by the trick, and rightly."""

    def play(stage: Stage) -> tuple[Envelope, Envelope]:
        order = stage.order()
        return by(stage, envelope(order)), stage.approved(order)

    return play


def by(*names: str) -> Callable[[Stage], tuple[Envelope, Envelope]]:
    return signed(lambda stage, document: stage.signed_by(document, *names))


def says(**changes: Any) -> Callable[[Stage], tuple[Envelope, Envelope]]:
    """A body that says this, approved by the right people; and one that does not."""
    return lambda stage: (stage.approved(stage.order(**changes)), stage.approved(stage.order()))


def spelled(change: Callable[[bytes], bytes]) -> Callable[[Stage], tuple[Envelope, Envelope]]:
    """The right body in another spelling, approved as it stands there."""

    def respell(stage: Stage, document: Envelope) -> Envelope:
        other = msgspec.structs.replace(document, payload=change(document.payload))
        return stage.signed_by(other, "pia", "quinn")

    return signed(respell)


def exactly(*made: Callable[[Stage, Envelope], Signature]) -> Callable[[Stage], tuple[Envelope, Envelope]]:
    """These signatures, in the order of their key ids."""
    return signed(lambda stage, document: with_signatures(document, *(each(stage, document) for each in made)))


def of(name: str) -> Callable[[Stage, Envelope], Signature]:
    return lambda stage, document: stage.who[name].signature(document)


def of_second_key(name: str) -> Callable[[Stage, Envelope], Signature]:
    return lambda stage, document: stage.second[name].signature(document)


def malleated(name: str, claims: str = "") -> Callable[[Stage, Envelope], Signature]:
    def make(stage: Stage, document: Envelope) -> Signature:
        return mirrored(stage.who[name].signature(document), keyid(stage.who[claims].key) if claims else "")

    return make


def copied_from_another_body(stage: Stage, document: Envelope) -> Envelope:
    other = stage.approved(stage.order(quantity=1, allowance=0))
    return msgspec.structs.replace(document, signatures=other.signatures)


def under_another_type(stage: Stage, document: Envelope) -> Envelope:
    """Two people have approved these very bytes, as something else."""
    other = stage.signed_by(msgspec.structs.replace(document, payload_type=Act.PAYLOAD_TYPE), "pia", "quinn")
    return msgspec.structs.replace(document, signatures=other.signatures)


def raw(_: Stage, document: Envelope, key: ec.EllipticCurvePrivateKey) -> Signature:
    """Over the payload without its DSSE frame."""
    return Signature(keyid(key), key.sign(document.payload, ec.ECDSA(hashes.SHA256())))


def junk(name: str) -> Callable[[Stage, Envelope], Signature]:
    return lambda stage, _: Signature(keyid(stage.who[name].key), b"junk")


def of_the_signer(stage: Stage, document: Envelope) -> Envelope:
    """The station's own signer cannot be one of two people."""
    key = stage.tokens[STATION]
    made = Signature(
        hashlib.sha256(key.public_key("pin")).hexdigest(),
        key.sign_ecdsa("pin", hashlib.sha256(document.pae).digest()),
    )
    return with_signatures(document, stage.who["pia"].signature(document), made)


def crowd(stage: Stage, document: Envelope) -> Envelope:
    strangers = [signature(ec_key(), document) for _ in range(15)]
    return with_signatures(
        stage.signed_by(document, "pia", "quinn"),
        *strangers,
        *(stage.who[n].signature(document) for n in ("pia", "quinn")),
    )


def unsorted(stage: Stage, document: Envelope) -> Envelope:
    right = stage.signed_by(document, "pia", "quinn")
    return msgspec.structs.replace(right, signatures=right.signatures[::-1])


def twice(stage: Stage, document: Envelope) -> Envelope:
    right = stage.signed_by(document, "pia", "quinn")
    return msgspec.structs.replace(right, signatures=(right.signatures[0], *right.signatures))


def under_version_one(by_whom: tuple[str, ...]) -> Callable[[Stage], tuple[Envelope, Envelope]]:
    """Made, and approved, when version 1 was in force."""

    def play(stage: Stage) -> tuple[Envelope, Envelope]:
        order = stage.order(root_sha256=stage.lines[0].payload_sha256)
        return stage.signed_by(envelope(order), *by_whom), stage.approved(order)

    return play


def reused_id(stage: Stage) -> tuple[Envelope, Envelope]:
    known = stage.floor.order
    return stage.approved(msgspec.structs.replace(known, product="toaster")), stage.floor.order_envelope


def over(stage: Stage) -> tuple[Envelope, Envelope]:
    return stage.approved(stage.order(not_after="2021-01-01T00:00:00Z")), stage.approved(stage.order())


def begun_late(stage: Stage) -> tuple[Envelope, Envelope]:
    """The signer has seen a later time signed; then its clock is set back into the order's window."""
    year = datetime.now(UTC).year + 1
    order = stage.order(not_after=f"{year}-01-01T00:00:00Z")
    stage.clock.ahead_s = 400 * 24 * 3600
    stage.factory.signatory.counters.see_time(int(stage.clock()))
    stage.clock.ahead_s = 0
    return stage.approved(order), stage.approved(stage.order())


def foreign_people(stage: Stage, document: Envelope) -> Envelope:
    return approved_by(document, Person("pia", ("product-owner",), ec_key()), Person("quinn", ("quality",), ec_key()))


def keys_twice(payload: bytes) -> bytes:
    return payload[:-1] + b',"quantity":3}'


def with_extra(payload: bytes) -> bytes:
    return json.dumps({**json.loads(payload), "zzz": 1}, sort_keys=True, separators=(",", ":")).encode()


SIGNER: dict[str, Party] = {"signer": signer_on_order}
KNOWN: dict[str, Party] = {"signer": signer_on_order, "station": ledger_on_order}
ELSEWHERE: dict[str, Party] = {name: party for name, party in NOW.items() if name != "audit"}
NOT_OVER, TYPE = "not over this document", "order must|order of their key ids"

ROWS: tuple[tuple[str, dict[str, Party], Callable[[Stage], tuple[Any, Any]], str], ...] = (
    ("nobody has approved it", ALL, by(), "nobody"),
    ("one approval", ALL, by("pia"), "are wanted"),
    ("two product owners", ALL, by("pia", "pat"), "quality are wanted"),
    ("an officer in the place of quality", ALL, by("pia", "ada"), "none of the roles"),
    ("one person in both roles", ALL, by("uma"), "of different people"),
    ("one person with two keys", ALL, exactly(of("uma"), of_second_key("uma")), "uma approved twice"),
    ("one person with two keys beside another", ALL, exactly(of("pia"), of("uma"), of_second_key("uma")), "uma approved twice"),
    ("one key twice", ALL, exactly(of("uma"), of("uma")), TYPE),
    ("a signature twice", ALL, signed(twice), TYPE),
    ("(r, n - s) as the second approval", ALL, exactly(of("uma"), malleated("uma")), TYPE),
    ("(r, n - s) as somebody else's", ALL, exactly(of("pia"), malleated("pia", "quinn")), NOT_OVER),
    ("approvals of another body", ALL, signed(copied_from_another_body), NOT_OVER),
    ("approvals of the same bytes as an act", ALL, signed(under_another_type), NOT_OVER),
    ("a signature over the bare payload", ALL, exactly(of("pia"), lambda s, d: raw(s, d, s.who["quinn"].key)), NOT_OVER),
    ("somebody who has left", ALL, by("pia", "zoe"), "no approver's"),
    ("somebody who has left, order of their time", NOW, under_version_one(("pia", "zoe")), "no approver's"),
    ("somebody whose role was taken away", ALL, by("pia", "rob"), "none of the roles"),
    ("role taken away, order of their time", NOW, under_version_one(("pia", "rob")), "none of the roles"),
    ("people with the right names and other keys", ALL, signed(foreign_people), "no approver's"),
    ("signatures out of order", ALL, signed(unsorted), "order of their key ids"),
    ("a junk signature of nobody more", ALL, signed(lambda s, d: with_signatures(d, *s.signed_by(d, "pia", "quinn").signatures, signature(ec_key(), d))), "no approver's"),
    ("a junk signature of an approver more", ALL, exactly(of("pia"), of("quinn"), junk("pat")), NOT_OVER),
    ("seventeen signatures", ALL, signed(crowd), "at most 16"),
    ("the station's own signer as the second", ALL, signed(of_the_signer), "no approver's"),
    ("environment demo at a site", ALL, says(environment="demo"), "environment|expected 'plant-a'"),
    ("another site's", ALL, says(environment="plant-b"), "environment|expected 'plant-a'"),
    ("made under an unknown root", ALL, says(root_sha256="ab" * 32), "root"),
    ("somebody's own cloud key", NOW, says(cloud_key=spki(ec_key())), "cloud key is none"),
    ("somebody's own authority key", NOW, says(authority_key=spki(ec_key())), "authority key is none"),
    ("cloud key and authority key swapped", NOW, says(cloud_key=AUTHORITY_KEY.spki, authority_key=CLOUD_KEY.spki), "cloud key is none"),
    ("cloud key twice", ALL, says(authority_key=CLOUD_KEY.spki), "must be different keys"),
    ("allotments beyond the quantity", ALL, says(stations={STATION: Allotment(quantity=2), OTHER: Allotment(quantity=2)}), "allotted quantity 4"),
    ("allotments beyond the allowance", ALL, says(stations={STATION: Allotment(quantity=1, allowance=9)}), "allotted allowance 9"),
    ("an unknown station", NOW, says(stations={STATION: Allotment(quantity=1), "st-99": Allotment(quantity=1)}), "'st-99'"),
    ("another station's order", ELSEWHERE, says(stations={OTHER: Allotment(quantity=3)}), "does not name this station|is for st-02|not named by the order"),
    ("a negative quantity", ALL, says(quantity=-1, stations={STATION: Allotment(quantity=-1)}), "Expected `int` >= 0"),
    ("a negative allotment that makes room", ALL, says(stations={STATION: Allotment(quantity=9), OTHER: Allotment(quantity=-6)}), "Expected `int` >= 0"),
    ("a huge quantity", ALL, says(quantity=2**63, stations={STATION: Allotment(quantity=2**63)}), "Expected `int`|out of range"),
    ("sums that overflow 64 bits", ALL, says(stations={STATION: Allotment(quantity=2**63 - 1), OTHER: Allotment(quantity=2**63 - 1)}), "Expected `int`"),
    ("no quantity", ALL, says(quantity=0, stations={STATION: Allotment(quantity=0)}), "quantity is 0"),
    ("a window that ends before it begins", ALL, says(not_before="2099-12-31T23:59:59Z", not_after="2020-01-01T00:00:00Z"), "not_after is not after"),
    ("a time that does not exist", ALL, says(not_before="2026-13-01T00:00:00Z"), "no time that exists"),
    ("a device twice on the list", ALL, says(devices=("ab" * 12, "ab" * 12)), "twice"),
    ("a list beyond what fits", ALL, says(devices=tuple(f"{n:024x}" for n in range(1300))), "more than 32000 bytes"),
    ("another spelling", ALL, spelled(lambda payload: payload.replace(b'":', b'": ', 1)), "canonical form"),
    ("a key twice", ALL, spelled(keys_twice), "canonical form"),
    ("a field more", ALL, spelled(with_extra), "unknown field `zzz`"),
    ("an id that is known with other bytes", KNOWN, reused_id, "other bytes"),
    ("an order that is over", SIGNER, over, "it ended at"),
    ("clock set back into a window that is over", SIGNER, begun_late, "it ended at"),
)  # fmt: skip
ORDERS = tuple(Trick(name=f"order: {row[0]}", parties=row[1], play=row[2], because=row[3]) for row in ROWS)
