"""One table of broken statements, four judges: signer, registry, flow and audit each refuse every row, and take the right one.

A rule that one of them forgets is found here, whoever wrote it (docs/decisions/0015). Rows have one fault each; what a
unit's records are judged by besides (challenges, counts, owners of keys) is each party's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from hsm.signer import SignerError
from registry.errors import RefusedError
from station.faults import Fault
from tests.contract.judges import (
    ON_COMPLETION,
    ON_PIN,
    ON_RECEIPT,
    OTHER,
    AuditError,
    Court,
    ToldDevice,
    Unit,
    fresh_nonces,
)
from tests.hsm.floor import Device
from tests.hsm.repeated_nonce import P256_ORDER
from tests.hsm.software_token import sealed
from trust.codes import Code
from trust.statement import Completion, PinStatement, Possession, Vetting

REFUSALS = (SignerError, RefusedError, Fault, AuditError)
# In the court, the right statement; the broken one.
BreakPin = Callable[[Court, ToldDevice, PinStatement], PinStatement]
BreakCompletion = Callable[[Court, Unit], Completion]


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    made = Court(tmp_path_factory.mktemp("court"))
    yield made
    made.database.close()


# ---- pin statements


def says(**changes: Any) -> BreakPin:
    return lambda _court, _device, pin: msgspec.structs.replace(pin, **changes)


def proof(change: Callable[[ToldDevice, Possession], Possession]) -> BreakPin:
    return lambda _, device, pin: msgspec.structs.replace(pin, possession=change(device, pin.possession))


def other_firmware(_: Court, _device: ToldDevice, pin: PinStatement) -> PinStatement:
    declared = msgspec.structs.replace(pin.declared, firmware_sha256="cd" * 32)
    return msgspec.structs.replace(pin, declared=declared)


def mirrored(signature: bytes) -> bytes:
    """Another signature of the same message with the same r: no deterministic signer gives both."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, P256_ORDER - s)


def with_signatures(possession: Possession, *signatures: bytes) -> Possession:
    return msgspec.structs.replace(possession, signatures=signatures)


def told(device: ToldDevice, context: str, challenge: bytes, *nonces: int) -> Possession:
    """Its proof, signed with these nonces."""
    device.nonces = iter(nonces)
    return device.prove(context, challenge)


def proofs(context: str) -> dict[str, Callable[[ToldDevice, Possession], Possession]]:
    """Ways in which a proof of possession does not hold."""
    wrong = "verify" if context == "pin" else "pin"
    return {
        "context": lambda device, right: device.prove(wrong, right.challenge),
        "key": lambda device, right: Device(device_id=device.device_id).prove(context, right.challenge),
        "one key": lambda device, right: with_signatures(
            right, right.signatures[0], Device(device_id=device.device_id).prove(context, right.challenge).signatures[0]
        ),
        "device": lambda device, right: Device(device.key).prove(context, right.challenge),
        "challenge": lambda device, right: with_signatures(right, *device.prove(context, bytes(31) + b"\1").signatures),
        "short challenge": lambda _, right: msgspec.structs.replace(right, challenge=right.challenge[:31]),
        "no signature": lambda _, right: with_signatures(right, b"", b""),
        "mirrored": lambda _, right: with_signatures(right, right.signatures[0], mirrored(right.signatures[0])),
    }


