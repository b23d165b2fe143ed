"""What a completion says of its handshake, before signer, registry, flow and audit: each refuses every row but the right ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from hsm.signer import SignerError
from registry.errors import RefusedError
from station.faults import Fault
from tests.contract.judges import ON_COMPLETION, OTHER, AuditError, Court, Unit
from tests.hsm.floor import Device
from tests.hsm.local_signer import FactoryVerbs
from trust.codes import Code
from trust.dsse import Envelope
from trust.root import TrustedRoot
from trust.root_file import wrap
from trust.statement import Completion, Verification

REFUSALS = (SignerError, RefusedError, Fault, AuditError)
MISSING = Code.HANDSHAKE_MISSING
Says = Callable[[Court, Unit], Verification]


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    """Its order wants a handshake, and one waiver may stand for it."""
    made = Court(tmp_path_factory.mktemp("asked"), handshakes=("udp",), handshake_waivers=("service-away",))
    yield made
    made.database.close()


@pytest.fixture(scope="module")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    """Its order asks for none."""
    made = Court(tmp_path_factory.mktemp("not-asked"))
    yield made
    made.database.close()


def with_verification(unit: Unit, said: Verification) -> Completion:
    return msgspec.structs.replace(unit.done, verification=said)


def verification(unit: Unit, **says: Any) -> Verification:
    return msgspec.structs.replace(unit.done.verification, **says)


def about(**says: Any) -> Says:
    """A report that the device service has signed, of something else."""
    return lambda court, unit: verification(unit, handshake_report=court.floor.handshake_report(unit.device, **says))


def of_device(**other: Any) -> Says:
    """The right report of another device, or of this one with another key or job."""

    def said(court: Court, unit: Unit) -> Verification:
        same = {"key": unit.device.key, "device_id": unit.device.device_id, "job": unit.device.job}
        new = Device()
        return verification(
            unit,
            handshake_report=court.floor.handshake_report(
                Device(**{**same, **{name: getattr(new, name) for name in other}})
            ),
        )

    return said


def signed_by(label: str) -> Says:
    return lambda court, unit: verification(
        unit, handshake_report=court.floor.handshake_report(unit.device, label=label)
    )


def says(**changes: Any) -> Says:
    return lambda _, unit: verification(unit, **changes)


def spoilt(change: Callable[[Envelope], Envelope]) -> Says:
    def said(_: Court, unit: Unit) -> Verification:
        report = unit.done.verification.handshake_report
        assert report is not None
        return verification(unit, handshake_report=change(report))

    return said


def other_kind(_: Court, unit: Unit) -> Verification:
    """A statement of the same registry, and no handshake report."""
    return verification(unit, handshake_report=unit.receipt)


NONE = {"handshake_report": None, "handshake_waiver": ""}
ROWS: dict[str, Says] = {
    "no report": says(handshake_report=None),
    "no report, and none asked for it says": says(handshake="not-asked", **NONE),
    "a report that is claimed by nobody": says(handshake="not-asked"),
    "a report beside a waiver": says(handshake_waiver="service-away"),
    "waived, with a report": says(handshake="waived", handshake_waiver="service-away"),
    "waived for nothing": says(handshake="waived", **NONE),
    "a waiver that the order does not allow": says(handshake="waived", handshake_report=None, handshake_waiver="no-tunnel"),
    "another device's": of_device(device_id=True),
    "another device's, all of it": of_device(device_id=True, key=True, job=True),
    "another job's": of_device(job=True),
    "another device key's": of_device(key=True),
    "another cloud key's": about(cloud_fingerprint="00" * 32),
    "another protocol's": about(protocol="tcp"),
    "another order's": about(order_id="order-9"),
    "another station's": about(station=OTHER),
    "another registry's": about(registry="reg-02"),
    "another environment's": about(environment="site-a"),
    "under another root": about(root_sha256="00" * 32),
    "signed by the receipts' key": signed_by("receipt"),
    "signed by a device service's key": signed_by("cloud-udp"),
    "signed by nobody": spoilt(lambda report: msgspec.structs.replace(report, signatures=())),
    "signed twice": spoilt(lambda report: msgspec.structs.replace(report, signatures=report.signatures * 2)),
    "changed": spoilt(lambda report: msgspec.structs.replace(report, payload=report.payload.replace(b"CCM", b"GCM"))),
    "another statement": other_kind,
}  # fmt: skip


@pytest.mark.parametrize("judge", ON_COMPLETION)
def test_a_handshake_report_and_an_allowed_waiver_are_taken(court: Court, judge: str) -> None:
    proved, waived = court.unit(), court.unit()
    assert proved.done.verification.handshake == "proved"
    ON_COMPLETION[judge](court, proved, proved.done)
    without = verification(waived, handshake="waived", handshake_report=None, handshake_waiver="service-away")
    ON_COMPLETION[judge](court, waived, with_verification(waived, without))


@pytest.mark.parametrize("name", ROWS)
def test_anything_else_is_refused(court: Court, name: str) -> None:
    unit = court.unit()
    broken = with_verification(unit, ROWS[name](court, unit))
    for judge in ON_COMPLETION.values():
        with pytest.raises(REFUSALS) as caught:
            judge(court, unit, broken)
        assert_missing(caught.value)
    held = court.registry.find(unit.device.device_id)
    assert held is not None
    assert held.completion is None


@pytest.mark.parametrize("judge", ON_COMPLETION)
def test_an_order_that_asks_for_none_gets_none(lenient: Court, judge: str) -> None:
    unit = lenient.unit()
    report = lenient.floor.handshake_report(unit.device)
    for said in (
        {"handshake": "proved", "handshake_report": report},
        {"handshake": "waived", "handshake_waiver": "no-tunnel"},
    ):
        with pytest.raises(REFUSALS) as caught:
            ON_COMPLETION[judge](lenient, unit, with_verification(unit, verification(unit, **said)))
        assert_missing(caught.value)
    ON_COMPLETION[judge](lenient, unit, unit.done)


def test_the_signer_takes_no_report_of_a_key_that_was_replaced(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Who records what was signed in time goes on taking it: the registry, the flow and the audit."""
    court = Court(tmp_path_factory.mktemp("replaced"), handshakes=("udp",))
    unit, first = court.unit(), court.trusted
    keys = msgspec.structs.replace(first.root.cloud_keys, handshake=court.cloud.public_key("authority"))
    later = msgspec.structs.replace(first.root, version=2, previous_sha256=first.sha256, cloud_keys=keys)
    second = TrustedRoot(later, wrap(later).payload_sha256, ((first.sha256, first.root),))
    signatory = dataclasses.replace(court.floor.factory.signatory, trusted=second)
    court.floor.factory = FactoryVerbs(signatory)
    with pytest.raises(SignerError, match="any more") as caught:
        ON_COMPLETION["signer"](court, unit, unit.done)
    assert caught.value.code is MISSING
    court.line.root = second
    ON_COMPLETION["flow"](court, unit, unit.done)
    court.trusted = second
    ON_COMPLETION["audit"](court, unit, unit.done)
    court.database.close()


def assert_missing(error: BaseException) -> None:
    """With a sentence, and by the code that says so where there is one."""
    assert str(error)
    if isinstance(error, SignerError | RefusedError):
        assert error.code is MISSING
