"""The relay over the registry's API: what is asked, what is understood, and what counts as no answer."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from fixtures.device import Service
from station.cloud import CloudRefusedError, CloudUnreachableError, DeviceServiceAwayError, answers
from station.relay import HttpRelay
from tests.registry.make import ec_key, signed, world
from tests.trust.handshakes import report_of
from trust.codes import Code
from trust.identity import DeviceId, JobId

pytestmark = pytest.mark.anyio
NAME = "0f" * 16
DEVICE, JOB = DeviceId(b"\x01" * 12), JobId(b"\x02" * 16)


def answer(**says: Any) -> dict[str, Any]:
    return {"handshake": NAME, "state": "running", "send": [], "report": None, **says}


@dataclass(slots=True)
class Registry:
    """Answers with a status and a body, as `station.cloud.http` hands them on."""

    body: object
    status: int = 200
    asked_for: list[tuple[str, str, Any]] = field(default_factory=list)

    conversations: int = 0
    open: int = 0

    @contextmanager
    def conversation(self) -> Iterator[Registry]:
        self.conversations += 1
        self.open += 1
        try:
            yield self
        finally:
            self.open -= 1

    async def asked(self, method: str, path: str, body: bytes | None = None) -> bytes:
        self.asked_for.append((method, path, json.loads(body or b"null")))
        content = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return answers.understood(f"{method} {path}", self.status, content, bytes)


async def test_what_is_asked_and_what_is_understood() -> None:
    registry = Registry(answer(send=[base64.b64encode(b"nonce").decode()]), 201)
    said = await HttpRelay(registry).open(DEVICE, JOB, Service.TCP, [b"hi"])
    assert (said.handshake, said.state, said.send, said.report) == (NAME, "running", (b"nonce",), None)
    registry.body, registry.status = answer(), 200
    await HttpRelay(registry).step(NAME, [b"one", b"two"], ended=True)
    assert registry.asked_for == [
        (
            "POST",
            "/v1/handshakes",
            {"device_id": str(DEVICE), "job": str(JOB), "protocol": "tcp", "received": ["aGk="]},
        ),
        ("POST", f"/v1/handshakes/{NAME}", {"received": ["b25l", "dHdv"], "ended": True}),
    ]


async def test_a_handshake_has_one_conversation_from_its_beginning_to_its_end() -> None:
    registry = Registry(answer(), 201)
    relay = HttpRelay(registry)
    await relay.open(DEVICE, JOB, Service.UDP, [b"hi"])
    registry.status = 200
    await relay.step(NAME, [b"one"])
    registry.status, registry.body = 429, refusal("too-many-requests")
    with pytest.raises(CloudUnreachableError):  # no Retry-After: it is not asked again
        await relay.step(NAME, [b"two"])
    assert (registry.conversations, registry.open) == (1, 0)
    for end, status in ((answer(state="refused"), 200), (refusal("handshake-unknown"), 404)):
        registry.body, registry.status = answer(), 201
        await relay.open(DEVICE, JOB, Service.UDP, [b"hi"])
        registry.body, registry.status = end, status
        with contextlib.suppress(CloudRefusedError):
            await relay.step(NAME, [b"one"])
    assert (registry.conversations, registry.open) == (3, 0)


async def test_a_report_comes_as_it_is() -> None:
    made = world()
    says = {"station": "station-01", "job": "5a" * 16, "device_id": "a1" * 12, "fingerprint": "01" * 32}
    report = signed(report_of(made.trusted, made.order, **says), ec_key())
    body = b'{"handshake":"%s","state":"done","send":[],"report":%s}' % (NAME.encode(), report.to_json())
    assert (await HttpRelay(Registry(body)).step(NAME, ())).report == report


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"null", b"[]", b"\xff", b"[" * 5000,
        answer(state="over"), answer(handshake="x"), answer(handshake="1f" * 16), answer(send=["not base64!"]),
        answer(send=[base64.b64encode(bytes(641)).decode()]), answer(send=["AA=="] * 65), answer(report={}),
        answer(report="none"),
    ],
)  # fmt: skip
async def test_what_is_no_answer_of_this_api_is_none(body: object) -> None:
    with pytest.raises(CloudUnreachableError) as caught:
        await HttpRelay(Registry(body)).step(NAME, ())
    assert str(caught.value).isprintable()
    assert not isinstance(caught.value, DeviceServiceAwayError)


def refusal(code: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": "for a test", "stored": None}}


async def test_a_service_that_is_away_is_no_registry_that_is_away() -> None:
    with pytest.raises(DeviceServiceAwayError):
        await HttpRelay(Registry(refusal("device-service-away"), 503)).open(DEVICE, JOB, Service.UDP, ())
    with pytest.raises(CloudUnreachableError) as caught:
        await HttpRelay(Registry(refusal("store-failed"), 503)).open(DEVICE, JOB, Service.UDP, ())
    assert not isinstance(caught.value, DeviceServiceAwayError)
    with pytest.raises(CloudRefusedError) as refused:
        await HttpRelay(Registry(refusal("handshake-unknown"), 404)).step(NAME, ())
    assert refused.value.code is Code.HANDSHAKE_UNKNOWN
