"""The signer's own process and socket are sent everything of one purpose as every other: nothing foreign is signed.

`tests/hsm/test_cross_purpose.py` does the same with more kinds of requests and the policy inside the test's process;
here SoftHSM signs, and what has been signed is the signer's own count.
"""

import asyncio
import base64
import hashlib
import itertools
import json
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsm.client import ReceiptClient, SignerClient
from station.jobs import RecordKind
from station.jobs.schema import open_database
from station.jobs.stamp import Stamp
from station.jobs.store import JobStore
from tests.cli.commands import Done
from tests.cli.plant import Site
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId

pytestmark = pytest.mark.xdist_group("site")
REFUSED = {Code.MALFORMED, Code.NOT_AUTHORISED}


def as_json(value: Any) -> Any:
    return json.loads(msgspec.json.encode(value))


async def artefacts(site: Site) -> dict[RecordKind, Envelope]:
    """Everything that a device which passed has cost: statements, receipts and the bytes that they are over."""
    store = JobStore(
        open_database(site.state / "station" / "ledger.db", read_only=True),
        Stamp(station="st-01", environment="demo", root_sha256=""),
    )
    try:
        jobs = await store.of_device(DeviceId.parse(site.device("ec-01")))
        (mine,) = [each for each in jobs if each.job.order_id == "main"]
        return dict(mine.records)
    finally:
        await store.close()


def bodies(found: dict[RecordKind, Envelope]) -> dict[str, Any]:
    """A request of each verb that was right once, or would be."""
    pin, done, receipt = (found[kind] for kind in (RecordKind.PIN, RecordKind.COMPLETION, RecordKind.PIN_RECEIPT))
    statements = {kind: json.loads(each.payload) for kind, each in (("pin", pin), ("done", done), ("receipt", receipt))}
    head = {
        "origin": "demo/st-01/log",
        "size": 1,
        "root_hash": base64.b64encode(bytes(32)).decode(),
        "old_size": 0,
        "proof": [],
    }
    challenge = {name: statements["pin"][name] for name in ("order_id", "job", "device_id")}
    return {
        "sign_pin": {"statement": statements["pin"]},
        "sign_completion": {"completion": statements["done"], "pin": as_json(pin), "receipt": as_json(receipt)},
        "sign_receipt": {"receipt": statements["receipt"]},
        "sign_checkpoint": head,
        "client_assertion": {"audience": "https://registry.example"},
        "challenge": {"purpose": "pin", **challenge},
        "import_order": {"order": as_json(found[RecordKind.INTENT])},
    }


async def asked(path: Path, requests: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    """The answers of the signer's own socket."""
    reader, writer = await asyncio.open_unix_connection(path)
    answers = []
    for number, (verb, body) in enumerate(requests, 1):
        data = json.dumps({"v": 1, "verb": verb, "id": number, "body": body}).encode()
        writer.write(struct.pack(">I", len(data)) + data)
        (length,) = struct.unpack(">I", await asyncio.wait_for(reader.readexactly(4), 10))
        answers.append(json.loads(await reader.readexactly(length)))
    writer.close()
    return answers


def disguises(found: dict[RecordKind, Envelope]) -> list[tuple[str, Any]]:
    """The exact bytes and digests of each purpose, wherever a request has room for bytes or text."""
    requests: list[tuple[str, Any]] = []
    for each in found.values():
        for raw in (each.pae, each.payload, hashlib.sha256(each.pae).digest()):
            text = base64.b64encode(raw).decode()
            requests += [
                ("sign", {"bytes": text}),
                ("sign_pin", {"statement": text}),
                ("sign_completion", {"completion": text, "pin": text, "receipt": text}),
                ("sign_receipt", {"receipt": text}),
                ("sign_checkpoint", {"origin": "demo/st-01/log", "size": 9999, "root_hash": text, "old_size": 1, "proof": [text]}),
                ("sign_checkpoint", {"origin": raw.decode(errors="replace"), "size": 1, "root_hash": text, "old_size": 0, "proof": []}),
                ("client_assertion", {"audience": raw.decode(errors="replace")}),
                ("import_order", {"order": {"payload": text, "payloadType": each.payload_type, "signatures": []}}),
            ]  # fmt: skip
    return requests


@pytest.mark.parametrize("role", ["factory", "cloud"])
def test_nothing_of_another_purpose_is_signed(site: Site, first_batch: Done, role: str) -> None:
    path = site.state / f"signer-{role}" / "run" / "signer.sock"

    async def story() -> None:
        found = await artefacts(site)
        right = bodies(found)
        client = SignerClient(path) if role == "factory" else ReceiptClient(path)
        before = await signatures(client)
        crossed = [(verb, right[other]) for verb, other in itertools.permutations(right, 2)]
        for (verb, _), answer in zip(crossed, await asked(path, crossed), strict=True):
            assert answer.get("error", {}).get("code") in REFUSED, (verb, answer)
        hidden = disguises(found)
        for (verb, body), answer in zip(hidden, await asked(path, hidden), strict=True):
            assert "error" in answer, (verb, body, answer)
        assert await signatures(client) == before
        # Or all of the above might have been refused for a reason of its own: the right requests are answered.
        own = ["sign_pin", "sign_completion"] if role == "factory" else ["sign_receipt"]
        answers = await asked(path, [(verb, right[verb]) for verb in own])
        assert all("ok" in answer for answer in answers), answers

    asyncio.run(story())


async def signatures(client: SignerClient | ReceiptClient) -> dict[str, int]:
    """How often each key has signed, as the signer counts it."""
    if isinstance(client, SignerClient):
        return dict((await client.status()).signatures)
    return dict(client.status().signatures)
