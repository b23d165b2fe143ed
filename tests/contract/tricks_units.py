"""Tricks with statements about devices: pins, completions and receipts that are not so, and other spellings of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgspec

from tests.contract.stage import OTHER, STATION, Stage
from tests.contract.tricked import (
    BYTES,
    COMPLETIONS,
    PINS,
    RECEIPTS,
    Party,
    Trick,
    signer_on_revocation,
    some_unit,
)
from tests.hsm.floor import FIRMWARE, Device
from tests.hsm.local_signer import asked
from tests.hsm.software_token import SoftwareToken, sealed
from tests.trust.people import with_signatures
from trust.dsse import Envelope, Signature
from trust.identity import DeviceId
from trust.order import Firmware
from trust.statement import Receipt, envelope, read

Play = Callable[[Stage], tuple[Any, Any]]

# ---- pin statements


def pin(**changes: Any) -> Play:
    """A device's pin statement that says this; and another's that is right."""

    def play(stage: Stage) -> tuple[Any, Any]:
        wrong, right = Device(), Device()
        return (wrong, stage.floor.pin(wrong, **changes)), (right, stage.floor.pin(right))

    return play


def declares(**changes: Any) -> Play:
    def play(stage: Stage) -> tuple[Any, Any]:
        wrong, right = Device(), Device()
        made = stage.floor.pin(wrong)
        declared = msgspec.structs.replace(made.declared, **changes)
        return (wrong, msgspec.structs.replace(made, declared=declared)), (right, stage.floor.pin(right))

    return play


def under(declares: dict[str, Any], **order_says: Any) -> Play:
    """An order that asks for more than the stage's, and another device than the one on its list."""

    def play(stage: Stage) -> tuple[Any, Any]:
        listed, other = Device(device_id=LISTED), Device()
        stage.floor = stage.floor_of(stage.order(**order_says))
        stage.line.work, stage.line.order = stage.floor.order, stage.floor.order_envelope
        made = stage.floor.pin(other)
        declared = msgspec.structs.replace(made.declared, **declares)
        return (other, msgspec.structs.replace(made, declared=declared)), (listed, stage.floor.pin(listed))

    return play


LISTED = DeviceId(bytes.fromhex("ab" * 12))


def proof_of_another(stage: Stage) -> tuple[Any, Any]:
    """The challenge was given for another device, which has proved itself; only the name is changed."""
    right = Device()
    wrong, made = Device(job=right.job), stage.floor.pin(right)
    return (wrong, msgspec.structs.replace(made, device_id=str(wrong.device_id))), (right, made)


def stale_challenge(stage: Stage) -> tuple[Any, Any]:
    """A proof over a challenge that this signer has never given: only the signer can know."""
    wrong, right = Device(), Device()
    return (wrong, stage.floor.pin(wrong, bytes(32))), (right, stage.floor.pin(right))


def challenge_twice(stage: Stage) -> tuple[Any, Any]:
    """One challenge, two statements of one job: the second would replace the first."""
    device, right = Device(), Device()
    challenge = stage.floor.challenge(device)
    stage.factory.sign_pin(stage.floor.pin(device, challenge))
    again = stage.floor.pin(device, challenge, made_at="2026-11-22T20:00:01Z")
    return (device, again), (right, stage.floor.pin(right))


def same_key_again(stage: Stage) -> tuple[Any, Any]:
    """A clone: another device with a key that was signed for."""
    first, right = Device(), Device()
    stage.factory.sign_pin(stage.floor.pin(first))
    clone = Device(key=first.key)
    return (clone, stage.floor.pin(clone)), (right, stage.floor.pin(right))


def one_too_many(stage: Stage) -> tuple[Any, Any]:
    """Quantity 3 and allowance 1 are used up; under another order there is room."""
    for _ in range(4):
        stage.factory.sign_pin(stage.floor.pin(Device()))
    other, right = stage.floor_of(stage.order()), Device()
    wrong = Device()
    return (wrong, stage.floor.pin(wrong)), (right, other.pin(right))


def vetted(stage: Stage, verdict: Any) -> tuple[Any, Any]:
    wrong, right = Device(), Device()
    made = stage.floor.pin(wrong)
    vetting = msgspec.structs.replace(made.vetting, verdict=verdict)
    return (wrong, msgspec.structs.replace(made, vetting=vetting)), (right, stage.floor.pin(right))


# ---- completions and receipts


def completion(**changes: Any) -> Play:
    def play(stage: Stage) -> tuple[Any, Any]:
        unit = stage.unit()
        return (unit, msgspec.structs.replace(unit.done, **changes)), (unit, unit.done)

    return play