INVALID, PROOF, REPORT, ORDER = Code.STATEMENT_INVALID, Code.PROOF_INVALID, Code.REPORT_INVALID, Code.ORDER_REFUSES
# What is wrong, and the codes of signer and registry.
PINS: dict[str, tuple[BreakPin, Code, Code]] = {
    "environment": (says(environment="site-a"), Code.WRONG_ENVIRONMENT, Code.WRONG_ENVIRONMENT),
    "root": (says(root_sha256="00" * 32), Code.WRONG_ROOT, Code.WRONG_ROOT),
    "station": (says(station=OTHER), Code.NOT_AUTHORISED, ORDER),
    "order": (says(order_id="order-2"), Code.ORDER_UNKNOWN, ORDER),
    "order's bytes": (says(order_sha256="00" * 32), ORDER, ORDER),
    "order signed": (says(order_signed=True), INVALID, ORDER),
    "product": (says(product="toaster"), ORDER, ORDER),
    "product id": (says(product_id=8), ORDER, ORDER),
    "origin": (says(origin="collected"), ORDER, ORDER),
    "origin unproven": (says(origin_proven=False), ORDER, ORDER),
    "firmware": (other_firmware, ORDER, ORDER),
    "key type": (says(key_type="rsa-2048"), ORDER, INVALID),
    "no key": (says(spki=b"no key"), INVALID, INVALID),
    "key of another encoding": (
        lambda _court, _device, pin: msgspec.structs.replace(pin, spki=pin.spki + b"\0"), INVALID, INVALID,
    ),
    "fingerprint": (says(fingerprint="00" * 32), INVALID, INVALID),
    "device": (says(device_id="01" * 12), PROOF, INVALID),
    "weak key": (says(vetting=Vetting(verdict="weak", checks=())), Code.KEY_WEAK, Code.KEY_WEAK),
    "unvetted key": (says(vetting=Vetting(verdict="unknown", checks=())), Code.KEY_WEAK, Code.KEY_WEAK),
    **{f"proof: {name}": (proof(change), PROOF, PROOF) for name, change in proofs("pin").items()},
}  # fmt: skip


@pytest.mark.parametrize("judge", ON_PIN)
def test_a_right_pin_statement_is_taken(court: Court, judge: str) -> None:
    device = ToldDevice()
    ON_PIN[judge](court, device, court.floor.pin(device))


@pytest.mark.parametrize("judge", ON_PIN)
@pytest.mark.parametrize("name", PINS)
def test_a_broken_pin_statement_is_refused(court: Court, name: str, judge: str) -> None:
    change, signer, registry = PINS[name]
    device = ToldDevice()
    broken = change(court, device, court.floor.pin(device))
    with pytest.raises(REFUSALS) as caught:
        ON_PIN[judge](court, device, broken)
    assert_refused(caught.value, signer, registry)
    assert court.registry.find(device.device_id) is None


# ---- completions


def claims(**changes: Any) -> BreakCompletion:
    return lambda _, unit: msgspec.structs.replace(unit.done, **changes)


def reports(**changes: Any) -> BreakCompletion:
    """The device itself says so, under its own signature."""
    return lambda court, unit: msgspec.structs.replace(
        unit.done, closing=unit.device.closing(court.floor.order, unit.done.closing.challenge, **changes)
    )


def all_say(host: str) -> BreakCompletion:
    """Report and statement agree; the order says otherwise."""
    return lambda court, unit: msgspec.structs.replace(reports(host=host)(court, unit), host=host)


def second(change: Callable[[ToldDevice, Possession], Possession]) -> BreakCompletion:
    def broken(_: Court, unit: Unit) -> Completion:
        possession = change(unit.device, unit.done.verification.possession)
        return msgspec.structs.replace(
            unit.done, verification=msgspec.structs.replace(unit.done.verification, possession=possession)
        )

    return broken


def strangers_report(court: Court, unit: Unit) -> Completion:
    stranger = Device(device_id=unit.device.device_id, job=unit.device.job)
    forged = stranger.closing(court.floor.order, unit.done.closing.challenge).signature
    return msgspec.structs.replace(unit.done, closing=msgspec.structs.replace(unit.done.closing, signature=forged))


def stale_report(court: Court, unit: Unit) -> Completion:
    stale = unit.device.closing(court.floor.order, bytes(32))
    closing = msgspec.structs.replace(stale, challenge=unit.done.closing.challenge)
    return msgspec.structs.replace(unit.done, closing=closing)


def closing(**changes: Callable[[bytes], bytes]) -> BreakCompletion:
    def broken(_: Court, unit: Unit) -> Completion:
        made = {name: change(getattr(unit.done.closing, name)) for name, change in changes.items()}
        return msgspec.structs.replace(unit.done, closing=msgspec.structs.replace(unit.done.closing, **made))

    return broken


