"""Every purpose is sent what belongs to every other: nothing is signed by a key that is not its own.

Three ways in: the other's message as a body, the other's signed artefact where an own one is expected, and the other's
exact bytes or digest in the free fields of a request.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import typing
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsm import verbs
from hsm.signer import SignerError
from tests.hsm.floor import Device, Floor
from tests.hsm.local_signer import Parties, asked
from tests.hsm.served import served
from tests.hsm.test_server import answer, framed
from trust.codes import Code
from trust.dsse import Envelope
from trust.keys import PublicKey
from trust.signed_note import Head
from trust.statement import Completion, PinStatement, Receipt, StatementError, encode, verify

ISSUER = "https://registry.example"
ORIGIN = "demo/st-01/log"


class Everything:
    """One right request of each verb, and what each gave."""

    def __init__(self, floor: Floor) -> None:
        device = Device()
        self.pin = floor.pin(device)
        self.signed_pin = floor.factory.sign_pin(self.pin)
        self.receipt = floor.receipt(device, self.signed_pin)
        self.signed_receipt = floor.cloud.sign_receipt(self.receipt)
        self.done = floor.completion(device, self.signed_pin, self.signed_receipt)
        self.signed_done = floor.factory.sign_completion(self.done, self.signed_pin, self.signed_receipt)
        self.head = Head(origin=ORIGIN, size=1, root_hash=bytes([1]) * 32, old_size=0, proof=())
        self.note = floor.factory.sign_checkpoint(self.head)
        self.assertion = floor.factory.client_assertion(ISSUER)
        self.order = floor.order_envelope
        self.challenge = floor.challenge_request(Device())

    def bodies(self) -> dict[str, Any]:
        raw = {
            "import_order": {"order": self.order},
            "challenge": self.challenge,
            "sign_pin": {"statement": self.pin},
            "sign_completion": {"completion": self.done, "pin": self.signed_pin, "receipt": self.signed_receipt},
            "sign_checkpoint": self.head,
            "client_assertion": {"audience": ISSUER},
            "sign_receipt": {"receipt": self.receipt},
            "sign_receipts": {"receipts": [self.receipt]},
            "sign_authorisation": {"act": self.order, "step": "unlock", "nonce": "5a" * 32},
        }
        return {verb: json.loads(msgspec.json.encode(body)) for verb, body in raw.items()}

    def signed_bytes(self) -> dict[str, bytes]:
        return {
            "pin": self.signed_pin.pae,
            "completion": self.signed_done.pae,
            "receipt": self.signed_receipt.pae,
            "log": self.note.rpartition("\n\n")[0].encode() + b"\n",
            "client": self.assertion.rpartition(".")[0].encode(),
        }


@pytest.fixture
def everything(floor: Floor) -> Everything:
    return Everything(floor)


def test_no_verb_takes_another_verbs_message(
    floor: Floor, parties: Parties, everything: Everything, short_dir: Path
) -> None:
    bodies = everything.bodies()
    swapped = {
        "sign_pin": [
            {"statement": bodies["sign_completion"]["completion"]},
            {"statement": bodies["sign_receipt"]["receipt"]},
        ],
        "sign_completion": [
            {**bodies["sign_completion"], "completion": bodies["sign_pin"]["statement"]},
            {**bodies["sign_completion"], "completion": bodies["sign_receipt"]["receipt"]},
        ],
        "sign_receipt": [
            {"receipt": bodies["sign_pin"]["statement"]},
            {"receipt": bodies["sign_completion"]["completion"]},
        ],
        "sign_receipts": [
            {"receipts": [bodies["sign_pin"]["statement"]]},
            {"receipts": [bodies["sign_receipt"]["receipt"], bodies["sign_completion"]["completion"]]},
            {"receipts": []},
            {"receipts": [bodies["sign_receipt"]["receipt"]] * 49},
        ],
        "client_assertion": [{"audience": bodies["sign_checkpoint"]}],
        "sign_authorisation": [
            {**bodies["sign_authorisation"], "nonce": "5a" * 31},
            {**bodies["sign_authorisation"], "step": "sign"},
        ],
    }
    before = parties.factory_token.signed.copy(), parties.cloud_token.signed.copy()

    async def ask(policy: Any, path: Path) -> None:
        async with served(policy, path):
            reader, writer = await asyncio.open_unix_connection(path)
            wrong = [(verb, body) for verb, other in itertools.permutations(bodies, 2) for body in [bodies[other]]]
            wrong += [(verb, body) for verb, all_bodies in swapped.items() for body in all_bodies]
            for verb, body in wrong:
                writer.write(framed({"v": 1, "verb": verb, "id": 1, "body": body}))
                got = await answer(reader)
                assert got.get("error", {}).get("code") in {Code.MALFORMED, Code.NOT_AUTHORISED}, (verb, body, got)
            own = {verb for verb in bodies if hasattr(policy, verb)}
            cloud = {"sign_receipt", "sign_receipts", "sign_authorisation"}
            assert own == (cloud if policy is floor.cloud else bodies.keys() - cloud)
            for verb in bodies.keys() - own:
                writer.write(framed({"v": 1, "verb": verb, "id": 1, "body": bodies[verb]}))
                assert (await answer(reader))["error"]["code"] == Code.NOT_AUTHORISED
            writer.close()

    asyncio.run(ask(floor.factory, short_dir / "f.sock"))
    asyncio.run(ask(floor.cloud, short_dir / "c.sock"))
    assert (parties.factory_token.signed, parties.cloud_token.signed) == before


def test_no_keys_signature_holds_for_another_purpose(everything: Everything, floor: Floor) -> None:
    root = floor.trusted.root
    station = root.station("st-01")
    keys = {name: PublicKey.from_der(getattr(station, name)) for name in ("pin", "completion", "client")}
    keys["receipt"] = root.receipt_key
    assert len({each.spki for each in keys.values()} | {station.log}) == 5
    envelopes = {
        "pin": everything.signed_pin,
        "completion": everything.signed_done,
        "receipt": everything.signed_receipt,
    }
    signatures = {name: each.signatures[0].sig for name, each in envelopes.items()}
    for (name, signature), (other, message) in itertools.product(signatures.items(), everything.signed_bytes().items()):
        for holder, key in keys.items():
            assert key.verifies(signature, message) is (name == other == holder)


def test_a_signed_artefact_of_one_kind_is_no_other_kind(everything: Everything, floor: Floor) -> None:
    root = floor.trusted.root
    kinds = {
        PinStatement: (everything.signed_pin, root.pin_key("st-01")),
        Completion: (everything.signed_done, root.completion_key("st-01")),
        Receipt: (everything.signed_receipt, root.receipt_key),
    }
    for (kind, (_, key)), (other, (signed, _)) in itertools.product(kinds.items(), repeat=2):
        relabelled = msgspec.structs.replace(signed, payload_type=kind.PAYLOAD_TYPE)
        for each in (signed, relabelled) if kind is not other else ():
            with pytest.raises(StatementError):
                verify(each, kind, key)


def test_bytes_and_digests_in_free_fields_never_become_what_is_signed(
    everything: Everything, floor: Floor, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What reaches the token is recorded: for each key only digests of that key's own composed forms."""
    asked: list[tuple[str, bytes]] = []
    real = type(parties.factory_token).sign_ecdsa
    monkeypatch.setattr(
        type(parties.factory_token),
        "sign_ecdsa",
        lambda self, label, digest: asked.append((label, digest)) or real(self, label, digest),
    )
    targets = everything.signed_bytes()
    hashed = {hashlib.sha256(each).digest() for each in targets.values()}
    device = Device()
    for digest in hashed:
        head = msgspec.structs.replace(everything.head, size=2, root_hash=digest)
        for request in (head, msgspec.structs.replace(head, origin=f"st-01/{digest.hex()}", old_size=0, size=1)):
            _try(lambda asked=request: floor.factory.sign_checkpoint(asked))
        _try(lambda value=digest: floor.factory.sign_pin(floor.pin(device, value)))
        text = base64.b64encode(digest).decode()
        _try(lambda value=text: floor.factory.sign_pin(floor.pin(device, floor.challenge(device), made_at=value)))
    for message in targets.values():
        text = message.decode()
        _try(partial(floor.factory.client_assertion, text))
        _try(partial(floor.factory.sign_checkpoint, msgspec.structs.replace(everything.head, origin=text)))
        _try(partial(floor.factory.import_order, Envelope(message, "application/vnd.keystation.order.v1+json")))
    assert not {digest for _, digest in asked} & hashed
    assert not asked, "none of these requests was a right one"


