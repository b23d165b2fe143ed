"""A log that is whole but whose statements lie: each lie is named by its check. The control is the same unit, honest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger.audit import Finding
from station.audit import audit
from station.jobs import RecordKind, writes
from station.jobs.schema import open_database
from station.jobs.store import JobStore
from tests.registry.make import Device, World, signed, world
from tests.station import ledgerkit as kit
from trust.dsse import Envelope
from trust.statement import Vetting, envelope

Story = Callable[[JobStore], Awaitable[None]]


@pytest.fixture(scope="module")
def made() -> World:
    return world()


@pytest.fixture
def told(tmp_path: Path, made: World) -> Callable[[Story], list[Finding]]:
    """Write a story to a new ledger and audit it."""

    def tell(story: Story) -> list[Finding]:
        path = tmp_path / "station.db"

        async def write() -> None:
            store = kit.store_at(path, made)
            try:
                await store.keep_order(made.order_envelope)
                await story(store)
                await kit.publish(store, made)
            finally:
                await store.close()

        kit.run(write())
        engine = open_database(path, read_only=True)
        try:
            return list(audit(engine, made.trusted, kit.STATION).findings)
        finally:
            engine.dispose()

    return tell


async def unit(
    store: JobStore,
    made: World,
    *,
    pin: dict[str, Any] | None = None,
    completion: dict[str, Any] | None = None,
    receipt: dict[str, Any] | None = None,
    report: dict[str, Any] | None = None,
    sign: Callable[[RecordKind, Envelope, Device], Envelope] = lambda _kind, statement, _device: statement,
) -> None:
    """One unit from insertion to active; each argument changes what one of its statements says."""
    device = await kit.open_as(store, made, Device())
    pinned = sign(RecordKind.PIN, made.pin(device, **_lies(pin, device)), device)
    received = sign(RecordKind.PIN_RECEIPT, kit.receipt_for(made, pinned, **(receipt or {})), device)
    said = {"report": made.report(device, **report)} if report else {}
    done = made.completion(device, pinned, received, **_lies(completion, device), **said)
    done = sign(RecordKind.COMPLETION, done, device)
    active = sign(RecordKind.COMPLETION_RECEIPT, kit.receipt_for(made, done), device)
    steps = {
        RecordKind.INTENT: kit.unsigned(pinned),
        RecordKind.PIN: pinned,
        RecordKind.PIN_RECEIPT: received,
        RecordKind.COMPLETION_INTENT: kit.unsigned(done),
        RecordKind.COMPLETION: done,
        RecordKind.COMPLETION_RECEIPT: active,
    }
    for kind, statement in steps.items():
        await store.record(device.job, kind, statement)


def _lies(changes: dict[str, Any] | None, device: Device) -> dict[str, Any]:
    return {name: value(device) if callable(value) else value for name, value in (changes or {}).items()}


Told = Callable[[Story], list[Finding]]


def test_an_honest_unit_has_no_finding(told: Told, made: World) -> None:
    assert told(lambda store: unit(store, made)) == []


ANOTHER = Device()


@pytest.mark.parametrize(
    ("lie", "text"),
    [
        ({"pin": {"vetting": Vetting(verdict="weak", checks=())}}, "vetting says 'weak'"),
        ({"pin": {"vetting": Vetting(verdict="unknown", checks=())}}, "vetting says 'unknown'"),
        ({"pin": {"possession": lambda device: ANOTHER.possession("pin")}}, "proof of possession does not verify"),
        ({"pin": {"possession": lambda device: device.possession("verify")}}, "proof of possession is for 'verify'"),
        ({"pin": {"product": "other"}}, "does not permit it: product"),
        ({"pin": {"order_sha256": "00" * 32}}, "does not permit it: order hash"),
        ({"pin": {"origin": "injected"}}, "does not permit it: key origin"),
        ({"pin": {"order_signed": True}}, "says order_signed is True"),
        ({"receipt": {"fingerprint": "00" * 32}}, "receipt: fingerprint"),
        ({"receipt": {"registry": "registry-02"}}, "receipt: registry"),
        ({"completion": {"fingerprint": "00" * 32}}, "is not the pinned one"),
        ({"completion": {"host": "evil.example"}}, "does not permit it: host"),
        ({"completion": {"write_refused_after_lock": False}}, "write refused after lock is False"),
        ({"completion": {"emulated": False}}, "emulated, and not said so"),
        ({"report": {"locked": 0}}, "closing report: locked is False"),
        ({"report": {"host": "evil.example"}}, "closing report: host"),
        ({"report": {"own": "00" * 32}}, "closing report: device key"),
        ({"report": {"job": bytes(16)}}, "closing report: job"),
        ({"report": {"firmware": "00" * 32}}, "is not on the order's list"),
        ({"report": {"storage": 9}}, "a value that is not defined"),
    ],
)
def test_a_statement_that_does_not_hold_is_named(told: Told, made: World, lie: dict[str, Any], text: str) -> None:
    findings = told(lambda store: unit(store, made, **lie))
    assert any(found.check == 11 and text in found.text and found.table == "leaves" for found in findings), findings


@pytest.mark.parametrize("kind", [RecordKind.PIN, RecordKind.COMPLETION])
@pytest.mark.parametrize("by", ["stranger", "other purpose", "device"])
def test_a_statement_signed_by_another_key_is_named(told: Told, made: World, kind: RecordKind, by: str) -> None:
    keys = made.stations[kit.STATION]

    def sign(of: RecordKind, statement: Envelope, device: Device) -> Envelope:
        if of is not kind:
            return statement
        wrong = {
            "stranger": ANOTHER.key,
            "other purpose": keys.completion if kind is RecordKind.PIN else keys.pin,
            "device": device.key,
        }
        signature = signed(_read(statement), wrong[by]).signatures
        return msgspec.structs.replace(statement, signatures=signature)

    findings = told(lambda store: unit(store, made, sign=sign))
    assert [(found.check, found.table) for found in findings] == [(9, "leaves")]
    assert "not signed by the key that the trust root names" in findings[0].text


def _read(statement: Envelope) -> Any:
    from station.jobs.leaf import parse_leaf

    return parse_leaf(statement).body


@pytest.mark.parametrize("kind", [RecordKind.PIN_RECEIPT, RecordKind.COMPLETION_RECEIPT])
def test_a_receipt_by_another_key_is_named(told: Told, made: World, kind: RecordKind) -> None:
    def sign(of: RecordKind, statement: Envelope, _: Device) -> Envelope:
        return signed(_read(statement), ANOTHER.key) if of is kind else statement

    findings = told(lambda store: unit(store, made, sign=sign))
    assert [found.check for found in findings] == [11]
    assert "receipt: not signed by the key that the trust root names" in findings[0].text


def test_a_completion_receipted_as_provisional_is_named(told: Told, made: World) -> None:
    def sign(of: RecordKind, statement: Envelope, _: Device) -> Envelope:
        if of is not RecordKind.COMPLETION_RECEIPT:
            return statement
        return signed(msgspec.structs.replace(_read(statement), state="provisional"), made.receipt_key)

    (found,) = told(lambda store: unit(store, made, sign=sign))
    assert (found.check, "expected 'active'" in found.text) == (11, True)


@pytest.mark.parametrize(("field", "value"), [("environment", "site-1"), ("root_sha256", "00" * 32)])
def test_another_environment_or_root_is_named(told: Told, made: World, field: str, value: str) -> None:
    findings = told(lambda store: unit(store, made, pin={field: value}))
    assert 8 in {found.check for found in findings}


def test_a_statement_of_another_station_in_an_own_job_is_named(told: Told, made: World) -> None:
    findings = told(lambda store: unit(store, made, pin={"station": "station-02"}))
    assert [found.check for found in findings] == [9, 9]  # the intent and the statement
    assert "in a job that this station began" in findings[0].text


def test_an_event_of_another_station_is_named(told: Told, made: World) -> None:
    async def story(store: JobStore) -> None:
        await store.note(msgspec.structs.replace(kit.stamp(made).event("note"), station="station-02"))

    (found,) = told(story)
    assert (found.check, "station-02" in found.text) == (8, True)


def test_an_order_that_is_not_in_the_log_is_named(tmp_path: Path, made: World, told: Told) -> None:
    async def story(store: JobStore) -> None:
        await unit(store, made.with_order(order_id="order-8"))

    findings = told(story)
    assert {found.check for found in findings} == {11}
    assert all("order order-8 is not in the log" in found.text for found in findings)


def test_an_order_that_makes_no_sense_is_named(told: Told, made: World) -> None:
    async def story(store: JobStore) -> None:
        await store.keep_order(made.with_order(order_id="order-8", quantity=0).order_envelope)

    (found,) = told(story)
    assert (found.check, "quantity" in found.text) == (11, True)


def test_a_device_signed_for_with_two_keys_is_named(told: Told, made: World) -> None:
    second = made.with_order(order_id="order-8")

    async def story(store: JobStore) -> None:
        first = await kit.bring_to(store, made, RecordKind.PIN)
        await store.keep_order(second.order_envelope)
        await kit.bring_to(store, second, RecordKind.PIN, Device(device_id=first.device.device_id))

    (found,) = told(story)
    assert (found.check, "signed for with another key" in found.text) == (11, True)


@pytest.mark.parametrize(
    ("kinds", "text"),
    [
        ([RecordKind.PIN], "pin before intent"),
        ([RecordKind.INTENT, RecordKind.PIN_RECEIPT], "pin-receipt before pin"),
        ([RecordKind.INTENT, RecordKind.PIN, RecordKind.COMPLETION], "completion before pin-receipt"),
        (
            [RecordKind.INTENT, RecordKind.PIN, RecordKind.PIN_RECEIPT, RecordKind.COMPLETION],
            "before completion-intent",
        ),
    ],
)
def test_a_store_without_rules_is_caught(
    told: Told, made: World, monkeypatch: pytest.MonkeyPatch, kinds: list[RecordKind], text: str
) -> None:
    """No completion without receipt, no pin without intent: the audit's own rule, with the store's switched off."""
    monkeypatch.setattr(writes, "problem", lambda _leaf, _known: None)

    async def story(store: JobStore) -> None:
        papers = kit.papers(made, await kit.open_as(store, made, Device()))
        for kind in kinds:
            await store.record(papers.device.job, kind, papers.steps[kind])

    findings = told(story)
    assert any(found.check == 10 and text in found.text for found in findings), findings


def test_a_store_that_forgets_keys_is_caught(told: Told, made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One device a key: with the unique rows gone, two jobs share a key, and the audit says whose it was first."""
    from station.jobs.projection import rows
    from station.jobs.tables import KeyRow, SignatureRRow

    forgetful = lambda *known: [row for row in rows(*known) if row.table not in {KeyRow, SignatureRRow}]  # noqa: E731
    monkeypatch.setattr(writes, "rows", forgetful)

    async def story(store: JobStore) -> None:
        first = await kit.open_as(store, made, Device())
        clone = await kit.open_as(store, made, Device(first.key))
        for device in (first, clone):
            await store.record(device.job, RecordKind.INTENT, envelope(made.pin_statement(device)))

    findings = told(story)
    assert any(found.check == 11 and "key is on record under job" in found.text for found in findings)
    assert {found.table for found in findings if found.check == 12} == {"keys", "signature_r"}


def test_a_statement_that_is_not_its_intent_is_caught(told: Told, made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same job, same bytes."""
    monkeypatch.setattr(writes, "problem", lambda _leaf, _known: None)

    async def story(store: JobStore) -> None:
        device = await kit.open_as(store, made, Device())
        await store.record(device.job, RecordKind.INTENT, envelope(made.pin_statement(device)))
        await store.record(device.job, RecordKind.PIN, made.pin(device))

    (found,) = told(story)
    assert (found.check, "does not belong to the intent" in found.text) == (10, True)