def nonce_of_the_pin_statement(_: Court, unit: Unit) -> Completion:
    return second(lambda device, right: told(device, "verify", right.challenge, device.used[0], 5))(_, unit)


def report_with_a_nonce_of(which: int) -> BreakCompletion:
    """0: of the pin statement's first proof; 2: of the second proof."""

    def broken(court: Court, unit: Unit) -> Completion:
        proven = told(unit.device, "verify", unit.done.verification.possession.challenge, 7, 8)
        used = {0: unit.device.used[0], 2: 7}[which]
        unit.device.nonces = iter([used])
        made = unit.device.closing(court.floor.order, unit.done.closing.challenge)
        done = second(lambda *_: proven)(court, unit)
        return msgspec.structs.replace(done, closing=made)

    return broken


COMPLETIONS: dict[str, tuple[BreakCompletion, Code, Code]] = {
    "environment": (claims(environment="site-a"), Code.WRONG_ENVIRONMENT, Code.WRONG_ENVIRONMENT),
    "root": (claims(root_sha256="00" * 32), Code.WRONG_ROOT, Code.WRONG_ROOT),
    "station": (claims(station=OTHER), Code.NOT_AUTHORISED, ORDER),
    "order": (claims(order_id="order-2"), Code.ORDER_UNKNOWN, INVALID),
    "order's bytes": (claims(order_sha256="00" * 32), ORDER, ORDER),
    "cloud key": (claims(cloud_fingerprint="00" * 32), ORDER, REPORT),
    "authority key": (claims(authority_fingerprint="00" * 32), ORDER, REPORT),
    "service": (claims(service="tcp"), ORDER, REPORT),
    "host": (claims(host="elsewhere.example"), ORDER, REPORT),
    "port": (claims(port=1), ORDER, REPORT),
    "host, and so says the device": (all_say("elsewhere.example"), ORDER, ORDER),
    "pin": (claims(pin_sha256="00" * 32), INVALID, Code.NOT_PINNED),
    "receipt": (claims(receipt_sha256="00" * 32), INVALID, INVALID),
    "job": (claims(job="00" * 16), INVALID, INVALID),
    "device": (claims(device_id="01" * 12), INVALID, INVALID),
    "fingerprint": (claims(fingerprint="00" * 32), INVALID, INVALID),
    "emulated": (claims(emulated=False), INVALID, INVALID),
    "write not refused": (claims(write_refused_after_lock=False), REPORT, REPORT),
    "report: device": (reports(device=b"\1" * 12), REPORT, REPORT),
    "report: job": (reports(job=bytes(16)), REPORT, REPORT),
    "report: key": (reports(own=bytes(32)), REPORT, REPORT),
    "report: cloud key": (reports(cloud=bytes(32)), REPORT, REPORT),
    "report: authority key": (reports(authority=bytes(32)), REPORT, REPORT),
    "report: service": (reports(service=0), REPORT, REPORT),
    "report: host": (reports(host="elsewhere.example"), REPORT, REPORT),
    "report: port": (reports(port=1), REPORT, REPORT),
    "report: firmware": (reports(firmware=bytes(32)), REPORT, REPORT),
    "report: not locked": (reports(locked=0), REPORT, REPORT),
    "report: locked, perhaps": (reports(locked=2), REPORT, REPORT),
    "report: by a stranger": (strangers_report, REPORT, REPORT),
    "report: over another challenge": (stale_report, REPORT, REPORT),
    "report: cut": (closing(report=lambda report: report[:-1]), REPORT, REPORT),
    "report: short challenge": (closing(challenge=lambda challenge: challenge[:-1]), REPORT, REPORT),
    "report: not signed": (closing(signature=lambda _: b""), REPORT, REPORT),
    **{f"second proof: {name}": (second(change), PROOF, PROOF) for name, change in proofs("verify").items()},
    "nonce: pin statement and second proof": (nonce_of_the_pin_statement, PROOF, PROOF),
    "nonce: pin statement and report": (report_with_a_nonce_of(0), PROOF, PROOF),
    "nonce: second proof and report": (report_with_a_nonce_of(2), PROOF, PROOF),
}