def reports(**changes: Any) -> Play:
    """A closing report, signed by the device, that says something else than the completion."""

    def play(stage: Stage) -> tuple[Any, Any]:
        unit = stage.unit()
        wrong = stage.floor.completion(unit.device, unit.pin, unit.receipt, report=changes)
        return (unit, wrong), (unit, unit.done)

    return play


def without_pin(stage: Stage) -> tuple[Any, Any]:
    """Everything but the signature on the pin statement, which the signer never made."""
    unit = stage.unit()
    device: Any = Device()
    forged = sealed(SoftwareToken.make(stage.directory / "own", "factory"), stage.floor.pin(device), "pin")
    receipt = stage.receipts.sign_receipt(stage.floor.receipt(device, forged))
    done = stage.floor.completion(device, forged, receipt)
    made = type(unit)(device=device, pin=forged, receipt=receipt, done=done)
    return (made, done), (unit, unit.done)


def scrapped(stage: Stage) -> tuple[Any, Any]:
    gone, unit = some_unit(stage), some_unit(stage)
    signer_on_revocation(stage, stage.revocation(gone))
    return (gone, gone.done), (unit, unit.done)


def freed_twice(stage: Stage) -> tuple[Any, Any]:
    """Three are completed, one of them is scrapped, its revocation sent twice: a fourth is completed, no fifth."""
    stage.floor = stage.floor_of(stage.order(allowance=2))
    units = [stage.unit() for _ in range(5)]
    for each in units[:3]:
        stage.factory.sign_completion(each.done, each.pin, each.receipt)
    for _ in range(2):
        stage.factory.import_revocation(stage.revocation(units[0]))
    stage.factory.sign_completion(units[3].done, units[3].pin, units[3].receipt)
    return (units[4], None), (units[4], stage.revocation(units[1]))


def after_revocation(stage: Stage, made: tuple[Any, Envelope | None]) -> None:
    unit, revocation = made
    if revocation is not None:
        stage.factory.import_revocation(revocation)
    stage.factory.sign_completion(unit.done, unit.pin, unit.receipt)


def receipt(purpose: str = "receipt", **changes: Any) -> Play:
    def play(stage: Stage) -> tuple[Any, Any]:
        unit = stage.unit()
        wrong = msgspec.structs.replace(read(unit.receipt, Receipt), **changes)
        return (unit, sealed(stage.cloud, wrong, purpose)), (unit, unit.receipt)

    return play


def receipt_by_the_signer(stage: Stage) -> tuple[Any, Any]:
    unit = stage.unit()
    return (unit, sealed(stage.tokens[STATION], read(unit.receipt, Receipt), "account")), (unit, unit.receipt)


def receipt_with_junk(stage: Stage) -> tuple[Any, Any]:
    """The right receipt, and a second signature beside it."""
    unit = stage.unit()
    second = sealed(stage.cloud, read(unit.receipt, Receipt), "lease").signatures
    return (unit, with_signatures(unit.receipt, *unit.receipt.signatures, *second)), (unit, unit.receipt)


# ---- spellings


def spelled(change: Callable[[bytes], bytes]) -> Play:
    """A right statement in other bytes, signed with the right key over those."""

    def play(stage: Stage) -> tuple[Any, Any]:
        device, right = Device(), Device()
        made = envelope(stage.floor.pin(device))
        other = msgspec.structs.replace(made, payload=change(made.payload))
        return (device, resealed(stage, other)), (right, stage.seal(stage.floor.pin(right), "pin"))

    return play


def resealed(stage: Stage, bare: Envelope) -> Envelope:
    """Signed by the station's pin key, whatever the bytes are."""
    token = stage.tokens[STATION]
    made = token.sign_ecdsa("pin", hashlib.sha256(bare.pae).digest())
    keyid = hashlib.sha256(token.public_key("pin")).hexdigest()
    return msgspec.structs.replace(bare, signatures=(Signature(keyid, made),))


def with_extra(payload: bytes) -> bytes:
    return json.dumps({**json.loads(payload), "zzz": 1}, sort_keys=True, separators=(",", ":")).encode()


def key_twice(payload: bytes) -> bytes:
    return payload.replace(b'"product":"lamp"', b'"product":"lamp","product":"lamp"')


def on_the_socket(stage: Stage, body: dict[str, Any]) -> None:
    """The statement as an object, as a client of the signer writes it."""
    asked(stage.factory.signatory, "sign_pin", body, Envelope)