def _try(ask: Any) -> None:
    with suppress(SignerError):
        ask()


def bare_bytes(body: type[msgspec.Struct]) -> set[str]:
    """Fields of a request that are bytes, and not a value with a meaning of its own."""
    return {name for name, kind in typing.get_type_hints(body).items() if kind in {bytes, bytearray, memoryview}}


def test_no_verb_takes_bytes_to_sign() -> None:
    found = {name: bare_bytes(verb.body) for name, verb in {**verbs._FACTORY, **verbs._CLOUD}.items()}
    of_the_device_services = {"tcp_open": {"ciphertext", "nonce"}, "tcp_sign": {"mac"}, "dtls_sign": {"digest"}}
    assert {name: fields for name, fields in found.items() if fields} == {
        "sign_checkpoint": {"root_hash"}, **of_the_device_services,
    }  # fmt: skip


def test_what_the_device_services_have_signed_holds_for_no_other_purpose(
    everything: Everything, floor: Floor, parties: Parties
) -> None:
    """Their verbs take what their protocols sign: given another purpose's digest, it is their own keys that sign it."""
    root, token = floor.trusted.root, parties.cloud_token
    station = root.station("st-01")
    others = [
        PublicKey.from_der(each) for each in (root.receipt_key.spki, station.pin, station.completion, station.client)
    ]
    token.signed.clear()
    for message in everything.signed_bytes().values():
        made = asked(floor.cloud.signatory, "dtls_sign", {"digest": hashlib.sha256(message).digest()}, bytes)
        assert not any(each.verifies(made, message) for each in others)
        with pytest.raises(SignerError):
            asked(floor.cloud.signatory, "tcp_sign", {"mac": hashlib.sha256(message).digest()}, bytes)
    assert token.signed.keys() == {"cloud-udp"}


def test_a_verb_that_takes_bytes_is_seen() -> None:
    class Planted(msgspec.Struct):
        message: bytes

    assert bare_bytes(Planted) == {"message"}


def test_the_statement_is_signed_as_its_one_spelling(everything: Everything) -> None:
    assert everything.signed_pin.payload == encode(everything.pin)
    assert everything.signed_done.payload == encode(everything.done)
    assert everything.signed_receipt.payload == encode(everything.receipt)