@pytest.mark.parametrize("judge", ON_COMPLETION)
def test_a_right_completion_is_taken(court: Court, judge: str) -> None:
    unit = court.unit()
    ON_COMPLETION[judge](court, unit, unit.done)


@pytest.mark.parametrize("judge", ON_COMPLETION)
def test_a_deterministic_signers_completion_is_taken(court: Court, judge: str) -> None:
    """The same message signed twice with the same bytes (RFC 6979)."""
    unit, nonce = court.unit(), next(fresh_nonces())
    twice = second(lambda device, right: told(device, "verify", right.challenge, nonce, nonce))(court, unit)
    ON_COMPLETION[judge](court, unit, twice)


@pytest.mark.parametrize("judge", ON_COMPLETION)
@pytest.mark.parametrize("name", COMPLETIONS)
def test_a_broken_completion_is_refused(court: Court, name: str, judge: str) -> None:
    change, signer, registry = COMPLETIONS[name]
    unit = court.unit()
    broken = change(court, unit)
    with pytest.raises(REFUSALS) as caught:
        ON_COMPLETION[judge](court, unit, broken)
    assert_refused(caught.value, signer, registry)
    held = court.registry.find(unit.device.device_id)
    assert held is not None
    assert held.completion is None


@pytest.mark.parametrize("judge", ON_COMPLETION)
def test_what_the_device_calls_emulated_is_not_completed_as_real(court: Court, judge: str) -> None:
    real = court.unit(emulated=False)
    with pytest.raises(REFUSALS) as caught:
        ON_COMPLETION[judge](court, real, reports(emulated=1)(court, real))
    assert_refused(caught.value, REPORT, REPORT)
    ON_COMPLETION[judge](court, real, real.done)


# ---- receipts of a pin statement


RECEIPTS: dict[str, tuple[dict[str, str], Code]] = {
    "environment": ({"environment": "site-a"}, Code.WRONG_ENVIRONMENT),
    "root": ({"root_sha256": "00" * 32}, Code.WRONG_ROOT),
    "registry": ({"registry": "reg-02"}, INVALID),
    "subject": ({"subject": "completion"}, INVALID),
    "statement": ({"statement_sha256": "00" * 32}, INVALID),
    "order": ({"order_id": "order-2"}, INVALID),
    "job": ({"job": "00" * 16}, INVALID),
    "device": ({"device_id": "02" * 12}, INVALID),
    "fingerprint": ({"fingerprint": "00" * 32}, INVALID),
    "state": ({"state": "active"}, INVALID),
}


@pytest.mark.parametrize("judge", ON_RECEIPT)
def test_a_right_receipt_is_taken(court: Court, judge: str) -> None:
    unit = court.unit()
    told = court.seal(court.floor.receipt(unit.device, unit.pin), "receipt")
    ON_RECEIPT[judge](court, unit, told)


@pytest.mark.parametrize("judge", ON_RECEIPT)
@pytest.mark.parametrize("name", RECEIPTS)
def test_a_broken_receipt_is_refused(court: Court, name: str, judge: str) -> None:
    change, signer = RECEIPTS[name]
    unit = court.unit()
    broken = court.seal(court.floor.receipt(unit.device, unit.pin, **change), "receipt")
    with pytest.raises(REFUSALS) as caught:
        ON_RECEIPT[judge](court, unit, broken)
    assert_refused(caught.value, signer, INVALID)


@pytest.mark.parametrize("judge", ON_RECEIPT)
@pytest.mark.parametrize("label", ["cloud-udp", "authority"])
def test_a_receipt_by_another_key_is_refused(court: Court, label: str, judge: str) -> None:
    unit = court.unit()
    forged = sealed(court.cloud, court.floor.receipt(unit.device, unit.pin), label)
    with pytest.raises(REFUSALS) as caught:
        ON_RECEIPT[judge](court, unit, forged)
    assert_refused(caught.value, INVALID, INVALID)


def assert_refused(error: BaseException, signer: Code, registry: Code) -> None:
    """Each party by its own code, and with a sentence."""
    assert str(error)
    if isinstance(error, SignerError):
        assert error.code is signer
    if isinstance(error, RefusedError):
        assert error.code is registry