def as_object(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Play:
    def play(stage: Stage) -> tuple[Any, Any]:
        wrong, right = (json.loads(msgspec.json.encode(stage.floor.pin(Device()))) for _ in range(2))
        return {"statement": change(wrong)}, {"statement": right}

    return play


SOCKET: dict[str, Party] = {"signer": on_the_socket}
SIGNER: dict[str, Party] = {"signer": PINS["signer"]}
ROWS: tuple[tuple[str, dict[str, Party], Play, str], ...] = (
    ("pin: demo statement in a site", PINS, pin(environment="demo"), "environment"),
    ("pin: emulated device at a site", SIGNER, declares(emulated=True), "in environment 'demo' only"),
    ("pin: another station's name", PINS, pin(station=OTHER), "st-02"),
    ("pin: says its order is not approved", PINS, pin(order_signed=False), "order_signed"),
    ("pin: a device that is not on the list", PINS, under({}, devices=(str(LISTED),)), "not on the order's list"),
    ("pin: firmware that gives itself another version", PINS, under({"firmware_version": "2.0.0"}, firmware=(Firmware(sha256=FIRMWARE, version="1.0.0"),)), "firmware version is '2.0.0'"),
    ("pin: firmware on another platform", PINS, under({"hardware": "toaster"}, firmware=(Firmware(sha256=FIRMWARE, platform="emulated"),)), "platform is 'toaster'"),
    ("pin: firmware that is not on the list", PINS, declares(firmware_sha256="cd" * 32), "not on the order's list"),
    ("pin: unvetted key", PINS, lambda s: vetted(s, "unknown"), "vetting"),
    ("pin: another device's proof", PINS, proof_of_another, "device|proof"),
    ("pin: a challenge that nobody gave", SIGNER, stale_challenge, "challenge was not given"),
    ("pin: a second statement of a job", SIGNER, challenge_twice, "another pin statement already"),
    ("pin: a clone's key", SIGNER, same_key_again, "two devices have the same key"),
    ("pin: one more than quantity and allowance", SIGNER, one_too_many, "start the next order"),
    ("pin: a field more, on the socket", SOCKET, as_object(lambda body: {**body, "zzz": 1}), "unknown field `zzz`"),
    ("pin: another type, on the socket", SOCKET, as_object(lambda body: {**body, "type": "receipt"}), "Invalid value"),
    ("pin: a field left out, on the socket", SOCKET, as_object(lambda body: {k: v for k, v in body.items() if k != "vetting"}), "missing required field"),
    ("pin: a field more", BYTES, spelled(with_extra), "unknown field `zzz`"),
    ("pin: a key twice", BYTES, spelled(key_twice), "canonical form"),
    ("pin: another spelling", BYTES, spelled(lambda payload: payload.replace(b'":', b'": ', 1)), "canonical form"),
    ("completion: without a signed pin statement", {name: COMPLETIONS[name] for name in ("signer", "registry", "audit")}, without_pin, "pin|signed"),
    ("completion: a place freed twice by one revocation", {"signer": after_revocation}, freed_twice, "all 3 units"),
    ("completion: of a scrapped device", {"signer": COMPLETIONS["signer"]}, scrapped, "was scrapped"),
    ("completion: demo statement in a site", COMPLETIONS, completion(environment="demo"), "environment"),
    ("completion: another host", COMPLETIONS, completion(host="evil.example"), "host|evil"),
    ("completion: another cloud key", COMPLETIONS, completion(cloud_fingerprint="ab" * 32), "cloud"),
    ("completion: the device reports another cloud key", COMPLETIONS, reports(cloud=bytes(32)), "report|cloud"),
    ("completion: the device reports open writes", COMPLETIONS, reports(locked=0), "report|lock|writes"),
    ("completion: the device says it is emulated", COMPLETIONS, reports(emulated=1), "report|emulated"),
    ("receipt: of another registry", RECEIPTS, receipt(registry="reg-02"), "registry"),
    ("receipt: of environment demo", RECEIPTS, receipt(environment="demo"), "environment"),
    ("receipt: of another device", RECEIPTS, receipt(device_id="ab" * 12), "device"),
    ("receipt: says active too early", RECEIPTS, receipt(state="active"), "state"),
    ("receipt: signed with the lease key", RECEIPTS, receipt("lease"), "not signed by|signature"),
    ("receipt: by the station's own signer", RECEIPTS, receipt_by_the_signer, "not signed by|signature"),
    ("receipt: a second signature beside the right one", RECEIPTS, receipt_with_junk, "not signed by|signature"),
)  # fmt: skip


UNITS = tuple(Trick(name=row[0], parties=row[1], play=row[2], because=row[3]) for row in ROWS)
